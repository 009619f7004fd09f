"""What the scripts say and are told, packed and taken apart."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import msgspec

from ...exceptions import StateCorrupt
from ...keys import StoreKey
from ...state.revisions import History, Rev
from ..types import (
    ACTIVITY_MINUTES,
    NOBODY,
    Attempt,
    ClientEntry,
    Lease,
    Record,
    Removed,
)

T = TypeVar("T")

TIME = struct.Struct("<d")
_REV = struct.Struct("<4sd4s")
_HEAD = struct.Struct("<4sdddd")
_CLIENT = struct.Struct("<dd")
_ACTIVITY = struct.Struct(f"<d{ACTIVITY_MINUTES}H")

_encode = msgspec.msgpack.Encoder().encode
_rejected = msgspec.msgpack.Decoder(dict[int, str]).decode
_details = msgspec.msgpack.Decoder(tuple[str, str, list[str], bytes]).decode


class PackedHead(NamedTuple):
    """The front of a record: all but its states and clients."""

    history: History
    created: float
    seen: float
    size: int


def packed(rev: Rev) -> bytes:
    """Return a rev as scripts compare it."""
    return _REV.pack(rev.incarnation.encode(), rev.counter, bytes.fromhex(rev.tail))


def unpacked(rev: bytes) -> Rev:
    """Return the rev that a script told."""
    incarnation, counter, tail = _REV.unpack(rev)
    return Rev(incarnation.decode(), int(counter), tail.hex())


def head_of(front: bytes) -> PackedHead:
    """Return what the field `h` of a record holds."""
    incarnation, counter, created, seen, size = _HEAD.unpack_from(front)
    ring = front[_HEAD.size :]
    rev = Rev(incarnation.decode(), int(counter), ring[-4:].hex())
    return PackedHead(History(rev, ring), created, seen, int(size))


def record_of(key: StoreKey, fields: Sequence[bytes]) -> Record:
    """Return the record whose hash this is: names and values in turn.

    Without those of its clients whose entries cannot be read.
    """
    states: dict[str, bytes] = {}
    clients: dict[str, ClientEntry] = {}
    head: PackedHead | None = None
    for name, value in in_pairs(fields):
        if name == b"h":
            head = head_of(value)
        elif name.startswith(b"s:"):
            states[name[2:].decode()] = value
        elif name.startswith(b"c:"):
            # The record is worth more than what one client has been told.
            with suppress(struct.error, msgspec.DecodeError, ValueError):
                at, last = _CLIENT.unpack_from(value)
                entry = ClientEntry(int(last), _rejected(value[_CLIENT.size :]), at)
                clients[name[2:].decode()] = entry
    if head is None:
        raise corrupt(key)
    return Record(key, head.history, states, clients, head.created, head.seen)


def removed_of(session: str, final: Sequence[Any]) -> Removed:
    """Return what a script took away: id, the hash or None, the followers if any."""
    id, fields, followed = final
    # Whoever entered it in the index has checked it.
    key = StoreKey._make((session, id.decode()))
    states = None
    if fields is not None:
        states = {
            name[2:].decode(): value
            for name, value in in_pairs(fields)
            if name.startswith(b"s:")
        }
    if followed is None:
        return Removed(key, states, NOBODY)
    moment, *lines = followed
    return Removed(key, states, followers_in(key, moment, lines))


def parts_of(lease: Lease) -> tuple[Any, ...]:
    """Return a lease as the script takes it."""
    follows = sorted(lease.follows)
    details = _encode([lease.process, lease.client, follows, lease.meta])
    id, process = lease.key.participant, lease.process
    return id, lease.connection, details, process, len(follows), *follows


def lease_of(session: str, name: bytes, details: bytes, leaving: int) -> Lease:
    """Return a connection as the contract shows it: a script told these of it."""
    id, _, connection = name.decode().partition("/")
    (since,) = TIME.unpack_from(details)
    process, client, follows, meta = _details(details[TIME.size :])
    return Lease(
        connection,
        StoreKey(session, id),
        process,
        client,
        frozenset(follows),
        meta,
        since,
        bool(leaving),
    )


def activity_of(field: bytes | None, now: float) -> tuple[int, ...]:
    """Return the changes in each of the last minutes, the current one last."""
    quiet = (0,) * ACTIVITY_MINUTES
    if field is None or len(field) != _ACTIVITY.size:
        return quiet
    minute, *changes = _ACTIVITY.unpack(field)
    passed = min(max(int(now // 60 - minute), 0), ACTIVITY_MINUTES)
    return (*changes, *quiet)[passed:][:ACTIVITY_MINUTES]


def followers_in(
    key: StoreKey, moment: bytes, lines: Sequence[bytes | None]
) -> frozenset[str]:
    """Return the processes that follow a record: its own lines, and everyone's.

    `moment` begins with the time.
    """
    own, everyone = lines
    if key.is_session:
        everyone = None
    if own is None and everyone is None:
        return NOBODY
    (now,) = TIME.unpack_from(moment)
    entries = ((own or b"") + (everyone or b"")).decode().splitlines()
    pairs = (entry.split(" ") for entry in entries)
    return frozenset(process for deadline, process in pairs if float(deadline) > now)


def remembered(
    clients: Mapping[str, ClientEntry], attempt: Attempt
) -> tuple[str, bytes]:
    """Return a client's id and what its entry will hold, behind the time."""
    known = clients.get(attempt.client)
    last = max(attempt.id, known.last) if known else attempt.id
    return attempt.client, TIME.pack(last) + _encode(attempt.rejected)


def by_session(keys: Iterable[StoreKey]) -> list[tuple[str, list[str]]]:
    """Return the ids of each session among `keys`."""
    sessions: dict[str, list[str]] = {}
    for session, id in keys:
        sessions.setdefault(session, []).append(id)
    return list(sessions.items())


def in_pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Return a flat answer's names with their values."""
    return zip(flat[::2], flat[1::2], strict=True)


def in_chunks(several: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """Return the sequence in parts of at most `size`."""
    return (several[at : at + size] for at in range(0, len(several), size))


def corrupt(key: StoreKey) -> StateCorrupt:
    """Return the error for what stands at `key` and is no record."""
    return StateCorrupt(
        f"What the server holds at {key} is not a record. Take a snapshot of one of "
        "its states: that sets it aside and starts afresh."
    )


def lost_revocations(session: str) -> StateCorrupt:
    """Return the error for revocations that are no longer any."""
    return StateCorrupt(
        f"The revocations of session {session} cannot be read. End the session, "
        "which voids all its tokens."
    )
