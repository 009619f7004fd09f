"""How states are declared and called, as type checkers see it: never run.

mypy in strict mode accepts this file; each `type: ignore` stands on a mistake, and an
ignore that is not needed is an error. Class keywords are refused at run time and by
pyright; mypy does not look at them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar, assert_type

from sessionstores import Snapshot, stores
from sessionstores.state import codec
from sessionstores.state.declaration import (
    Action,
    State,
    action,
    field,
    get_action,
    get_state,
    injected,
    states_in,
)

S = TypeVar("S", bound=State)
P = ParamSpec("P")
R = TypeVar("R")


class Agenda(State, scope="session"):
    step: int = 1

    @action(role="facilitator")
    def advance(self) -> int:
        self.step += 1
        return self.step

    @action(role=("facilitator", "host"))
    def go(self, step: int) -> None:
        self.step = step


class Board(
    State, name="board", version=1, sensitive=("notes",), watch=("facilitator",)
):
    deck: list[str] = field(default_factory=list[str])
    piles: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    notes: str = field(default="", name="memo")

    @action
    def move(self, card: str, pile: str = "keep", *, agenda: Agenda = injected) -> bool:
        self.piles.setdefault(pile, []).append(card)
        return agenda.step == 1


class Table(State, scope="session"):
    revealed: dict[str, int] = field(default_factory=dict[str, int])

    @action(role="facilitator")
    def reveal(self, least: int = 0, *, boards: Mapping[str, Board] = injected) -> int:
        self.revealed = {id: len(board.piles) for id, board in boards.items()}
        return len(self.revealed) - least


class Keyed(State, kw_only=True, rename="camel"):
    first_name: str = ""


def dispatch(
    function: Callable[Concatenate[S, P], R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    raise NotImplementedError


def good(stored: bytes) -> None:
    assert_type(dispatch(Board.move, "ace", pile="keep"), bool)
    assert_type(dispatch(Board.move, "ace", agenda=Agenda()), bool)
    assert_type(dispatch(Agenda.advance), int)
    assert_type(dispatch(Table.reveal), int)
    assert_type(dispatch(Table.reveal, 2, boards={"alice": Board()}), int)
    assert_type(stores.get(Table, "K7Q2ZD").dispatch(Table.reveal, 2), int)
    assert_type(stores.peek_all(Board, "K7Q2ZD"), dict[str, Snapshot[Board]])
    assert_type(stores.peek_all("board", "K7Q2ZD"), dict[str, Snapshot[Any]])
    assert_type(Board(deck=["ace"]), Board)
    assert_type(Board.__sessionstores__.version, int)
    assert_type(codec.decode(Board, stored), Board)
    assert_type(codec.load(Agenda, None)[0], Agenda)
    assert_type(get_state(Board), type[Board])
    assert_type(get_state("board"), type[State])
    assert_type(get_action(Board, "move"), Action)
    assert_type(states_in("session"), tuple[type[State], ...])
    Keyed(first_name="Ada")


async def good_in_an_event_loop() -> None:
    assert_type(await stores.apeek_all(Board, "K7Q2ZD"), dict[str, Snapshot[Board]])
    assert_type(await stores.get(Table, "K7Q2ZD").adispatch(Table.reveal), int)


def bad(stored: bytes) -> None:
    dispatch(Board.move)  # type: ignore[call-arg]
    dispatch(Board.move, 1)  # type: ignore[arg-type]
    dispatch(Board.move, "ace", plie="keep")  # type: ignore[call-arg]
    dispatch(Agenda.go, "2")  # type: ignore[arg-type]
    dispatch(Table.reveal, boards={"alice": Agenda()})  # type: ignore[dict-item]
    stores.peek_all(int, "K7Q2ZD")  # type: ignore[type-var]
    Board(deck="ace")  # type: ignore[arg-type]
    Board(decks=[])  # type: ignore[call-arg]
    Keyed("Ada")  # type: ignore[call-arg]
    states_in("sesion")  # type: ignore[arg-type]
    get_state(int)  # type: ignore[type-var]
    codec.decode(int, stored)  # type: ignore[type-var]
    get_action("board", "move")  # type: ignore[arg-type]
    print(Board().step)  # type: ignore[attr-defined]  # noqa: T201


class Misroled(State):
    @action(role=1)  # type: ignore[call-overload, untyped-decorator]
    def advance(self) -> None: ...


class Lacking(State):
    step: int = "1"  # type: ignore[assignment]
