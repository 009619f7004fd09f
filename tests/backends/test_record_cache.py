"""The cache of records that this process last saw."""

from __future__ import annotations

from typing import Any

from sessionstores.backends.record_cache import OVERHEAD, RecordCache
from sessionstores.backends.types import Record
from sessionstores.keys import StoreKey
from sessionstores.state.revisions import History, Rev


def record(id: str, size: int = 0) -> Record:
    rev = Rev.first()
    history: Any = History(rev, bytes.fromhex(rev.tail))
    return Record(StoreKey("K7Q2ZD", id), history, {"a": b"x" * size}, {}, 0.0, 0.0)


def test_the_latest_record_of_a_key_is_cached_until_it_is_dropped() -> None:
    cache = RecordCache()
    older, newer = record("alice"), record("alice")
    assert cache.get(older.key) is None
    cache.put(older)
    cache.put(newer)
    assert cache.get(older.key) is newer
    cache.drop(older.key)
    cache.drop(older.key)
    assert cache.get(older.key) is None


def test_those_put_longest_ago_make_room() -> None:
    cache = RecordCache(max_bytes=3 * (OVERHEAD + 10))
    alice, bob, carol, dave = (record(id, 10) for id in ("a", "b", "c", "d"))
    for each in (alice, bob, carol, alice, dave):
        cache.put(each)
    kept = [cache.get(each.key) for each in (alice, bob, carol, dave)]
    assert kept == [alice, None, carol, dave]


def test_a_record_larger_than_the_cache_is_not_kept() -> None:
    cache = RecordCache(max_bytes=OVERHEAD)
    cache.put(record("alice", 1))
    assert cache.get(StoreKey("K7Q2ZD", "alice")) is None
    cache.put(record("bob"))
    assert cache.get(StoreKey("K7Q2ZD", "bob")) is not None


def test_a_cleared_cache_has_all_its_room_again() -> None:
    cache = RecordCache(max_bytes=OVERHEAD)
    cache.put(record("alice"))
    cache.clear()
    cache.put(record("bob"))
    assert cache.get(StoreKey("K7Q2ZD", "bob")) is not None
