"""Pool of threads whose calls coroutines wait for, also beside greenlets."""

from __future__ import annotations

# gevent and eventlet replace that of `queue` by one of greenlets.
from _queue import SimpleQueue
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from .threads import Start, start_system_thread

P = ParamSpec("P")
R = TypeVar("R")

# Threads of a pool beside greenlets; each has an event loop of gevent's or eventlet's.
MAX_SYSTEM_THREADS = 8


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
