"""Removals that race with creations and with each other, in whatever order of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from sessionstores.backends.base import run
from sessionstores.backends.cas.backend import CasBackend
from sessionstores.backends.types import Committed, Removed
from tests.backends.cas.stores import (
    Call,
    DictBackend,
    DictStore,
    Turns,
    check_index,
    in_turns,
)
from tests.backends.driven import ALICE, BOARD, BOB, CODE, MORE, Clock


class Stored(NamedTuple):
    """Alice's record was open, and what she did is stored, or is not."""

    is_stored: bool


async def come_and_act(backend: CasBackend) -> Stored:
    record = (await backend.open(ALICE, BOARD)).record
    answer = await backend.commit(record, record.rev.next(), MORE)
    return Stored(isinstance(answer, Committed))


OUTS: dict[str, Call] = {
    "kick": lambda backend: backend.kick(ALICE),
    "end": lambda backend: backend.end_session(CODE),
}


VISITS: dict[str, Call] = {
    "open": lambda backend: backend.open(ALICE, BOARD),
    "act": come_and_act,
}


REMOVALS: dict[str, Call] = {
    "delete": lambda backend: backend.delete(ALICE),
    "evict": lambda backend: backend.evict_idle(CODE, idle_for=0, limit=9),
}


def race(
    calls: dict[str, Call], names: Sequence[str], turns: list[int], *, was_in: bool
) -> tuple[list[Any], list[Any]]:
    """Race calls; return what they came to, and alice's final states as often as told.

    Afterwards, there is nothing of hers.
    """
    plain = DictBackend(DictStore(Clock()))
    backend = Turns(plain.store)
    run(plain.open(BOB, BOARD))
    if was_in:
        run(plain.open(ALICE, BOARD))
    outcomes = in_turns([calls[name](backend) for name in names], turns)
    assert run(plain.read(ALICE)) is None
    check_index(plain)
    finals: list[Removed] = []
    for outcome in outcomes:
        if isinstance(outcome, Removed):
            finals.append(outcome)
        elif isinstance(outcome, list):
            finals += outcome
    return outcomes, [final.states for final in finals if final.key == ALICE]


def orders(calls: dict[str, Call]) -> SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(list(calls)), min_size=1, max_size=3)


TURNS = st.lists(st.integers(0, 3), max_size=60)


@pytest.mark.parametrize("out", OUTS)
@given(names=orders(OUTS | VISITS), was_in=st.booleans(), turns=TURNS)
def test_who_is_out_is_reported_once_with_all_that_they_were_told_is_stored(
    out: str, names: list[str], was_in: bool, turns: list[int]
) -> None:
    names = [out, *names]
    outcomes, told = race(OUTS | VISITS, names, turns, was_in=was_in)
    assert len(told) <= 1
    has_acted = Stored(True) in outcomes
    if has_acted or was_in:
        assert told == [BOARD | MORE if has_acted else BOARD]


@pytest.mark.parametrize("out", OUTS)
@given(names=orders(OUTS | VISITS | REMOVALS), was_in=st.booleans(), turns=TURNS)
def test_each_record_is_reported_once_whoever_removes_it(
    out: str, names: list[str], was_in: bool, turns: list[int]
) -> None:
    calls = OUTS | VISITS | REMOVALS
    _, told = race(calls, [out, *names], turns, was_in=was_in)
    visits = sum(name in VISITS for name in names)
    assert was_in <= len(told) <= was_in + visits
