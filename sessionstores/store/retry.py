"""The tries of an optimistic commit: paced, limited and counted."""

from __future__ import annotations

import random
import time

from .. import event_bus
from ..backends.base import Backend
from ..exceptions import Conflict
from ..keys import StoreKey
from ..monitoring.counters import counters

# A dispatch gives up when both are used up.
MIN_TRIES = 16
MIN_SECONDS = 2.0
MAX_PAUSE = 0.05


class CommitRetry:
    """Counts the tries of one optimistic commit, and waits between them.

    `started`: when the first was, by `time.monotonic`, if not now.
    """

    def __init__(
        self, backend: Backend, key: StoreKey, started: float | None = None
    ) -> None:
        self.backend = backend
        self.key = key
        self.count = 1
        self.started = time.monotonic() if started is None else started

    async def again(self) -> None:
        """Wait a little, differently each time; raise `Conflict` when it is enough."""
        counters.conflicts += 1
        event_bus.bus.publish(event_bus.Note(self.key, "conflict"))
        spent = time.monotonic() - self.started
        if self.count >= MIN_TRIES and spent >= MIN_SECONDS:
            raise Conflict(
                f"{self.key}: others committed first {self.count} times in "
                f"{spent:.1f} s. Nothing was changed; dispatch again."
            )
        # The first retry needs no pause: the winner is done by now.
        if self.count > 1:
            ceiling = min(0.0005 * 2 ** min(self.count, 10), MAX_PAUSE)
            await self.backend.pause(random.uniform(0, ceiling))  # noqa: S311
        self.count += 1
