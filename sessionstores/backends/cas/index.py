"""Membership index: which sessions exist, and who belongs to each.

A record, its session's record and the index are separate values, so two writers may
interleave. Each reads all of them after its write and repairs them (`settle`):
of two that interleave, at least one sees the other's write, so no lock is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from ... import conf
from ...exceptions import StateCorrupt, StoreUnavailable
from ...keys import StoreKey
from ...state.revisions import Rev
from ..errors import MAX_ATTEMPTS, check_participants, contended
from .key_value import ABSENT, Versioned
from .keys import (
    bucket_key,
    bucket_keys,
    kicks_key,
    members_key,
    record_key,
    session_key,
    tombstone_key,
)
from .serializers import (
    Details,
    StoredHead,
    codes_in,
    count_lines,
    decode_head,
    decode_kicks,
    encode,
    fresh,
    has_line,
    ids_in,
    kept_until,
    with_line,
    without_lines,
)
from .values import Values

# Seconds after which a creation or removal under way agrees with the index again.
RECHECK_AFTER = 0.01


class RecordContext(NamedTuple):
    """A record and the values around it, as one multi-get returned them."""

    ended: bool
    record: Versioned | None
    session: Versioned | None
    members: Versioned
    bucket: Versioned
    kicks: Versioned = ABSENT

    @property
    def is_founded(self) -> bool:
        """Whether there is a session, and be it one whose own record is lost."""
        return self.session is not None or bool(self.members.value)

    def keeps_out(self, key: StoreKey) -> bool:
        """Whether the session keeps a participant out; raises `StateCorrupt`."""
        # What is left of an earlier session of the code does not count.
        return (
            bool(self.kicks.value)
            and self.is_founded
            and key.participant in decode_kicks(key.session, self.kicks.value)
        )


class Index:
    """The index, and how records and sessions are brought into agreement with it."""

    def __init__(self, values: Values) -> None:
        self._values = values

    # Reading

    async def context(self, key: StoreKey) -> RecordContext:
        """Return the record at `key` and what is around it, in one round trip."""
        session = key.session
        names = (
            tombstone_key(session),
            record_key(key),
            session_key(session),
            members_key(session),
            bucket_key(session),
            kicks_key(session),
        )
        found = await self._values.get(*dict.fromkeys(names))
        tombstone, record, own, members, bucket, kicks = names
        return RecordContext(
            tombstone in found,
            found.get(record),
            found.get(own),
            found.get(members, ABSENT),
            found.get(bucket, ABSENT),
            found.get(kicks, ABSENT),
        )

    async def is_premature(self, key: StoreKey) -> bool:
        """Whether a new record is one that its creator is about to remove again.

        They looked before somebody was kicked or the session ended, and wrote it
        afterwards. If it is not premature, it is in the index.
        """
        if key.is_session:
            return False
        try:
            context = await self.context(key)
            is_listed = has_line(context.members.value, key.participant)
            if context.record is not None and not (is_listed or context.ended):
                context = await self.settle(key)
        except StoreUnavailable as error:
            # What it says of a write is of none that was begun.
            raise StoreUnavailable(
                f"The cache did not answer whether session {key.session} keeps "
                f"{key.participant} out. Nothing was changed; try again.",
                refused=True,
            ) from error
        return context.ended or context.keeps_out(key)

    async def sessions(self) -> list[str]:
        """Return the codes of all sessions, sorted."""
        found = await self._values.get(*bucket_keys())
        return sorted(code for held in found.values() for code in codes_in(held.value))

    async def session_count(self) -> int:
        """Return the number of sessions."""
        found = await self._values.get(*bucket_keys())
        return sum(count_lines(held.value) for held in found.values())

    async def participant_count(self, code: str | None = None) -> int:
        """Return the number of participants, of all sessions if `code` is None."""
        codes = await self.sessions() if code is None else [code]
        found = await self._values.get(*map(members_key, codes))
        return sum(count_lines(held.value) for held in found.values())

    async def members(self, codes: Collection[str]) -> dict[str, list[str]]:
        """Return the ids of each session's participants."""
        names = {code: members_key(code) for code in codes}
        found = await self._values.get(*names.values())
        return {
            code: ids_in(found.get(name, ABSENT).value) for code, name in names.items()
        }

    # Writing

    async def enter(
        self,
        session: str,
        id: str,
        limit: int | None = None,
        found: Versioned | None = None,
        *,
        kept: float = 0.0,
    ) -> None:
        """Enter a participant; raise `LimitReached` for a newcomer past `limit`.

        With the members as they were `found`, they are not read. `kept`, here and
        below: until when the session keeps its participants.
        """

        def add(members: bytes) -> bytes:
            if limit is not None and not has_line(members, id):
                check_participants(session, count_lines(members), limit)
            return with_line(members, id)

        name, lifetime = members_key(session), self._lifetime(kept)
        await self._values.update(name, add, lifetime, found)

    async def leave(
        self, session: str, ids: Sequence[str], *, kept: float = 0.0
    ) -> list[str]:
        """Remove participants; return those that this call removed."""

        def remove(members: bytes) -> bytes:
            return without_lines(members, ids)

        name = members_key(session)
        before = await self._values.update(name, remove, self._lifetime(kept))
        return [id for id in ids if has_line(before, id)]

    async def drop_entry(self, key: StoreKey, context: RecordContext) -> bool:
        """Remove the entry of a missing record; of several callers one succeeds."""
        index, own = context.members, (key.session, context.session)
        name = members_key(key.session)
        kept = without_lines(index.value, [key.participant])
        if not kept:
            return await self._values.drop(name, index.token)
        lifetime = self._lifetime(participants_kept_until(*own))
        return await self._values.put(name, index.token, kept, lifetime) is not None

    async def renew(self, session: str, kept: float, members: Versioned) -> None:
        """Have the entries of a session in use expire later."""
        if members.value:
            # Another writer who comes first has renewed them.
            name, lifetime = members_key(session), self._lifetime(kept)
            await self._values.put(name, members.token, members.value, lifetime)

    async def extend(self, session: str, kept: float) -> list[str]:
        """Have the entries of a session expire later; return the participants."""
        name, lifetime = members_key(session), self._lifetime(kept)
        return ids_in(await self._values.update(name, bytes, lifetime))

    async def extend_kicks(
        self, session: str, lifetime: float, found: Versioned | None = None
    ) -> None:
        """Keep people out as long as a session's record, which now expires so late.

        With `found`, what is stored is not read, and nothing is done if it is nothing.
        """
        # A commit lets the record alone expire later, by a tenth of the timeout.
        lifetime += conf.get().idle_timeout
        await self._values.update(kicks_key(session), bytes, lifetime, found)

    async def forget_kicks(self, session: str, found: Versioned) -> None:
        """Keep nobody out who was `found` to be; leave it if that has changed."""
        # Left behind, they count for no later session, and expire.
        with suppress(StoreUnavailable):
            if found.token is not None:
                await self._values.drop(kicks_key(session), found.token)

    def _lifetime(self, kept: float) -> float:
        """Return the seconds after which a session's entries expire unless renewed."""
        return 2.2 * conf.get().idle_timeout + max(kept - self._values.now(), 0)

    async def register(self, session: str) -> None:
        """Enter a session."""
        bucket = bucket_key(session)
        await self._values.update(bucket, lambda codes: with_line(codes, session), None)

    async def unregister(self, session: str) -> bool:
        """Remove a session; of several callers one is told that it did."""

        def remove(codes: bytes) -> bytes:
            return without_lines(codes, [session])

        before = await self._values.update(bucket_key(session), remove, None)
        return has_line(before, session)

    # Repairing

    async def settle(
        self, key: StoreKey, recovered: bytes | None = None
    ) -> RecordContext:
        """Make index and session agree with the record at `key`; return the context.

        A session with participants but without a record gets one: `recovered`, if
        given.
        """
        for attempt in range(MAX_ATTEMPTS):
            context = await self.context(key)
            if not await self._repair(key, context, recovered):
                return context
            await self._values.back_off(attempt)
        raise contended(key)

    async def _repair(
        self, key: StoreKey, context: RecordContext, recovered: bytes | None
    ) -> bool:
        """Repair the first disagreement; False if there is none."""
        session, id = key
        members, bucket = context.members.value, context.bucket.value
        kept_until = participants_kept_until(session, context.session)
        exists = context.record is not None
        if not key.is_session and exists != has_line(members, id):
            if exists:
                await self.enter(session, id, kept=kept_until)
            else:
                await self.leave(session, [id], kept=kept_until)
            return True
        if context.session is None and not context.ended and ids_in(members):
            now = self._values.now()
            stored = fresh(Rev.first(), {}, now, Details())
            value, lifetime = recovered or encode(stored), record_lifetime(stored, now)
            await self._values.put(session_key(session), None, value, lifetime)
            await self.extend_kicks(session, lifetime, context.kicks)
            return True
        if (context.session is not None) != has_line(bucket, session):
            if context.session is not None:
                await self.register(session)
            else:
                await self.unregister(session)
            return True
        return False


def record_lifetime(head: StoredHead, now: float) -> float:
    """Return the seconds after which a record expires unless it is used again.

    A session's time of use is written at most two tenths of the timeout before that of
    its participants, and it must not expire before them. At the end of a keep, a sweep
    still finds what is idle then.
    """
    timeout = conf.get().idle_timeout
    about = head.about
    if about is None:
        return 2 * timeout
    if about.pristine is not None:
        return 2 * timeout + max(kept_until(head) - now, 0)
    return 2.2 * timeout + max(head.created + about.keep - now, 0)


def participants_kept_until(session: str, own: Versioned | None) -> float:
    """Return until when a session keeps its participants; 0: it does not.

    `own` is the session's record. If that is corrupt, what theirs say holds.
    """
    with suppress(StateCorrupt):
        if own is not None:
            head = decode_head(StoreKey.of_session(session), own.value)
            about = head.about
            if about is not None and about.keep > 0 and about.keep_participants:
                return head.created + about.keep
    return 0.0
