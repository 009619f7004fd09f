"""Sessions, their participants, and what is idle of both, on Redis or Valkey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ... import conf
from ...exceptions import LimitReached, StateCorrupt, StoreUnavailable
from ...keys import StoreKey, keys_of_records
from ...state.revisions import Rev
from ..record_cache import RecordCache
from ..types import MAX_EVENTS, ParticipantInfo, Removed, SessionInfo, SessionSummary
from .leases import RedisConnections
from .serializers import (
    TIME,
    activity_of,
    by_session,
    corrupt,
    head_of,
    in_chunks,
    packed,
    removed_of,
)

# So many at a time, that no script holds the server up for long.
REMOVED_AT_ONCE = 100
LOOKED_AT_ONCE = 500

_encode = msgspec.msgpack.Encoder().encode
_event = msgspec.msgpack.Decoder(dict[str, Any]).decode


class RedisSessions(RedisConnections):
    """Sessions one by one, and all at a glance."""

    _recent: RecordCache

    async def create_session(self, code: str, *, label: str, keep: float) -> bool:
        """See `Backend.create_session`."""
        if await self.session(code) is not None:
            return False
        try:
            await self._register(code)
        except LimitReached:
            # A code that is taken is so whether or not there is room.
            if await self._send("EXISTS", self._tombstone(code)):
                return False
            raise
        try:
            rev, timeout = packed(Rev.first()), conf.get().idle_timeout
            return bool(await self._run("found", code, rev, timeout, label, keep))
        finally:
            await self._settle(code)

    async def session(self, code: str) -> SessionInfo | None:
        """See `Backend.session`."""
        return await self._about(code, b"", b"", b"", b"")

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
        info = await self._about(
            code,
            b"" if label is None else f"={label}",
            b"" if keep is None else keep,
            b"" if locked is None else int(locked),
            b"" if extend is None else extend,
        )
        if info is not None and keep is not None:
            # It may be due sooner than the registry says.
            await self._look_soon(code)
        return info

    async def _about(self, code: str, *changes: Any) -> SessionInfo | None:
        timeout = conf.get().idle_timeout
        answer, *rest = await self._run("session", code, *changes, timeout)
        if answer == b"absent":
            return None
        if answer == b"corrupt":
            raise corrupt(StoreKey.of_session(code))
        front, named, kept, lock, events = rest
        head = head_of(front)
        return SessionInfo(
            code,
            (named or b"").decode(),
            head.created,
            float(kept or 0),
            lock == b"1",
            head.seen,
            head.size,
            tuple(map(_event, events)),
        )

    async def note(
        self, code: str, events: Sequence[Mapping[str, Any]], *, changes: int = 0
    ) -> None:
        """See `Backend.note`. Not repeated, or it might stand there twice."""
        latest = map(_encode, events[-MAX_EVENTS:])
        answer = await self._run(
            "note", code, changes, MAX_EVENTS, *latest, again=False
        )
        if answer == b"corrupt":
            raise corrupt(StoreKey.of_session(code))

    async def end_session(self, code: str) -> list[Removed]:
        """See `Backend.end_session`."""
        ids = await self._run("end", code, conf.get().token_max_age)
        return await self._clear_session(code, ids)

    async def delete_session(self, code: str) -> list[Removed]:
        """See `Backend.delete_session`."""
        ids = await self._send("ZRANGE", self._index(code), 0, -1)
        return await self._clear_session(code, ids)

    async def _clear_session(self, code: str, ids: Sequence[bytes]) -> list[Removed]:
        removed: list[Removed] = []
        rev, timeout = packed(Rev.first()), conf.get().idle_timeout
        try:
            for some in in_chunks(sorted(ids), REMOVED_AT_ONCE):
                finals = await self._run("remove", code, *some, again=False)
                removed += [self._gone(code, final) for final in finals]
            if own := await self._run("drop", code, rev, timeout, again=False):
                removed.append(self._gone(code, own))
            await self._settle(code)
        except (StoreUnavailable, StateCorrupt):
            # What is gone is to be reported, whatever fails now; the others are
            # found by whoever repeats this, or by a sweep.
            if not removed:
                raise
        return removed

    def _gone(self, session: str, final: Sequence[Any]) -> Removed:
        removed = removed_of(session, final)
        self._recent.drop(removed.key)
        return removed

    async def participants(self, code: str) -> list[ParticipantInfo]:
        """See `Backend.participants`."""
        listed = iter(await self._run("participants", code))
        found = []
        for id, front, connections in zip(listed, listed, listed, strict=True):
            head = head_of(front)
            found.append(
                ParticipantInfo(
                    id.decode(),
                    head.history.rev,
                    head.created,
                    head.seen,
                    head.size,
                    connections,
                )
            )
        return sorted(found)

    # What is idle, and what is lost

    async def evict_idle(
        self, code: str, *, idle_for: float, limit: int, participant: str | None = None
    ) -> list[Removed]:
        """See `Backend.evict_idle`. `REMOVED_AT_ONCE` are one step."""
        removed: list[Removed] = []
        while (left := limit - len(removed)) > 0:
            some = min(left, REMOVED_AT_ONCE)
            try:
                bound, *finals = await self._run(
                    "evict", code, idle_for, some, participant or "", again=False
                )
            except StoreUnavailable:
                # What is gone is to be reported, whatever fails now.
                if removed:
                    break
                raise
            removed += [self._gone(code, final) for final in finals]
            if len(finals) < some:
                await self._move_on(code, bound)
                break
        return removed

    async def evict_empty_session(self, code: str, *, idle_for: float) -> bool:
        """See `Backend.evict_empty_session`."""
        answer, bound = await self._run("empty", code, idle_for)
        if answer == b"stays":
            await self._move_on(code, bound)
            return False
        self._recent.drop(StoreKey.of_session(code))
        listed = await self._settle(code)
        return answer == b"gone" or listed

    async def orphans(self) -> list[StoreKey] | None:
        """See `Backend.orphans`."""
        names = await self._scan("{*}:[sp]:*")
        prefix = conf.get().key_prefix
        keys = keys_of_records(prefix, (name.decode("latin-1") for name in names))
        calls = [
            (session, some)
            for session, ids in by_session(keys)
            for some in in_chunks(ids, LOOKED_AT_ONCE)
        ]
        answers = await self._run_all("orphans", calls)
        # Afterwards, since a session is registered before there is anything of it.
        listed = [("ZSCORE", self._registry(), session) for session, _ in calls]
        registered = await self._send_all(listed)
        found = set()
        for (session, ids), marks, known in zip(
            calls, answers, registered, strict=True
        ):
            for id, mark in zip(ids, marks, strict=True):
                if mark == b"orphan" or (mark == b"listed" and known is None):
                    found.add(StoreKey(session, id))
        return sorted(found)

    async def reindex(self, key: StoreKey) -> bool:
        """See `Backend.reindex`."""
        session, id = key
        answer = await self._run("reindex", session, id, conf.get().idle_timeout)
        self._recent.drop(key)
        if answer != b"in":
            return False
        await self._mended(session, 2)
        await self._look_soon(session)
        return True

    # All at a glance

    async def summaries(self) -> list[SessionSummary]:
        """See `Backend.summaries`. Two round trips, however much there is."""
        codes = await self.sessions()
        answers = await self._run_all("summary", [(code, ()) for code in codes])
        return [
            summary_of(code, answer)
            for code, answer in zip(codes, answers, strict=True)
        ]


def summary_of(code: str, answer: Sequence[Any]) -> SessionSummary:
    """Return a session's line of the overview, as its script told it."""
    label, keep, locked, activity, times, counts, size, largest = answer
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
        activity_of(activity, now),
    )
