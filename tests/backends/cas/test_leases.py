"""Leases: joins and leaves alternate, however many write them."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstores.backends.base import run
from tests.backends.cas.stores import (
    Call,
    DictBackend,
    Stepwise,
    check_index,
)
from tests.backends.driven import (
    ALICE,
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
