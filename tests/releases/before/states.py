"""States that the next release of the site changes."""

from __future__ import annotations

import msgspec

from sessionstores import State, action, field


class Player(msgspec.Struct):
    name: str = ""


class Sheet(State):
    step: int = 1
    title: str = ""
    gone: list[str] = field(default_factory=list[str])
    players: dict[str, Player] = field(default_factory=dict[str, Player])

    @action
    def advance(self) -> None:
        self.step += 1

    @action
    def call(self, name: str) -> None:
        self.title = name

    @action
    def drop(self, line: str) -> None:
        self.gone.append(line)

    @action
    def enter(self, id: str, name: str) -> None:
        self.players.setdefault(id, Player()).name = name

    @action
    def arrange(self) -> None:
        self.players = dict(sorted(self.players.items(), reverse=True))
