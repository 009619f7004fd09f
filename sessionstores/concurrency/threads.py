"""Background threads; threads of the system beside greenlets, and what both wait for.

gevent and eventlet replace threads by greenlets, which share one thread of the system.
asyncio notes the running loop by thread of the system: were a loop of ours to run in a
greenlet, Django would take every other one for a coroutine and refuse the ORM to it.
So the threads of loops are always the system's.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

Start = Callable[[Callable[[], None], tuple[()]], object]

# Seconds between looks at what a thread of the system does, where greenlets wait.
LOOK_SECONDS = 0.001


def start_system_thread() -> Start | None:
    """Return what starts a thread of the system where threads are greenlets.

    None where they are not.
    """
    monkey: Any = sys.modules.get("gevent.monkey")
    patcher: Any = sys.modules.get("eventlet.patcher")
    start: Start | None = None
    if monkey is not None and monkey.is_module_patched("threading"):
        start = monkey.get_original("_thread", "start_new_thread")
    elif patcher is not None and patcher.is_monkey_patched("thread"):
        start = _start_beside_eventlet(patcher.original("threading"))
    return start


def _start_beside_eventlet(threading: Any) -> Start:
    """Return what starts a thread by eventlet's copy of the unpatched module."""
    # Python 3.13 has another.
    start: Start | None = getattr(threading, "_start_new_thread", None)
    if start is not None:
        return start
    return lambda call, args: threading._start_joinable_thread(
        lambda: call(*args), daemon=True
    )


def socket_home() -> int:
    """Return the thread of the system outside of which a socket cannot wait; else 0.

    gevent's sockets belong to it; any thread may use the standard library's.
    """
    return 0 if start_system_thread() is None else threading.get_native_id()


class Mutex(Protocol):
    """A lock; not reentrant."""

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002
        """Take it; unless `blocking`, return False if another holds it."""

    def release(self) -> None:
        """Give it back; any thread may."""

    def __enter__(self) -> bool: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...


def mutex() -> Mutex:
    """Return a lock for threads and for greenlets, of one thread of the system or more.

    Each lock that the thread of a loop shares with others is one of these.
    """
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is None or not patcher.is_monkey_patched("thread"):
        return threading.Lock()
    return SystemMutex(patcher.original("threading").Lock())


class SystemMutex:
    """A lock of the system that greenlets wait for by looking again.

    A lock of eventlet's wakes greenlets of the thread that releases it, and no others:
    those wait forever.
    """

    def __init__(self, lock: Mutex) -> None:
        self._lock = lock

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002
        """See `Mutex.acquire`."""
        while not (taken := self._lock.acquire(blocking=False)) and blocking:
            time.sleep(LOOK_SECONDS)
        return taken

    def release(self) -> None:
        """See `Mutex.release`."""
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


class Completion:
    """Set once by one thread and waited for in another, or in a greenlet of another."""

    def __init__(self) -> None:
        self._is_set = False
        # The events of greenlets do not reach across threads of the system.
        self._event = threading.Event() if start_system_thread() is None else None

    def set(self) -> None:
        """End the waiting."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`; return whether it is set."""
        if self._event is not None:
            return self._event.wait(seconds)
        deadline = time.monotonic() + seconds
        while not self._is_set and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        return self._is_set


class ThreadWork(Protocol):
    """The work of one background thread, from its start to its end."""

    def run(self) -> None:
        """Work until `stop` is called; runs in the thread."""

    def stop(self) -> None:
        """Have `run` return soon; called from other threads, and safe to repeat."""


W = TypeVar("W", bound=ThreadWork)


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
