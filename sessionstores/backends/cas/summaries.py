"""Summaries of all sessions, in three round trips, however many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ...exceptions import StateCorrupt
from ...keys import SESSION, StoreKey
from ..types import SessionSummary
from .activity import activity, decode_notes
from .index import Index
from .key_value import ABSENT, Versioned
from .keys import attendance_key, leases_key, members_key, notes_key, record_key
from .serializers import (
    Details,
    LeaseEntry,
    StoredHead,
    decode_connections,
    decode_head,
    has_changed,
    ids_in,
    kept_until,
)
from .values import Values


class SummaryReader:
    """Reads heads, leases and notes of every session; decodes no state."""

    def __init__(self, values: Values, index: Index) -> None:
        self._values = values
        self._index = index

    async def summaries(self) -> list[SessionSummary]:
        """See `Backend.summaries`."""
        codes = await self._index.sessions()
        members = {code: members_key(code) for code in codes}
        attendance = {code: attendance_key(code) for code in codes}
        notes = {code: notes_key(code) for code in codes}
        around = await self._values.get(
            *members.values(), *attendance.values(), *notes.values()
        )
        # Each is made once: checking its parts is most of what many records cost.
        keys = {
            code: [
                StoreKey.of_session(code),
                *(
                    StoreKey.stored(code, id)
                    for id in sorted(ids_in(around.get(name, ABSENT).value))
                ),
            ]
            for code, name in members.items()
        }
        records = {key: record_key(key) for own in keys.values() for key in own}
        leases = {
            (key := StoreKey.stored(code, id)): leases_key(key)
            for code, name in attendance.items()
            for id in ids_in(around.get(name, ABSENT).value)
        }
        found = await self._values.get(*records.values(), *leases.values())
        now = self._values.now()
        connected = {
            key: _present_in(found.get(name, ABSENT), now)
            for key, name in leases.items()
        }
        heads = {
            key: _head_of(key, found[name])
            for key, name in records.items()
            if name in found
        }
        online: dict[str, dict[str, int]] = {code: {} for code in codes}
        for (code, id), held in connected.items():
            if held:
                online[code][id] = len(held)
        return [
            _summary(
                code,
                keys[code],
                heads,
                online[code],
                around.get(notes[code], ABSENT),
                now,
            )
            for code in codes
        ]


def _summary(
    code: str,
    keys: Sequence[StoreKey],
    heads: Mapping[StoreKey, StoredHead | None],
    online: Mapping[str, int],
    notes: Versioned,
    now: float,
) -> SessionSummary:
    there = {key.participant: head for key in keys if (head := heads.get(key))}
    own = there.get(SESSION)
    about = (own and own.about) or Details()
    created = own.created if own else 0.0
    seen = max((head.seen for head in there.values()), default=0.0)
    kept = created + about.keep if about.keep_participants else 0.0
    alone, waits = [], False
    for id, head in there.items():
        if id == SESSION or id in online:
            continue
        if has_changed(head) and now < max(kept, kept_until(head)):
            waits = True
        else:
            alone.append(head.seen)
    largest = max(there, key=lambda id: there[id].size, default=SESSION)
    return SessionSummary(
        code,
        about.label,
        created,
        about.keep,
        about.locked,
        seen,
        sum(head.size for head in there.values()),
        len(keys) - 1,
        len(online),
        sum(online.values()),
        sum(key not in heads for key in keys),
        min(alone, default=now if waits else seen),
        (largest, there[largest].size if there else 0),
        activity(decode_notes(notes.value, created), now),
    )


def _head_of(key: StoreKey, found: Versioned) -> StoredHead | None:
    """Return the head of a record; None if it is corrupt."""
    with suppress(StateCorrupt):
        return decode_head(key, found.value)
    return None


def _present_in(found: Versioned, now: float) -> list[LeaseEntry]:
    """Return a participant's connections that are neither leaving nor expired."""
    entries = decode_connections(found.value)
    return [entry for entry in entries if entry.deadline > now and not entry.leaving]
