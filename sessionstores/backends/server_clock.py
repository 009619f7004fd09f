"""The time by a server's clock, for servers that do not look at it on our behalf."""

from __future__ import annotations

import time
from math import inf

# Seconds that a comparison holds, and a difference that is none: some servers tell
# whole seconds, and answers take their time.
HOLDS = 60.0
SAME = 2.0


class ServerClock:
    """This process's clock, put right: one that is an hour off removes nothing early.

    Whoever talks to the server compares it, when that is due.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._compared = -inf

    def __call__(self) -> float:
        return time.time() + self._ahead

    def is_due(self) -> bool:
        """Tell whether it should be compared."""
        return time.monotonic() - self._compared >= HOLDS

    def compare(self, told: float) -> None:
        """Take the server's time, in seconds, as it has just told it."""
        ahead = told - time.time()
        self._ahead = ahead if abs(ahead) > SAME else 0.0
        self._compared = time.monotonic()
