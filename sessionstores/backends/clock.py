"""The server's clock, estimated here: a wrong local clock then expires nothing early.

Resynchronised every 60 s and after sleep.
"""

from __future__ import annotations

import time
from math import inf

# Seconds for which an estimate holds, and for which one holds that took longer than
# QUICK to learn: it is off by up to that.
HOLDS = 60.0
HOLDS_IF_SLOW = 1.0
QUICK = 0.02
# This machine's two clocks do not drift apart by more seconds unless one was set, or
# the machine slept, during which the monotonic one stops.
JUMP = 3.0


class ServerClock:
    """Called, it returns the server's time in seconds since the epoch.

    Until it is first synchronised, that is this machine's time. In between it runs by
    the monotonic clock, whatever is done to the machine's time. A server's time within
    `tolerance` seconds of this machine's counts as equal to it: some servers report
    whole seconds, rounded down, and update them once a second.
    """

    def __init__(self, *, tolerance: float = 0.0) -> None:
        self._tolerance = tolerance
        # Server's time minus `time.monotonic()`; None: not known yet.
        self._offset: float | None = None
        # This machine's time minus `time.monotonic()`, when last synchronised.
        self._local_offset = 0.0
        self._due_at = -inf

    def __call__(self) -> float:
        offset = self._offset
        return time.time() if offset is None else time.monotonic() + offset

    @property
    def is_known(self) -> bool:
        """Whether it has ever been synchronised."""
        return self._offset is not None

    def is_due(self) -> bool:
        """Return whether it should be synchronised now."""
        now = time.monotonic()
        return now >= self._due_at or abs(time.time() - now - self._local_offset) > JUMP

    def synchronise(self, server_time: float, asked_at: float | None = None) -> None:
        """Set the clock by `server_time`, which the server has just returned.

        `asked_at` is `time.monotonic()` when it was asked: it counts as having answered
        at once, so that nothing seems older than it is.
        """
        now, local = time.monotonic(), time.time()
        asked_at = now if asked_at is None else asked_at
        if abs(server_time - local) < self._tolerance:
            self._offset = local - now
        else:
            self._offset = server_time - asked_at
        self._local_offset = local - now
        is_slow = now - asked_at > QUICK
        self._due_at = asked_at + (HOLDS_IF_SLOW if is_slow else HOLDS)
