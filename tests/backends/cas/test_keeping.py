"""Keep in participants' records: whatever interleaves with an extension, it holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sessionstores.backends.base import run
from sessionstores.backends.cas.backend import CasBackend
from sessionstores.backends.cas.keeping import keep_participant
from sessionstores.backends.cas.serializers import (
    Details,
    decode,
    encode,
    fresh,
    has_changed,
    kept_until,
)
from sessionstores.keys import StoreKey
from sessionstores.state.revisions import Rev
from tests.backends.cas.stores import Call, DictBackend, Stepwise
from tests.backends.driven import ALICE, BOARD, BOB, CODE, MORE, OWN, START, Clock

CAROL = StoreKey(CODE, "carol")
HOUR = 3_600.0


async def change(backend: CasBackend, key: StoreKey) -> None:
    record = (await backend.open(key, BOARD)).record
    states = MORE if record.states == BOARD else BOARD
    await backend.commit(record, record.rev.next(), states)


def extend(backend: CasBackend) -> Any:
    return backend.update_session(CODE, extend=24 * HOUR)


RACES: dict[str, Call] = {
    "return": lambda backend: change(backend, ALICE),
    "begin": lambda backend: change(backend, BOB),
    "come": lambda backend: change(backend, CAROL),
    "act elsewhere": lambda backend: backend.touch(BOB, acted=True),
    "touch": lambda backend: backend.touch(ALICE),
    "touch session": lambda backend: backend.touch(OWN),
    "evict": lambda backend: backend.evict_idle(CODE, idle_for=50, limit=9),
    "delete": lambda backend: backend.delete(BOB),
    "relabel": lambda backend: backend.update_session(CODE, label="x"),
    "extend": extend,
    "extend less": lambda backend: backend.update_session(CODE, extend=HOUR),
}


@pytest.mark.parametrize("is_first", [True, False], ids=["overtaken", "overtaking"])
@pytest.mark.parametrize("name", RACES)
def test_whoever_is_there_after_an_extension_is_kept_by_it(
    plain: DictBackend, stepwise: Stepwise, clock: Clock, name: str, is_first: bool
) -> None:
    first, second = (extend, RACES[name]) if is_first else (RACES[name], extend)
    for at in range(100):
        run(plain.clear())
        run(change(plain, ALICE))
        run(plain.open(BOB, BOARD))
        clock.advance(100)

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                run(second(plain))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        run(first(stepwise))
        if stepwise.store.steps <= at:
            return
        there = [info for info in run(plain.participants(CODE)) if info.kept_until]
        clock.advance(20 * HOUR)
        run(plain.evict_idle(CODE, idle_for=0, limit=9))
        listed = [info.id for info in run(plain.participants(CODE))]
        assert listed == [info.id for info in there], at
        assert "alice" in listed or name == "evict"
    raise AssertionError("never came to an end")


# The stored form


class OldDetails(msgspec.Struct, array_like=True):
    """`Details` as the release before knows them."""

    label: str = ""
    keep: float = 0.0
    locked: bool = False


class OldRecord(msgspec.Struct, array_like=True):
    """`StoredRecord` as the release before knows it."""

    incarnation: str
    counter: int
    ring: bytes
    created: float
    seen: float
    size: int
    about: OldDetails | None
    states: dict[str, bytes]
    clients: dict[str, tuple[int, dict[int, str], float]]


@pytest.mark.parametrize("counter", [1, 2, 7])
def test_a_record_of_the_release_before_has_changed_if_it_has_commits(
    counter: int,
) -> None:
    old = OldRecord("7f3a", counter, b"tail", START, START, 3, None, BOARD, {})
    stored = decode(ALICE, encode(old))
    assert has_changed(stored) == (counter > 1)
    assert kept_until(stored) == 0
    assert keep_participant(stored, START + HOUR)
    assert kept_until(stored) == (START + HOUR if counter > 1 else 0)


def test_the_release_before_reads_what_is_written_and_keeps_the_keep() -> None:
    stored = fresh(Rev.first(), BOARD, START, Details(keep=HOUR, pristine=2))
    stored.counter = 2
    assert not has_changed(stored)
    old = msgspec.msgpack.decode(encode(stored), type=OldRecord)
    assert (old.counter, old.states, old.about) == (2, BOARD, OldDetails("", HOUR))
    # It counts as a change, which is the safe side.
    old.counter = 3
    stored = decode(ALICE, encode(old))
    assert has_changed(stored)
    assert kept_until(stored) == START + HOUR
