"""How records go, and who is told: once, whoever else is removing them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from ...exceptions import StateCorrupt, StoreUnavailable
from ...keys import StoreKey
from ..types import NOBODY, Removed
from .index import Index, RecordContext
from .key_value import ABSENT, Versioned
from .serializers import decode, decode_head, has_line, ids_in, without_lines

# So much later, what is being created or removed agrees with the index again.
LOOK_AGAIN = 0.01
# Participants of a session that goes who leave the index at once: while they have left
# it and their records still stand, a crash would keep these from whoever repeats it.
BATCH = 8


class Removal(Index):
    """Removal of participants, and of sessions with all that is theirs."""

    async def _remove(
        self, session: str, ids: Sequence[str], *, idle_since: float | None = None
    ) -> list[Removed]:
        """Remove participants; with `idle_since`, those not seen from then on.

        Out of the index first: an entry without a record is then never one whose
        removal is under way, and who takes it out is the one to report it as lost.
        """
        names = {
            StoreKey(session, id): self._record(StoreKey(session, id)) for id in ids
        }
        found = await self._get(*names.values())
        if absent := [name for name in names.values() if name not in found]:
            await self._look_again()
            found |= await self._get(*absent)
        going = [
            key
            for key, name in names.items()
            if idle_since is None or is_idle(key, found.get(name), idle_since)
        ]
        if not going:
            return []
        removed = {}
        try:
            struck = await self._leave(session, [key.participant for key in going])
            for key in going:
                if final := await self._take(key, found.get(names[key]), idle_since):
                    removed[key] = final
                elif names[key] not in found and key.participant in struck:
                    removed[key] = Removed(key, None, NOBODY)
            for key in await self._standing(going):
                # What was not there before has been created anew.
                if names[key] not in found:
                    removed.pop(key, None)
        except StoreUnavailable:
            # If that was all that failed, those who still stand can be found again.
            with suppress(StoreUnavailable):
                await self._standing(going)
            # What is gone is to be reported, whatever fails now.
            if not removed:
                raise
        return await self._with_followers(removed.values())

    async def _standing(self, keys: Sequence[StoreKey]) -> list[StoreKey]:
        """Return those that have a record, and make the index agree for all."""
        names = {key: self._record(key) for key in keys}
        members = self._members(keys[0].session)
        found = await self._get(members, *names.values())
        index = found.get(members, ABSENT).value
        for key, name in names.items():
            if (name in found) != has_line(index, key.participant):
                await self._settle(key)
        return [key for key, name in names.items() if name in found]

    async def _strike_lost(self, key: StoreKey, place: RecordContext) -> bool:
        """Take out of the index what has no record there; of several, one does."""
        index = place.members
        name = self._members(key.session)
        kept = without_lines(index.value, [key.participant])
        if not kept:
            return await self._drop(name, index.token)
        lifetime = self._members_lifetime()
        return await self._put(name, index.token, kept, lifetime) is not None

    async def _look_again(self, seconds: float = LOOK_AGAIN) -> None:
        if self.in_memory:
            # Whoever is at it is a thread of this process, and goes on at once.
            time.sleep(seconds / 10)  # noqa: ASYNC251
        else:
            await self.pause(seconds)

    async def _take(
        self, key: StoreKey, found: Versioned | None, idle_since: float | None = None
    ) -> Removed | None:
        """Remove one record; None: it is not idle, or another came first."""
        name = self._record(key)
        while found is not None:
            if idle_since is not None and not is_idle(key, found, idle_since):
                return None
            if await self._drop(name, found.token):
                return Removed(key, final_states(key, found.value), NOBODY)
            found = (await self._get(name)).get(name)
        return None

    async def _with_followers(self, removed: Iterable[Removed]) -> list[Removed]:
        removed = list(removed)
        # What is gone is gone, whether or not its followers can be told.
        with suppress(StoreUnavailable):
            followers = await self._followers_of([final.key for final in removed])
            return [final._replace(followers=followers[final.key]) for final in removed]
        return removed

    async def _clear_session(self, session: str) -> list[Removed]:
        # First, since what is gone from here on must be reported whatever fails.
        await self._update(self._notes(session), lambda _: b"", None)
        removed: list[Removed] = []
        try:
            members = self._members(session)
            ids = sorted(ids_in((await self._get(members)).get(members, ABSENT).value))
            for start in range(0, len(ids), BATCH):
                removed += await self._remove(session, ids[start : start + BATCH])
            key = StoreKey.of_session(session)
            name = self._record(key)
            own = (await self._get(name)).get(name)
            if own is not None and (final := await self._take(key, own)):
                removed += await self._with_followers([final])
            await self._settle(key)
        except StoreUnavailable:
            # Whoever repeats it finds the others.
            if not removed:
                raise
        return removed


def is_idle(key: StoreKey, found: Versioned | None, since: float) -> bool:
    """Tell whether a record was last seen at `since` or before, or is gone.

    No if it is corrupt.
    """
    try:
        return found is None or decode_head(key, found.value).seen <= since
    except StateCorrupt:
        return False


def final_states(key: StoreKey, value: bytes) -> Mapping[str, bytes] | None:
    """Return the states of a record that is going; None if it is corrupt."""
    try:
        return decode(key, value).states
    except StateCorrupt:
        return None
