"""Corrupt data is set aside and announced once; records are limited in size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sessionstores import InvalidKey, StateTooLarge, StoreUnavailable, signals
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.cas.keys import record_key
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.store import commits
from tests.contract.contract import quarantine_in
from tests.workshop.states import Board

ALICE = StoreKey("K7Q2ZD", "alice")


@pytest.fixture
def backend() -> Any:
    return get_backend(blocking=True)


@pytest.fixture
def board(backend: Any) -> Any:
    board = stores.get(Board, *ALICE)
    board.dispatch(lambda state: setattr(state, "notes", "kept"))
    return board


@pytest.fixture
def told() -> Iterator[list[str | None]]:
    """Whose quarantine was signalled: a state's name, or None for a whole record."""
    names: list[str | None] = []

    def receive(sender: Any, **named: Any) -> None:
        names.append(named["state"])

    signals.state_quarantined.connect(receive)
    yield names
    signals.state_quarantined.disconnect(receive)


def spoil(backend: Any, *, whole: bool) -> None:
    """Replace alice's record by junk, or by one whose board is junk."""
    name = record_key(ALICE)
    [held] = run(backend.store.read([name])).values()
    value = (
        b"junk" if whole else held.value.replace(b'"notes":"kept"', b'"notes"="kept"')
    )
    assert value != held.value
    run(backend.store.cas(name, held.token, value, None))


@pytest.mark.parametrize("whole", [True, False])
def test_of_several_who_notice_it_the_one_who_sets_it_aside_announces_it(
    backend: Any,
    board: Any,
    told: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
    whole: bool,
) -> None:
    spoil(backend, whole=whole)
    set_aside = backend.set_aside
    noticed = 0

    async def noticed_by_others_too(*args: Any) -> bool:
        nonlocal noticed
        noticed += 1
        if noticed < 5:
            assert board.snapshot().state == Board()
        done: bool = await set_aside(*args)
        return done

    monkeypatch.setattr(backend, "set_aside", noticed_by_others_too)
    assert board.snapshot().state == Board()
    assert noticed == 5
    assert told == [None if whole else "board"]


def test_nothing_is_announced_that_was_not_set_aside(
    backend: Any,
    board: Any,
    told: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("no answer")

    spoil(backend, whole=False)
    with monkeypatch.context() as outage:
        outage.setattr(backend, "commit", fails)
        with pytest.raises(StoreUnavailable):
            board.snapshot()
    assert told == []
    assert board.snapshot().state == Board()
    assert told == ["board"]


def test_what_was_set_aside_can_be_read_and_is_in_the_signal(
    backend: Any, board: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []

    def receive(sender: Any, **named: Any) -> None:
        heard.append((named["key"], named["state"], named["data"]))

    spoil(backend, whole=False)
    signals.state_quarantined.connect(receive)
    try:
        board.snapshot()
    finally:
        signals.state_quarantined.disconnect(receive)
    ((key, state, data),) = heard
    assert (key, state) == (ALICE, "board")
    assert data.startswith(b"1:{")
    assert b'"notes"="kept"' in data
    assert stores.quarantined(quarantine_in(caplog)) == ("board", data)
    with pytest.raises(InvalidKey, match="is not a key of data that was set aside"):
        stores.quarantined(record_key(ALICE))


def test_a_record_within_the_limit_passes() -> None:
    commits.check_size({"a": b"1:{}", "b": b"1:{}"}, 8)
    commits.check_size({}, 0)


def test_a_record_past_the_limit_is_refused_with_its_largest_state() -> None:
    states = {"a": b"1:{}", "board": b"1:" + b"x" * 100}
    with pytest.raises(StateTooLarge) as caught:
        commits.check_size(states, 105)
    assert str(caught.value) == (
        "The record would have 106 bytes, 105 are allowed; most of them, 102, in "
        "'board'. Store less, or raise MAX_STATE_BYTES."
    )
