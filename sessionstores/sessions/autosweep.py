"""Autosweep: a thread that sweeps where no command of another process can.

It starts with the first tab that this process serves, or the first record or session
that it creates. Where the cache is this process's own, it ends when nothing is left;
where other processes fill it too, it goes on.
"""

from __future__ import annotations

import logging
import random
import threading
from dataclasses import dataclass, field

from django.db import close_old_connections

from .. import conf
from ..backends import get_backend
from ..backends.base import Backend, run
from ..concurrency.threads import BackgroundThread
from ..event_bus import Event
from ..exceptions import StoreUnavailable
from ..monitoring.sweeps import last_sweep
from .sweeper import SweepLimits, sweep

logger = logging.getLogger("sessionstores.sweeper")

# Sweeps within IDLE_TIMEOUT, each up to a fifth earlier or later at random.
FREQUENCY = 5
JITTER = 0.2
# Seconds that a fork or an exit waits for the batch that is being swept.
JOIN_SECONDS = 1.0


def is_wanted() -> bool:
    """Return whether this process is to sweep by itself: `AUTO_SWEEP`."""
    wanted = conf.get().auto_sweep
    return not get_backend(blocking=True).shared if wanted is None else wanted


def draw_interval() -> float:
    """Draw the seconds until the next sweep, with jitter."""
    factor = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    return conf.get().idle_timeout / FREQUENCY * factor


@dataclass
class _UntilStopped(SweepLimits):
    """Ends a pass with the batch in which its thread is stopped."""

    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        """See `SweepLimits.is_over`."""
        return self.stopped.is_set()


class AutoSweep:
    """The sweeping thread of this process; none while there is nothing to sweep.

    Part of a backend's `ProcessMemory`, so it ends with the backend. It ends before a
    fork, too: a child has copies of records, which are not its own to sweep, and
    starts a thread when it creates something itself or serves a tab.
    """

    def __init__(self) -> None:
        self._thread: BackgroundThread[_Sweeper] = BackgroundThread(
            "sessionstores-sweeper",
            lambda: _Sweeper(self._thread),
            join_seconds=JOIN_SECONDS,
            resumes=True,
        )

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._thread.is_running

    def wake(self) -> None:
        """Start, unless it runs; a running one will not end with its current pass."""
        with self._thread.worker() as sweeper:
            sweeper.is_called = True

    def close(self) -> None:
        """End the thread with its current batch."""
        self._thread.close()


class _Sweeper:
    """Sweeps at intervals until it is stopped, or nothing is left."""

    def __init__(self, thread: BackgroundThread[_Sweeper]) -> None:
        self._thread = thread
        self._stopped = threading.Event()
        # Whether something was created since the last sweep began.
        self.is_called = False

    def run(self) -> None:
        """See `threads.ThreadWork.run`."""
        interval = draw_interval()
        while not self._stopped.wait(interval):
            try:
                self.is_called = False
                may_have_more = self._sweep(interval)
                if not may_have_more and self._thread.end_if(self._is_idle):
                    return
            except StoreUnavailable as error:
                logger.warning("The cache could not be swept: %s", error)
            except Exception:
                logger.exception("A sweep failed; the next one is scheduled")
            finally:
                # Signal receivers may have opened connections in this thread.
                close_old_connections()
            interval = draw_interval()

    def stop(self) -> None:
        """See `threads.ThreadWork.stop`."""
        self._stopped.set()

    def _is_idle(self) -> bool:
        return not self.is_called

    def _sweep(self, interval: float) -> bool:
        """Sweep once; return whether there may be more to sweep, now or later."""
        if not is_wanted():
            return False
        backend = get_backend(blocking=True)
        if not (backend.shared and run(_was_swept(backend, interval))):
            pace = _UntilStopped(stopped=self._stopped)
            run(sweep(backend, pace=pace, by="server", interval=interval))
        # Other processes may leave the sweeping of their records to this one.
        return backend.shared or run(backend.session_count()) > 0


async def _was_swept(backend: Backend, interval: float) -> bool:
    """Return whether another process has swept within half an interval."""
    last = await last_sweep(backend)
    return last is not None and await backend.now() - last.at < interval / 2


def autosweep() -> AutoSweep:
    """Return the sweeping thread of the current backend."""
    return get_backend(blocking=True).memory.of(AutoSweep)


def wake(event: Event | None = None) -> None:
    """Start sweeping if that is wanted and has not begun; an event bus listener."""
    if is_wanted():
        autosweep().wake()
