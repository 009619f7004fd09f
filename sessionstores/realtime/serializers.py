"""Wire format of events between processes: one JSON text each, for any layer.

Layers differ in the types they carry, and a message that one cannot decode takes others
with it, so they carry a string. Unknown kinds are ignored: during a rolling deploy old
and new processes exchange events.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from ..event_bus import (
    Attendance,
    Change,
    Disconnection,
    Hint,
    Message,
    ProfileChange,
    Removal,
    Revocation,
)
from ..keys import StoreKey

# Larger patches are not sent: the other processes read the record instead.
MAX_OPERATIONS_BYTES = 65_536


class RemoteChange(Struct, frozen=True, tag_field="kind", tag="change"):
    """A commit of another process, without what only that process needs."""

    session: str
    participant: str
    base: str
    rev: str
    ops: Raw
    source: str | None
    reset: bool
    # Absent from processes of earlier releases.
    restarted: bool = False

    @property
    def key(self) -> StoreKey:
        """The key of the record that changed."""
        return StoreKey.stored(self.session, self.participant)

    @property
    def operations(self) -> bytes | None:
        """The JSON array of operations; None if tabs need a snapshot instead."""
        return None if bytes(self.ops) == b"null" else bytes(self.ops)


class _WireRemoval(Struct, tag_field="kind", tag="removal"):
    session: str
    participant: str
    reason: str


class _WireMessage(Struct, tag_field="kind", tag="message"):
    session: str
    participant: str
    data: Any


class _WireRevocation(Struct, tag_field="kind", tag="revocation"):
    session: str
    participant: str


class _WireAttendance(Struct, tag_field="kind", tag="attendance"):
    session: str
    participant: str


class _WireProfileChange(Struct, tag_field="kind", tag="profile"):
    session: str
    participant: str


class _WireDisconnection(Struct, tag_field="kind", tag="disconnection"):
    session: str
    participant: str


class LayerProbe(Struct, frozen=True, tag_field="kind", tag="probe"):
    """Sent by a process to itself, to check that its channel still delivers."""


_Wire = (
    RemoteChange
    | _WireRemoval
    | _WireMessage
    | _WireRevocation
    | _WireAttendance
    | _WireProfileChange
    | _WireDisconnection
    | LayerProbe
)
_decode = msgspec.json.Decoder(_Wire).decode

Delivery = Hint | RemoteChange

PROBE = msgspec.json.encode(LayerProbe()).decode()


def encode(event: Hint) -> str:
    """Return the text of an event."""
    wire: _Wire
    if isinstance(event, Change):
        operations = b"null" if event.reset else event.operations
        if len(operations) > MAX_OPERATIONS_BYTES:
            operations = b"null"
        wire = RemoteChange(
            *event.key,
            event.base,
            event.rev,
            Raw(operations),
            event.source,
            event.reset,
            event.restarted,
        )
    elif isinstance(event, Removal):
        wire = _WireRemoval(*event.key, event.reason)
    elif isinstance(event, Message):
        wire = _WireMessage(*event.key, event.data)
    elif isinstance(event, Attendance):
        wire = _WireAttendance(*event.key)
    elif isinstance(event, ProfileChange):
        wire = _WireProfileChange(*event.key)
    elif isinstance(event, Disconnection):
        wire = _WireDisconnection(*event.key)
    else:
        wire = _WireRevocation(*event.key)
    return msgspec.json.encode(wire).decode()


def decode(text: str) -> Delivery | LayerProbe:
    """Return the event; raise ValueError for an unknown or malformed one."""
    wire: _Wire = _decode(text)
    if isinstance(wire, RemoteChange | LayerProbe):
        return wire
    key = StoreKey.stored(wire.session, wire.participant)
    if isinstance(wire, _WireRemoval):
        return Removal(key, wire.reason)
    if isinstance(wire, _WireMessage):
        return Message(key, wire.data)
    if isinstance(wire, _WireAttendance):
        return Attendance(key)
    if isinstance(wire, _WireProfileChange):
        return ProfileChange(key)
    if isinstance(wire, _WireDisconnection):
        return Disconnection(key)
    return Revocation(key)
