"""Creation of records, with their sessions; a creation that fails leaves nothing."""

from __future__ import annotations

from contextlib import suppress

from ... import conf
from ...exceptions import StateCorrupt, StoreUnavailable
from ...keys import StoreKey
from ...state.revisions import Rev
from ..errors import (
    MAX_ATTEMPTS,
    check_participants,
    check_sessions,
    ended,
    kicked,
    locked,
    too_many_sessions,
)
from ..types import Opened
from .index import Index, RecordContext, participants_kept_until, record_lifetime
from .keeping import ParticipantKeeping, keep_participant
from .key_value import Versioned
from .keys import record_key, session_key
from .serializers import (
    Details,
    StoredRecord,
    count_lines,
    decode_head,
    encode,
    fresh,
    has_line,
    record_of,
)
from .values import Values


class RecordCreation:
    """Creates records and their sessions, within the limits of the settings."""

    def __init__(
        self, values: Values, index: Index, keeping: ParticipantKeeping
    ) -> None:
        self._values = values
        self._index = index
        self._keeping = keeping

    async def create(
        self,
        key: StoreKey,
        stored: StoredRecord,
        context: RecordContext,
        *,
        admitted: bool = False,
    ) -> Opened | None:
        """Create the record, and its session if need be; None: another came first.

        `context` is as it was read before. Raises `SessionEnded`, `Kicked`,
        `LimitReached` and, unless the participant is `admitted`, `SessionLocked`.
        """
        session, id = key
        if not (key.is_session or has_line(context.members.value, id)):
            _check_newcomer(key, context, admitted=admitted)
        kept = participants_kept_until(session, context.session)
        if not key.is_session:
            keep_participant(stored, kept)
        session_rev = None
        token: object = None
        try:
            if context.session is None:
                own = stored
                if not key.is_session:
                    own = fresh(Rev.first(), {}, stored.created, Details())
                session_rev = own.rev
                token = await self._create_session(session, own, context)
                if token is None:
                    return None
            if not key.is_session:
                # Before the index entry, which without a record would count as a lost
                # one.
                token = await self._put_new(record_key(key), stored)
                if token is None:
                    return None
                written = await self._index.context(key)
                # Who was removed as they were kept out, or with their session, is not
                # in the index again, from which another removal would report them.
                check_still_open(key, written)
                limit, members = conf.get().max_participants, written.members
                await self._index.enter(session, id, limit, members, kept=kept)
            settled = await self._index.settle(key)
            check_still_open(key, settled)
            await self._keeping.adopt(key, settled)
        except BaseException:
            await self._undo(key, stored.rev, session_rev)
            raise
        return Opened(record_of(key, stored, token), created=True)

    async def _put_new(self, name: str, stored: StoredRecord) -> object:
        lifetime = record_lifetime(stored, self._values.now())
        token: object = await self._values.put(name, None, encode(stored), lifetime)
        return token

    async def _create_session(
        self, session: str, stored: StoredRecord, context: RecordContext
    ) -> object:
        """Create a session's record and enter it; None: another came first."""
        is_known = has_line(context.bucket.value, session)
        if not is_known:
            check_sessions(session, await self._index.session_count() + 1)
        if not context.is_founded:
            await self._index.forget_kicks(session, context.kicks)
        token = await self._put_new(session_key(session), stored)
        if token is not None and context.is_founded:
            lifetime = record_lifetime(stored, self._values.now())
            await self._index.extend_kicks(session, lifetime, context.kicks)
        if token is None or is_known:
            return token
        for attempt in range(MAX_ATTEMPTS):
            await self._index.register(session)
            # Counted again, since others may have counted at the same time.
            if await self._index.session_count() <= conf.get().max_sessions:
                return token
            # They see one too many as well: all step back, and the first to return
            # gets the place.
            await self._index.unregister(session)
            await self._values.back_off(attempt)
            check_sessions(session, await self._index.session_count() + 1)
        raise too_many_sessions(session)

    async def _undo(self, key: StoreKey, rev: Rev, session_rev: Rev | None) -> None:
        """Remove what a creation wrote before it failed."""
        # If the cache does not come back now, the index is repaired when it does.
        with suppress(StoreUnavailable):
            context = await self._index.context(key)
            await self._drop_if(key, context.record, rev)
            context = await self._index.settle(key)
            if context.members.value or context.session is None:
                return
            session = StoreKey.of_session(key.session)
            if context.ended:
                # Its creator may have left it, since there were participants then.
                await self._values.drop(record_key(session), context.session.token)
            elif session_rev is not None:
                await self._drop_if(session, context.session, session_rev)
            await self._index.settle(session)

    async def _drop_if(self, key: StoreKey, found: Versioned | None, rev: Rev) -> None:
        """Remove a record that is still at the `rev` that this creation gave it."""
        name = record_key(key)
        with suppress(StateCorrupt):
            while found is not None and decode_head(key, found.value).rev == rev:
                if await self._values.drop(name, found.token):
                    return
                # It was only touched, maybe: a tab of theirs may have been open.
                found = (await self._values.get(name)).get(name)


def check_still_open(key: StoreKey, context: RecordContext) -> None:
    """Raise `SessionEnded` or `Kicked` if that has come in between."""
    if context.ended:
        raise ended(key.session)
    if context.keeps_out(key):
        raise kicked(key)


def _check_newcomer(key: StoreKey, context: RecordContext, *, admitted: bool) -> None:
    """Raise `SessionLocked` or `LimitReached` if the session admits no newcomers."""
    if (
        context.session
        and not admitted
        and _is_locked(key.session, context.session.value)
    ):
        raise locked(key)
    limit = conf.get().max_participants
    check_participants(key.session, count_lines(context.members.value), limit)


def _is_locked(session: str, value: bytes) -> bool:
    # A corrupt session's record is set aside by those who read it; it keeps no one out.
    try:
        about = decode_head(StoreKey.of_session(session), value).about
    except StateCorrupt:
        return False
    return about is not None and about.locked
