"""Background thread: starts when needed, ends before a fork and at exit."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from .system_threads import LOOK_SECONDS, Start, mutex, start_system_thread


class Worker(Protocol):
    """The work of one background thread, from its start to its end."""

    def run(self) -> None:
        """Work until `stop` is called; runs in the thread."""

    def stop(self) -> None:
        """Have `run` return soon; called from other threads, and safe to repeat."""


W = TypeVar("W", bound=Worker)


class _Thread(Generic[W]):
    """A started thread of the standard library, with its worker."""

    def __init__(self, name: str, make: Callable[[], W]) -> None:
        self.worker = make()
        self._thread = threading.Thread(target=self.worker.run, name=name, daemon=True)
        # A system that is out of threads raises, and then there is no worker.
        self._thread.start()

    @property
    def is_current(self) -> bool:
        return self._thread is threading.current_thread()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)


class _SystemThread(Generic[W]):
    """A started thread of the system, whose worker is made in it, beside greenlets."""

    def __init__(self, start: Start, make: Callable[[], W]) -> None:
        self._make = make
        self._made: list[W | BaseException] = []
        self._id = 0
        self._has_ended = False
        start(self._run, ())
        while not self._made:
            time.sleep(LOOK_SECONDS)
        (made,) = self._made
        if isinstance(made, BaseException):
            raise made
        self.worker: W = made

    def _run(self) -> None:
        self._id = threading.get_native_id()
        try:
            worker = self._make()
            self._made.append(worker)
            worker.run()
        except BaseException as error:
            if self._made:
                raise
            # Raised where the thread is started.
            self._made.append(error)
        finally:
            self._has_ended = True

    @property
    def is_current(self) -> bool:
        return self._id == threading.get_native_id()

    def join(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._has_ended and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)


class BackgroundThread(Generic[W]):
    """A daemon thread that starts when needed and ends before a fork and at exit.

    It ends before a fork because the child would inherit its sockets, and any lock
    that it held at that moment. Each start gets a new worker from `make`. With
    `resumes`, the parent starts it again after the fork; a child starts its own when
    it needs one. One that `has_loop` is a thread of the system even beside greenlets.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], W],
        *,
        join_seconds: float,
        resumes: bool = False,
        has_loop: bool = False,
    ) -> None:
        self._has_loop = has_loop
        self._name = name
        self._make = make
        self._join_seconds = join_seconds
        self._resumes = resumes
        self._lock = mutex()
        self._thread: _Thread[W] | _SystemThread[W] | None = None
        self._was_running = False
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork_in_parent,
                after_in_child=self._after_fork_in_child,
            )

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    @contextmanager
    def worker(self) -> Iterator[W]:
        """Start the thread unless it runs; yield its worker, held from ending.

        The lock is held inside: hand over work, and wait for it outside.
        """
        with self._lock:
            yield (self._thread or self._start()).worker

    def close(self) -> None:
        """Stop the thread and wait up to `join_seconds` for its end."""
        with self._lock:
            thread = self._detach()
        if thread is not None:
            thread.join(self._join_seconds)

    def end_if(self, is_idle: Callable[[], bool]) -> bool:
        """Let the calling background thread go if it is idle; `run` must then return.

        `is_idle` is called while no other thread can hand over work.
        """
        with self._lock:
            if not is_idle():
                return False
            if self._thread is not None and self._thread.is_current:
                self._thread = None
            return True

    def _start(self) -> _Thread[W] | _SystemThread[W]:
        start = start_system_thread() if self._has_loop else None
        if start is None:
            self._thread = _Thread(self._name, self._make)
        else:
            self._thread = _SystemThread(start, self._make)
        return self._thread

    def _detach(self) -> _Thread[W] | _SystemThread[W] | None:
        """Stop the worker and return its thread to be joined; None: there is none."""
        thread = self._thread
        # The thread itself may fork or exit, in code of the site that it calls.
        if thread is None or thread.is_current:
            return None
        self._thread = None
        thread.worker.stop()
        return thread

    def _before_fork(self) -> None:
        self._was_running = False
        while True:
            self._lock.acquire()
            thread = self._detach()
            if thread is None:
                return
            self._was_running = True
            # Released for the join: the thread may need the lock in order to end.
            self._lock.release()
            thread.join(self._join_seconds)

    def _after_fork_in_parent(self) -> None:
        if self._resumes and self._was_running:
            self._start()
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._thread = None
        self._lock.release()
