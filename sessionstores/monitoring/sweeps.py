"""What a sweep did, and the shared value by which everybody knows of the last one."""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import dataclass
from math import inf
from weakref import WeakKeyDictionary

import msgspec

from .. import conf
from ..backends.base import Backend
from ..backends.types import Value
from ..exceptions import StoreUnavailable

logger = logging.getLogger("sessionstores.sweeper")

# The shared value, and how long it is kept.
NAME = "sweep"
KEPT = 7 * 86_400.0


class Sweep(msgspec.Struct, frozen=True):
    """What a sweep has done so far, or in a dry run what it would have done.

    `participants` idle ones and `sessions` empty ones were removed, `bytes` of states
    with them; `lost` were in the index but had no record, `readmitted` had a record
    but were in no index; of `left`, the last connection had run out unnoticed. Of the
    `due` sessions that may hold something, it has `visited` so many; `failed` could not
    be swept, since somebody else has written there.
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
    """The last sweep of everything: when it ended, who did it, and what.

    `interval`: seconds until that runner's next, if it goes on; `looked`: when the
    index was last compared with all records.
    """

    at: float
    by: str
    sweep: Sweep
    interval: float | None = None
    looked: float = 0.0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LastSweep).decode


async def last_sweep(backend: Backend) -> LastSweep | None:
    """Return what is known of the last sweep, by any process; None: nothing."""
    return decode_last_sweep((await backend.value(NAME)).data)


def decode_last_sweep(data: bytes | None) -> LastSweep | None:
    """Return what the shared value `NAME` says; None if it says nothing."""
    if data is None:
        return None
    try:
        return _decode(data)
    except msgspec.MsgspecError:
        # Another version's; the next sweep writes it anew.
        return None


@dataclass
class _Memory:
    """What this process remembers of the shared value, to ask for it less often.

    Times are of `time.monotonic`.
    """

    next_look: float = -inf
    quiet_at: float = -inf


_memories: WeakKeyDictionary[Backend, _Memory] = WeakKeyDictionary()


@dataclass
class SweepLog:
    """Keeps the shared value; `by` and `interval` are those of its next entry."""

    backend: Backend
    by: str
    interval: float | None

    async def claim_look(self, *, dry_run: bool = False) -> bool:
        """Tell whether a look at all records is due, and nobody else takes it.

        A dry run leaves it to others. False too if the cache takes no writes.
        """
        memory = _memories.setdefault(self.backend, _Memory())
        timeout = conf.get().idle_timeout
        if time.monotonic() < memory.next_look:
            return False
        held = await self.backend.value(NAME)
        last = decode_last_sweep(held.data)
        now = await self.backend.now()
        ago = now - last.looked if last else inf
        # A clock may have gone back.
        if 0 <= ago < timeout:
            memory.next_look = time.monotonic() + timeout - ago
            return False
        if dry_run:
            return True
        last = last or LastSweep(now, self._who, Sweep(), self.interval)
        claim = msgspec.structs.replace(last, looked=now)
        try:
            claimed = await self._write(held, claim)
        except StoreUnavailable as error:
            # A full server takes no writes, but what is idle can be taken from it.
            logger.warning("Lost records are not looked for: %s", error)
            return False
        memory.next_look = time.monotonic() + timeout
        return claimed

    async def enter(self, sweep: Sweep) -> None:
        """Write what was done; if another wrote at the same time, theirs stays.

        Of quiet passes, one in a tenth of `IDLE_TIMEOUT` is written. What the cache
        does not take is logged: the sweep has been made.
        """
        try:
            await self._enter(sweep)
        except StoreUnavailable as error:
            logger.warning("A sweep is not entered: %s", error)

    async def _enter(self, sweep: Sweep) -> None:
        memory = _memories.setdefault(self.backend, _Memory())
        now = time.monotonic()
        if sweep.is_quiet and now < memory.quiet_at + conf.get().idle_timeout / 10:
            return
        held = await self.backend.value(NAME)
        last = decode_last_sweep(held.data)
        at = await self.backend.now()
        looked = last.looked if last else 0.0
        await self._write(held, LastSweep(at, self._who, sweep, self.interval, looked))
        memory.quiet_at = now if sweep.is_quiet else -inf

    async def _write(self, held: Value, last: LastSweep) -> bool:
        data = _encode(last)
        return await self.backend.swap_value(NAME, held.token, data, seconds=KEPT)

    @property
    def _who(self) -> str:
        return f"{self.by}, {socket.gethostname()}, pid {os.getpid()}"
