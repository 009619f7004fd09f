"""All sessions at a glance, and the records that no index knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ... import conf
from ...exceptions import StateCorrupt
from ...keys import SESSION, StoreKey, keys_of_records
from ..types import SessionSummary
from .activity import activity, decode_notes
from .key_value import ABSENT, Versioned
from .serializers import (
    LeaseEntry,
    SessionDetails,
    StoredHead,
    decode_connections,
    decode_head,
    decode_time,
    has_line,
    ids_in,
)
from .sessions import Sessions

# A record that no index knows is a stray if that is so for so many seconds.
STRAYED = 0.25
# Within so many seconds of its end, a session's records have been removed.
ENDING = 60.0


class Overview(Sessions):
    """What concerns all sessions rather than one."""

    async def summaries(self) -> list[SessionSummary]:
        """See `Backend.summaries`. Three round trips, however much there is."""
        codes = await self.sessions()
        members = {code: self._members(code) for code in codes}
        attendance = {code: self._attendance(code) for code in codes}
        notes = {code: self._notes(code) for code in codes}
        around = await self._get(
            *members.values(), *attendance.values(), *notes.values()
        )
        ids = {
            code: sorted(ids_in(around.get(name, ABSENT).value))
            for code, name in members.items()
        }
        records = {
            StoreKey(code, id): self._record(StoreKey(code, id))
            for code in codes
            for id in (SESSION, *ids[code])
        }
        leases = {
            StoreKey(code, id): self._connections(StoreKey(code, id))
            for code, name in attendance.items()
            for id in ids_in(around.get(name, ABSENT).value)
        }
        found = await self._get(*records.values(), *leases.values())
        now = self._clock()
        connected = {
            key: live_in(found.get(name, ABSENT), now) for key, name in leases.items()
        }
        heads = {
            key: front(key, found[name])
            for key, name in records.items()
            if name in found
        }
        online: dict[str, dict[str, int]] = {code: {} for code in codes}
        for (code, id), held in connected.items():
            if held:
                online[code][id] = len(held)
        return [
            self._summary(
                code, ids[code], heads, online[code], around.get(notes[code], ABSENT)
            )
            for code in codes
        ]

    def _summary(
        self,
        code: str,
        ids: Sequence[str],
        heads: Mapping[StoreKey, StoredHead | None],
        online: Mapping[str, int],
        notes: Versioned,
    ) -> SessionSummary:
        keys = [StoreKey.of_session(code), *(StoreKey(code, id) for id in ids)]
        there = {key.participant: head for key in keys if (head := heads.get(key))}
        own = there.get(SESSION)
        about = (own and own.about) or SessionDetails()
        created = own.created if own else 0.0
        seen = max((head.seen for head in there.values()), default=0.0)
        alone = [
            head.seen
            for id, head in there.items()
            if id != SESSION and id not in online
        ]
        largest = max(there, key=lambda id: there[id].size, default=SESSION)
        return SessionSummary(
            code,
            about.label,
            created,
            about.keep,
            about.locked,
            seen,
            sum(head.size for head in there.values()),
            len(ids),
            len(online),
            sum(online.values()),
            sum(key not in heads for key in keys),
            min(alone, default=seen),
            (largest, there[largest].size if there else 0),
            activity(decode_notes(notes.value, created), self._clock()),
        )

    async def due_sessions(
        self, *, idle_for: float, limit: int, after: str = ""
    ) -> list[str]:
        """See `Backend.due_sessions`. Any session may be due: there is no telling."""
        return [code for code in await self.sessions() if code > after][:limit]

    async def orphans(self) -> list[StoreKey] | None:
        """See `Backend.orphans`."""
        names = await self._list()
        if names is None:
            return None
        keys = keys_of_records(conf.get().key_prefix, names)
        known = set(await self.sessions())
        members = await self._members_of({key.session for key in keys})
        listed = {code: {SESSION, *ids} for code, ids in members.items()}
        suspects = [
            key
            for key in keys
            if key.session not in known or key.participant not in listed[key.session]
        ]
        if suspects:
            # Somebody may be about to create them, or to remove them.
            await self._look_again(STRAYED)
        return sorted([key for key in suspects if await self._is_stray(key)])

    async def _is_stray(self, key: StoreKey) -> bool:
        place = await self._place(key)
        if place.record is None:
            return False
        listed = key.is_session or has_line(place.members.value, key.participant)
        return not (listed and has_line(place.bucket.value, key.session))

    async def reindex(self, key: StoreKey) -> bool:
        """See `Backend.reindex`."""
        name = self._tombstone(key.session)
        tombstone = (await self._get(name)).get(name)
        if tombstone and self._clock() - decode_time(tombstone.value) < ENDING:
            # Whoever ended it is about to remove it too, and to tell of it.
            return False
        place = await self._settle(key)
        if place.record is None:
            return False
        if place.ended:
            if key.is_session:
                await self._take(key, place.record)
                await self._settle(key)
            else:
                await self._remove(key.session, [key.participant])
            return False
        return True


def front(key: StoreKey, found: Versioned) -> StoredHead | None:
    """Return the front of a record; None if it is corrupt."""
    with suppress(StateCorrupt):
        return decode_head(key, found.value)
    return None


def live_in(found: Versioned, now: float) -> list[LeaseEntry]:
    """Return a participant's connections but those that are leaving or have run out."""
    entries = decode_connections(found.value)
    return [entry for entry in entries if entry.deadline > now and not entry.leaving]
