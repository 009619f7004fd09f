"""Note the time of each commit of this process, to measure delivery from there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sessionstores import event_bus


class LastCommit:
    """The time of the last commit, in seconds of `time.perf_counter`."""

    at = 0.0

    def note(self, change: event_bus.Change) -> None:
        """Make the patch, which has a figure of its own, then take the time."""
        assert change.operations
        self.at = time.perf_counter()

    @property
    def ago(self) -> float:
        """Seconds since then."""
        return time.perf_counter() - self.at


@contextmanager
def noting_commits() -> Iterator[LastCommit]:
    """Note each commit, before other listeners hear of it, until the block ends."""
    last = LastCommit()
    event_bus.bus.subscribe(last.note, event_bus.Change, first=True)
    try:
        yield last
    finally:
        event_bus.bus.unsubscribe(last.note)
