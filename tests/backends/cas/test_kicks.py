"""Kicks: nothing comes in between their steps and those of others."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.cas.serializers import encode
from sessionstores.backends.types import (
    MAX_KICKED,
    Committed,
    Record,
    Removed,
)
from sessionstores.exceptions import (
    Kicked,
    SessionEnded,
    StateCorrupt,
    StoreUnavailable,
    UnknownSession,
)
from sessionstores.keys import StoreKey
from tests.backends.cas.stores import (
    Call,
    DictBackend,
    Stepwise,
    check_index,
    fail_at,
)
from tests.backends.driven import ALICE, BOARD, BOB, CODE, MORE, Clock

KICKS = f"ss:{{{CODE}}}:x:"
# More than any call takes.
STEPS = 100


def act(backend: DictBackend) -> bool:
    """Have alice act on her record if there is one, as a tab of hers; True: stored."""
    found = run(backend.read(ALICE, touch=False))
    if not isinstance(found, Record):
        return False
    answer = run(backend.commit(found, found.rev.next(), MORE))
    return isinstance(answer, Committed)


@pytest.mark.parametrize("kicked_at", range(STEPS))
def test_who_is_kicked_while_they_come_in_is_out_and_has_acted_before(
    plain: DictBackend, stepwise: Stepwise, kicked_at: int
) -> None:
    run(plain.open(BOB, BOARD))
    stored: list[bool] = []

    def overtake(step: int, what: str) -> None:
        if step == kicked_at:
            run(plain.kick(ALICE))
        if step >= kicked_at:
            # Between any two of the steps after it, another tab of hers tries.
            stored.append(act(plain))

    stepwise.store.before = overtake
    try:
        opened = run(stepwise.open(ALICE, BOARD))
    except Kicked:
        assert stored
    else:
        if kicked_at >= stepwise.store.steps:
            return
        # She was in before, and is out now.
        assert opened.created
    assert not any(stored)
    assert run(plain.read(ALICE)) is None
    assert not act(plain)
    assert run(plain.participant_count(CODE)) == 1
    check_index(plain)


def test_whoever_comes_in_while_they_are_kicked_is_out(
    plain: DictBackend, stepwise: Stepwise
) -> None:
    for at in range(STEPS):
        run(plain.clear())
        run(plain.open(BOB, BOARD))
        run(plain.open(ALICE, BOARD))

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                try:
                    run(plain.open(ALICE, BOARD))
                except Kicked:
                    assert not act(plain) or at < 4
                else:
                    act(plain)

        stepwise.store.steps, stepwise.store.before = 0, overtake
        removed = run(stepwise.kick(ALICE))
        assert isinstance(removed, Removed)
        assert removed.states is not None
        assert run(plain.read(ALICE)) is None
        assert run(plain.participant_count(CODE)) == 1
        check_index(plain)
        if stepwise.store.steps <= at:
            break
    assert at >= 5


@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
def test_a_kick_that_fails_at_any_step_is_whole_when_it_is_repeated(
    plain: DictBackend, stepwise: Stepwise, after: bool
) -> None:
    for step in range(STEPS):
        run(plain.clear())
        run(plain.open(BOB, BOARD))
        run(plain.open(ALICE, MORE))
        fail_at(stepwise, step, after=after)
        try:
            run(stepwise.kick(ALICE))
        except StoreUnavailable:
            run(plain.kick(ALICE))
        assert run(plain.kicked(CODE)).keys() == {"alice"}
        assert run(plain.read(ALICE)) is None
        assert run(plain.participant_count(CODE)) == 1
        check_index(plain)
        if stepwise.store.steps <= step:
            break
    assert step >= 5


OUTS: dict[str, Call] = {
    "kick": lambda backend: backend.kick(ALICE),
    "end": lambda backend: backend.end_session(CODE),
}


REMOVALS: dict[str, Call] = OUTS | {
    "delete": lambda backend: backend.delete(ALICE),
    "delete session": lambda backend: backend.delete_session(CODE),
    "evict": lambda backend: backend.evict_idle(CODE, idle_for=0, limit=9),
}


def reported(backend: DictBackend, removal: Call) -> list[Mapping[str, bytes]]:
    """Remove, and return alice's final states as often as they are returned.

    Whether she is lost, a removal says after it has waited for others, whom this stops.
    """
    with suppress(UnknownSession):
        removed = run(removal(backend))
        finals = removed if isinstance(removed, list) else [removed]
        return [
            final.states
            for final in finals
            if final and final.key == ALICE and final.states is not None
        ]
    return []


@pytest.mark.parametrize("again", REMOVALS)
@pytest.mark.parametrize("out", OUTS)
def test_who_is_out_while_another_tab_of_theirs_comes_in_is_reported_once(
    plain: DictBackend, stepwise: Stepwise, clock: Clock, out: str, again: str
) -> None:
    """The tab has looked who is kept out before, and writes a record afterwards."""
    for first in range(STEPS):
        for second in range(first, STEPS):
            run(plain.clear())
            run(plain.open(BOB, BOARD))
            told: list[Mapping[str, bytes]] = []

            def overtake(
                step: int,
                what: str,
                first: int = first,
                second: int = second,
                told: list[Mapping[str, bytes]] = told,
            ) -> None:
                if step == first:
                    run(plain.open(ALICE, BOARD))
                    act(plain)
                    told += reported(plain, OUTS[out])
                if step == second:
                    clock.advance(1)
                    told += reported(plain, REMOVALS[again])

            stepwise.store.steps, stepwise.store.before = 0, overtake
            with suppress(Kicked, SessionEnded):
                run(stepwise.open(ALICE, BOARD))
            if stepwise.store.steps <= second:
                break
            assert told == [BOARD | MORE], (first, second)
        if stepwise.store.steps <= first:
            break
    assert first >= 5


@pytest.mark.parametrize("step", range(STEPS))
def test_who_has_changed_nothing_is_reported_though_a_kick_fails(
    plain: DictBackend, stepwise: Stepwise, step: int
) -> None:
    run(plain.open(BOB, BOARD))
    run(plain.open(ALICE, BOARD))
    fail_at(stepwise, step)
    told = []
    with suppress(StoreUnavailable):
        told += reported(stepwise, OUTS["kick"])
    told += reported(plain, OUTS["kick"])
    assert told == [BOARD]


def test_a_new_session_never_undoes_a_kick_that_came_after_it(
    plain: DictBackend, stepwise: Stepwise
) -> None:
    for at in range(STEPS):
        run(plain.clear())
        # Left of a session of the code that is gone.
        plain.store.plant(KICKS, encode({"carol": 1.0}))

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                run(plain.open(BOB, BOARD))
                run(plain.kick(ALICE))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        run(stepwise.open(StoreKey(CODE, "carol"), BOARD))
        if stepwise.store.steps <= at:
            break
        assert "alice" in run(plain.kicked(CODE))
        with pytest.raises(Kicked):
            run(plain.open(ALICE, BOARD))
    assert at >= 5


def test_kicks_that_cannot_be_read_let_nobody_in_unseen(plain: DictBackend) -> None:
    run(plain.open(BOB, BOARD))
    plain.store.plant(KICKS, b"junk")
    for call in (
        lambda: plain.open(ALICE, BOARD),
        lambda: plain.standings([ALICE]),
        lambda: plain.kick(ALICE),
        lambda: plain.readmit(ALICE),
        lambda: plain.kicked(CODE),
    ):
        with pytest.raises(StateCorrupt, match="End the session"):
            run(call())
    # Others who act are not held up, and the way out leads out.
    found = run(plain.read(BOB))
    assert isinstance(found, Record)
    run(plain.end_session(CODE))
    assert KICKS not in plain.store.values()


def test_as_many_as_a_session_keeps_out_fit_into_an_item_of_any_cache() -> None:
    ids = [f"{number:064d}" for number in range(MAX_KICKED)]
    assert len(encode(dict.fromkeys(ids, 1_700_000_000.25))) < 100_000
