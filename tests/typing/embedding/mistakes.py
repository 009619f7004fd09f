"""Mistakes: each checker has to refuse the lines that say so, and no others."""

from __future__ import annotations

from typing import assert_type

from sessionstores import Participant, State, action, stores

from .states import Agenda, Board, Keyed, Table

CODE = "K7Q2ZD"
alice = stores.get(Board, CODE, "alice")
agenda = stores.get(Agenda, CODE)
table = stores.get(Table, CODE)


def dispatches(by: Participant) -> None:
    alice.dispatch(Board.move)  # refused: a card is missing
    alice.dispatch(Board.move, 1)  # refused: a card is text
    alice.dispatch(Board.move, "ace", plie="keep")  # refused: no such parameter
    alice.dispatch(Board.move, "ace", agenda=by)  # refused: not an Agenda
    alice.dispatch(Agenda.advance)  # refused: an action of another state
    alice.dispatch("move", "ace")  # refused: a name is no function
    agenda.dispatch(Agenda.go, "2")  # refused: a step is a number
    agenda.dispatch(Agenda.vote, 5, by="alice")  # refused: not a Participant
    table.dispatch(Table.reveal, boards={"alice": Agenda()})  # refused: not Boards
    assert_type(agenda.dispatch(Agenda.advance), str)  # refused: it is a number
    alice.replace(Agenda(), base="")  # refused: not a Board


async def waits() -> None:
    await alice.adispatch(Board.move, 1)  # refused: a card is text
    await stores.apeek_all(int, CODE)  # refused: not a State


def reads() -> None:
    print(alice.state.step)  # refused: Agenda has it  # noqa: T201
    print(alice.peek().rev)  # refused: it may be None  # noqa: T201
    stores.get(int, CODE, "alice")  # refused: not a State
    stores.get(Board, 7, "alice")  # refused: a code is text
    stores.peek_all(int, CODE)  # refused: not a State
    stores.create_session(label=7)  # refused: a label is text
    Participant(CODE)  # refused: an id is missing


def declares() -> None:
    Board(deck="ace")  # refused: a deck is a list
    Board(decks=[])  # refused: no such field
    Keyed("Ada")  # refused: by keyword only


class Misroled(State):
    @action(role=1)  # refused: a role is text
    def advance(self) -> None: ...


class Numbered(State):
    @action(role=[1])  # refused: a role is text
    def advance(self) -> None: ...


class Lacking(State):
    step: int = "1"  # refused: not a number
