"""Sessions and participants: create, list, end, evict what is idle, repair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ... import conf
from ...exceptions import LimitReached, StateCorrupt, StoreUnavailable
from ...keys import StoreKey, keys_of_records
from ...state.revisions import Rev
from ..idleness import seconds_idle
from ..record_cache import RecordCache
from ..types import (
    MAX_EVENTS,
    STATES_BATCH,
    ParticipantInfo,
    Record,
    Removed,
    SessionInfo,
    SessionSummary,
    StateAtRev,
)
from .registry import RedisRegistry
from .scripts import ScriptRunner
from .serializers import (
    TIME,
    by_session,
    corrupt,
    in_chunks,
    index_key,
    pack_rev,
    registry_key,
    tombstone_key,
    unpack_activity,
    unpack_head,
    unpack_profile,
    unpack_record,
    unpack_removed,
    unpack_rev,
)

# The most that one script works on, so that none blocks the server for long.
REMOVAL_BATCH = 100
ORPHANS_BATCH = 500
KEEP_BATCH = 500
# Bytes of states after which one script reads no more.
STATES_BYTES = 4_194_304

_encode = msgspec.msgpack.Encoder().encode
_event = msgspec.msgpack.Decoder(dict[str, Any]).decode


class RedisSessions:
    """The part of the contract for sessions and participants; see `Backend`.

    `recent` is the cache of records, which forgets those that are removed.
    """

    def __init__(
        self, scripts: ScriptRunner, registry: RedisRegistry, recent: RecordCache
    ) -> None:
        self._scripts = scripts
        self._registry = registry
        self._recent = recent

    async def create_session(
        self, code: str, *, label: str, keep: float, keep_participants: bool = True
    ) -> bool:
        """See `Backend.create_session`."""
        if await self.session(code) is not None:
            return False
        try:
            await self._registry.register(code)
        except LimitReached:
            # A code that is taken stays taken, whether or not there is room.
            if await self._scripts.send("EXISTS", tombstone_key(code)):
                return False
            raise
        try:
            rev, timeout = pack_rev(Rev.first()), conf.get().idle_timeout
            details = label, keep, int(keep_participants)
            return bool(await self._scripts.run("found", code, rev, timeout, *details))
        finally:
            await self._registry.settle(code)

    async def session(self, code: str) -> SessionInfo | None:
        """See `Backend.session`."""
        return await self._details(code, b"", b"", b"", b"")

    async def update_session(
        self,
        code: str,
        *,
        label: str | None = None,
        keep: float | None = None,
        locked: bool | None = None,
        extend: float | None = None,
    ) -> SessionInfo | None:
        """See `Backend.update_session`."""
        info = await self._details(
            code,
            b"" if label is None else f"={label}",
            b"" if keep is None else keep,
            b"" if locked is None else int(locked),
            b"" if extend is None else extend,
        )
        if info is not None and keep is not None:
            # It may expire sooner than the registry says.
            await self._registry.look_again(code)
        return info

    async def _details(self, code: str, *changes: Any) -> SessionInfo | None:
        timeout = conf.get().idle_timeout
        reply, *rest = await self._scripts.run("session", code, *changes, timeout)
        if reply == b"absent":
            return None
        if reply == b"corrupt":
            raise corrupt(StoreKey.of_session(code))
        packed, (named, kept, lock, keeps), events, kept_until = rest
        if kept_until:
            await self._keep_participants(code)
        head = unpack_head(packed)
        return SessionInfo(
            code,
            (named or b"").decode(),
            head.created,
            float(kept or 0),
            lock == b"1",
            head.seen,
            head.size,
            tuple(map(_event, events)),
            keeps != b"0",
        )

    async def _keep_participants(self, code: str) -> None:
        """Write the end of the session's keep into its participants' records."""
        # Whoever comes later reads it in the session's record.
        ids = await self._scripts.send("ZRANGE", index_key(code), 0, -1)
        for some in in_chunks(ids, KEEP_BATCH):
            await self._scripts.run("keep", code, conf.get().idle_timeout, *some)

    async def note(
        self, code: str, events: Sequence[Mapping[str, Any]], *, changes: int = 0
    ) -> None:
        """See `Backend.note`. Not retried, or an event might be noted twice."""
        latest = map(_encode, events[-MAX_EVENTS:])
        reply = await self._scripts.run(
            "note", code, changes, MAX_EVENTS, *latest, retry=False
        )
        if reply == b"corrupt":
            raise corrupt(StoreKey.of_session(code))

    async def end_session(self, code: str) -> list[Removed]:
        """See `Backend.end_session`."""
        ids = await self._scripts.run("end", code, conf.get().token_max_age)
        return await self._clear_session(code, ids)

    async def delete_session(self, code: str) -> list[Removed]:
        """See `Backend.delete_session`."""
        ids = await self._scripts.send("ZRANGE", index_key(code), 0, -1)
        return await self._clear_session(code, ids)

    async def _clear_session(self, code: str, ids: Sequence[bytes]) -> list[Removed]:
        removed: list[Removed] = []
        rev, timeout = pack_rev(Rev.first()), conf.get().idle_timeout
        try:
            for some in in_chunks(sorted(ids), REMOVAL_BATCH):
                finals = await self._scripts.run("remove", code, *some, retry=False)
                removed += [self._removed(code, final) for final in finals]
            if own := await self._scripts.run("drop", code, rev, timeout, retry=False):
                removed.append(self._removed(code, own))
            await self._registry.settle(code)
        except (StoreUnavailable, StateCorrupt):
            # What was removed is to be reported, whatever fails now; a repeated call
            # or a sweep finds the others.
            if not removed:
                raise
        return removed

    def _removed(self, session: str, reply: Sequence[Any]) -> Removed:
        removed = unpack_removed(session, reply)
        self._recent.drop(removed.key)
        return removed

    async def read_states(
        self, code: str, name: str, ids: Sequence[str] | None = None
    ) -> dict[str, StateAtRev | StateCorrupt]:
        """See `Backend.read_states`. States of many bytes take more round trips."""
        states: dict[str, StateAtRev | StateCorrupt] = {}
        limits = f"s:{name}", STATES_BATCH, STATES_BYTES
        # Without ids, the script reads those of all.
        waiting: list[str | bytes] = [*(ids or ())]
        if ids is not None and not waiting:
            return states
        while True:
            asked, later = waiting[:STATES_BATCH], waiting[STATES_BATCH:]
            left, found = await self._scripts.run("states", code, *limits, *asked)
            for packed, rev, data in zip(*[iter(found)] * 3, strict=True):
                id = packed.decode()
                states[id] = (
                    StateAtRev(data, unpack_rev(rev))
                    if rev
                    else corrupt(StoreKey._make((code, id)))
                )
            waiting = [*left, *later]
            if not waiting:
                return dict(sorted(states.items()))

    async def read_records(
        self, code: str, ids: Sequence[str]
    ) -> dict[str, Record | StateCorrupt]:
        """See `Backend.read_records`. Records of many bytes take more round trips."""
        records: dict[str, Record | StateCorrupt] = {}
        limits, left = (STATES_BATCH, STATES_BYTES), [*ids]
        while left:
            asked, later = left[:STATES_BATCH], left[STATES_BATCH:]
            rest, found = await self._scripts.run("records", code, *limits, *asked)
            for packed, fields in zip(*[iter(found)] * 2, strict=True):
                key = StoreKey.stored(code, packed.decode())
                try:
                    records[key.participant] = unpack_record(key, fields)
                except StateCorrupt as error:
                    records[key.participant] = error
            left = [*(each.decode() for each in rest), *later]
        return records

    async def participants(self, code: str) -> list[ParticipantInfo]:
        """See `Backend.participants`."""
        listed = iter(await self._scripts.run("participants", code))
        found = []
        for id, packed, connections, kept, *who, shown in zip(
            *[listed] * 8, strict=True
        ):
            head = unpack_head(packed)
            found.append(
                ParticipantInfo(
                    id.decode(),
                    head.history.rev,
                    head.created,
                    head.seen,
                    head.size,
                    connections,
                    float(kept),
                    unpack_profile(who),
                    shown.decode(errors="replace") if shown else "",
                )
            )
        return sorted(found)

    # Eviction and repair

    async def evict_idle(
        self,
        code: str,
        *,
        idle_for: float,
        limit: int,
        participant: str | None = None,
        with_states: bool = True,
    ) -> list[Removed]:
        """See `Backend.evict_idle`. Up to `REMOVAL_BATCH` are removed in one step."""
        removed: list[Removed] = []
        seconds = seconds_idle(idle_for)
        whom = participant or "", int(with_states), conf.get().idle_timeout
        while (left := limit - len(removed)) > 0:
            some = min(left, REMOVAL_BATCH)
            try:
                score, *finals = await self._scripts.run(
                    "evict", code, seconds, some, *whom, retry=False
                )
            except StoreUnavailable:
                # What was removed is to be reported, whatever fails now.
                if removed:
                    break
                raise
            removed += [self._removed(code, final) for final in finals]
            if len(finals) < some:
                await self._registry.postpone(code, score)
                break
        return removed

    async def evict_empty_session(self, code: str, *, idle_for: float) -> bool:
        """See `Backend.evict_empty_session`."""
        arguments = seconds_idle(idle_for), conf.get().idle_timeout
        reply, score = await self._scripts.run("empty", code, *arguments)
        if reply == b"stays":
            await self._registry.postpone(code, score)
            return False
        self._recent.drop(StoreKey.of_session(code))
        # Another sweeper may come in between: both compete for the entry.
        return await self._registry.forget(code)

    async def orphans(self) -> list[StoreKey] | None:
        """See `Backend.orphans`."""
        names = await self._scripts.scan("{*}:[sp]:*")
        prefix = conf.get().key_prefix
        keys = keys_of_records(prefix, (name.decode("latin-1") for name in names))
        calls = [
            (session, some)
            for session, ids in by_session(keys)
            for some in in_chunks(ids, ORPHANS_BATCH)
        ]
        replies = await self._scripts.run_all("orphans", calls)
        # Afterwards, since a session is registered before there is anything of it.
        listed = [("ZSCORE", registry_key(), session) for session, _ in calls]
        registered = await self._scripts.send_all(listed)
        found = set()
        for (session, ids), marks, known in zip(
            calls, replies, registered, strict=True
        ):
            for id, mark in zip(ids, marks, strict=True):
                if mark == b"orphan" or (mark == b"listed" and known is None):
                    found.add(StoreKey.stored(session, id))
        return sorted(found)

    async def reindex(self, key: StoreKey) -> bool:
        """See `Backend.reindex`."""
        session, id = key
        reply = await self._scripts.run("reindex", session, id, conf.get().idle_timeout)
        self._recent.drop(key)
        if reply != b"in":
            return False
        await self._registry.repair(session, 2)
        await self._registry.look_again(session)
        return True

    # Overview

    async def summaries(self) -> list[SessionSummary]:
        """See `Backend.summaries`. Two round trips."""
        codes = await self._registry.sessions()
        replies = await self._scripts.run_all("summary", [(code, ()) for code in codes])
        return [
            _unpack_summary(code, reply)
            for code, reply in zip(codes, replies, strict=True)
        ]


def _unpack_summary(code: str, reply: Sequence[Any]) -> SessionSummary:
    """Return a session's line of the overview from the reply of `summary.lua`."""
    label, keep, locked, activity, times, counts, size, largest = reply
    now, created, seen, oldest = (
        TIME.unpack_from(times, at)[0] for at in range(0, 32, 8)
    )
    participants, online, connections, lost = counts
    id, its_size = largest
    return SessionSummary(
        code,
        (label or b"").decode(),
        created,
        float(keep or 0),
        locked == b"1",
        seen,
        size,
        participants,
        online,
        connections,
        lost,
        oldest,
        (id.decode(), its_size),
        unpack_activity(activity, now),
    )
