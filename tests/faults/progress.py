"""A clock that stands still while the machine lets this process wait for its turn."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

TICK = 0.01


class ProgressClock:
    """Counts seconds in which a thread that wants to run every `TICK` gets to run.

    Where nothing else takes the machine, that is the time on the wall: of each tick
    that comes late, what it is late by is left out. Use it as a context manager.
    """

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        # When it last ticked, and how late all ticks have come until then.
        self._state = time.monotonic(), 0.0

    def __enter__(self) -> Self:
        self._state = time.monotonic(), 0.0
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def now(self) -> float:
        """Return the time; only differences mean anything."""
        ticked, late = self._state
        return min(time.monotonic(), ticked + 2 * TICK) - late

    def _count(self) -> None:
        while not self._stopped.wait(TICK):
            ticked, late = self._state
            now = time.monotonic()
            self._state = now, late + max(0.0, now - ticked - 2 * TICK)
