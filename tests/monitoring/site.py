"""Backends as several processes have them, over one memory and one clock."""

from __future__ import annotations

from sessionstores.backends.base import run
from sessionstores.backends.locmem import LocMemBackend
from sessionstores.monitoring import history, workers
from sessionstores.monitoring.latency import bucket_of
from sessionstores.monitoring.stats import Stats, gather
from sessionstores.monitoring.tally import Tally, tally_of
from tests.backends.driven import Clock


class SharedMemory(LocMemBackend):
    """A memory that stands for a cache which processes share."""

    @property
    def shared(self) -> bool:
        """See `Backend.shared`."""
        return True


class Process:
    """One process: its backend, and what it counts."""

    def __init__(self, clock: Clock) -> None:
        self.backend = SharedMemory("default", blocking=True, clock=clock)

    @property
    def tally(self) -> Tally:
        """What it counts."""
        return tally_of(self.backend)

    def act(self, *seconds: float) -> None:
        """Count actions that took so long."""
        for each in seconds:
            self.tally.latency[bucket_of(each)] += 1

    def beat(self) -> None:
        """Do with the figures what a heartbeat does."""
        run(workers.report(self.backend))
        # The slot is over by the test's clock.
        self.backend.memory.items.pop(history.SampleMemory, None)
        run(history.sample(self.backend))

    def stats(self) -> Stats:
        """Return the figures, as this process is asked for them."""
        return run(gather(self.backend, stores=0))


class Site:
    """Processes over one memory and one clock."""

    def __init__(self) -> None:
        self.clock = Clock()

    def process(self) -> Process:
        """Return another process."""
        return Process(self.clock)
