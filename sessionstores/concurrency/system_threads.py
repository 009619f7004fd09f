"""Threads of the system beside greenlets, and what both wait for.

gevent and eventlet replace threads by greenlets, which share one thread of the system.
asyncio notes the running loop by thread of the system: were a loop of ours to run in a
greenlet, Django would take every other one for a coroutine and refuse the ORM to it.
So the threads of loops are always the system's.
"""

from __future__ import annotations

import sys
import threading
import time

# gevent and eventlet replace that of `queue` by one of greenlets.
from _queue import SimpleQueue
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Start = Callable[[Callable[[], None], tuple[()]], object]

# Seconds between looks at what a thread of the system does, where greenlets wait.
LOOK_SECONDS = 0.001
# Threads of a pool beside greenlets; each has an event loop of gevent's or eventlet's.
MAX_SYSTEM_THREADS = 8


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


def thread_pool(threads: int, name: str) -> Executor:
    """Return a pool of threads whose calls a coroutine waits for."""
    start = start_system_thread()
    if start is None:
        return ThreadPoolExecutor(threads, name)
    return _SystemThreadPool(start, min(threads, MAX_SYSTEM_THREADS))


class _SystemThreadPool(Executor):
    """Threads of the system beside greenlets; they end with the process."""

    def __init__(self, start: Start, threads: int) -> None:
        self._start = start
        self._left = threads
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def submit(
        self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        """See `Executor.submit`."""
        future: Future[R] = Future()

        def perform() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised where it is awaited
                future.set_exception(error)

        self._calls.put(perform)
        if self._left > 0:
            self._left -= 1
            self._start(self._work, ())
        return future

    def _work(self) -> None:
        while True:
            self._calls.get()()
