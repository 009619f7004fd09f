"""Leases: joins and leaves alternate, however many write them."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.cas.leases import Leases
from sessionstores.backends.cas.values import Values
from tests.backends.cas.stores import (
    Call,
    DictBackend,
    DictStore,
    Stepwise,
    check_index,
)
from tests.backends.driven import (
    ALICE,
    BOB,
    CODE,
    OWN,
    Clock,
    lease,
)

PRESENCE: dict[str, Call] = {
    "come": lambda backend: backend.lease([lease()]),
    "come again": lambda backend: backend.lease([lease(ALICE, "c2")]),
    "go": lambda backend: backend.release(lease()),
    "leave": lambda backend: backend.release(lease(), grace=5),
    "reap": lambda backend: backend.reap([CODE]),
}


@pytest.mark.parametrize("lapsed", [False, True])
@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("other", PRESENCE)
@pytest.mark.parametrize("name", PRESENCE)
def test_joins_and_leaves_alternate_whatever_interleaves(
    plain: DictBackend,
    stepwise: Stepwise,
    clock: Clock,
    name: str,
    other: str,
    connected: bool,
    lapsed: bool,
) -> None:
    for at in range(100):
        run(plain.clear())
        present = int(connected)
        if connected:
            run(plain.lease([lease()]))
        if lapsed:
            clock.advance(31)
        answers: list[tuple[str, Any]] = []

        def overtake(
            step: int, what: str, at: int = at, told: list[Any] = answers
        ) -> None:
            if step == at:
                told.append((other, run(PRESENCE[other](plain))))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        answers.append((name, run(PRESENCE[name](stepwise))))
        for called, answer in answers:
            told = len(answer) if isinstance(answer, list) else answer
            present += told if called.startswith("come") else -told
        there = [key for key in plain.store.values() if ":c:" in key]
        assert present == len(there)
        assert len(run(plain.connections(OWN))) <= 2
        check_index(plain)
        if stepwise.store.steps <= at:
            return
    raise AssertionError("never came to an end")


@pytest.fixture
def leases(values: Values) -> Leases:
    return Leases(values)


def test_the_first_connection_joins_and_the_last_one_leaves(leases: Leases) -> None:
    assert run(leases.enter([lease(), lease(BOB)])) == [ALICE, BOB]
    assert run(leases.enter([lease(connection="c2")])) == []
    assert run(leases.leave(lease())) is False
    assert run(leases.leave(lease())) is False
    assert run(leases.leave(lease(connection="c2"))) is True
    assert [found.key for found in run(leases.connections(OWN))] == [BOB]


def test_an_expired_lease_is_absent_but_leaves_only_when_it_is_reaped(
    leases: Leases, clock: Clock
) -> None:
    run(leases.enter([lease()]))
    clock.advance(31)
    assert run(leases.connections(ALICE)) == []
    assert run(leases.live([ALICE])) == {ALICE: []}
    assert run(leases.reap([CODE])) == [ALICE]
    assert run(leases.reap([CODE])) == []


def test_a_leaving_connection_stays_for_its_grace(leases: Leases, clock: Clock) -> None:
    run(leases.enter([lease()]))
    assert run(leases.leave(lease(), grace=5)) is False
    [held] = run(leases.connections(ALICE))
    assert held.leaving
    clock.advance(4)
    assert run(leases.enter([lease(connection="c2")])) == []
    clock.advance(2)
    assert run(leases.reap([CODE])) == []
    assert [held.connection for held in run(leases.connections(ALICE))] == ["c2"]


def test_renewing_keeps_the_time_of_the_first_lease(
    leases: Leases, clock: Clock
) -> None:
    run(leases.enter([lease()]))
    clock.advance(20)
    run(leases.enter([lease()]))
    [held] = run(leases.connections(ALICE))
    assert held.since == clock.time - 20


def test_no_value_is_left_of_who_has_left(leases: Leases, store: DictStore) -> None:
    run(leases.enter([lease(), lease(BOB)]))
    run(leases.leave(lease()))
    run(leases.leave(lease(BOB)))
    assert store.values() == {}
    assert run(leases.connections_of([CODE])) == {CODE: []}


def test_who_joins_while_the_attendance_is_lost_is_entered_again(
    leases: Leases, store: DictStore
) -> None:
    joined = run(leases.enter([lease()]))
    store.lose(f"ss:{{{CODE}}}:a:")
    assert run(leases.connections(OWN)) == []
    run(leases.confirm(joined))
    assert [held.key for held in run(leases.connections(OWN))] == [ALICE]
