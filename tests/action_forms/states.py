"""States whose actions take arguments of every kind; tests declare them themselves."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

from sessionstores import ActionRejected, Participant, State, action, field
from sessionstores.state.declaration import registry


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"

    @property
    def label(self) -> str:
        return f"{self.name.title()} <one>"


class Point(Struct):
    x: int
    y: int = 0


Short = Annotated[str, Meta(min_length=1, max_length=5)]
Few = Annotated[int, Meta(ge=1, le=9)]
Named = Annotated[int, Meta(title="How <many>", description="At most <five> & no more")]

with registry.isolated():

    class Kinds(State, name="kinds"):
        """Keeps what it was given, by the name of the action."""

        got: list[Any] = field(default_factory=list[Any])

        @action
        def text(self, value: str) -> None:
            self.got.append(value)

        @action
        def short(self, value: Short) -> None:
            self.got.append(value)

        @action
        def maybe_text(self, value: str | None) -> None:
            self.got.append(value)

        @action
        def default_text(self, value: str = "as <it> is") -> None:
            self.got.append(value)

        @action
        def few(self, value: Few) -> None:
            self.got.append(value)

        @action
        def between(self, value: Annotated[int, Meta(gt=1, lt=9)]) -> None:
            self.got.append(value)

        @action
        def named(self, value: Named) -> None:
            self.got.append(value)

        @action
        def default_few(self, value: Few = 3) -> None:
            self.got.append(value)

        @action
        def maybe_few(self, value: Few | None = 4) -> None:
            self.got.append(value)

        @action
        def real(self, value: Annotated[float, Meta(ge=0, lt=1)]) -> None:
            self.got.append(value)

        @action
        def yes(self, value: bool) -> None:
            self.got.append(value)

        @action
        def default_yes(self, value: bool = True) -> None:
            self.got.append(value)

        @action
        def maybe_yes(self, value: bool | None) -> None:
            self.got.append(value)

        @action
        def literal(self, value: Literal["zeta", "alpha", 7]) -> None:
            self.got.append(value)

        @action
        def maybe_literal(self, value: Literal["zeta", "alpha"] | None) -> None:
            self.got.append(value)

        @action
        def default_literal(self, value: Literal["zeta", "alpha"] = "alpha") -> None:
            self.got.append(value)

        @action
        def unclear(self, value: Literal["1", 1]) -> None:
            self.got.append(value)

        @action
        def colour(self, value: Colour) -> None:
            self.got.append(value.value)

        @action
        def level(self, value: Level = Level.HIGH) -> None:
            self.got.append(value.value)

        @action
        def rights(self, value: Rights = Rights.READ | Rights.WRITE) -> None:
            self.got.append(value.value)

        @action
        def size(self, value: Size) -> None:
            self.got.append(value.value)

        @action
        def day(self, value: dt.date) -> None:
            self.got.append(value.isoformat())

        @action
        def moment(self, value: dt.datetime) -> None:
            self.got.append(value.isoformat())

        @action
        def uuid(self, value: UUID) -> None:
            self.got.append(str(value))

        @action
        def items(self, value: list[int]) -> None:
            self.got.append(value)

        @action
        def default_items(self, value: tuple[str, ...] = ("a", "<b>")) -> None:
            self.got.append([*value])

        @action
        def point(self, value: Point) -> None:
            self.got.append([value.x, value.y])

        @action
        def mixed(self, value: int | str) -> None:
            self.got.append(value)

        @action
        def whatever(self, value: Any) -> None:
            self.got.append(value)

        @action
        def nothing(self) -> None:
            self.got.append("done")

        @action
        def full(self, value: str, next: str = "", *, by: Participant) -> None:
            raise ActionRejected(f"<No> {value}, {by.id}.", code="full")

        @action
        def breaks(self) -> None:
            raise ZeroDivisionError

    class Shared(State, name="shared", scope="session"):
        """What all share, and who may not change it."""

        log: list[str] = field(default_factory=list[str])

        @action
        def write(self, text: Short, *, by: Participant) -> None:
            self.log.append(f"{by.id}: {text}")

        @action(role="facilitator")
        def wipe(self) -> None:
            self.log = []
