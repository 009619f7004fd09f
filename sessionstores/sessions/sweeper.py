"""Sweep: remove idle participants and empty sessions; reconcile index and records.

Any number of processes may sweep at once: each removal is one atomic step of the
backend, which rechecks before it deletes. So it happens once, and never to a
participant who has returned meanwhile.
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

from .. import conf, event_bus, signals
from ..backends.base import Backend
from ..backends.idleness import seconds_idle
from ..backends.types import Removed
from ..exceptions import InvalidKey, StateCorrupt, StoreUnavailable, shown
from ..keys import StoreKey, check_code, check_stored
from ..monitoring.history import sample
from ..monitoring.summaries import read_summaries
from ..monitoring.sweeps import (
    LastSweep,
    Sweep,
    SweepLog,
    decode_last_sweep,
    last_sweep,
)
from ..store.removals import announce_lost, announce_removed
from . import presence
from .quantities import check_count, check_seconds

__all__ = [
    "LastSweep",
    "Sweep",
    "SweepLimits",
    "decode_last_sweep",
    "last_sweep",
    "sweep",
]

logger = logging.getLogger("sessionstores.sweeper")

# Sessions listed by one call, and sessions whose connections one call checks.
PAGE = 10_000
STRIDE = 64


@dataclass
class SweepLimits:
    """The pace of a pass, and when it stops before its end.

    Rests `pause` seconds after each `batch_size` removals (or sessions without any),
    and ends with the batch in which `max_seconds` have passed.
    """

    batch_size: int = 250
    pause: float = 0.0
    max_seconds: float | None = None
    started: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size)
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it takes 1 or more.")
        for name in ("pause", "max_seconds"):
            seconds = getattr(self, name)
            if seconds is None:
                continue
            check_seconds(name, seconds)
            if not seconds >= 0:
                raise ValueError(f"{name} is {seconds}; it takes seconds from 0 up.")

    @property
    def is_over(self) -> bool:
        """Whether the pass is to end with this batch."""
        spent = time.monotonic() - self.started
        return self.max_seconds is not None and spent >= self.max_seconds

    async def rest(self, backend: Backend) -> None:
        """Wait before the next batch."""
        await backend.pause(self.pause)


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
    """Sweep all sessions once, or one, or one participant; return the counts.

    Removes participants not seen for `idle_for` seconds (`IDLE_TIMEOUT`) who have no
    connection and are not kept by their session, then sessions without participants
    that are idle and past their keep.
    `orphans`: whether to compare the index with all records too, which is slow; None:
    if no process has within `IDLE_TIMEOUT`; "only": do nothing else.

    `progress` is called after each session and batch; `counted` with a key, the field
    of `Sweep` that counts it, and its bytes; `failed` with the code of a session that
    cannot be swept and the error, which by default is logged. `by` and `interval` go
    into `LastSweep`. Raises ValueError, and `StoreUnavailable`; removals until then
    have been announced.
    """
    if idle_for is None:
        idle_for = conf.get().idle_timeout
    _check(idle_for, session, participant)
    if progress is not None and not callable(progress):
        raise TypeError(f"progress is {shown(progress)}; it takes a function.")
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
        await sweeping.reconcile()
    if orphans != "only" and not sweeping.stopped:
        await sweeping.remove_idle()
    done = sweeping.result()
    if progress is not None:
        progress(done)
    if whole and orphans != "only":
        await log.enter(done)
        await sample(backend)
    return done


def _check(idle_for: float, session: str | None, participant: str | None) -> None:
    check_seconds("idle_for", idle_for)
    if not idle_for >= 0:
        raise ValueError(f"idle_for is {idle_for}; it takes seconds from 0 up.")
    if session is not None:
        check_code(session)
    if participant is not None:
        check_stored(participant)
        if session is None:
            raise InvalidKey(f"participant={participant!r} also needs session=…")


@dataclass
class _Pass:
    """One pass over the sessions, with its counts so far."""

    backend: Backend
    idle_for: float
    session: str | None
    participant: str | None
    dry_run: bool
    pace: SweepLimits
    progress: Callable[[Sweep], None] | None
    counted: Callable[[StoreKey, str, int], None] | None
    failed: Callable[[str, StateCorrupt], None]
    # Codes of sessions that could not be swept.
    corrupt: set[str] = field(default_factory=set[str])
    # For a dry run that has not reconciled: the number of lost records, by session.
    lost: dict[str, int] = field(default_factory=dict[str, int])
    reconciled: bool = False
    counts: Counter[str] = field(default_factory=Counter[str])
    # Removals and visits since the last rest.
    batch: int = 0
    stopped: bool = False
    started: float = field(default_factory=time.monotonic)

    def result(self) -> Sweep:
        """Return the counts so far."""
        seconds = time.monotonic() - self.started
        finished = self.counts["visited"] == self.counts["due"] and not self.stopped
        return Sweep(
            **self.counts, seconds=seconds, finished=finished, dry_run=self.dry_run
        )

    # Idle participants and empty sessions

    async def remove_idle(self) -> None:
        """Visit every session that may have something to remove."""
        if self.dry_run and not self.reconciled and self.participant is None:
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
        """Remove what is due in these sessions; False if the pass ends before."""
        await self._reap(codes)
        for code in codes:
            with self._isolating(code):
                await (self._preview(code) if self.dry_run else self._remove(code))
            if self.stopped:
                return False
            self.counts["visited"] += 1
            if not await self._go_on():
                return False
        return True

    async def _remove(self, code: str) -> None:
        if not await self._evict(code, self.idle_for):
            return
        key = StoreKey.of_session(code)
        if self.participant is None and await self.backend.evict_empty_session(
            code, idle_for=self.idle_for
        ):
            self._count("sessions", [(key, 0)])

    async def _evict(self, code: str, idle_for: float) -> bool:
        """Evict in batches until nothing is due; False if the pass ends before."""
        limit = self.pace.batch_size
        count = 0
        try:
            while True:
                removed = await self.backend.evict_idle(
                    code,
                    idle_for=idle_for,
                    limit=limit,
                    participant=self.participant,
                    # Final states are for receivers only.
                    with_states=bool(signals.participant_removed.receivers),
                )
                count += len(removed)
                await self._announce(removed)
                if len(removed) < limit:
                    return True
                if not await self._go_on():
                    return False
        finally:
            if count:
                key = StoreKey.of_session(code)
                event_bus.bus.publish(event_bus.Note(key, "swept", count=count))

    async def _announce(self, removed: Sequence[Removed]) -> None:
        lost = [each for each in removed if each.states is None]
        idle = [each for each in removed if each.states is not None]
        self._count("participants", [(each.key, each.size) for each in idle])
        self._count("lost", [(each.key, 0) for each in lost])
        await announce_removed(self.backend, idle, "idle")
        try:
            await announce_lost(self.backend, lost)
        except StoreUnavailable as error:
            # Whether another process announces them is unknown: better twice than not.
            logger.info("Lost records may be announced twice: %s", error)
            await announce_removed(self.backend, lost, "lost")

    async def _reap(self, codes: Sequence[str]) -> None:
        if self.dry_run:
            return
        left: list[StoreKey] = []
        try:
            left += await presence.reap(self.backend, codes)
        except StateCorrupt:
            for code in codes:
                with self._isolating(code):
                    left += await presence.reap(self.backend, [code])
        self._count("left", [(key, 0) for key in left])

    async def _preview(self, code: str) -> None:
        """Count what `_remove` would remove now."""
        self.counts["lost"] += self.lost.get(code, 0)
        try:
            own = await self.backend.session(code)
        except StateCorrupt:
            # It stays until a read sets it aside.
            return
        if own is None:
            return
        now = await self.backend.now()
        since = now - seconds_idle(self.idle_for)
        stays = self.participant is not None
        for info in await self.backend.participants(code):
            if info.seen > since or info.connections or info.kept_until > now:
                stays = True
            elif self.participant in (None, info.id):
                self._count(
                    "participants", [(StoreKey.stored(code, info.id), info.bytes)]
                )
        if not stays and own.seen <= since and own.created + own.keep <= now:
            self._count("sessions", [(StoreKey.of_session(code), 0)])

    # Index and records that disagree

    async def reconcile(self) -> None:
        """Add index entries for orphaned records; remove entries without a record."""
        self.reconciled = True
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
                with self._isolating(code):
                    await self._evict(code, inf)

    async def _readmit(self) -> None:
        try:
            orphans = await self.backend.orphans()
        except StateCorrupt as error:
            # Reading the index reports which session it is.
            logger.info("Records without an index entry are not looked for: %s", error)
            return
        for key in orphans or ():
            if self.stopped or not self._concerns(key):
                continue
            with self._isolating(key.session):
                if self.dry_run or await self.backend.reindex(key):
                    self._count("readmitted", [(key, 0)])
                    await self._go_on()

    def _concerns(self, key: StoreKey) -> bool:
        if self.session not in (None, key.session):
            return False
        return self.participant in (None, key.participant)

    # Counting and pausing

    @contextmanager
    def _isolating(self, code: str) -> Iterator[None]:
        """Report corrupt data of one session, and go on with the others."""
        try:
            yield
        except StateCorrupt as error:
            self._fail(code, error)

    def _fail(self, code: str, error: StateCorrupt) -> None:
        if code not in self.corrupt:
            self.corrupt.add(code)
            self.counts["failed"] += 1
            self.failed(code, error)

    def _count(self, name: str, sizes: Sequence[tuple[StoreKey, int]]) -> None:
        """Count records, given with their bytes, in the field `name` of `Sweep`."""
        self.counts[name] += len(sizes)
        self.counts["bytes"] += sum(size for _, size in sizes)
        self.batch += len(sizes)
        if self.counted is not None:
            for key, size in sizes:
                self.counted(key, name, size)

    async def _go_on(self) -> bool:
        """Rest after a batch; False if the pass is over."""
        self.batch += 1
        if self.progress is not None:
            self.progress(self.result())
        if not self.pace.is_over:
            if self.batch < self.pace.batch_size:
                # Let an event loop run its other tasks.
                await self.backend.pause(0)
            else:
                self.batch = 0
                await self.pace.rest(self.backend)
        self.stopped = self.pace.is_over
        return not self.stopped


def log_failure(code: str, error: StateCorrupt) -> None:
    """Log that a session cannot be swept, and why."""
    logger.error("%s cannot be swept: %s", code, error)
