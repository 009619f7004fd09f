"""What threads of the system and greenlets wait for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from sessionstores.concurrency.system_threads import Mutex, SystemMutex, mutex


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
