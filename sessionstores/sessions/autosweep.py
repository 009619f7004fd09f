"""Sweeps from inside the process where no command can see the records.

A daemon thread that starts with the first tab that this process serves, or the first
record or session that it creates. On a cache of its own it ends when nothing is left;
on one that others fill too it goes on.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
from dataclasses import dataclass, field

from django.db import close_old_connections

from .. import conf
from ..backends import get_backend
from ..backends.base import Backend, run
from ..exceptions import StoreUnavailable
from ..monitoring.sweeps import last_sweep
from .sweeper import SweepLimits, sweep

logger = logging.getLogger("sessionstores.sweeper")

# Sweeps within IDLE_TIMEOUT, each a random fifth sooner or later than that.
FREQUENCY = 5
JITTER = 0.2
# A fork or an exit waits so long for the batch that is being swept.
JOIN_SECONDS = 1.0


def is_wanted() -> bool:
    """Tell whether this process is to sweep by itself: `AUTO_SWEEP`."""
    wanted = conf.get().auto_sweep
    return not get_backend(blocking=True).shared if wanted is None else wanted


def draw_interval() -> float:
    """Return the seconds until the next sweep, other ones each time."""
    factor = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    return conf.get().idle_timeout / FREQUENCY * factor


@dataclass
class _UntilStopped(SweepLimits):
    """Ends a pass with the batch in which its thread is told to stop."""

    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        """See `SweepLimits.is_over`."""
        return self.stop.is_set()


class AutoSweep:
    """The thread of this process; there is none while there is nothing to sweep.

    It ends before a fork, since it might hold a lock that the child would wait for. A
    child has copies of records that are not its own to tell of: it starts a thread
    when it creates something itself, or serves a tab.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        # Whether something was created since the last sweep began.
        self._called = False

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    def wake(self) -> None:
        """Start, if that is wanted and has not happened yet."""
        if is_wanted():
            with self._lock:
                self._called = True
                if self._thread is None:
                    self._start()

    def close(self) -> None:
        """End the thread with the batch that it is at."""
        with self._lock:
            thread = self._detach()
        if thread is not None:
            thread.join(JOIN_SECONDS)

    def before_fork(self) -> None:
        """End the thread, and let nobody start another before the fork is done."""
        resume = False
        while True:
            self._lock.acquire()
            thread = self._detach()
            if thread is None:
                self._resume = resume
                return
            resume = True
            # It may be waiting for the lock, to end by itself.
            self._lock.release()
            thread.join(JOIN_SECONDS)

    def after_fork(self) -> None:
        """Go on, in the parent."""
        if self._resume:
            self._start()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Let the child start its own."""
        self._thread = None
        self._lock.release()

    def _start(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run,
            args=(self._stop,),
            name="sessionstores-sweeper",
            daemon=True,
        )
        self._thread.start()

    def _detach(self) -> threading.Thread | None:
        """Tell the thread to end, and return it to be joined; None: there is none."""
        thread = self._thread
        # A receiver of participant_removed may fork: in the thread itself.
        if thread is None or thread is threading.current_thread():
            return None
        self._thread = None
        self._stop.set()
        return thread

    def _run(self, stop: threading.Event) -> None:
        interval = draw_interval()
        while not stop.wait(interval):
            try:
                self._called = False
                if self._is_idle(left=_sweep(interval, stop)):
                    return
            except StoreUnavailable as error:
                logger.warning("Nothing is swept: %s", error)
            except Exception:
                logger.exception("A sweep failed; the next one comes")
            finally:
                # What receivers have opened in this thread is nobody else's to close.
                close_old_connections()
            interval = draw_interval()

    def _is_idle(self, *, left: bool) -> bool:
        """End if nothing is `left` and nothing came meanwhile."""
        with self._lock:
            if left or self._called:
                return False
            if self._thread is threading.current_thread():
                self._thread = None
            return True


def _sweep(interval: float, stop: threading.Event) -> bool:
    """Sweep once; tell whether there may be more to sweep, now or later."""
    if not is_wanted():
        return False
    backend = get_backend(blocking=True)
    if not (backend.shared and run(_is_swept(backend, interval))):
        pace = _UntilStopped(stop=stop)
        run(sweep(backend, pace=pace, by="server", interval=interval))
    # What other processes create, they may leave to this one.
    return backend.shared or run(backend.session_count()) > 0


async def _is_swept(backend: Backend, interval: float) -> bool:
    """Tell whether another process has swept so lately that this one need not."""
    last = await last_sweep(backend)
    return last is not None and await backend.now() - last.at < interval / 2


autosweep = AutoSweep()
atexit.register(autosweep.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=autosweep.before_fork,
        after_in_parent=autosweep.after_fork,
        after_in_child=autosweep.after_fork_in_child,
    )
