"""The whole contract of a backend over a compare-and-set primitive."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from ... import conf
from ...exceptions import SessionStoresError, StateCorrupt, StoreUnavailable
from ...keys import StoreKey
from ...state.revisions import History, Rev
from ..errors import (
    MAX_ATTEMPTS,
    contended,
    ended,
    is_unrelated,
    outcome_unknown,
)
from ..types import (
    NOBODY,
    QUARANTINE,
    Attempt,
    Committed,
    Opened,
    Record,
    Removed,
    Stale,
    Unchanged,
)
from .key_value import Versioned
from .serializers import (
    SessionDetails,
    StoredRecord,
    decode,
    decode_head,
    encode,
    fresh,
    has_line,
    record_of,
    successor,
)
from .summaries import Overview

logger = logging.getLogger("sessionstores.backends")

# A commit without an answer is looked after only if it failed so soon, in seconds, that
# a second wait fits the deadline.
SOON = 0.3


class CasBackend(Overview):
    """Records, each one value: a commit is one compare-and-set on one key."""

    async def open(self, key: StoreKey, states: Mapping[str, bytes]) -> Opened:
        """See `Backend.open`."""
        looked = lost = False
        for tried in range(MAX_ATTEMPTS):
            place = await self._place(key)
            if place.ended:
                raise ended(key.session)
            if place.record is not None:
                record = await self._touched(key, place.record)
                if record is not None:
                    if place.session is None:
                        await self._settle(key)
                    return Opened(record, created=False, lost=lost)
            elif has_line(place.members.value, key.participant) and not looked:
                looked = True
                await self._look_again()
                continue
            else:
                if has_line(place.members.value, key.participant):
                    if not await self._strike_lost(key, place):
                        continue
                    lost = True
                about = SessionDetails() if key.is_session else None
                stored = fresh(Rev.first(), states, self._clock(), about)
                if opened := await self._create(key, stored, place):
                    return opened._replace(lost=lost)
            await self._give_way(tried)
        raise contended(key)

    async def read(
        self, key: StoreKey, *, known: Rev | None = None, touch: bool = True
    ) -> Record | Unchanged | None:
        """See `Backend.read`."""
        name = self._record(key)
        found = (await self._get(name)).get(name)
        if found is None:
            return None
        record = self._decoded(key, found)
        if touch and self._is_due(record.seen, self._clock()):
            touched = await self._touched(key, found)
            if touched is None:
                return None
            record = touched
        if known is not None and record.rev == known:
            return Unchanged(known, record.token)
        return record

    # What a backend without a network replaces to keep records at hand.

    def _decoded(self, key: StoreKey, found: Versioned) -> Record:
        return self._shown(key, decode(key, found.value), found.token)

    def _shown(
        self,
        key: StoreKey,
        stored: StoredRecord,
        token: Any,
        history: History | None = None,
    ) -> Record:
        return record_of(key, stored, token, history)

    async def heads(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Rev | None]:
        """See `Backend.heads`."""
        names = {key: self._record(key) for key in keys}
        found = await self._get(*names.values())
        heads: dict[StoreKey, Rev | None] = dict.fromkeys(names)
        for key, name in names.items():
            with suppress(StateCorrupt):
                if name in found:
                    heads[key] = decode_head(key, found[name].value).rev
        return heads

    async def commit(
        self,
        base: Record,
        rev: Rev,
        states: Mapping[str, bytes | None],
        attempt: Attempt | None = None,
        *,
        repeated: bool = False,
    ) -> Committed | Stale:
        """See `Backend.commit`."""
        key = base.key
        name = self._record(key)
        record = base
        lost: StoreUnavailable | None = None
        started = time.monotonic()
        for tried in range(MAX_ATTEMPTS):
            now = self._clock()
            history = record.history.extend(rev)
            stored = successor(record, history, states, attempt, now)
            if due := self._is_due(record.seen, now):
                stored.seen = now
            value, lifetime = encode(stored), self._lifetime(stored)
            token = None
            try:
                token = await self._put(name, record.token.token, value, lifetime)
            except StoreUnavailable as error:
                if lost is not None or time.monotonic() - started > SOON:
                    raise
                lost = error
            if token is not None:
                newest = self._shown(key, stored, token, history)
                return await self._committed(newest, due=due)
            found = (await self._get(name)).get(name)
            if found is None:
                return Stale(None)
            record = self._decoded(key, found)
            place = record.history.place(rev)
            if place in ("head", "past"):
                return await self._committed(record, due=False)
            if record.rev != base.rev:
                if (repeated or lost) and (
                    place == "unknown" or is_unrelated(record, base, rev)
                ):
                    raise outcome_unknown(rev, record) from lost
                return Stale(record)
            await self._give_way(tried)
        raise contended(key)

    async def _committed(self, record: Record, *, due: bool) -> Committed:
        try:
            if due:
                await self._refresh(record.key)
            return Committed(record, await self.followers(record.key))
        except SessionStoresError:
            # The commit is in, whatever fails now; its followers learn it in a beat.
            return Committed(record, NOBODY)

    async def touch(self, key: StoreKey) -> bool:
        """See `Backend.touch`."""
        name = self._record(key)
        found = (await self._get(name)).get(name)
        if found is None:
            return False
        if not self._is_due(decode_head(key, found.value).seen, self._clock()):
            return True
        return await self._touched(key, found) is not None

    def _is_due(self, seen: float, now: float) -> bool:
        # A clock may have gone back, and others may be ahead.
        return abs(now - seen) >= conf.get().idle_timeout / 10

    async def _touched(self, key: StoreKey, found: Versioned | None) -> Record | None:
        """Return the record, with its time written if due; None if it is gone."""
        name = self._record(key)
        while found is not None:
            stored = decode(key, found.value)
            now = self._clock()
            if not self._is_due(stored.seen, now):
                return record_of(key, stored, found.token)
            stored.seen = now
            value, lifetime = encode(stored), self._lifetime(stored)
            token = await self._put(name, found.token, value, lifetime)
            if token is not None:
                await self._refresh(key)
                return record_of(key, stored, token)
            found = (await self._get(name)).get(name)
        return None

    async def _refresh(self, key: StoreKey) -> None:
        """Keep the session and its index, now that the record at `key` is in use."""
        place = await self._settle(key)
        if not key.is_session:
            with suppress(StateCorrupt):
                await self._touched(StoreKey.of_session(key.session), place.session)
        elif place.members.value:
            index, lifetime = place.members, self._members_lifetime()
            # Whoever comes in between has renewed it.
            name = self._members(key.session)
            await self._put(name, index.token, index.value, lifetime)

    async def delete(self, key: StoreKey) -> Removed | None:
        """See `Backend.delete`."""
        if key.is_session:
            return await self._wipe(key)
        name = self._record(key)
        if name not in await self._get(name):
            await self._settle(key)
            return None
        removed = await self._remove(key.session, [key.participant])
        return removed[0] if removed else None

    async def _wipe(self, key: StoreKey) -> Removed | None:
        name = self._record(key)
        for tried in range(MAX_ATTEMPTS):
            found = (await self._get(name)).get(name)
            if found is None:
                return None
            blank = fresh(Rev.first(), {}, self._clock(), SessionDetails())
            states: Mapping[str, bytes] | None = None
            with suppress(StateCorrupt):
                stored = decode(key, found.value)
                if not stored.states:
                    return None
                states = stored.states
                rev = stored.rev.reincarnated()
                blank = fresh(rev, {}, stored.created, stored.about)
                blank.seen, blank.clients = stored.seen, stored.clients
            value, lifetime = encode(blank), self._lifetime(blank)
            if await self._put(name, found.token, value, lifetime) is not None:
                final = Removed(key, states, NOBODY)
                return (await self._with_followers([final]))[0]
            await self._give_way(tried)
        raise contended(key)

    async def set_aside(
        self, key: StoreKey, name: str | None, data: bytes | None
    ) -> bool:
        """See `Backend.set_aside`."""
        if name is not None:
            await self._keep_aside(key, name, data or b"")
            return True
        record = self._record(key)
        for tried in range(MAX_ATTEMPTS):
            found = (await self._get(record)).get(record)
            if found is None:
                return False
            with suppress(StateCorrupt):
                decode(key, found.value)
                # Another process has put a good one there by now.
                return False
            await self._keep_aside(key, None, found.value)
            if await self._drop(record, found.token):
                return True
            await self._give_way(tried)
        raise contended(key)

    async def _keep_aside(self, key: StoreKey, name: str | None, data: bytes) -> None:
        # Named by its content: repeated, it is kept once; what differs is kept too.
        value = encode([name, data])
        aside = self._quarantine(key, blake2b(value, digest_size=8).hexdigest())
        if await self._put(aside, None, value, QUARANTINE) is not None:
            logger.warning("What stood at %s is kept for a day as %s.", key, aside)
