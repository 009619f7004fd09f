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
    RecordContext,
    participants_kept_until,
    record_lifetime,
)
from .key_value import ABSENT, Versioned
from .keys import members_key, notes_key, record_key, record_keys, session_key
from .serializers import (
    Details,
    StoredHead,
    decode,
    decode_head,
    encode,
    fresh,
    has_changed,
    has_line,
    ids_in,
    kept_until,
)
from .values import Values

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

    def head_of(self, key: StoreKey, found: Versioned) -> StoredHead | None:
        """Return a record's head if it is idle, else None; a corrupt one is not."""
        try:
            head = decode_head(key, found.value)
        except StateCorrupt:
            return None
        if head.seen > self.since:
            return None
        kept = max(self.kept, kept_until(head))
        return None if self.now < kept and has_changed(head) else head


class Due(NamedTuple):
    """A participant to be removed, as they were read; without a record: lost.

    `is_out`: their session lets them in no more. A record may then be there that was
    never open, written by a creator who had looked before, and is about to remove it.
    """

    name: str
    found: Versioned | None
    head: StoredHead | None = None
    is_out: bool = False
    was_open: bool = True


class RecordRemoval:
    """Removes participants, and sessions with all that belongs to them."""

    def __init__(self, values: Values, index: Index, followers: Followers) -> None:
        self._values = values
        self._index = index
        self._followers = followers

    async def delete(
        self, key: StoreKey, *, was_out: bool | None = None
    ) -> Removed | None:
        """See `Backend.delete`; a kick says if the participant `was_out` before it."""
        if key.is_session:
            return await self._clear_states(key)
        context = await self._index.context(key)
        if (found := context.record) is None:
            await self._index.settle(key)
            return None
        is_out = True
        if was_out is None:
            was_out = is_out = _is_out(key, context)
        was_open = not was_out or has_line(context.members.value, key.participant)
        if not was_open:
            # Or another call has taken it from the index, and is about to report it.
            await self._values.let_others_finish(RECHECK_AFTER)
        due = Due(record_key(key), found, None, is_out, was_open)
        removed = await self.remove_due(key.session, {key: due})
        return removed[0] if removed else None

    async def remove(
        self, session: str, ids: Sequence[str], idleness: Idleness | None = None
    ) -> list[Removed]:
        """Remove participants; with `idleness`, those who are idle by it."""
        due = await self.read(session, ids, idleness)
        return await self.remove_due(session, due, idleness)

    async def read(
        self, session: str, ids: Sequence[str], idleness: Idleness | None = None
    ) -> dict[StoreKey, Due]:
        """Return participants to be removed; with `idleness`, those who are idle."""
        names = record_keys(session, ids)
        found = await self._values.get(*names.values())
        if absent := [name for name in names.values() if name not in found]:
            await self._values.let_others_finish(RECHECK_AFTER)
            found |= await self._values.get(*absent)
        due = {}
        for key, name in names.items():
            record = found.get(name)
            head = idleness.head_of(key, record) if idleness and record else None
            if head is not None or idleness is None or record is None:
                due[key] = Due(name, record, head)
        return due

    async def remove_due(
        self,
        session: str,
        due: Mapping[StoreKey, Due],
        idleness: Idleness | None = None,
    ) -> list[Removed]:
        """Remove participants whom `read` has returned, unless they are in use now.

        They leave the index first: an entry without a record is then never one whose
        removal is under way, and its remover is the one to report it as lost.
        """
        if not due:
            return []
        own = session_key(session)
        kept = participants_kept_until(session, (await self._values.get(own)).get(own))
        removed = {}
        try:
            ids = [key.participant for key in due]
            left = set(await self._index.leave(session, ids, kept=kept))
            for key, each in due.items():
                if each.found is None:
                    if key.participant in left:
                        removed[key] = Removed(key, None, NOBODY)
                elif final := await self._take(key, each, idleness):
                    removed[key] = final
            for key in await self._settle_all(session, due, kept):
                # Absent before, so it has been created anew.
                if due[key].found is None:
                    removed.pop(key, None)
        except StoreUnavailable:
            # If nothing else failed, the records that remain can be found again.
            with suppress(StoreUnavailable):
                await self._settle_all(session, due, kept)
            # A removed record has to be reported, whatever fails now.
            if not removed:
                raise
        return await self._with_followers(removed.values())

    async def _settle_all(
        self, session: str, due: Mapping[StoreKey, Due], kept: float
    ) -> list[StoreKey]:
        """Make the index agree with the records; return the keys that have one."""
        members, own = members_key(session), session_key(session)
        found = await self._values.get(
            members, own, *[each.name for each in due.values()]
        )
        index = found.get(members, ABSENT).value
        if kept < (now_kept := participants_kept_until(session, found.get(own))):
            # It was extended before the participants left, which undid that here.
            await self._index.extend(session, now_kept)
        for key, each in due.items():
            if (each.name in found) != has_line(index, key.participant):
                await self._index.settle(key)
        return [key for key, each in due.items() if each.name in found]

    async def take(
        self, key: StoreKey, found: Versioned | None, idleness: Idleness | None = None
    ) -> Removed | None:
        """Remove one record; None: it is not idle, or another caller removed it.

        Neither index nor followers are looked at.
        """
        return await self._take(key, Due(record_key(key), found), idleness)

    async def _take(
        self, key: StoreKey, due: Due, idleness: Idleness | None
    ) -> Removed | None:
        name, found, head, is_out, was_open = due
        while found is not None:
            if idleness is not None and head is None:
                head = idleness.head_of(key, found)
                if head is None:
                    return None
            if await self._values.drop(name, found.token):
                if not was_open and _is_unchanged(key, found.value):
                    return None
                if idleness is None or head is None or idleness.with_states:
                    return _final(key, found.value)
                return Removed(key, {}, NOBODY, head.size)
            before, head = found, None
            found = (await self._values.get(name)).get(name)
            if is_out and found and not _is_same(key, before.value, found.value):
                was_open = False
        return None

    async def _with_followers(self, removed: Iterable[Removed]) -> list[Removed]:
        removed = list(removed)
        # They are removed, whether or not their followers can be found out.
        with suppress(StoreUnavailable):
            keys = [final.key for final in removed]
            followers = await self._followers.followers_of(keys)
            return [
                final._replace(followers=theirs)
                if (theirs := followers[final.key])
                else final
                for final in removed
            ]
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
                await self._index.extend_kicks(key.session, lifetime)
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
            context = await self._index.settle(key)
            await self._index.forget_kicks(session, context.kicks)
        except StoreUnavailable:
            # A second attempt finds the others.
            if not removed:
                raise
        return removed


def _is_out(key: StoreKey, context: RecordContext) -> bool:
    """Return whether a participant is kept out, or their session has ended."""
    with suppress(StateCorrupt):
        return context.ended or context.keeps_out(key)
    return False


def _is_same(key: StoreKey, value: bytes, other: bytes) -> bool:
    """Return whether two values at a key are of one creation."""
    with suppress(StateCorrupt):
        rev, later = decode_head(key, value).rev, decode_head(key, other).rev
        return rev.incarnation == later.incarnation
    return True


def _is_unchanged(key: StoreKey, value: bytes) -> bool:
    """Return whether nothing was committed to a record since its creation."""
    with suppress(StateCorrupt):
        return decode_head(key, value).rev.counter == 1
    return False


def _final(key: StoreKey, value: bytes) -> Removed:
    """Return a record under removal, its states None if it is corrupt."""
    try:
        return removed_with(key, decode(key, value).states)
    except StateCorrupt:
        return Removed(key, None, NOBODY)
