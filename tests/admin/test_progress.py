"""Steps and progress of people, as the session's page reads them from states."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pytest
from django.utils import translation
from django.utils.translation import gettext_lazy

from sessionstores import State, StoreKey, action, field, stores
from sessionstores.admin.progress import (
    Position,
    PositionReader,
    Progress,
    progress_of,
    progress_word,
    total_of,
)
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.state.declaration import registry
from tests.staff import CODE

CARDS = 4


class Phase(StrEnum):
    SORT = "sort"


@pytest.fixture(autouse=True)
def _own_states() -> Iterator[None]:
    with registry.isolated():
        yield


def reader(*, texts: bool = True) -> PositionReader:
    return PositionReader(get_backend(blocking=True), texts=texts)


def positions(*ids: str, texts: bool = True) -> dict[str, Position]:
    return reader(texts=texts).of_people(CODE, ids)


def declare_board(**keywords: Any) -> Any:
    class Board(State, name="board", progress="placed", **keywords):
        deck: list[int] = field(default_factory=lambda: list(range(CARDS)))
        step: int = 1

        @property
        def placed(self) -> tuple[int, int]:
            return CARDS - len(self.deck), CARDS

        @action
        def place(self) -> None:
            self.deck.pop()

    return Board


def test_each_has_the_progress_and_the_step_of_their_own_state() -> None:
    board = declare_board()
    stores.get(board, CODE, "alice").dispatch(board.place)
    stores.get(board, CODE, "bob").dispatch(lambda b: setattr(b, "step", 2))
    assert positions("alice", "bob", "nobody") == {
        "alice": Position("1", Progress(1, 4)),
        "bob": Position("2", Progress(0, 4)),
    }
    assert positions() == {}
    assert progress_word("participant") == "placed"
    assert progress_word("session") == ""


def test_what_is_counted_is_called_what_the_site_calls_it() -> None:
    class Basket(State, name="basket", progress="refused"):
        refused: int = 2

    # A word that our own catalog has stands for one of a site's.
    with translation.override("de"):
        assert progress_word("participant") == "abgelehnt"


def test_a_property_that_raises_costs_its_own_row_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fragile(State, name="fragile", progress="share"):
        words: list[str] = field(default_factory=list)

        @property
        def share(self) -> int:
            if "secret of bob" in self.words:
                raise KeyError(self.words[0])
            return len(self.words)

    for id in ("alice", "bob", "carol"):
        stores.get(Fragile, CODE, id).dispatch(
            lambda s, id=id: s.words.append(f"secret of {id}")
        )
    for _ in range(3):
        found = positions("alice", "bob", "carol")
        assert found["bob"] == Position("", None)
        assert found["alice"] == found["carol"] == Position("", Progress(1))
    lines = [r for r in caplog.records if r.name == "sessionstores.admin"]
    assert [line.levelno for line in lines] == [logging.WARNING]
    assert "Fragile.share raised KeyError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, 2), Progress(1, 2)),
        ((5, 0), Progress(5, 0)),
        (7, Progress(7)),
        ("half way", Progress(text="half way")),
        (Phase.SORT, Progress(text="sort")),
        (gettext_lazy("Progress"), Progress(text="Progress")),
        ("x" * 100, Progress(text="x" * 39 + "…")),
        (None, None),
        ("", None),
        (True, None),
        (0.5, None),
        ((1, 2, 3), None),
        ((1, True), None),
        ((1, None), None),
        ([1, 2], None),
        ((25, 12), Progress(25, 12)),
        ((0, 0), Progress(0, 0)),
        ((-208, 12), None),
        ((3, -5), None),
        (-7, Progress(-7)),
        (2**53 - 1, Progress(2**53 - 1)),
        ((2**53, 3), None),
        (2**53, None),
    ],
)
def test_what_is_said_is_a_pair_a_number_or_a_text(
    value: Any, expected: Progress | None
) -> None:
    assert progress_of(value) == expected


def test_nonsense_is_logged_and_nothing_to_say_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Loose(State, name="loose", progress="share"):
        value: float | None = None

        @property
        def share(self) -> Any:
            return self.value

    stores.get(Loose, CODE, "alice").snapshot()
    assert positions("alice") == {"alice": Position()}
    assert caplog.text == ""
    stores.get(Loose, CODE, "alice").dispatch(lambda s: setattr(s, "value", 0.5))
    assert positions("alice") == {"alice": Position()}
    assert "Loose.share returned float" in caplog.text


@pytest.mark.parametrize(
    "value",
    [(-208, 12), (10**400, 3), 10**5_000, "\ud800"],
    ids=["negative", "huge", "unwritable", "surrogate"],
)
def test_what_no_page_could_say_costs_its_own_row(
    caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    class Loose(State, name="loose", progress="share"):
        @property
        def share(self) -> Any:
            return value

    class Sound(State, name="sound", progress="share"):
        share: tuple[int, int] = (1, 2)

    for cls in (Loose, Sound):
        stores.get(cls, CODE, "alice").snapshot()
    found = positions("alice")["alice"].progress
    assert found == Progress(1, 2)
    assert found.words == "1 of 2"
    assert "Loose.share" in caplog.text
    # Not what it was: that may say what people wrote.
    assert "208" not in caplog.text


def test_what_is_done_beyond_the_end_is_not_counted_for_others() -> None:
    total = total_of([Progress(25, 12), Progress(0, 12)])
    assert total is not None
    assert total.whole == Progress(12, 24)


def test_without_the_permission_for_states_only_numbers_are_told() -> None:
    class Talk(State, name="talk", progress="share"):
        step: str = "thoughts of mine"
        share: str | int = "private words"

    stores.get(Talk, CODE, "alice").snapshot()
    assert positions("alice", texts=False) == {"alice": Position()}
    assert positions("alice")["alice"].step == "thoughts of mine"
    stores.get(Talk, CODE, "alice").dispatch(lambda s: setattr(s, "share", 3))
    assert positions("alice", texts=False)["alice"].progress == Progress(3)


def test_a_sensitive_step_is_nobodys_business() -> None:
    board = declare_board(sensitive=("step",))
    stores.get(board, CODE, "alice").snapshot()
    assert positions("alice")["alice"] == Position("", Progress(0, 4))


def test_several_states_add_up() -> None:
    board = declare_board()

    class Quiz(State, name="quiz", progress="answered"):
        answered: tuple[int, int] = (2, 6)

    class Words(State, name="words", progress="text"):
        text: str = "thinking"

    for cls in (board, Quiz, Words):
        stores.get(cls, CODE, "alice").snapshot()
    assert positions("alice")["alice"] == Position("1", Progress(2, 10))
    assert progress_word("participant") == ""


def test_corrupt_and_newer_data_say_nothing() -> None:
    board = declare_board()
    backend = get_backend(blocking=True)
    for id, stored in (("alice", b"1:{junk"), ("bob", b"7:{}")):
        stores.get(board, CODE, id).snapshot()
        record: Any = run(backend.read(StoreKey(CODE, id)))
        run(backend.commit(record, record.rev.next(), {"board": stored}))
    stores.get(board, CODE, "carol").snapshot()
    found = positions("alice", "bob", "carol")
    assert found["alice"] == found["bob"] == Position()
    assert found["carol"].progress == Progress(0, 4)


def test_the_sum_counts_pairs_or_else_numbers() -> None:
    pairs = [
        Progress(12, 12),
        Progress(3, 12),
        None,
        Progress(text="x"),
        Progress(0, 0),
    ]
    total = total_of(pairs)
    assert total is not None
    assert (total.whole, total.finished, total.people) == (Progress(15, 24), 1, 3)
    assert total.whole.words == "15 of 24"
    numbers = total_of([Progress(2), Progress(3)])
    assert numbers is not None
    assert (numbers.whole, numbers.people) == (Progress(5), 0)
    assert total_of([Progress(text="x"), None]) is None


def test_progress_is_sorted_by_its_share() -> None:
    found = [Progress(9, 10), Progress(2, 4), Progress(1), Progress(text="a")]
    assert sorted(found, key=lambda each: each.order) == [
        Progress(2, 4),
        Progress(9, 10),
        Progress(1),
        Progress(text="a"),
    ]
