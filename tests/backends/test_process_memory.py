"""What a process remembers of a backend is as old as the backend."""

from __future__ import annotations

import threading

from django.test import override_settings

from sessionstores.backends import drop_backends, get_backend
from sessionstores.backends.process_memory import ProcessMemory


class Seen(list[str]):
    pass


class Closable:
    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_there_is_one_object_of_each_type() -> None:
    memory = ProcessMemory()
    memory.of(Seen).append("alice")
    assert memory.of(Seen) == ["alice"]
    assert isinstance(memory.of(Closable), Closable)


def test_many_threads_get_the_same_object() -> None:
    memory = ProcessMemory()
    barrier = threading.Barrier(8)
    found: list[Closable] = []

    def get() -> None:
        barrier.wait(10)
        found.append(memory.of(Closable))

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in found}) == 1


def test_an_object_that_is_empty_is_kept() -> None:
    memory = ProcessMemory()
    assert memory.of(Seen) is memory.of(Seen)


def test_both_flavours_of_a_backend_share_one() -> None:
    blocking = get_backend(blocking=True)
    assert blocking.memory is get_backend(blocking=False).memory
    assert blocking.memory is get_backend(blocking=True).memory


def test_other_aliases_have_their_own() -> None:
    locmem = "django.core.cache.backends.locmem.LocMemCache"
    caches = {name: {"BACKEND": locmem, "LOCATION": name} for name in ("default", "b")}
    with override_settings(CACHES=caches):
        other = get_backend(blocking=True, alias="b")
        assert other.memory is not get_backend(blocking=True).memory


def test_it_ends_with_its_backend() -> None:
    before = get_backend(blocking=True).memory
    closable = before.of(Closable)
    drop_backends()
    assert closable.is_closed
    after = get_backend(blocking=True).memory
    assert after is not before
    assert after.of(Closable) is not closable


def test_changed_settings_end_it_too() -> None:
    closable = get_backend(blocking=True).memory.of(Closable)
    with override_settings(SESSIONSTORES={"HEARTBEAT": 5}):
        assert closable.is_closed
