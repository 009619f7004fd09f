"""What is undecodable is told of once, whoever else notices it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sessionstores import StoreUnavailable, signals
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.cas.keys import record_key
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
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
    """Put what is no record, or a record of what is no board, in alice's place."""
    name = record_key(ALICE)
    [held] = run(backend.store.read([name])).values()
    value = (
        b"junk" if whole else held.value.replace(b'"notes":"kept"', b'"notes"="kept"')
    )
    assert value != held.value
    run(backend.store.cas(name, held.token, value, None))


@pytest.mark.parametrize("whole", [True, False])
def test_of_several_who_notice_it_the_one_who_mends_it_tells(
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


def test_nothing_is_told_of_what_could_not_be_mended(
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
