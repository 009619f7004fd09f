"""Note the time of each commit of this process, to measure delivery from there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sessionstores import event_bus


class LastCommit:
    """The time of the last commit, in seconds of `time.perf_counter`."""

    at = 0.0

    def note(self, event: event_bus.Event) -> None:
        """Make the patch, which has a figure of its own, then take the time."""
        assert isinstance(event, event_bus.Change)
        assert event.operations
        self.at = time.perf_counter()

    @property
    def ago(self) -> float:
        """Seconds since then."""
        return time.perf_counter() - self.at


@contextmanager
def noting_commits() -> Iterator[LastCommit]:
    """Note each commit, before other subscribers get it, until the block ends."""
    last = LastCommit()
    event_bus.bus.subscribers.insert(0, last.note)
    try:
        yield last
    finally:
        event_bus.bus.subscribers.remove(last.note)
