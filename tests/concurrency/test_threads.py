"""Background threads: starts, ends, forks, exits; locks for them and greenlets."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sessionstores.concurrency.threads import (
    BackgroundThread,
    Mutex,
    SystemMutex,
    mutex,
)


class Waiter:
    """Works by waiting for its end."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.stopped = threading.Event()

    def run(self) -> None:
        self.started.set()
        self.stopped.wait()

    def stop(self) -> None:
        self.stopped.set()


def waiting(*, resumes: bool = False) -> BackgroundThread[Waiter]:
    return BackgroundThread("waiter", Waiter, join_seconds=5, resumes=resumes)


def test_a_thread_starts_with_the_first_work_and_ends_when_closed() -> None:
    thread = waiting()
    assert not thread.is_running
    with thread.worker() as first:
        assert first.started.wait(5)
    with thread.worker() as again:
        assert again is first
    thread.close()
    assert first.stopped.is_set()
    assert not thread.is_running
    with thread.worker() as second:
        assert second is not first
    thread.close()


def test_an_idle_thread_ends_by_itself_unless_work_came() -> None:
    ended: list[bool] = []
    asked = threading.Event()

    class Asker(Waiter):
        def run(self) -> None:
            ended.append(thread.end_if(lambda: False))
            ended.append(thread.end_if(lambda: True))
            asked.set()

    thread = BackgroundThread("asker", Asker, join_seconds=5)
    with thread.worker():
        pass
    assert asked.wait(5)
    assert ended == [False, True]
    assert not thread.is_running


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_fork_leaves_the_child_no_thread_and_no_lock(*, resumes: bool) -> None:
    thread = waiting(resumes=resumes)
    with thread.worker() as before:
        assert before.started.wait(5)
    child = os.fork()
    if not child:
        # Exit codes are all that the child can say here.
        clean = not thread.is_running
        with thread.worker() as own:
            clean = clean and own is not before and own.started.wait(5)
        os._exit(0 if clean else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert before.stopped.is_set()
    assert thread.is_running == resumes
    thread.close()


def test_a_thread_that_forks_itself_is_not_joined() -> None:
    codes: list[int] = []

    class Forker(Waiter):
        def run(self) -> None:
            child = os.fork()
            if not child:
                os._exit(7)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    thread = BackgroundThread("forker", Forker, join_seconds=5)
    with thread.worker():
        running = thread._thread
    assert running is not None
    running.join(5)
    assert codes == [7]


def test_a_thread_that_cannot_start_leaves_no_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    thread = waiting()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError), thread.worker():
            pass
    assert not thread.is_running
    with thread.worker() as worker:
        assert worker.started.wait(5)
    thread.close()


def test_a_mutex_is_held_by_one_at_a_time() -> None:
    locks: list[Mutex] = [mutex(), SystemMutex(threading.Lock())]
    for lock in locks:
        held: list[int] = []

        def work(number: int, lock: Mutex = lock, held: list[int] = held) -> bool:
            with lock:
                held.append(number)
                # Others would come in between.
                others = held != [number]
                assert not lock.acquire(blocking=False)
                held.remove(number)
            return others

        with ThreadPoolExecutor(8) as pool:
            assert not any(pool.map(work, range(200)))
        assert lock.acquire()
        lock.release()
