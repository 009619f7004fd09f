"""Token bucket: starts full with `burst` tokens, refills at `rate` per second."""

from __future__ import annotations

import time


class TokenBucket:
    """Tokens that are taken if there are any, or spent on credit."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = time.monotonic()

    def take(self) -> bool:
        """Take a token; False if there is none."""
        now = time.monotonic()
        self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def delay(self) -> float:
        """Return the seconds until there is a token."""
        return max(0.0, (1 - self._level) / self.rate)

    def spend(self, tokens: float) -> float:
        """Take tokens, on credit if they are too few; return the seconds to earn it."""
        now = time.monotonic()
        level = min(self.burst, self._level + (now - self._at) * self.rate) - tokens
        self._at = now
        self._level = level
        return 0.0 if level >= 0 else -level / self.rate
