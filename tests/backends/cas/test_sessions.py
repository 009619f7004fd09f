"""Sessions, and their eviction."""

from __future__ import annotations

from sessionstores.backends.base import run
from tests.backends.cas.stores import (
    DictBackend,
    Stepwise,
)
from tests.backends.driven import (
    ALICE,
    BOARD,
    CODE,
    Clock,
)


def test_a_session_joined_while_it_is_evicted_comes_back_as_it_was(
    plain: DictBackend, stepwise: Stepwise, clock: Clock
) -> None:
    kept = 0
    for at in range(100):
        run(plain.clear())
        run(plain.create_session(CODE, label="Team day", keep=0))
        clock.advance(301)

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                run(plain.open(ALICE, BOARD))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        evicted = run(stepwise.evict_empty_session(CODE, idle_for=300))
        if stepwise.store.steps <= at:
            break
        info = run(plain.session(CODE))
        assert info is not None
        assert not (evicted and info.label)
        kept += info.label == "Team day"
    assert kept >= 2


def test_an_empty_session_that_two_evict_at_once_is_counted_once(
    plain: DictBackend, stepwise: Stepwise, clock: Clock
) -> None:
    overtaken = 0
    for at in range(100):
        run(plain.clear())
        run(plain.create_session(CODE, label="Team day", keep=0))
        clock.advance(301)
        rival: list[bool] = []

        def overtake(
            step: int, what: str, at: int = at, rival: list[bool] = rival
        ) -> None:
            if step == at:
                rival.append(run(plain.evict_empty_session(CODE, idle_for=300)))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        evicted = run(stepwise.evict_empty_session(CODE, idle_for=300))
        if stepwise.store.steps <= at:
            break
        assert [evicted, *rival].count(True) == 1, at
        assert run(plain.sessions()) == []
        overtaken += rival == [True]
    assert overtaken >= 2
