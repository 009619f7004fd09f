"""Sweep results, and the shared value that holds the last one for all processes."""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import dataclass
from math import inf

import msgspec

from .. import conf
from ..backends.base import Backend
from ..backends.shared_values import update_value
from ..exceptions import StoreUnavailable

logger = logging.getLogger("sessionstores.sweeper")

# The name of the shared value, and the seconds that it is kept.
NAME = "sweep"
KEPT = 7 * 86_400.0


class Sweep(msgspec.Struct, frozen=True):
    """Counts of a sweep so far; of a dry run, of what it would have done.

    `participants`: idle ones removed; `sessions`: empty ones removed; `bytes`: size of
    their states; `lost`: index entries without a record; `readmitted`: records without
    an index entry; `left`: participants whose last connection had expired unnoticed.
    `due`: sessions that may have something to remove; `visited`: of these, swept so
    far; `failed`: could not be swept, since their data is corrupt.
    """

    participants: int = 0
    sessions: int = 0
    lost: int = 0
    readmitted: int = 0
    left: int = 0
    bytes: int = 0
    seconds: float = 0.0
    finished: bool = False
    dry_run: bool = False
    visited: int = 0
    due: int = 0
    failed: int = 0

    @property
    def is_quiet(self) -> bool:
        """Whether there was nothing to do."""
        counts = (self.participants, self.sessions, self.lost, self.readmitted)
        return self.finished and not any((*counts, self.left))


class LastSweep(msgspec.Struct, frozen=True):
    """The last sweep of all sessions: when it ended, which process made it, its counts.

    `interval`: seconds until that process's next sweep, if there is one; `looked`: when
    the index was last compared with all records.
    """

    at: float
    by: str
    sweep: Sweep
    interval: float | None = None
    looked: float = 0.0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LastSweep).decode


async def last_sweep(backend: Backend) -> LastSweep | None:
    """Return the last sweep by any process; None if unknown."""
    return decode_last_sweep((await backend.value(NAME)).data)


def decode_last_sweep(data: bytes | None) -> LastSweep | None:
    """Decode the shared value `NAME`; None if it is absent or of another version."""
    if data is None:
        return None
    try:
        return _decode(data)
    except msgspec.MsgspecError:
        # Written by another version; the next sweep overwrites it.
        return None


@dataclass
class SweepMemory:
    """When this process next has to read the shared value, by `time.monotonic`.

    Part of a backend's `ProcessMemory`.
    """

    next_look: float = -inf
    quiet_at: float = -inf


@dataclass
class SweepLog:
    """Writes the shared value; `by` and `interval` are those of its next entry."""

    backend: Backend
    by: str
    interval: float | None

    async def claim_look(self, *, dry_run: bool = False) -> bool:
        """Claim the comparison of index and records; False if it is not due or taken.

        A dry run does not claim it. False too if the cache takes no writes.
        """
        memory = self.backend.memory.of(SweepMemory)
        timeout = conf.get().idle_timeout
        if time.monotonic() < memory.next_look:
            return False
        held = await self.backend.value(NAME)
        now = await self.backend.now()
        age = _age(decode_last_sweep(held.data), now)
        if age < timeout:
            memory.next_look = time.monotonic() + timeout - age
            return False
        if dry_run:
            return True

        def claim(data: bytes | None) -> bytes | None:
            last = decode_last_sweep(data)
            if _age(last, now) < timeout:
                return None
            last = last or LastSweep(now, self._runner, Sweep(), self.interval)
            return _encode(msgspec.structs.replace(last, looked=now))

        try:
            claimed = await update_value(
                self.backend, NAME, claim, seconds=KEPT, held=held
            )
        except StoreUnavailable as error:
            # A full server takes no writes, but idle records can be removed from it.
            logger.warning("Index and records are not compared: %s", error)
            return False
        memory.next_look = time.monotonic() + timeout
        return claimed

    async def enter(self, sweep: Sweep) -> None:
        """Write the result of a sweep; if the cache refuses, log that.

        Of passes that found nothing to do, one in a tenth of `IDLE_TIMEOUT` is written.
        """
        try:
            await self._enter(sweep)
        except StoreUnavailable as error:
            logger.warning("The result of a sweep was not written: %s", error)

    async def _enter(self, sweep: Sweep) -> None:
        memory = self.backend.memory.of(SweepMemory)
        now = time.monotonic()
        if sweep.is_quiet and now < memory.quiet_at + conf.get().idle_timeout / 10:
            return
        held = await self.backend.value(NAME)
        at = await self.backend.now()

        def entry(data: bytes | None) -> bytes:
            last = decode_last_sweep(data)
            looked = last.looked if last else 0.0
            return _encode(LastSweep(at, self._runner, sweep, self.interval, looked))

        await update_value(self.backend, NAME, entry, seconds=KEPT, held=held)
        memory.quiet_at = now if sweep.is_quiet else -inf

    @property
    def _runner(self) -> str:
        return f"{self.by}, {socket.gethostname()}, pid {os.getpid()}"


def _age(last: LastSweep | None, now: float) -> float:
    """Return the seconds since the last look; infinite if none, or the clock is off."""
    if last is None or last.looked > now:
        return inf
    return now - last.looked
