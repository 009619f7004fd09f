"""Who is where: sessions, their participants, and how records come and go.

A record, its session's record and the index are separate values, so two writers may
cross. Each looks after its write and mends what it sees (`_settle`): of two that
cross, at least one sees the other's write, so none needs a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from ... import conf
from ...exceptions import StateCorrupt, StoreUnavailable
from ...keys import StoreKey
from ...state.revisions import Rev
from ..errors import (
    MAX_ATTEMPTS,
    check_participants,
    check_sessions,
    contended,
    ended,
    locked,
    too_many_sessions,
)
from ..types import Opened
from .key_value import ABSENT, Versioned
from .leases import Connections
from .serializers import (
    SessionDetails,
    StoredHead,
    StoredRecord,
    count_lines,
    decode_head,
    encode,
    fresh,
    has_line,
    ids_in,
    record_of,
    with_line,
    without_lines,
)


class RecordContext(NamedTuple):
    """What there is of a record and around it, as one multi-get shows it."""

    ended: bool
    record: Versioned | None
    session: Versioned | None
    members: Versioned
    bucket: Versioned


class Index(Connections):
    """Creation and removal of records and sessions, and the index of both."""

    # Lifetimes. A session's time is written at most two tenths of the timeout before
    # that of its participants, and must not run out before theirs.

    def _lifetime(self, stored: StoredHead) -> float:
        timeout = conf.get().idle_timeout
        if stored.about is None:
            return 2 * timeout
        kept = stored.created + stored.about.keep - self._clock()
        return max(2.2 * timeout, kept)

    def _members_lifetime(self) -> float:
        return 2.2 * conf.get().idle_timeout

    # Looking and mending

    async def _place(self, key: StoreKey) -> RecordContext:
        names = (
            self._tombstone(key.session),
            self._record(key),
            self._session(key.session),
            self._members(key.session),
            self._bucket(key.session),
        )
        found = await self._get(*dict.fromkeys(names))
        tombstone, record, session, members, bucket = names
        return RecordContext(
            tombstone in found,
            found.get(record),
            found.get(session),
            found.get(members, ABSENT),
            found.get(bucket, ABSENT),
        )

    async def _settle(self, key: StoreKey, lost: bytes | None = None) -> RecordContext:
        """Make index and session agree with the record at `key`; return what stands.

        A session that has participants and no record gets one, `lost` if given.
        """
        for tried in range(MAX_ATTEMPTS):
            place = await self._place(key)
            if not await self._mend(key, place, lost):
                return place
            await self._give_way(tried)
        raise contended(key)

    async def _mend(
        self, key: StoreKey, place: RecordContext, lost: bytes | None
    ) -> bool:
        """Right the first thing that is wrong; False if nothing is."""
        session, id = key
        members, bucket = place.members.value, place.bucket.value
        there = place.record is not None
        if not key.is_session and there != has_line(members, id):
            if there:
                await self._enter(session, id)
            else:
                await self._leave(session, [id])
            return True
        if place.session is None and not place.ended and ids_in(members):
            stored = fresh(Rev.first(), {}, self._clock(), SessionDetails())
            name = self._session(session)
            value = lost or encode(stored)
            await self._put(name, None, value, self._lifetime(stored))
            return True
        if (place.session is not None) != has_line(bucket, session):
            if place.session is not None:
                await self._register(session)
            else:
                await self._unregister(session)
            return True
        return False

    async def _enter(self, session: str, id: str, limit: int | None = None) -> None:
        def enter(members: bytes) -> bytes:
            if limit is not None and not has_line(members, id):
                check_participants(session, count_lines(members), limit)
            return with_line(members, id)

        await self._update(self._members(session), enter, self._members_lifetime())

    async def _leave(self, session: str, ids: Sequence[str]) -> list[str]:
        """Take ids out of the index; return those that this call took out."""

        def leave(members: bytes) -> bytes:
            return without_lines(members, ids)

        name = self._members(session)
        before = await self._update(name, leave, self._members_lifetime())
        return [id for id in ids if has_line(before, id)]

    async def _register(self, session: str) -> None:
        bucket = self._bucket(session)
        await self._update(bucket, lambda codes: with_line(codes, session), None)

    async def _unregister(self, session: str) -> None:
        bucket = self._bucket(session)
        await self._update(bucket, lambda codes: without_lines(codes, [session]), None)

    # Creating

    async def _create(
        self, key: StoreKey, stored: StoredRecord, place: RecordContext
    ) -> Opened | None:
        """Create the record, and its session if need be; None: another came first."""
        session, id = key
        if not (key.is_session or has_line(place.members.value, id)):
            self._admit(key, place)
        founded = None
        token: object = None
        try:
            if place.session is None:
                founding = stored
                if not key.is_session:
                    founding = fresh(Rev.first(), {}, stored.created, SessionDetails())
                founded = founding.rev
                token = await self._found(session, founding, place)
                if token is None:
                    return None
            if not key.is_session:
                # Before its entry, which without a record would look like a loss.
                value, lifetime = encode(stored), self._lifetime(stored)
                token = await self._put(self._record(key), None, value, lifetime)
                if token is None:
                    return None
                await self._enter(session, id, conf.get().max_participants)
            if (await self._settle(key)).ended:
                raise ended(session)
        except BaseException:
            await self._undo(key, stored.rev, founded)
            raise
        return Opened(record_of(key, stored, token), created=True)

    def _admit(self, key: StoreKey, place: RecordContext) -> None:
        if place.session and self._is_locked(key.session, place.session.value):
            raise locked(key)
        limit = conf.get().max_participants
        check_participants(key.session, count_lines(place.members.value), limit)

    def _is_locked(self, session: str, value: bytes) -> bool:
        # A corrupt session is set aside by those who read it; it locks nobody out.
        try:
            about = decode_head(StoreKey.of_session(session), value).about
        except StateCorrupt:
            return False
        return about is not None and about.locked

    async def _found(
        self, session: str, founding: StoredRecord, place: RecordContext
    ) -> object:
        """Put a session's record and enter it; None: another came first."""
        known = has_line(place.bucket.value, session)
        if not known:
            check_sessions(session, await self.session_count() + 1)
        name = self._session(session)
        value, lifetime = encode(founding), self._lifetime(founding)
        token: object = await self._put(name, None, value, lifetime)
        if token is None or known:
            return token
        for tried in range(MAX_ATTEMPTS):
            await self._register(session)
            # Again, since others may have counted at the same time.
            if await self.session_count() <= conf.get().max_sessions:
                return token
            # They have found one too many as well: all step back, and who is back
            # first has the place.
            await self._unregister(session)
            await self._give_way(tried)
            check_sessions(session, await self.session_count() + 1)
        raise too_many_sessions(session)

    async def _undo(self, key: StoreKey, rev: Rev, founded: Rev | None) -> None:
        """Take back what a creation wrote before it failed."""
        # If the cache is gone for good, the index mends itself when it is back.
        with suppress(StoreUnavailable):
            place = await self._place(key)
            await self._drop_own(key, place.record, rev)
            place = await self._settle(key)
            if place.members.value or place.session is None:
                return
            session = StoreKey.of_session(key.session)
            if place.ended:
                # Whoever founded it may have left it to those who were still here.
                await self._drop(self._record(session), place.session.token)
            elif founded is not None:
                await self._drop_own(session, place.session, founded)
            await self._settle(session)

    async def _drop_own(self, key: StoreKey, found: Versioned | None, rev: Rev) -> None:
        with suppress(StateCorrupt):
            if found is not None and decode_head(key, found.value).rev == rev:
                await self._drop(self._record(key), found.token)
