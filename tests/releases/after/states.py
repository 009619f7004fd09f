"""The states of `before`: fields added, removed and renamed."""

from __future__ import annotations

import msgspec

from sessionstores import State, action, field


class Player(msgspec.Struct):
    score: float = 0.0
    name: str = ""


class Sheet(State):
    players: dict[str, Player] = field(default_factory=dict[str, Player])
    heading: str = ""
    step: int = 1
    text: str = ""
    tags: set[str] = field(default_factory=set[str])

    @action
    def advance(self) -> None:
        self.step += 1

    @action
    def head(self, name: str) -> None:
        self.heading = name

    @action
    def write(self, text: str) -> None:
        self.text = text

    @action
    def tag(self, name: str) -> None:
        self.tags.add(name)

    @action
    def enter(self, id: str, name: str) -> None:
        self.players.setdefault(id, Player()).name = name

    @action
    def rate(self, id: str, score: float) -> None:
        self.players.setdefault(id, Player()).score = score

    @action
    def arrange(self) -> None:
        self.players = dict(sorted(self.players.items()))
