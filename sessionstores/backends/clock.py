"""The time by a server's clock, for servers that do not look at it on our behalf."""

from __future__ import annotations

import time
from math import inf

# Seconds that a comparison holds, and a difference that is none: some servers tell
# whole seconds, look at their clock once in one, and count both down.
HOLDS = 60.0
SAME = 3.0


class ServerClock:
    """This process's clock, put right: one that is an hour off removes nothing early.

    Whoever talks to the server compares it, when that is due. In between it goes on
    evenly, whatever is done to the machine's clock; but when that has been set, or the
    machine has been asleep, comparing is due at once.
    """

    def __init__(self) -> None:
        # What is to be added to the time since some start; unknown at first.
        self._zero: float | None = None
        self._compared = -inf
        # Between the machine's clocks: of the two, the even one stops in its sleep.
        self._apart = 0.0

    def __call__(self) -> float:
        zero = self._zero
        return time.time() if zero is None else time.monotonic() + zero

    def is_due(self) -> bool:
        """Tell whether it should be compared."""
        now = time.monotonic()
        if now - self._compared >= HOLDS:
            return True
        return abs(time.time() - now - self._apart) > SAME

    def compare(self, told: float) -> None:
        """Take the server's time, in seconds, as it has just told it."""
        ours, self._compared = time.time(), time.monotonic()
        self._apart = ours - self._compared
        right = told if abs(told - ours) > SAME else ours
        self._zero = right - self._compared
