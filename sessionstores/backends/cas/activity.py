"""Notes of a session: the latest events of its timeline, its changes by the minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..types import ACTIVITY_MINUTES, MAX_EVENTS

QUIET = (0,) * ACTIVITY_MINUTES

_encode = msgspec.msgpack.Encoder().encode
_event = msgspec.msgpack.Decoder(dict[str, Any]).decode


class Notes(msgspec.Struct, array_like=True):
    """Notes as stored, beside the session's record: neither write disturbs the other.

    `created` is the session's, since notes may outlive it and its code be used again.
    `changes` counts by the minute since the epoch, the last being `minute`. Events
    stay encoded: adding one decodes none.
    """

    created: float
    minute: int = 0
    changes: tuple[int, ...] = QUIET
    events: tuple[msgspec.Raw, ...] = ()


_notes = msgspec.msgpack.Decoder(Notes).decode


def decode_notes(value: bytes, created: float) -> Notes:
    """Return the notes if they are of the session created then, else blank ones."""
    try:
        notes = _notes(value)
    except msgspec.MsgspecError:
        return Notes(created)
    known = notes.created == created and len(notes.changes) == ACTIVITY_MINUTES
    return notes if known else Notes(created)


def with_notes(
    value: bytes,
    created: float,
    now: float,
    events: Sequence[Mapping[str, Any]],
    changes: int,
) -> bytes:
    """Return the notes after `events` and a number of `changes` at `now`."""
    notes = decode_notes(value, created)
    counts = activity(notes, now)
    notes.changes = (*counts[:-1], counts[-1] + changes)
    # A clock may have been set back.
    notes.minute = max(notes.minute, int(now // 60))
    added = (msgspec.Raw(_encode(event)) for event in events)
    notes.events = (*notes.events, *added)[-MAX_EVENTS:]
    return _encode(notes)


def activity(notes: Notes, now: float) -> tuple[int, ...]:
    """Return the changes in each of the latest minutes, the current one last."""
    passed = min(max(int(now // 60) - notes.minute, 0), ACTIVITY_MINUTES)
    return (*notes.changes, *QUIET)[passed:][:ACTIVITY_MINUTES]


def events_in(notes: Notes) -> tuple[Mapping[str, Any], ...]:
    """Return the events, the latest last; undecodable ones are left out."""
    found = []
    for raw in notes.events:
        try:
            found.append(_event(raw))
        except msgspec.MsgspecError:
            continue
    return tuple(found)
