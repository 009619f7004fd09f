"""Creation: all or nothing, within the limits."""

from __future__ import annotations

from contextlib import suppress

import pytest
from pytest_django import Settings

from sessionstores.backends.base import run
from sessionstores.exceptions import (
    LimitReached,
    SessionEnded,
    StoreUnavailable,
)
from sessionstores.keys import StoreKey
from tests.backends.cas.stores import (
    CREATIONS,
    DictBackend,
    Stepwise,
    check_index,
    fail_at,
)
from tests.backends.driven import (
    ALICE,
    BOARD,
    CODE,
    ELSEWHERE,
)


@pytest.mark.parametrize(
    "error", [ConnectionResetError, TimeoutError, StoreUnavailable]
)
@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("creation", CREATIONS)
def test_a_creation_that_fails_at_any_step_leaves_nothing_behind(
    plain: DictBackend,
    stepwise: Stepwise,
    creation: str,
    after: bool,
    error: type[OSError],
) -> None:
    run(plain.open(StoreKey("ELSE23", "bob"), BOARD))
    before = plain.store.values()
    for step in range(100):
        fail_at(stepwise, step, after=after, error=error)
        try:
            run(CREATIONS[creation](stepwise))
        except StoreUnavailable:
            assert plain.store.values() == before
        else:
            break
    assert step >= 5
    assert plain.store.values() != before
    check_index(plain)


def test_a_creation_overtaken_by_the_end_says_so_and_leaves_nothing(
    plain: DictBackend, stepwise: Stepwise
) -> None:
    for at in range(100):
        run(plain.clear())

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                run(plain.end_session(CODE))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        try:
            run(stepwise.open(ALICE, BOARD))
        except SessionEnded:
            assert list(plain.store.values()) == [f"ss:{{{CODE}}}:t:"]
        else:
            assert stepwise.store.steps <= at
            break
    assert at >= 5


def test_sessions_created_at_the_same_time_do_not_exceed_the_limit(
    plain: DictBackend, stepwise: Stepwise, settings: Settings
) -> None:
    settings.SESSIONSTORES = {"MAX_SESSIONS": 1}
    for at in range(100):
        run(plain.clear())

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                with suppress(LimitReached):
                    run(plain.open(ELSEWHERE, BOARD))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        with suppress(LimitReached):
            run(stepwise.open(ALICE, BOARD))
        assert run(plain.session_count()) <= 1
        check_index(plain)
        if stepwise.store.steps <= at:
            break
    assert at > 5
