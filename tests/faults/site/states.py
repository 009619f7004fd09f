"""States whose actions leave their names, so that lost and doubled ones show."""

from __future__ import annotations

from sessionstores import ActionRejected, State, action, field


class Log(State, watch=("facilitator",)):
    lines: list[str] = field(default_factory=list[str])

    @action
    def write(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    @action
    def decline(self, line: str) -> None:
        """Add none."""
        raise ActionRejected("Not this one.", code="declined")


class Wall(State, scope="session"):
    lines: list[str] = field(default_factory=list[str])

    @action
    def shout(self, line: str) -> None:
        """Add a line for all to see."""
        self.lines.append(line)

    @action
    def decline(self, line: str) -> None:
        """Add none."""
        raise ActionRejected("Not this one.", code="declined")

    @action
    def stumble(self, line: str) -> None:
        """Add a line and fail."""
        self.lines.append(line)
        raise RuntimeError("It stumbled.")

    @action
    def overflow(self, line: str) -> None:
        """Add a line that is longer than a state may be."""
        self.lines.append(line * 300_000)
