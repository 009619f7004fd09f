"""The sweep: takes away what nobody uses, and mends what a cache has lost.

Any number of processes may sweep at once: each removal is one step of the backend,
which looks again before it deletes, so that it happens once and never to somebody who
came back meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from .. import conf, event_bus
from ..backends.base import Backend
from ..backends.types import Removed
from ..exceptions import InvalidKey, StateCorrupt, StoreUnavailable
from ..keys import StoreKey, check_code, check_participant
from ..monitoring.history import sample
from ..monitoring.summaries import read_summaries
from ..monitoring.sweeps import (
    LastSweep,
    Sweep,
    SweepLog,
    decode_last_sweep,
    last_sweep,
)
from ..store.removals import tell_lost, tell_removed
from . import presence
from .pace import SweepLimits

__all__ = [
    "LastSweep",
    "Sweep",
    "SweepLimits",
    "decode_last_sweep",
    "last_sweep",
    "sweep",
]

logger = logging.getLogger("sessionstores.sweeper")

# Codes that are asked for at once, and those whose connections are looked at at once.
PAGE = 10_000
STRIDE = 64


async def sweep(
    backend: Backend,
    *,
    idle_for: float | None = None,
    session: str | None = None,
    participant: str | None = None,
    dry_run: bool = False,
    orphans: bool | Literal["only"] | None = None,
    pace: SweepLimits | None = None,
    progress: Callable[[Sweep], None] | None = None,
    counted: Callable[[StoreKey, str, int], None] | None = None,
    failed: Callable[[str, StateCorrupt], None] | None = None,
    by: str = "stores.sweep",
    interval: float | None = None,
) -> Sweep:
    """Go once over all sessions, or one, or one participant; return what was done.

    Removes participants not seen for `idle_for` seconds (`IDLE_TIMEOUT`) who have no
    connection, then sessions without participants that are idle and past their keep.
    `orphans` says whether to compare the index with all records too, which is slow:
    None if nobody has within `IDLE_TIMEOUT`, "only" to do nothing else.

    `progress` is called after each session and batch; `counted` with a key, the field
    of `Sweep` that it counts in, and its bytes; `failed` with the code of a session
    that cannot be swept, and why, which is logged otherwise. `by` and `interval` are
    for `LastSweep`. Raises ValueError for what makes no sense, and `StoreUnavailable`;
    what was removed until then has been told.
    """
    if idle_for is None:
        idle_for = conf.get().idle_timeout
    _check(idle_for, session, participant)
    sweeping = _Pass(
        backend,
        idle_for,
        session,
        participant,
        dry_run,
        pace or SweepLimits(),
        progress,
        counted,
        failed or log_failure,
    )
    log = SweepLog(backend, by, interval)
    whole = session is None and not dry_run
    if orphans is None:
        orphans = session is None and await log.claim_look(dry_run=dry_run)
    if orphans:
        await sweeping.mend()
    if orphans != "only" and not sweeping.stopped:
        await sweeping.take_idle()
    done = sweeping.sweep()
    if progress is not None:
        progress(done)
    if whole and orphans != "only":
        await log.enter(done)
        await sample(backend)
    return done


def _check(idle_for: float, session: str | None, participant: str | None) -> None:
    if not idle_for >= 0:
        raise ValueError(f"idle_for is {idle_for}; it takes seconds from 0 up.")
    if session is not None:
        check_code(session)
    if participant is not None:
        check_participant(participant)
        if session is None:
            raise InvalidKey(f"Of which session is {participant!r}? Name it too.")


@dataclass
class _Pass:
    """One pass, and what it has counted so far."""

    backend: Backend
    idle_for: float
    session: str | None
    participant: str | None
    dry_run: bool
    pace: SweepLimits
    progress: Callable[[Sweep], None] | None
    counted: Callable[[StoreKey, str, int], None] | None
    failed: Callable[[str, StateCorrupt], None]
    # The codes of sessions that could not be swept.
    spoilt: set[str] = field(default_factory=set[str])
    # Of a dry run that has not mended: how many records each session has lost.
    lost: dict[str, int] = field(default_factory=dict[str, int])
    mended: bool = False
    counts: Counter[str] = field(default_factory=Counter[str])
    # Taken or visited since the last rest.
    batch: int = 0
    stopped: bool = False
    started: float = field(default_factory=time.monotonic)

    def sweep(self) -> Sweep:
        """Return what was done until now."""
        seconds = time.monotonic() - self.started
        finished = self.counts["visited"] == self.counts["due"] and not self.stopped
        return Sweep(
            **self.counts, seconds=seconds, finished=finished, dry_run=self.dry_run
        )

    # Idle participants and empty sessions

    async def take_idle(self) -> None:
        """Visit every session that may hold something to take."""
        if self.dry_run and not self.mended and self.participant is None:
            lines = (await read_summaries(self.backend)).lines
            self.lost = {line.code: line.lost for line in lines}
        codes = [self.session] if self.session else await self._due()
        while codes:
            self.counts["due"] += len(codes)
            for start in range(0, len(codes), STRIDE):
                if not await self._visit(codes[start : start + STRIDE]):
                    return
            codes = await self._due(codes[-1]) if len(codes) == PAGE else []

    async def _due(self, after: str = "") -> list[str]:
        return await self.backend.due_sessions(
            idle_for=self.idle_for, limit=PAGE, after=after
        )

    async def _visit(self, codes: Sequence[str]) -> bool:
        """Take what is due in these sessions; False if the pass is over before."""
        await self._reap(codes)
        for code in codes:
            with self._sparing(code):
                await (self._foresee(code) if self.dry_run else self._take(code))
            if self.stopped:
                return False
            self.counts["visited"] += 1
            if not await self._go_on():
                return False
        return True

    async def _take(self, code: str) -> None:
        if not await self._evict(code, self.idle_for):
            return
        key = StoreKey.of_session(code)
        if self.participant is None and await self.backend.evict_empty_session(
            code, idle_for=self.idle_for
        ):
            self._count("sessions", [(key, 0)])

    async def _evict(self, code: str, idle_for: float) -> bool:
        """Evict in batches until no more is due; False: the pass is over before."""
        limit = self.pace.batch_size
        taken = 0
        try:
            while True:
                removed = await self.backend.evict_idle(
                    code, idle_for=idle_for, limit=limit, participant=self.participant
                )
                taken += len(removed)
                await self._tell(removed)
                if len(removed) < limit:
                    return True
                if not await self._go_on():
                    return False
        finally:
            if taken:
                key = StoreKey.of_session(code)
                event_bus.bus.publish(event_bus.Note(key, "swept", count=taken))

    async def _tell(self, removed: Sequence[Removed]) -> None:
        lost = [final for final in removed if final.states is None]
        idle = [final for final in removed if final.states is not None]
        self._count("participants", [(final.key, size_of(final)) for final in idle])
        self._count("lost", [(final.key, 0) for final in lost])
        await tell_removed(self.backend, idle, "idle")
        try:
            await tell_lost(self.backend, lost)
        except StoreUnavailable as error:
            # It could not find out whether somebody else tells: rather twice than not.
            logger.info("Lost records may be told of twice: %s", error)
            await tell_removed(self.backend, lost, "lost")

    async def _reap(self, codes: Sequence[str]) -> None:
        if self.dry_run:
            return
        left: list[StoreKey] = []
        try:
            left += await presence.reap(self.backend, codes)
        except StateCorrupt:
            for code in codes:
                with self._sparing(code):
                    left += await presence.reap(self.backend, [code])
        self._count("left", [(key, 0) for key in left])

    async def _foresee(self, code: str) -> None:
        """Count what `_take` would take now."""
        self.counts["lost"] += self.lost.get(code, 0)
        try:
            own = await self.backend.session(code)
        except StateCorrupt:
            # It stays, until somebody who reads it sets it aside.
            return
        if own is None:
            return
        now = await self.backend.now()
        since = now - self.idle_for
        stays = self.participant is not None
        for info in await self.backend.participants(code):
            if info.seen > since or info.connections:
                stays = True
            elif self.participant in (None, info.id):
                self._count("participants", [(StoreKey(code, info.id), info.bytes)])
        if not stays and own.seen <= since and own.created + own.keep <= now:
            self._count("sessions", [(StoreKey.of_session(code), 0)])

    # Index and records that do not agree

    async def mend(self) -> None:
        """Enter records that no index knows, take out entries that have no record."""
        self.mended = True
        await self._readmit()
        sessions, unreadable = await read_summaries(self.backend)
        for code, error in unreadable.items():
            if self.session in (None, code):
                self._fail(code, error)
        if self.session is not None:
            sessions = [each for each in sessions if each.code == self.session]
        codes = [each.code for each in sessions]
        for start in range(0, len(codes), STRIDE):
            await self._reap(codes[start : start + STRIDE])
        for code, lost in [(each.code, each.lost) for each in sessions if each.lost]:
            if self.dry_run:
                self.counts["lost"] += lost
            elif not self.stopped:
                with self._sparing(code):
                    await self._evict(code, inf)

    async def _readmit(self) -> None:
        try:
            strays = await self.backend.orphans()
        except StateCorrupt as error:
            # Whose doing that is, the look at the index says.
            logger.info("Records that no index knows are not looked for: %s", error)
            return
        for key in strays or ():
            if self.stopped or not self._concerns(key):
                continue
            with self._sparing(key.session):
                if self.dry_run or await self.backend.reindex(key):
                    self._count("readmitted", [(key, 0)])
                    await self._go_on()

    def _concerns(self, key: StoreKey) -> bool:
        if self.session not in (None, key.session):
            return False
        return self.participant in (None, key.participant)

    # Counting and pausing

    @contextmanager
    def _sparing(self, code: str) -> Iterator[None]:
        """Let what is wrong with a session stop nothing else."""
        try:
            yield
        except StateCorrupt as error:
            self._fail(code, error)

    def _fail(self, code: str, error: StateCorrupt) -> None:
        if code not in self.spoilt:
            self.spoilt.add(code)
            self.counts["failed"] += 1
            self.failed(code, error)

    def _count(self, name: str, sizes: Sequence[tuple[StoreKey, int]]) -> None:
        """Count records, each with its bytes, in a figure of `Sweep`."""
        self.counts[name] += len(sizes)
        self.counts["bytes"] += sum(size for _, size in sizes)
        self.batch += len(sizes)
        if self.counted is not None:
            for key, size in sizes:
                self.counted(key, name, size)

    async def _go_on(self) -> bool:
        """Rest if it is time to; False if the pass is over."""
        self.batch += 1
        if self.progress is not None:
            self.progress(self.sweep())
        if not self.pace.is_over:
            if self.batch < self.pace.batch_size:
                # An event loop has other things to do too.
                await self.backend.pause(0)
            else:
                self.batch = 0
                await self.pace.rest(self.backend)
        self.stopped = self.pace.is_over
        return not self.stopped


def log_failure(code: str, error: StateCorrupt) -> None:
    """Say that a session cannot be swept, and why."""
    logger.error("%s cannot be swept: %s", code, error)


def size_of(final: Removed) -> int:
    """Return the bytes of a record's final states."""
    return sum(map(len, (final.states or {}).values()))
