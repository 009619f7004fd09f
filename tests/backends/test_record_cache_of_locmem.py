"""Records that LocMem keeps at hand are never older than what is stored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.locmem import MEMORY, LocMemBackend
from sessionstores.backends.types import Committed, Record
from sessionstores.keys import StoreKey


@pytest.fixture
def backend() -> Iterator[LocMemBackend]:
    backend = LocMemBackend("latest", blocking=True)
    yield backend
    run(backend.clear())


def read(backend: LocMemBackend, key: StoreKey) -> Record:
    record = run(backend.read(key))
    assert isinstance(record, Record)
    return record


def test_a_commit_through_another_backend_is_read(backend: LocMemBackend) -> None:
    other = LocMemBackend("latest", blocking=True)
    key = StoreKey("K7Q2ZD", "alice")
    base = run(backend.open(key, {"board": b"1:{}"})).record
    assert read(backend, key) is read(backend, key)
    assert isinstance(
        run(other.commit(base, base.rev.next(), {"board": b"1:[]"})), Committed
    )
    assert read(backend, key).states == {"board": b"1:[]"}


def test_a_record_created_anew_is_not_the_one_at_hand(backend: LocMemBackend) -> None:
    key = StoreKey("K7Q2ZD", "alice")
    old = run(backend.open(key, {"board": b"1:{}"})).record
    assert read(backend, key).rev == old.rev
    run(backend.delete(key))
    assert run(backend.read(key)) is None
    new = run(backend.open(key, {"board": b"1:{}"})).record
    assert read(backend, key).rev == new.rev != old.rev


def test_no_more_records_are_kept_at_hand_than_memory_allows(
    backend: LocMemBackend,
) -> None:
    keys = [StoreKey("K7Q2ZD", f"p{n}") for n in range(2 * MEMORY)]
    for n, key in enumerate(keys):
        run(backend.open(key, {"board": b"1:%d" % n}))
        read(backend, key)
    assert len(backend._latest) <= MEMORY
    for n, key in enumerate(keys):
        assert read(backend, key).states == {"board": b"1:%d" % n}
