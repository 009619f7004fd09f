"""Sessions and what is known of them, over a compare-and-set primitive."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ... import conf
from ...exceptions import SessionEnded, StateCorrupt, StoreUnavailable
from ...keys import StoreKey
from ...state.revisions import Rev
from ..errors import MAX_ATTEMPTS, contended
from ..types import ParticipantInfo, Removed, SessionInfo
from .activity import decode_notes, events_in, with_notes
from .key_value import ABSENT
from .removal import Removal, is_idle
from .serializers import (
    SessionDetails,
    StoredHead,
    codes_in,
    count_lines,
    decode,
    decode_head,
    encode,
    fresh,
    has_line,
    ids_in,
)

# Notes last so long though nobody uses the session: it may be kept, and asked for.
NOTES = 86_400.0


class Sessions(Removal):
    """Sessions, what is noted of them, and their participants as a list."""

    async def create_session(self, code: str, *, label: str, keep: float) -> bool:
        """See `Backend.create_session`."""
        key = StoreKey.of_session(code)
        place = await self._place(key)
        if place.ended or place.session is not None:
            return False
        about = SessionDetails(label, keep)
        stored = fresh(Rev.first(), {}, self._clock(), about)
        try:
            return await self._create(key, stored, place) is not None
        except SessionEnded:
            return False

    async def session(self, code: str) -> SessionInfo | None:
        """See `Backend.session`. Raises `StateCorrupt` as `read` does."""
        key = StoreKey.of_session(code)
        name, tombstone, notes = self._about(code)
        found = await self._get(name, tombstone, notes)
        if tombstone in found or name not in found:
            return None
        head = decode_head(key, found[name].value)
        return info(key, head, found.get(notes, ABSENT).value)

    def _about(self, code: str) -> tuple[str, str, str]:
        return self._session(code), self._tombstone(code), self._notes(code)

    async def update_session(
        self,
        code: str,
        *,
        label: str | None = None,
        keep: float | None = None,
        locked: bool | None = None,
        extend: float | None = None,
    ) -> SessionInfo | None:
        """See `Backend.update_session`. Raises `StateCorrupt` as `read` does."""
        key = StoreKey.of_session(code)
        name, tombstone, notes = self._about(code)
        for tried in range(MAX_ATTEMPTS):
            found = await self._get(name, tombstone, notes)
            if tombstone in found or name not in found:
                return None
            stored = decode(key, found[name].value)
            about = stored.about or SessionDetails()
            kept = about.keep if keep is None else keep
            if extend is not None:
                kept = max(kept, self._clock() + extend - stored.created)
            stored.about = SessionDetails(
                about.label if label is None else label,
                kept,
                about.locked if locked is None else locked,
            )
            value, lifetime = encode(stored), self._lifetime(stored)
            if await self._put(name, found[name].token, value, lifetime) is not None:
                return info(key, stored, found.get(notes, ABSENT).value)
            await self._give_way(tried)
        raise contended(key)

    async def note(
        self, code: str, events: Sequence[Mapping[str, Any]], *, changes: int = 0
    ) -> None:
        """See `Backend.note`. Written beside the record: no commit is overtaken."""
        key = StoreKey.of_session(code)
        name, tombstone, notes = self._about(code)
        found = await self._get(name, tombstone, notes)
        if tombstone in found or name not in found:
            return
        head = decode_head(key, found[name].value)

        def add(value: bytes) -> bytes:
            return with_notes(value, head.created, self._clock(), events, changes)

        lifetime = max(NOTES, self._lifetime(head))
        await self._update(notes, add, lifetime, found.get(notes, ABSENT))

    async def _forget_notes(self, code: str) -> None:
        # Those that stay behind are of no session to come, and expire.
        with suppress(StoreUnavailable):
            await self._update(self._notes(code), lambda _: b"", None)

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
                sum(not entry.leaving for entry in connections[key]),
            )
            for key, head in heads.items()
        ]

    async def participant_count(self, code: str | None = None) -> int:
        """See `Backend.participant_count`."""
        codes = await self.sessions() if code is None else [code]
        found = await self._get(*map(self._members, codes))
        return sum(count_lines(held.value) for held in found.values())

    async def evict_idle(
        self, code: str, *, idle_for: float, limit: int, participant: str | None = None
    ) -> list[Removed]:
        """See `Backend.evict_idle`."""
        keys = keys_of(await self._members_of([code]))
        since = self._clock() - idle_for
        if participant is not None:
            keys = [key for key in keys if key.participant == participant]
        names = {key: self._record(key) for key in keys}
        found = await self._get(*names.values())
        due = [
            key for key, name in names.items() if is_idle(key, found.get(name), since)
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
            await self._forget_notes(code)
            return has_line(place.bucket.value, code)
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
        if (await self._settle(key, place.session.value)).session is not None:
            return False
        await self._forget_notes(code)
        return True

    async def _members_of(self, codes: Collection[str]) -> dict[str, list[str]]:
        names = {code: self._members(code) for code in codes}
        found = await self._get(*names.values())
        return {
            code: ids_in(found.get(name, ABSENT).value) for code, name in names.items()
        }

    async def _heads_of(self, keys: Collection[StoreKey]) -> dict[StoreKey, StoredHead]:
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


def info(key: StoreKey, head: StoredHead, notes: bytes) -> SessionInfo:
    """Return a session's record, and its notes, as the contract shows them."""
    about = head.about or SessionDetails()
    return SessionInfo(
        key.session,
        about.label,
        head.created,
        about.keep,
        about.locked,
        head.seen,
        head.size,
        events_in(decode_notes(notes, head.created)),
    )
