"""The state of `before`, of another type and version."""

from __future__ import annotations

from typing import Any

from sessionstores import State, action, field


class Score(State, version=2):
    points: list[int] = field(default_factory=list[int])

    @action
    def earn(self) -> None:
        self.points.append(1)

    @classmethod
    def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
        data["points"] = [1] * data["points"]
        return data
