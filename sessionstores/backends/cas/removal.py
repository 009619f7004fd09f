"""Removal of records: each is reported to one caller, however many remove it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from ...exceptions import StateCorrupt, StoreUnavailable
from ...keys import StoreKey
from ...state.revisions import Rev
from ..errors import MAX_ATTEMPTS, contended
from ..types import NOBODY, Removed, removed_with
from .followers import Followers
from .index import (
    RECHECK_AFTER,
    Index,
    participants_kept_until,
    record_lifetime,
)
from .key_value import ABSENT, Values, Versioned
from .keys import members_key, notes_key, record_key, session_key
from .serializers import (
    Details,
    decode,
    decode_head,
    encode,
    fresh,
    has_changed,
    has_line,
    ids_in,
    kept_until,
)

# Participants of a session under removal who leave the index at once. A crash after
# they left it and before their records are removed hides these from a second attempt.
BATCH = 8


class Idleness(NamedTuple):
    """The rule by which participants are idle: last seen at `since`, and not kept.

    `kept`: until when their session keeps them. What their own records say counts too:
    it may have been extended since. `with_states`: whether to return final states.
    """

    since: float
    now: float
    kept: float
    with_states: bool = True

    def holds(self, key: StoreKey, found: Versioned | None) -> bool:
        """Return whether a record is idle or missing; a corrupt one is not."""
        if found is None:
            return True
        try:
            head = decode_head(key, found.value)
        except StateCorrupt:
            return False
        if head.seen > self.since:
            return False
        kept = max(self.kept, kept_until(head))
        return not (self.now < kept and has_changed(head))


class RecordRemoval:
    """Removes participants, and sessions with all that belongs to them."""

    def __init__(self, values: Values, index: Index, followers: Followers) -> None:
        self._values = values
        self._index = index
        self._followers = followers

    async def delete(self, key: StoreKey) -> Removed | None:
        """See `Backend.delete`."""
        if key.is_session:
            return await self._clear_states(key)
        name = record_key(key)
        if name not in await self._values.get(name):
            await self._index.settle(key)
            return None
        removed = await self.remove(key.session, [key.participant])
        return removed[0] if removed else None

    async def remove(
        self, session: str, ids: Sequence[str], idleness: Idleness | None = None
    ) -> list[Removed]:
        """Remove participants; with `idleness`, those of whom it holds.

        They leave the index first: an entry without a record is then never one whose
        removal is under way, and its remover is the one to report it as lost.
        """
        names = {StoreKey(session, id): record_key(StoreKey(session, id)) for id in ids}
        own = session_key(session)
        found = await self._values.get(own, *names.values())
        kept = participants_kept_until(session, found.get(own))
        if absent := [name for name in names.values() if name not in found]:
            await self._values.let_others_finish(RECHECK_AFTER)
            found |= await self._values.get(*absent)
        due = [
            key
            for key, name in names.items()
            if idleness is None or idleness.holds(key, found.get(name))
        ]
        if not due:
            return []
        removed = {}
        try:
            ids = [key.participant for key in due]
            left = await self._index.leave(session, ids, kept=kept)
            for key in due:
                if final := await self.take(key, found.get(names[key]), idleness):
                    removed[key] = final
                elif names[key] not in found and key.participant in left:
                    removed[key] = Removed(key, None, NOBODY)
            for key in await self._settle_all(due, kept):
                # Absent before, so it has been created anew.
                if names[key] not in found:
                    removed.pop(key, None)
        except StoreUnavailable:
            # If nothing else failed, the records that remain can be found again.
            with suppress(StoreUnavailable):
                await self._settle_all(due, kept)
            # A removed record has to be reported, whatever fails now.
            if not removed:
                raise
        return await self._with_followers(removed.values())

    async def _settle_all(
        self, keys: Sequence[StoreKey], kept: float
    ) -> list[StoreKey]:
        """Make the index agree with the records; return the keys that have one."""
        names = {key: record_key(key) for key in keys}
        session = keys[0].session
        members, own = members_key(session), session_key(session)
        found = await self._values.get(members, own, *names.values())
        index = found.get(members, ABSENT).value
        if kept < (now_kept := participants_kept_until(session, found.get(own))):
            # It was extended before the participants left, which undid that here.
            await self._index.extend(session, now_kept)
        for key, name in names.items():
            if (name in found) != has_line(index, key.participant):
                await self._index.settle(key)
        return [key for key, name in names.items() if name in found]

    async def take(
        self, key: StoreKey, found: Versioned | None, idleness: Idleness | None = None
    ) -> Removed | None:
        """Remove one record; None: it is not idle, or another caller removed it.

        Neither index nor followers are looked at.
        """
        name = record_key(key)
        while found is not None:
            if idleness is not None and not idleness.holds(key, found):
                return None
            if await self._values.drop(name, found.token):
                if idleness is None or idleness.with_states:
                    return _final(key, found.value)
                return Removed(key, {}, NOBODY, decode_head(key, found.value).size)
            found = (await self._values.get(name)).get(name)
        return None

    async def _with_followers(self, removed: Iterable[Removed]) -> list[Removed]:
        removed = list(removed)
        # They are removed, whether or not their followers can be found out.
        with suppress(StoreUnavailable):
            keys = [final.key for final in removed]
            followers = await self._followers.followers_of(keys)
            return [final._replace(followers=followers[final.key]) for final in removed]
        return removed

    async def _clear_states(self, key: StoreKey) -> Removed | None:
        """Remove the states of a session's record; the session stays."""
        name = record_key(key)
        for attempt in range(MAX_ATTEMPTS):
            found = (await self._values.get(name)).get(name)
            if found is None:
                return None
            now = self._values.now()
            blank = fresh(Rev.first(), {}, now, Details())
            states: Mapping[str, bytes] | None = None
            with suppress(StateCorrupt):
                stored = decode(key, found.value)
                if not stored.states:
                    return None
                states = stored.states
                rev = stored.rev.reincarnated()
                blank = fresh(rev, {}, stored.created, stored.about)
                blank.seen, blank.clients = stored.seen, stored.clients
            value, lifetime = encode(blank), record_lifetime(blank, now)
            if await self._values.put(name, found.token, value, lifetime) is not None:
                final = removed_with(key, states or {})._replace(states=states)
                return (await self._with_followers([final]))[0]
            await self._values.back_off(attempt)
        raise contended(key)

    async def clear_session(self, session: str) -> list[Removed]:
        """Remove all records of a session, its own last; safe to repeat."""
        # First, since whatever is removed from here on must be reported.
        await self._values.update(notes_key(session), lambda _: b"", None)
        removed: list[Removed] = []
        try:
            members = members_key(session)
            found = (await self._values.get(members)).get(members, ABSENT)
            ids = sorted(ids_in(found.value))
            for start in range(0, len(ids), BATCH):
                removed += await self.remove(session, ids[start : start + BATCH])
            key = StoreKey.of_session(session)
            name = record_key(key)
            own = (await self._values.get(name)).get(name)
            if own is not None and (final := await self.take(key, own)):
                removed += await self._with_followers([final])
            await self._index.settle(key)
        except StoreUnavailable:
            # A second attempt finds the others.
            if not removed:
                raise
        return removed


def _final(key: StoreKey, value: bytes) -> Removed:
    """Return a record under removal, its states None if it is corrupt."""
    try:
        return removed_with(key, decode(key, value).states)
    except StateCorrupt:
        return Removed(key, None, NOBODY)
