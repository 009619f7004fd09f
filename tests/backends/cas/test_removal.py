"""Removal of records: each record is reported once, whatever interleaves or fails."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from math import inf
from typing import Any

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.cas.followers import Followers
from sessionstores.backends.cas.index import Index
from sessionstores.backends.cas.removal import Idleness, RecordRemoval
from sessionstores.backends.cas.serializers import encode, fresh
from sessionstores.backends.cas.values import Values
from sessionstores.backends.types import NOBODY, Removed, removed_with
from sessionstores.exceptions import (
    StoreUnavailable,
)
from sessionstores.keys import StoreKey
from sessionstores.state.revisions import Rev
from tests.backends.cas.stores import (
    Call,
    DictBackend,
    DictStore,
    Stepwise,
    check_index,
    fail_at,
    record,
)
from tests.backends.driven import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    MORE,
    OWN,
    Clock,
    lease,
)


def test_each_eviction_is_reported_once_whatever_interleaves(
    plain: DictBackend, stepwise: Stepwise, clock: Clock
) -> None:
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        run(plain.open(BOB, BOARD))
        name = f"ss:{{{CODE}}}:p:bob"
        plain.store.lose(name)
        clock.advance(301)
        removed = []

        def overtake(
            step: int, what: str, at: int = at, told: list[Any] = removed
        ) -> None:
            if step == at:
                told += run(plain.evict_idle(CODE, idle_for=300, limit=9))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        removed += run(stepwise.evict_idle(CODE, idle_for=300, limit=9))
        told = sorted((final.key, final.states) for final in removed)
        assert told == [(ALICE, BOARD), (BOB, None)]
        if stepwise.store.steps <= at:
            return
    raise AssertionError("never came to an end")


CLEARINGS: dict[str, Call] = {
    "delete session": lambda backend: backend.delete_session(CODE),
    "end": lambda backend: backend.end_session(CODE),
}


@pytest.mark.parametrize("clearing", CLEARINGS)
def test_a_sweep_beside_the_removal_of_a_session_reports_none_as_lost(
    plain: DictBackend, stepwise: Stepwise, clearing: str
) -> None:
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        run(plain.open(BOB, BOARD))
        removed = []

        def overtake(
            step: int, what: str, at: int = at, told: list[Any] = removed
        ) -> None:
            if step == at:
                told += run(plain.evict_idle(CODE, idle_for=inf, limit=9))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        removed += run(CLEARINGS[clearing](stepwise))
        told = [(final.key, final.states) for final in removed]
        assert told == [(ALICE, BOARD), (BOB, BOARD), (OWN, {})]
        if stepwise.store.steps <= at:
            return
    raise AssertionError("never came to an end")


def test_who_returns_to_a_session_under_removal_is_not_reported_as_lost_too(
    plain: DictBackend, stepwise: Stepwise
) -> None:
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        back = []

        def overtake(
            step: int, what: str, at: int = at, told: list[Any] = back
        ) -> None:
            if step == at:
                told.append(run(plain.open(ALICE, MORE)))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        removed = run(stepwise.delete_session(CODE))
        told = [final.states for final in removed if final.key == ALICE]
        assert told == [BOARD]
        assert not any(opened.lost for opened in back)
        check_index(plain)
        if stepwise.store.steps <= at:
            return
    raise AssertionError("never came to an end")


@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("clearing", CLEARINGS)
def test_each_removal_of_a_session_that_fails_halfway_is_reported_once(
    plain: DictBackend, stepwise: Stepwise, clearing: str, after: bool
) -> None:
    keys = [StoreKey(CODE, f"p{number:02d}") for number in range(20)]
    for step in range(100):
        run(plain.clear())
        for key in keys:
            run(plain.open(key, BOARD))
        fail_at(stepwise, step, after=after)
        removed = []
        with suppress(StoreUnavailable):
            removed += run(CLEARINGS[clearing](stepwise))
        steps, lost = stepwise.store.steps, []
        removed += run(CLEARINGS[clearing](plain))
        told = Counter(final.key for final in removed if not final.key.is_session)
        assert set(told.values()) == {1}
        # Whose removal was not answered may have been removed by another, who tells.
        lost = [key for key in keys if key not in told]
        assert len(lost) <= after
        check_index(plain)
        if steps <= step:
            assert not lost
            return
    raise AssertionError("never came to an end")


USES: dict[str, Call] = {
    "touch": lambda backend: backend.touch(ALICE),
    "lease": lambda backend: backend.lease([lease()]),
    "read": lambda backend: backend.read(ALICE),
    "open": lambda backend: backend.open(ALICE, BOARD),
}


def test_nothing_is_evicted_that_was_touched_or_leased_meanwhile(
    plain: DictBackend, stepwise: Stepwise, clock: Clock
) -> None:
    for use in USES:
        for at in range(100):
            run(plain.clear())
            run(plain.open(ALICE, BOARD))
            clock.advance(301)
            used: list[int] = []

            def overtake(
                step: int,
                what: str,
                at: int = at,
                use: str = use,
                used: list[int] = used,
            ) -> None:
                if step == at:
                    used.append(run(plain.read(ALICE, touch=False)) is not None)
                    run(USES[use](plain))

            stepwise.store.steps, stepwise.store.before = 0, overtake
            removed = run(stepwise.evict_idle(CODE, idle_for=300, limit=9))
            if stepwise.store.steps <= at:
                break
            if used == [True]:
                assert removed == []
                assert record(plain).states == BOARD
        assert at > 3


def test_a_participant_who_is_just_being_created_is_not_reported_as_lost(
    plain: DictBackend, stepwise: Stepwise, clock: Clock
) -> None:
    reported = []
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        name = f"ss:{{{CODE}}}:p:alice"
        plain.store.lose(name)

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                run(plain.open(ALICE, BOARD))

        clock.advance(301)
        stepwise.store.steps, stepwise.store.before = 0, overtake
        removed = run(stepwise.evict_idle(CODE, idle_for=300, limit=9))
        if stepwise.store.steps <= at:
            break
        assert run(plain.participant_count(CODE)) == 1
        reported.append(len(removed))
    # Only those who come when it has been looked at for the last time.
    assert reported == [0] * (len(reported) - 1) + [1]


@pytest.fixture
def removal(values: Values) -> RecordRemoval:
    index = Index(values)
    for id in ("alice", "bob"):
        run(index.enter(CODE, id))
    return RecordRemoval(values, index, Followers(values))


def idle_since(moment: float, clock: Clock) -> Idleness:
    return Idleness(moment, clock(), 0.0)


def plant_record(store: DictStore, id: str) -> None:
    stored = fresh(Rev.first(), BOARD, store.clock(), None)
    store.plant(f"ss:{{{CODE}}}:p:{id}", encode(stored))


def test_a_removal_returns_final_states_and_followers(
    removal: RecordRemoval, values: Values, store: DictStore
) -> None:
    plant_record(store, "alice")
    run(Followers(values).follow([lease(ALICE)]))
    expected = removed_with(ALICE, BOARD, frozenset({"web-1"}))
    assert run(removal.remove(CODE, ["alice"])) == [expected]
    assert run(removal.remove(CODE, ["alice"])) == []


def test_an_entry_without_a_record_is_reported_as_lost_once(
    removal: RecordRemoval,
) -> None:
    assert run(removal.remove(CODE, ["alice"])) == [Removed(ALICE, None, NOBODY)]
    assert run(removal.remove(CODE, ["alice"])) == []


def test_only_the_idle_are_removed(
    removal: RecordRemoval, store: DictStore, clock: Clock
) -> None:
    plant_record(store, "alice")
    clock.advance(60)
    plant_record(store, "bob")
    rule = idle_since(clock() - 30, clock)
    removed = run(removal.remove(CODE, ["alice", "bob"], rule))
    assert [final.key for final in removed] == [ALICE]
    assert run(Index(removal._values).members([CODE])) == {CODE: ["bob"]}


def test_a_corrupt_record_is_never_idle_but_can_be_removed(
    removal: RecordRemoval, store: DictStore, clock: Clock
) -> None:
    store.plant(f"ss:{{{CODE}}}:p:alice", b"junk")
    assert run(removal.remove(CODE, ["alice"], idle_since(inf, clock))) == []
    assert run(removal.remove(CODE, ["alice"])) == [Removed(ALICE, None, NOBODY)]


def test_who_was_seen_since_a_record_was_read_is_not_taken(
    removal: RecordRemoval, store: DictStore, clock: Clock
) -> None:
    plant_record(store, "alice")
    found = store.at(f"ss:{{{CODE}}}:p:alice")
    clock.advance(60)
    plant_record(store, "alice")
    rule = idle_since(clock() - 30, clock)
    assert run(removal.take(ALICE, found, rule)) is None
    assert run(removal.take(ALICE, found)) == removed_with(ALICE, BOARD)
