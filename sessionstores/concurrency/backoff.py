"""Exponential backoff: the waits between attempts."""

from __future__ import annotations

import random
from dataclasses import dataclass

# Beyond this many doublings every ceiling is at its cap.
_MAX_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: 0 to min(`cap`, `base` · 2^attempt) s.

    The first `eager` attempts wait for nothing. Full jitter spreads rivals best; see
    M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    base: float
    cap: float
    eager: int = 0

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after failed attempt number `attempt`, from 0."""
        if attempt < self.eager:
            return 0.0
        ceiling = min(self.cap, self.base * 2.0 ** min(attempt, _MAX_DOUBLINGS))
        return random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards nothing
