"""Concurrency primitives: backoff, a thread that survives forks, sync-only calls."""

from __future__ import annotations

import atexit
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from django.utils import asyncio as django_asyncio

F = TypeVar("F", bound=Callable[..., Any])

# Beyond this many doublings every ceiling is at its cap.
_MAX_DOUBLINGS = 32


def async_unsafe(message: str) -> Callable[[F], F]:
    """Let a function raise inside an event loop: `SynchronousOnlyOperation`, `message`.

    Django's own decorator with a type. Its own has none: at sites without stubs of
    Django, type checkers would know nothing of what it decorates.
    """
    decorate: Callable[[F], F] = django_asyncio.async_unsafe(message)
    return decorate


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


class Worker(Protocol):
    """The work of one background thread, from its start to its end."""

    def run(self) -> None:
        """Work until `stop` is called; runs in the thread."""

    def stop(self) -> None:
        """Have `run` return soon; called from other threads, and safe to repeat."""


W = TypeVar("W", bound=Worker)


class BackgroundThread(Generic[W]):
    """A daemon thread that starts when needed and ends before a fork and at exit.

    It ends before a fork because the child would inherit its sockets, and any lock
    that it held at that moment. Each start gets a new worker from `make`. With
    `resumes`, the parent starts it again after the fork; a child starts its own when
    it needs one.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], W],
        *,
        join_seconds: float,
        resumes: bool = False,
    ) -> None:
        self._name = name
        self._make = make
        self._join_seconds = join_seconds
        self._resumes = resumes
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._worker: W | None = None
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
            if self._worker is None:
                self._start()
            assert self._worker is not None  # noqa: S101 - for the type checker
            yield self._worker

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
            if self._thread is threading.current_thread():
                self._thread = self._worker = None
            return True

    def _start(self) -> None:
        worker = self._make()
        thread = threading.Thread(target=worker.run, name=self._name, daemon=True)
        # First: a system that is out of threads raises, and then there is no worker.
        thread.start()
        self._thread, self._worker = thread, worker

    def _detach(self) -> threading.Thread | None:
        """Stop the worker and return its thread to be joined; None: there is none."""
        thread, worker = self._thread, self._worker
        # The thread itself may fork or exit, in code of the site that it calls.
        if thread is None or worker is None or thread is threading.current_thread():
            return None
        self._thread = self._worker = None
        worker.stop()
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
        self._thread = self._worker = None
        self._lock.release()
