"""The membership index, and its repair."""

from __future__ import annotations

from sessionstores.backends.base import run
from tests.backends.cas.stores import (
    DictBackend,
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
