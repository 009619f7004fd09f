"""How fast a sweep goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ..backends.base import Backend


@dataclass
class SweepLimits:
    """How fast a pass goes, and when it stops before its end.

    Rests `pause` seconds after each `batch_size` participants (or sessions without
    any), and ends with the batch in which `max_seconds` are over.
    """

    batch_size: int = 250
    pause: float = 0.0
    max_seconds: float | None = None
    started: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it takes 1 or more.")
        for name in ("pause", "max_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds >= 0:
                raise ValueError(f"{name} is {seconds}; it takes seconds from 0 up.")

    @property
    def is_over(self) -> bool:
        """Whether the pass is to end with this batch."""
        spent = time.monotonic() - self.started
        return self.max_seconds is not None and spent >= self.max_seconds

    async def rest(self, backend: Backend) -> None:
        """Wait before the next batch."""
        await backend.pause(self.pause)
