"""A state whose type the next release changes, with its version."""

from __future__ import annotations

from sessionstores import State, action


class Score(State):
    points: int = 0

    @action
    def earn(self) -> None:
        self.points += 1
