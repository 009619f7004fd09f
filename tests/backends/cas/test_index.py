"""The membership index, and its repair."""

from __future__ import annotations

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.cas.index import Index
from sessionstores.backends.cas.keys import BUCKETS, bucket_keys
from sessionstores.backends.cas.serializers import encode, fresh
from sessionstores.backends.cas.values import Values
from sessionstores.exceptions import LimitReached
from sessionstores.keys import StoreKey
from sessionstores.state.revisions import Rev
from tests.backends.cas.stores import (
    DictBackend,
    DictStore,
    check_index,
)
from tests.backends.driven import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    Clock,
)


def test_an_index_cut_off_anywhere_names_nobody_who_is_not_there(
    plain: DictBackend, clock: Clock
) -> None:
    for length in range(10):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        run(plain.open(BOB, BOARD))
        name = f"ss:{{{CODE}}}:m:"
        plain.store.plant(name, plain.store.values()[name][:length])
        clock.advance(100)
        run(plain.touch(ALICE))
        run(plain.touch(BOB))
        check_index(plain)


def test_an_index_that_was_lost_is_entered_again_by_those_in_use(
    plain: DictBackend, clock: Clock
) -> None:
    run(plain.open(ALICE, BOARD))
    run(plain.open(BOB, BOARD))
    for name in plain.store.values():
        if ":m:" in name or "reg" in name:
            plain.store.lose(name)
    assert run(plain.sessions()) == []
    clock.advance(100)
    run(plain.read(ALICE))
    run(plain.touch(BOB))
    assert run(plain.sessions()) == [CODE]
    assert run(plain.participant_count(CODE)) == 2
    check_index(plain)


@pytest.fixture
def index(values: Values) -> Index:
    return Index(values)


def test_participants_are_entered_once_and_removed_by_one(index: Index) -> None:
    for id in ("alice", "bob", "alice"):
        run(index.enter(CODE, id))
    assert run(index.members([CODE, "ELSE23"])) == {
        CODE: ["alice", "bob"],
        "ELSE23": [],
    }
    assert run(index.participant_count(CODE)) == 2
    assert run(index.leave(CODE, ["alice", "carol"])) == ["alice"]
    assert run(index.leave(CODE, ["alice"])) == []
    assert run(index.members([CODE])) == {CODE: ["bob"]}


def test_a_newcomer_past_the_limit_is_refused_and_who_is_entered_is_not(
    index: Index,
) -> None:
    run(index.enter(CODE, "alice", 1))
    run(index.enter(CODE, "alice", 1))
    with pytest.raises(LimitReached):
        run(index.enter(CODE, "bob", 1))


def test_sessions_are_spread_over_values_and_listed_in_order(
    index: Index, store: DictStore
) -> None:
    codes = [f"S{number:05d}" for number in range(200)]
    for code in reversed(codes):
        run(index.register(code))
    assert run(index.sessions()) == codes
    assert run(index.session_count()) == 200
    assert set(store.values()) == set(bucket_keys())
    assert len(store.values()) == BUCKETS
    for code in codes:
        run(index.unregister(code))
    assert store.values() == {}


def plant_record(store: DictStore, name: str) -> bytes:
    value = encode(fresh(Rev.first(), {}, store.clock(), None))
    store.plant(name, value)
    return value


def test_settling_enters_a_record_and_gives_it_a_session(
    index: Index, store: DictStore
) -> None:
    plant_record(store, f"ss:{{{CODE}}}:p:alice")
    context = run(index.settle(ALICE))
    assert context.record is not None
    assert context.session is not None
    assert run(index.sessions()) == [CODE]
    assert run(index.members([CODE])) == {CODE: ["alice"]}


def test_settling_gives_participants_the_recovered_session_record(
    index: Index, store: DictStore
) -> None:
    recovered = plant_record(store, f"ss:{{{CODE}}}:s:")
    store.lose(f"ss:{{{CODE}}}:s:")
    plant_record(store, f"ss:{{{CODE}}}:p:alice")
    run(index.settle(ALICE, recovered))
    assert store.values()[f"ss:{{{CODE}}}:s:"] == recovered


def test_settling_removes_entries_without_a_record(
    index: Index, store: DictStore
) -> None:
    run(index.enter(CODE, "alice"))
    run(index.register(CODE))
    context = run(index.settle(ALICE))
    assert (context.record, context.session) == (None, None)
    assert store.values() == {}


def test_settling_under_a_tombstone_makes_no_session(
    index: Index, store: DictStore
) -> None:
    plant_record(store, f"ss:{{{CODE}}}:p:alice")
    store.plant(f"ss:{{{CODE}}}:t:", b"0")
    context = run(index.settle(ALICE))
    assert context.ended
    assert context.session is None
    assert run(index.sessions()) == []


def test_the_entry_of_a_missing_record_is_dropped_by_one_of_several(
    index: Index,
) -> None:
    for id in ("alice", "bob"):
        run(index.enter(CODE, id))
    contexts = [run(index.context(ALICE)) for _ in range(2)]
    answers = [run(index.drop_entry(ALICE, context)) for context in contexts]
    assert answers == [True, False]
    assert run(index.members([CODE])) == {CODE: ["bob"]}
    bob = StoreKey(CODE, "bob")
    assert run(index.drop_entry(bob, run(index.context(bob)))) is True
    assert run(index.members([CODE])) == {CODE: []}
