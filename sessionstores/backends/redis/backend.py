"""The contract over Redis or Valkey: each method one script, atomic on the server.

A session's keys share a slot, so a script sees all of them; the registry of sessions
stands apart, and whoever founds or removes a session looks after it (`_settle`). What
the keys hold is said in `lua/prelude.lua`.
"""

from __future__ import annotations

import logging
import secrets
import struct
import time
from collections.abc import Mapping, Sequence
from hashlib import sha1
from typing import Any, ClassVar

import msgspec
from django.core.exceptions import ImproperlyConfigured

from ... import conf
from ...exceptions import SessionStoresError, StoreUnavailable
from ...keys import StoreKey, cache_key
from ...state.revisions import Rev
from ..errors import (
    MAX_ATTEMPTS,
    check_participants,
    contended,
    ended,
    is_unrelated,
    locked,
    outcome_unknown,
)
from ..record_cache import RecordCache
from ..types import (
    QUARANTINE,
    Attempt,
    Committed,
    Opened,
    Record,
    Removed,
    Stale,
    Unchanged,
    merged,
)
from .location import location_for
from .scripts import SOON
from .serializers import (
    PackedHead,
    by_session,
    corrupt,
    followers_in,
    head_of,
    packed,
    record_of,
    remembered,
    removed_of,
    unpacked,
)
from .sessions import RedisSessions

logger = logging.getLogger("sessionstores.backends")

_ORDER = struct.Struct("<dd")
_TOLD = struct.Struct("<ddB")

_encode = msgspec.msgpack.Encoder().encode


class RedisBackend(RedisSessions):
    """Records on one server, or a cluster of them, that all processes share."""

    shared: ClassVar[bool] = True
    in_memory: ClassVar[bool] = False

    def __init__(self, alias: str, *, blocking: bool) -> None:
        super().__init__(alias, blocking=blocking)
        self._recent = RecordCache()

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """See `Backend.problem`."""
        try:
            location_for(alias)
        except ImproperlyConfigured as error:
            return str(error)
        return None

    def recall(self, key: StoreKey) -> Record | None:
        """See `Backend.recall`."""
        return self._recent.get(key)

    async def open(self, key: StoreKey, states: Mapping[str, bytes]) -> Opened:
        """See `Backend.open`."""
        session, id = key
        given = conf.get()
        rev, founding = Rev.first(), Rev.first()
        may_found = False
        for _ in range(MAX_ATTEMPTS):
            answer, *rest = await self._run(
                "open",
                session,
                id,
                packed(rev),
                given.idle_timeout,
                given.max_participants,
                int(may_found),
                packed(founding),
                *(part for pair in states.items() for part in pair),
            )
            if answer == b"unfounded":
                await self._register(session)
                may_found = True
                continue
            if answer != b"record" and may_found:
                await self._settle(session)
            if answer == b"record":
                mend, fields, created, lost = rest
                await self._mended(session, 1 if may_found else mend)
                record = self._remembered(key, fields)
                return Opened(record, created=bool(created), lost=bool(lost))
            self._refuse(answer, key, rest)
        raise contended(key)

    def _refuse(self, answer: bytes, key: StoreKey, rest: Sequence[Any]) -> None:
        if answer == b"corrupt":
            raise corrupt(key)
        if answer == b"ended":
            raise ended(key.session)
        if answer == b"locked":
            raise locked(key)
        check_participants(key.session, rest[0], conf.get().max_participants)

    async def read(
        self, key: StoreKey, *, known: Rev | None = None, touch: bool = True
    ) -> Record | Unchanged | None:
        """See `Backend.read`. Transfers no state that this process has at hand."""
        held = self._recent.get(key)
        rev = known or (held.rev if held else None)
        answer, *rest = await self._call(
            "read",
            (self._record(key),),
            (packed(rev) if rev else b"", conf.get().idle_timeout),
        )
        if answer == b"absent":
            self._recent.drop(key)
            return None
        if answer == b"corrupt":
            raise corrupt(key)
        due, found = rest
        if answer == b"record":
            record = self._remembered(key, found)
        elif held is not None and held.rev == rev:
            record = msgspec.structs.replace(held, seen=head_of(found).seen)
        else:
            record = None
        if due and touch:
            head = await self._touched(key)
            if head is None:
                return None
            if record is not None:
                record = msgspec.structs.replace(record, seen=head.seen)
        if record is None or record.rev == known:
            return Unchanged(known or head_of(found).history.rev)
        return record

    async def _touched(
        self, key: StoreKey, *, if_due: bool = True
    ) -> PackedHead | None:
        """Mark the record as used; return its head, None if it is gone."""
        session, id = key
        timeout = conf.get().idle_timeout
        answer, *rest = await self._run("touch", session, id, timeout, int(if_due))
        if answer == b"absent":
            self._recent.drop(key)
            return None
        if answer == b"corrupt":
            raise corrupt(key)
        mend, front = rest
        await self._mended(session, mend)
        return head_of(front)

    def _remembered(self, key: StoreKey, fields: Sequence[bytes]) -> Record:
        record = record_of(key, fields)
        self._recent.put(record)
        return record

    async def heads(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Rev | None]:
        """See `Backend.heads`."""
        heads: dict[StoreKey, Rev | None] = {}
        calls = by_session(keys)
        answers = await self._run_all("heads", calls)
        for (session, ids), revs in zip(calls, answers, strict=True):
            for id, rev in zip(ids, revs, strict=True):
                heads[StoreKey(session, id)] = unpacked(rev) if rev else None
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
        size = base.bytes
        put: list[Any] = []
        gone = []
        for name, data in states.items():
            size -= len(base.states.get(name, b""))
            if data is None:
                gone.append(name)
            else:
                size += len(data)
                put += name, data
        timeout = conf.get().idle_timeout
        order = packed(base.rev) + packed(rev) + _ORDER.pack(timeout, size)
        prefix = conf.get().key_prefix
        keys = self._record(key), cache_key(prefix, key.session, "f")
        client = remembered(base.clients, attempt) if attempt else (b"", b"")
        arguments = order, key.participant, *client, len(put), *put, *gone
        started = time.monotonic()
        lost: StoreUnavailable | None = None
        try:
            answer = await self._call("commit", keys, arguments, again=False)
        except StoreUnavailable as error:
            if time.monotonic() - started > SOON:
                raise
            lost = error
            answer = await self._call("commit", keys, arguments, again=False)
        verdict, *rest = answer if isinstance(answer, list) else (b"ok", answer)
        if verdict == b"ok":
            return await self._committed(base, rev, states, attempt, *rest)
        if verdict == b"absent":
            self._recent.drop(key)
            return Stale(None)
        if verdict == b"corrupt":
            raise corrupt(key)
        moment, fields, lines = rest
        record = self._remembered(key, fields)
        if verdict == b"in":
            return Committed(record, followers_in(key, moment, lines))
        if (repeated or lost) and (
            verdict == b"unknown" or is_unrelated(record, base, rev)
        ):
            raise outcome_unknown(rev, record) from lost
        return Stale(record)

    async def _committed(
        self,
        base: Record,
        rev: Rev,
        changes: Mapping[str, bytes | None],
        attempt: Attempt | None,
        told: bytes,
        lines: Sequence[bytes | None] = (None, None),
    ) -> Committed:
        key = base.key
        at, seen, due = _TOLD.unpack(told)
        states = {**base.states, **changes}
        kept = {name: data for name, data in states.items() if data is not None}
        clients = merged(base.clients, attempt, at)
        history = base.history.extend(rev)
        record = Record(key, history, kept, clients, base.created, seen)
        self._recent.put(record)
        if due:
            # The commit is in, whatever fails now.
            try:
                await self._touched(key, if_due=False)
            except SessionStoresError as error:
                logger.info("%s is marked as used by a later access: %s", key, error)
        return Committed(record, followers_in(key, told, lines))

    async def touch(self, key: StoreKey) -> bool:
        """See `Backend.touch`."""
        return await self._touched(key) is not None

    async def delete(self, key: StoreKey) -> Removed | None:
        """See `Backend.delete`."""
        self._recent.drop(key)
        if key.is_session:
            rev = packed(Rev.first())
            final = await self._run(
                "wipe", key.session, rev, conf.get().idle_timeout, again=False
            )
            return removed_of(key.session, final) if final else None
        found = await self._run("remove", key.session, key.participant, again=False)
        return removed_of(key.session, found[0]) if found else None

    async def set_aside(
        self, key: StoreKey, name: str | None, data: bytes | None
    ) -> bool:
        """See `Backend.set_aside`."""
        digest = secrets.token_hex(8)
        if name is not None:
            value = _encode([name, data or b""])
            # Named by its content: repeated, it is kept once; what differs is kept too.
            digest = sha1(value).hexdigest()[:16]  # noqa: S324 - no secret
        aside = f"q:{key.participant}:{digest}"
        prefix = cache_key(conf.get().key_prefix, key.session, "").removesuffix("::")
        if name is not None:
            milliseconds = int(QUARANTINE * 1000)
            await self._send("SET", f"{prefix}:{aside}", value, "PX", milliseconds)
        elif not await self._run(
            "aside", key.session, key.participant, aside, QUARANTINE
        ):
            return False
        self._recent.drop(key)
        logger.warning(
            "What stood at %s is kept for a day as %s:%s.", key, prefix, aside
        )
        return True
