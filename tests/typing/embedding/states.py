"""The states of the site: every checker accepts these declarations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessionstores import ActionRejected, Participant, State, action, field, injected


class Agenda(State, scope="session"):
    step: int = 1
    votes: dict[str, int] = field(default_factory=dict[str, int])

    @action(role="facilitator")
    def advance(self) -> int:
        self.step += 1
        return self.step

    @action(role=("facilitator", "host"))
    def go(self, step: int) -> None:
        self.step = step

    @action
    def vote(self, card: int, *, by: Participant = injected) -> None:
        self.votes[by.id] = card


class Board(
    State, name="board", version=2, sensitive=("notes",), watch=("facilitator",)
):
    deck: list[str] = field(default_factory=list[str])
    notes: str = ""

    @action
    def move(self, card: str, pile: str = "keep", *, agenda: Agenda = injected) -> bool:
        if agenda.step != 1:
            raise ActionRejected("Sorting is over.", code="wrong_step")
        self.deck.remove(card)
        return pile == "keep"

    @classmethod
    def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
        return {**data, "deck": []}


class Table(State, scope="session"):
    shown: dict[str, int] = field(default_factory=dict[str, int])

    @action(role="facilitator")
    def reveal(self, least: int = 0, *, boards: Mapping[str, Board] = injected) -> int:
        self.shown = {id: len(board.deck) for id, board in boards.items()}
        return len(self.shown) - least


class Keyed(State, kw_only=True, rename="camel"):
    first_name: str = ""


class Listed(State, sensitive=["secret"], watch={"facilitator"}):
    """Names by other means than a tuple, and an action with nothing to say of it."""

    secret: str = ""

    @action()
    def clear(self) -> None:
        self.secret = ""

    @action(role=["facilitator", "host"])
    def fill(self, secret: str) -> int:
        self.secret = secret
        return len(secret)
