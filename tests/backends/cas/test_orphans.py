"""Orphans, and an end beside the look for them."""

from __future__ import annotations

from sessionstores.backends.base import run
from tests.backends.cas.stores import (
    DictBackend,
    Stepwise,
    check_index,
)
from tests.backends.driven import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    OWN,
)


def test_a_look_for_orphans_leaves_an_end_its_records_to_report(
    plain: DictBackend, stepwise: Stepwise
) -> None:
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        run(plain.open(BOB, BOARD))

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                for key in run(plain.orphans()) or ():
                    run(plain.reindex(key))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        removed = run(stepwise.end_session(CODE))
        told = [(final.key, final.states) for final in removed]
        assert told == [(ALICE, BOARD), (BOB, BOARD), (OWN, {})]
        check_index(plain)
        if stepwise.store.steps <= at:
            return
    raise AssertionError("never came to an end")
