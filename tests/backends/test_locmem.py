"""LocMem, the embedded default: records in this process's memory."""

from __future__ import annotations

import os
import tracemalloc
from typing import ClassVar

import pytest
from django.core.cache import caches

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.locmem import (
    MAX_DECODED,
    MAX_DECODED_BYTES,
    LocMemBackend,
    LocMemStore,
)
from sessionstores.backends.types import Committed, Record
from sessionstores.keys import StoreKey
from tests.contract.contract import ALICE, BOARD, BackendContract, Clock


class TestLocMem(BackendContract):
    HISTORIES: ClassVar[int] = 40

    def make_backend(self, *, blocking: bool, clock: Clock) -> LocMemBackend:
        return LocMemBackend("contract", blocking=blocking, clock=clock)

    def plant(self, key: str, value: bytes, clock: Clock) -> None:
        store = LocMemStore("contract", blocking=True, clock=clock)
        found = run(store.read([key])).get(key)
        token = found.token if found else None
        assert run(store.cas(key, token, value, 600)) is not None

    def lose(self, key: str, clock: Clock) -> None:
        store = LocMemStore("contract", blocking=True, clock=clock)
        assert run(store.delete(key, run(store.read([key]))[key].token))


@pytest.fixture
def backend(clock: Clock) -> LocMemBackend:
    backend = LocMemBackend("tests", blocking=True, clock=clock)
    run(backend.clear())
    return backend


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_idle_participant_costs_little_more_than_its_state(
    backend: LocMemBackend,
) -> None:
    run(backend.open(ALICE, BOARD))
    count, size = 2_000, 930
    keys = [
        StoreKey(f"S{n // 100:05d}", f"participant-{n % 100:02d}") for n in range(count)
    ]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for key in keys:
            run(backend.open(key, {"board": os.urandom(size)}))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    run(backend.clear())
    assert (after - before) / count <= 1.6 * size


def test_nothing_is_culled_however_much_is_cached(backend: LocMemBackend) -> None:
    for n in range(1_000):
        run(backend.open(StoreKey(f"S{n:05d}", "alice"), BOARD))
    assert run(backend.participant_count()) == 1_000
    assert all(run(backend.read(StoreKey(f"S{n:05d}", "alice"))) for n in range(1_000))


def test_clearing_or_filling_the_sites_cache_touches_no_record() -> None:
    backend = get_backend(blocking=True)
    run(backend.open(ALICE, BOARD))
    for number in range(500):
        caches["default"].set(f"page-{number}", "x")
    caches["default"].clear()
    assert isinstance(run(backend.read(ALICE)), Record)
    run(backend.clear())


def test_expired_values_are_given_back_without_being_read(
    backend: LocMemBackend, clock: Clock
) -> None:
    run(backend.create_session("KEPT22", label="", keep=10_000_000))
    for n in range(500):
        run(backend.swap_value(f"v{n}", None, b"x", seconds=10))
    clock.advance(11)
    for n in range(300):
        run(backend.swap_value(f"w{n}", None, b"x", seconds=10))
    assert len(run(backend.store.list_keys())) <= 310
    assert run(backend.session("KEPT22")) is not None


def test_nothing_in_memory_ever_suspends() -> None:
    backend = LocMemBackend("tests", blocking=False)
    run(backend.open(ALICE, BOARD))
    assert len(run(backend.participants(ALICE.session))) == 1
    run(backend.clear())


# Records that are kept decoded


def read(backend: LocMemBackend, key: StoreKey) -> Record:
    record = run(backend.read(key))
    assert isinstance(record, Record)
    return record


def test_a_commit_through_another_backend_is_read(
    backend: LocMemBackend, clock: Clock
) -> None:
    other = LocMemBackend("tests", blocking=True, clock=clock)
    key = StoreKey("K7Q2ZD", "alice")
    base = run(backend.open(key, {"board": b"1:{}"})).record
    assert read(backend, key) is read(backend, key)
    assert isinstance(
        run(other.commit(base, base.rev.next(), {"board": b"1:[]"})), Committed
    )
    assert read(backend, key).states == {"board": b"1:[]"}


def test_a_record_created_anew_is_decoded_anew(
    backend: LocMemBackend,
) -> None:
    key = StoreKey("K7Q2ZD", "alice")
    old = run(backend.open(key, {"board": b"1:{}"})).record
    assert read(backend, key).rev == old.rev
    run(backend.delete(key))
    assert run(backend.read(key)) is None
    new = run(backend.open(key, {"board": b"1:{}"})).record
    assert read(backend, key).rev == new.rev != old.rev


def test_only_small_records_are_kept_decoded(backend: LocMemBackend) -> None:
    key = StoreKey("K7Q2ZD", "alice")
    record = run(backend.open(key, {"board": b"1:0"})).record
    kept = backend._decoder._records
    for size in (1, MAX_DECODED_BYTES, 1):
        data = b"1:" + size * b"1"
        committed = run(backend.commit(record, record.rev.next(), {"board": data}))
        record = committed.record
        assert (key in kept) == (size == 1)
        assert read(backend, key).states == {"board": data}
        assert (key in kept) == (size == 1)


def test_no_more_records_are_kept_decoded_than_the_bound(
    backend: LocMemBackend,
) -> None:
    codes = ("K7Q2ZD", "K7Q2ZE")
    some = range(MAX_DECODED * 3 // 4)
    keys = [StoreKey(code, f"p{n}") for code in codes for n in some]
    for n, key in enumerate(keys):
        run(backend.open(key, {"board": b"1:%d" % n}))
        read(backend, key)
    assert len(backend._decoder._records) <= MAX_DECODED
    for n, key in enumerate(keys):
        assert read(backend, key).states == {"board": b"1:%d" % n}
