"""Small shared values change by compare-and-set, however many change them at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sessionstores.backends import get_backend
from sessionstores.backends.base import Backend, run
from sessionstores.backends.shared_values import MAX_TRIES, update_value

NAME = "test"


@pytest.fixture
def backend() -> Backend:
    return get_backend(blocking=True)


def stored(backend: Backend) -> bytes | None:
    return run(backend.value(NAME)).data


def add_one(data: bytes | None) -> bytes:
    return b"%d" % (int(data or b"0") + 1)


def test_an_absent_value_is_given_as_none(backend: Backend) -> None:
    assert run(update_value(backend, NAME, add_one, seconds=60))
    assert run(update_value(backend, NAME, add_one, seconds=60))
    assert stored(backend) == b"2"


def test_none_leaves_the_value_as_it_is(backend: Backend) -> None:
    run(update_value(backend, NAME, add_one, seconds=60))
    assert not run(update_value(backend, NAME, lambda data: None, seconds=60))
    assert stored(backend) == b"1"


def test_a_value_that_another_has_changed_is_changed_on_top(backend: Backend) -> None:
    seen: list[bytes | None] = []

    def add_after_another(data: bytes | None) -> bytes:
        seen.append(data)
        if len(seen) < 3:
            run(update_value(backend, NAME, add_one, seconds=60))
        return add_one(data)

    assert run(update_value(backend, NAME, add_after_another, seconds=60))
    assert seen == [None, b"1", b"2"]
    assert stored(backend) == b"3"


def test_a_value_that_was_read_before_is_not_read_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = run(backend.value(NAME))
    with monkeypatch.context() as patch:
        patch.setattr(backend, "value", None)
        assert run(update_value(backend, NAME, add_one, seconds=60, held=held))
    # It is outdated now: the newer one is read.
    assert run(update_value(backend, NAME, add_one, seconds=60, held=held))
    assert stored(backend) == b"2"


def test_it_gives_up_when_others_always_come_first(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[bytes] = []

    async def refuse(name: str, token: Any, data: bytes, *, seconds: float) -> bool:
        tries.append(data)
        return False

    monkeypatch.setattr(backend, "swap_value", refuse)
    assert not run(update_value(backend, NAME, add_one, seconds=60))
    assert tries == [b"1"] * MAX_TRIES


def test_no_change_of_many_threads_is_lost(backend: Backend) -> None:
    barrier = threading.Barrier(8)
    done: list[bool] = []

    def change() -> None:
        barrier.wait(10)
        done.extend(
            run(update_value(backend, NAME, add_one, seconds=60)) for _ in range(10)
        )

    threads = [threading.Thread(target=change) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stored(backend) == b"%d" % sum(done)
    assert any(done)
