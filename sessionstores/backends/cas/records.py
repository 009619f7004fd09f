"""Records, each one value: a commit is one compare-and-set on one key."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b

from ... import conf
from ...exceptions import SessionStoresError, StateCorrupt, StoreUnavailable
from ...keys import StoreKey
from ...state.revisions import Rev
from ..client_limits import reduced
from ..errors import (
    MAX_ATTEMPTS,
    contended,
    is_unrelated,
    outcome_unknown,
    still_unknown,
)
from ..types import (
    NOBODY,
    QUARANTINE,
    SET_ASIDE,
    STATES_BATCH,
    UNKNOWN,
    Attempt,
    Committed,
    Opened,
    Profile,
    Quarantined,
    Record,
    Stale,
    StateAtRev,
    Unchanged,
)
from .creation import RecordCreation, check_still_open
from .followers import Followers
from .index import (
    RECHECK_AFTER,
    Index,
    RecordContext,
    participants_kept_until,
    record_lifetime,
)
from .keeping import ParticipantKeeping
from .key_value import Versioned
from .keys import quarantine_key, record_key, record_keys
from .profiles import change_profile
from .serializers import (
    Details,
    RecordDecoder,
    StoredRecord,
    decode,
    decode_head,
    decode_rev,
    encode,
    fresh,
    has_changed,
    has_line,
    participant_details,
    record_of,
    renewed_at,
    successor,
)
from .values import Values

logger = logging.getLogger("sessionstores.backends")

# Seconds within which a commit must have failed without a reply to be repeated: a
# second wait then still fits the deadline.
REPEAT_WITHIN = 0.3


class Records:
    """Opens, reads, commits and touches records, and sets corrupt ones aside."""

    def __init__(
        self,
        values: Values,
        index: Index,
        creation: RecordCreation,
        keeping: ParticipantKeeping,
        followers: Followers,
        decoder: RecordDecoder,
    ) -> None:
        self._values = values
        self._index = index
        self._creation = creation
        self._keeping = keeping
        self._followers = followers
        self._decode = decoder.decode
        self._decoded = decoder.decoded

    async def open(
        self,
        key: StoreKey,
        states: Mapping[str, bytes],
        *,
        admitted: bool = False,
        profile: Profile = UNKNOWN,
    ) -> Opened:
        """See `Backend.open`."""
        has_looked_again = lost = False
        for attempt in range(MAX_ATTEMPTS):
            context = await self._index.context(key)
            check_still_open(key, context)
            is_listed = has_line(context.members.value, key.participant)
            if context.record is not None:
                record = await self._touched(key, context.record)
                if record is not None:
                    if context.session is None or not (is_listed or key.is_session):
                        # Until its creator has listed it, an end does not find it.
                        check_still_open(key, await self._index.settle(key))
                    return Opened(record, created=False, lost=lost)
            elif is_listed and not has_looked_again:
                has_looked_again = True
                await self._values.let_others_finish(RECHECK_AFTER)
                continue
            elif is_listed and not await self._index.drop_entry(key, context):
                continue
            else:
                lost = lost or is_listed
                about = Details() if key.is_session else None
                stored = fresh(Rev.first(), states, self._values.now(), about)
                change_profile(stored, profile, "set")
                opened = await self._creation.create(
                    key, stored, context, admitted=admitted
                )
                if opened:
                    await self._touch_session(key, context.session)
                    return opened._replace(lost=lost)
            await self._values.back_off(attempt)
        raise contended(key)

    async def read(
        self, key: StoreKey, *, known: Rev | None = None, touch: bool = True
    ) -> Record | Unchanged | None:
        """See `Backend.read`."""
        name = record_key(key)
        found = (await self._values.get(name)).get(name)
        if found is None:
            return None
        record = self._decode(key, found)
        if touch and _is_touch_due(record.token.renewed, self._values.now()):
            touched = await self._touched(key, found)
            if touched is None:
                return None
            record = touched
        if known is not None and record.rev == known:
            return Unchanged(known, record.token)
        return record

    async def read_states(
        self, code: str, name: str, ids: Sequence[str] | None = None
    ) -> dict[str, StateAtRev | StateCorrupt]:
        """See `Backend.read_states`."""
        if ids is None:
            ids = (await self._index.members([code]))[code]
        ids = sorted(ids)
        states: dict[str, StateAtRev | StateCorrupt] = {}
        for start in range(0, len(ids), STATES_BATCH):
            batch = await self.read_records(code, ids[start : start + STATES_BATCH])
            for id, record in batch.items():
                if isinstance(record, StateCorrupt):
                    states[id] = record
                elif name in record.states:
                    states[id] = StateAtRev(record.states[name], record.rev)
        return states

    async def read_records(
        self, code: str, ids: Sequence[str]
    ) -> dict[str, Record | StateCorrupt]:
        """See `Backend.read_records`."""
        names = record_keys(code, ids)
        found = await self._values.get(*names.values())
        records: dict[str, Record | StateCorrupt] = {}
        for key, name in names.items():
            if name in found:
                try:
                    records[key.participant] = self._decode(key, found[name])
                except StateCorrupt as error:
                    records[key.participant] = error
        return records

    async def heads(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Rev | None]:
        """See `Backend.heads`."""
        names = {key: record_key(key) for key in keys}
        found = await self._values.get(*names.values())
        heads: dict[StoreKey, Rev | None] = dict.fromkeys(names)
        for key, name in names.items():
            if name in found:
                heads[key] = decode_rev(found[name].value)
        return heads

    async def commit(
        self,
        base: Record,
        rev: Rev,
        states: Mapping[str, bytes | None],
        attempts: Sequence[Attempt] = (),
        *,
        repeated: bool = False,
        is_change: bool = True,
    ) -> Committed | Stale:
        """See `Backend.commit`."""
        key = base.key
        if base.rev.counter == 1 and await self._index.is_premature(key):
            return Stale(None)
        name = record_key(key)
        record = base
        is_repeat = False
        # Of a write that may have happened, though its answer did not come.
        lost: StoreUnavailable | None = None
        started = time.monotonic()
        for tried in range(MAX_ATTEMPTS):
            now = self._values.now()
            history = record.history.extend(rev)
            stored = successor(
                record, history, states, attempts, now, is_change=is_change
            )
            if is_touch := _is_touch_due(record.token.renewed, now):
                stored.renewed = now
            value, lifetime = self._encode(stored), record_lifetime(stored, now)
            token = None
            try:
                token = await self._values.put(
                    name, record.token.token, value, lifetime
                )
            except StoreUnavailable as error:
                is_last = is_repeat or time.monotonic() - started > REPEAT_WITHIN
                lost = _loss(error, lost, is_last=is_last)
                is_repeat = True
            if token is not None:
                newest = self._decoded(key, stored, token, history)
                return await self._committed(newest, is_touch=is_touch)
            found = await self._look_again(name, lost)
            if found is None:
                return Stale(None)
            record = self._decode(key, found)
            place = record.history.place(rev)
            if place in ("head", "past"):
                return await self._committed(record, is_touch=False)
            if record.rev != base.rev:
                if (repeated or lost) and (
                    place == "unknown" or is_unrelated(record, base, rev)
                ):
                    raise outcome_unknown(rev, record) from lost
                return Stale(record)
            await self._values.back_off(tried)
        raise lost or contended(key)

    async def _look_again(
        self, name: str, lost: StoreUnavailable | None
    ) -> Versioned | None:
        """Return what is stored now that a write did not happen, or is `lost`."""
        try:
            return (await self._values.get(name)).get(name)
        except StoreUnavailable as error:
            if lost is not None:
                raise still_unknown(lost, error) from error
            raise StoreUnavailable(
                "Nothing was changed: the write did not happen, and the record could "
                f"not be read to try again ({error.__cause__ or 'no answer'}).",
                refused=True,
            ) from error

    def _encode(self, stored: StoredRecord) -> bytes:
        """Encode a record; what its clients take up never makes it too large."""
        value, limit = encode(stored), self._values.store.max_bytes
        if limit is not None and len(value) > limit:
            stored.clients = reduced(stored.clients, len(value) - limit)
            value = encode(stored)
        return value

    async def _committed(self, record: Record, *, is_touch: bool) -> Committed:
        try:
            if is_touch:
                await self._renew_session(record.key)
            return Committed(record, await self._followers.followers(record.key))
        except SessionStoresError:
            # The commit is in, whatever fails now; followers see it at the next beat.
            return Committed(record, NOBODY)

    async def touch(self, key: StoreKey, *, acted: bool = False) -> bool:
        """See `Backend.touch`."""
        name = record_key(key)
        found = (await self._values.get(name)).get(name)
        if found is None:
            return False
        head = decode_head(key, found.value)
        acted = acted and not has_changed(head)
        if not (acted or _is_touch_due(head.seen, self._values.now())):
            return True
        return await self._touched(key, found, acted=acted) is not None

    async def _touched(
        self, key: StoreKey, found: Versioned | None, *, acted: bool = False
    ) -> Record | None:
        """Return the record, its time of use written if due; None if it is removed."""
        name = record_key(key)
        while found is not None:
            stored = decode(key, found.value)
            now = self._values.now()
            if acted:
                stored.about = participant_details(stored.about, pristine=0)
            elif not _is_touch_due(renewed_at(stored), now):
                return record_of(key, stored, found.token)
            stored.seen = stored.renewed = now
            value, lifetime = encode(stored), record_lifetime(stored, now)
            token = await self._values.put(name, found.token, value, lifetime)
            if token is not None:
                await self._renew_session(key)
                return record_of(key, stored, token)
            found = (await self._values.get(name)).get(name)
        return None

    async def _renew_session(self, key: StoreKey) -> None:
        """Keep the session and its index alive: the record at `key` is in use."""
        session = key.session
        context = await self._index.settle(key)
        if key.is_session:
            kept = participants_kept_until(session, context.session)
            await self._index.renew(session, kept, context.members)
            await self._extend_kicks(key, context)
        else:
            await self._keeping.adopt(key, context)
            await self._touch_session(key, context.session)

    async def _extend_kicks(self, key: StoreKey, context: RecordContext) -> None:
        """Keep people out as long as the session, whose record is used now."""
        if context.kicks.value and context.session is not None:
            with suppress(StateCorrupt):
                head = decode_head(key, context.session.value)
                lifetime = record_lifetime(head, self._values.now())
                await self._index.extend_kicks(key.session, lifetime, context.kicks)

    async def _touch_session(self, key: StoreKey, own: Versioned | None) -> None:
        """Mark the session of the participant at `key` as used, if that is due."""
        if not key.is_session:
            with suppress(StateCorrupt):
                await self._touched(StoreKey.of_session(key.session), own)

    async def set_aside(
        self, key: StoreKey, name: str | None, data: bytes | None
    ) -> bool:
        """See `Backend.set_aside`."""
        if name is not None:
            await self._quarantine(key, name, data or b"")
            return True
        record = record_key(key)
        for attempt in range(MAX_ATTEMPTS):
            found = (await self._values.get(record)).get(record)
            if found is None:
                return False
            with suppress(StateCorrupt):
                decode(key, found.value)
                # Another process has replaced it by a good one.
                return False
            await self._quarantine(key, None, found.value)
            if await self._values.drop(record, found.token):
                return True
            await self._values.back_off(attempt)
        raise contended(key)

    async def quarantined(self, name: str) -> Quarantined | None:
        """See `Backend.quarantined`."""
        found = (await self._values.get(name)).get(name)
        return None if found is None else Quarantined.unpack(found.value)

    async def _quarantine(self, key: StoreKey, name: str | None, data: bytes) -> None:
        # Named by its content: repeated, it is kept once; what differs is kept too.
        value = encode([name, data])
        aside = quarantine_key(key, blake2b(value, digest_size=8).hexdigest())
        if await self._values.put(aside, None, value, QUARANTINE) is not None:
            logger.warning(SET_ASIDE, key, aside)


def _loss(
    error: StoreUnavailable, lost: StoreUnavailable | None, *, is_last: bool
) -> StoreUnavailable | None:
    """Return the error if it leaves open whether a write happened.

    Raises it if that was the last try, and the one before if it was `lost`.
    """
    if lost is not None:
        raise still_unknown(lost, error) from error
    if is_last:
        raise error
    return None if error.refused else error


def _is_touch_due(seen: float, now: float) -> bool:
    """Return whether a use is to renew session and index: a tenth of the timeout ago.

    Or as far in the future: clocks are set back, and other processes' are ahead.
    """
    return abs(now - seen) >= conf.get().idle_timeout / 10
