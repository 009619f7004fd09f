"""Sessions and what is known of them, over a compare-and-set primitive."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from .. import conf
from ..exceptions import SessionEnded, StateCorrupt
from ..keys import StoreKey
from ..revs import Rev
from .encoding import (
    MAX_EVENTS,
    About,
    Head,
    codes_in,
    count_lines,
    decode,
    decode_head,
    encode,
    fresh,
    ids_in,
)
from .index import Index, is_idle
from .primitive import ABSENT, TRIES, contended
from .values import BackendStats, ParticipantInfo, Removed, SessionInfo


class Sessions(Index):
    """Sessions, their participants as a list, and the totals over all."""

    async def create_session(self, code: str, *, label: str, keep: float) -> bool:
        """See `Backend.create_session`."""
        key = StoreKey.of_session(code)
        place = await self._place(key)
        if place.ended or place.session is not None:
            return False
        about = About(label, keep)
        stored = fresh(Rev.first(), {}, self._clock(), about)
        try:
            return await self._create(key, stored, place) is not None
        except SessionEnded:
            return False

    async def session(self, code: str) -> SessionInfo | None:
        """See `Backend.session`. Raises `StateCorrupt` as `read` does."""
        key = StoreKey.of_session(code)
        name, tombstone = self._record(key), self._tombstone(code)
        found = await self._get(name, tombstone)
        if tombstone in found or name not in found:
            return None
        return info(key, decode_head(key, found[name].value))

    async def update_session(
        self,
        code: str,
        *,
        label: str | None = None,
        keep: float | None = None,
        locked: bool | None = None,
        event: Mapping[str, Any] | None = None,
    ) -> SessionInfo | None:
        """See `Backend.update_session`. Raises `StateCorrupt` as `read` does."""
        key = StoreKey.of_session(code)
        name, tombstone = self._record(key), self._tombstone(code)
        for tried in range(TRIES):
            found = await self._get(name, tombstone)
            if tombstone in found or name not in found:
                return None
            stored = decode(key, found[name].value)
            about = stored.about or About()
            events = about.events
            if event is not None:
                events = (*events, dict(event))[-MAX_EVENTS:]
            stored.about = About(
                about.label if label is None else label,
                about.keep if keep is None else keep,
                about.locked if locked is None else locked,
                events,
            )
            value, lifetime = encode(stored), self._lifetime(stored)
            if await self._put(name, found[name].token, value, lifetime) is not None:
                return info(key, stored)
            await self._give_way(tried)
        raise contended(key)

    async def end_session(self, code: str) -> list[Removed]:
        """See `Backend.end_session`."""
        age = conf.get().token_max_age
        ended_at = encode(self._clock())
        await self._update(self._tombstone(code), lambda _: ended_at, age)
        return await self._clear_session(code)

    async def delete_session(self, code: str) -> list[Removed]:
        """See `Backend.delete_session`."""
        return await self._clear_session(code)

    async def sessions(self) -> list[str]:
        """See `Backend.sessions`."""
        found = await self._get(*self._buckets())
        return sorted(code for held in found.values() for code in codes_in(held.value))

    async def session_count(self) -> int:
        """See `Backend.session_count`."""
        found = await self._get(*self._buckets())
        return sum(count_lines(held.value) for held in found.values())

    async def participants(self, code: str) -> list[ParticipantInfo]:
        """See `Backend.participants`. Leaves out those whose record is corrupt."""
        members = await self._members_of([code])
        keys = [StoreKey(code, id) for id in sorted(members[code])]
        heads = await self._heads_of(keys)
        connections = await self._connections_of(heads)
        return [
            ParticipantInfo(
                key.participant,
                head.rev,
                head.created,
                head.seen,
                head.size,
                len(connections[key]),
            )
            for key, head in heads.items()
        ]

    async def participant_count(self, code: str | None = None) -> int:
        """See `Backend.participant_count`."""
        codes = await self.sessions() if code is None else [code]
        found = await self._get(*map(self._members, codes))
        return sum(count_lines(held.value) for held in found.values())

    async def evict_idle(
        self, code: str, *, idle_for: float, limit: int
    ) -> list[Removed]:
        """See `Backend.evict_idle`."""
        since = self._clock() - idle_for
        members = await self._members_of([code])
        names = {key: self._record(key) for key in keys_of(members)}
        found = await self._get(*names.values())
        due = [
            key
            for key, name in names.items()
            if name not in found or is_idle(key, found[name].value, since)
        ]
        connections = await self._connections_of(due)
        alone = [key.participant for key in due if not connections[key]]
        # Read again after the leases: whoever comes in between is seen by one of both.
        return await self._remove(code, alone[:limit], idle_since=since)

    async def evict_empty_session(self, code: str, *, idle_for: float) -> bool:
        """See `Backend.evict_empty_session`."""
        key = StoreKey.of_session(code)
        place = await self._place(key)
        if ids_in(place.members.value):
            return False
        if place.session is None:
            await self._settle(key)
            return True
        try:
            head = decode_head(key, place.session.value)
        except StateCorrupt:
            return False
        now = self._clock()
        keep = head.about.keep if head.about else 0.0
        if head.seen > now - idle_for or now < head.created + keep:
            return False
        if not await self._drop(self._record(key), place.session.token):
            return False
        # Whoever joined meanwhile gets the session back as it was.
        return (await self._settle(key, place.session.value)).session is None

    async def stats(self) -> BackendStats:
        """See `Backend.stats`."""
        members = await self._members_of(await self.sessions())
        keys = keys_of(members)
        own = [StoreKey.of_session(code) for code in members]
        heads = await self._heads_of([*own, *keys])
        connections = await self._connections_of(keys)
        return BackendStats(
            len(members),
            len(keys),
            sum(map(len, connections.values())),
            sum(head.size for head in heads.values()),
        )

    async def _members_of(self, codes: Collection[str]) -> dict[str, list[str]]:
        names = {code: self._members(code) for code in codes}
        found = await self._get(*names.values())
        return {
            code: ids_in(found.get(name, ABSENT).value) for code, name in names.items()
        }

    async def _heads_of(self, keys: Collection[StoreKey]) -> dict[StoreKey, Head]:
        """Return those records that there are and that are not corrupt."""
        names = {key: self._record(key) for key in keys}
        found = await self._get(*names.values())
        heads = {}
        for key, name in names.items():
            if name in found:
                with suppress(StateCorrupt):
                    heads[key] = decode_head(key, found[name].value)
        return heads


def keys_of(members: Mapping[str, Collection[str]]) -> list[StoreKey]:
    """Return the keys of all participants of several sessions."""
    return [StoreKey(code, id) for code, ids in members.items() for id in ids]


def info(key: StoreKey, head: Head) -> SessionInfo:
    """Return a session's record as the contract shows it."""
    about = head.about or About()
    return SessionInfo(
        key.session,
        about.label,
        head.created,
        about.keep,
        about.locked,
        head.seen,
        head.size,
        about.events,
    )
