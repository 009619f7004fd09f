"""Retry of optimistic commits: jittered backoff, until tries and time are used up."""

from __future__ import annotations

import time

from .. import event_bus
from ..backends.base import Backend
from ..concurrency.backoff import Backoff
from ..exceptions import Conflict
from ..keys import StoreKey
from ..monitoring.counters import counters
from ..monitoring.tally import tally_of

# A dispatch gives up when both are used up.
MIN_TRIES = 16
MIN_SECONDS = 2.0

# The first retry is immediate: the commit that came first is complete by then.
BACKOFF = Backoff(base=0.001, cap=0.05, eager=1)


class CommitRetry:
    """Counts the tries of one optimistic commit, and waits between them.

    `started`: the time of the first try, by `time.monotonic`; by default, now.
    """

    def __init__(
        self, backend: Backend, key: StoreKey, started: float | None = None
    ) -> None:
        self.backend = backend
        self.key = key
        self.failed = 0
        self.started = time.monotonic() if started is None else started

    async def wait(self) -> bool:
        """Wait before the next try; raise `Conflict` if none is left.

        Returns whether that took time: what was read before is out of date then, if
        others go on committing.
        """
        self.failed += 1
        counters.conflicts += 1
        tally_of(self.backend).conflicts += 1
        event_bus.bus.publish(event_bus.Note(self.key, "conflict"))
        spent = time.monotonic() - self.started
        if self.failed >= MIN_TRIES and spent >= MIN_SECONDS:
            raise Conflict(
                f"{self.key}: others committed first {self.failed} times in "
                f"{spent:.1f} s. Nothing was changed; dispatch again."
            )
        delay = BACKOFF.delay(self.failed - 1)
        if delay:
            await self.backend.pause(delay)
        return delay > 0
