"""States with fields, arguments and results of every kind that TypeScript tells."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import msgspec

from sessionstores import ActionRejected, Participant, State, action, field
from sessionstores.state.declaration import registry

T = TypeVar("T")

NOT_THERE = "not_there"


class Suit(enum.Enum):
    """A suit of cards."""

    HEARTS = "hearts"
    SPADES = "spades"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Card(msgspec.Struct, frozen=True):
    """A card */ of a deck.

    It has two lines.
    """

    suit: Suit
    rank: Annotated[int, msgspec.Meta(ge=1, description="From 1, the ace.")] = 1


class Note(msgspec.Struct, tag="note"):
    text: str


class Photo(msgspec.Struct, tag="photo", rename={"alt": "alt-text"}):
    url: str
    alt: str


@dataclass(slots=True)
class Slim:
    width: int = 1


@dataclass
class Size:
    width: int
    height: int
    # Which msgspec does not write if it has decoded none.
    scale: float = 1.0
    parts: list[Card] = dataclass_field(default_factory=list)


class Point(NamedTuple):
    x: float
    y: float
    label: str | None = None


class Choices(TypedDict, total=False):
    colour: str


class Entry(msgspec.Struct, array_like=True, tag="entry"):
    id: int
    title: str = ""


class Tree(msgspec.Struct):
    name: str
    children: list[Tree]


class Lean(msgspec.Struct, omit_defaults=True):
    must: int
    may: int = 0


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    next: int | msgspec.UnsetType = msgspec.UNSET


# No type of TypeScript may be called so.
class string(msgspec.Struct):
    value: str


class States(msgspec.Struct):
    value: str


OtherCard = msgspec.defstruct("Card", [("title", str)], module="other.deck")
OddName = msgspec.defstruct(
    "my struct", [("ab", int)], module="other.deck", rename={"ab": "a b"}
)


class Refusal(ActionRejected):
    def __init__(self) -> None:
        super().__init__("No.", code="refused_by_class")


class Reasons(enum.Enum):
    FULL = "full"


def check(card: str) -> None:
    if not card:
        raise ActionRejected("Nothing.", code="nothing")


with registry.isolated():

    class Gallery(State, watch=("host", "facilitator")):
        """A field of each kind."""

        text: str = ""
        whole: int = 0
        real: float | int = 0.0
        flag: bool = False
        nothing: None = None
        anything: Any = None
        raw: msgspec.Raw = msgspec.Raw(b"null")
        moment: datetime.datetime | None = None
        day: datetime.date | None = None
        time: datetime.time | None = None
        span: datetime.timedelta = datetime.timedelta()
        id: uuid.UUID | None = None
        price: Decimal = Decimal(0)
        blob: bytes = b""
        choice: Literal["a", "b", 3, None] = "a"
        switch: Literal["on"] | bool = "on"
        suit: Suit = Suit.HEARTS
        level: Level = Level.LOW
        rights: Rights = Rights.READ
        items: list[str | None] = field(default_factory=list)
        several: set[int] = field(default_factory=set)
        frozen: frozenset[Card] = frozenset()
        pair: tuple[int, str] = (0, "")
        many: tuple[int, ...] = ()
        by_id: dict[int, str] = field(default_factory=dict)
        by_suit: dict[Suit, list[int]] = field(default_factory=dict)
        by_level: dict[Level, Any] = field(default_factory=dict)
        by_place: dict[Literal["left", "right"], Card] = field(default_factory=dict)
        card: Card | None = None
        twin: OtherCard | None = None
        odd: OddName | None = None
        post: Note | Photo | None = None
        size: Size = field(default_factory=lambda: Size(1, 1))
        slim: Slim = field(default_factory=Slim)
        point: Point = Point(0, 0)
        choices: Choices = field(default_factory=Choices)
        entry: Entry = field(default_factory=lambda: Entry(0))
        tree: Tree | None = None
        lean: Lean = field(default_factory=lambda: Lean(1))
        page: Page[Card] | None = None
        pages: Page[int] | None = None
        keyword: string | None = None
        ours: States | None = None
        renamed: str = field(default="", name="re-named")

        @action
        def everything(
            self,
            card: Card,
            size: Size,
            point: Point,
            choices: Choices,
            entry: Entry,
            tree: Tree,
            lean: Lean,
            page: Page[int],
            anything: Any,
            day: datetime.date,
            suits: dict[Suit, int],
            several: set[str],
        ) -> Page[Card]:
            raise NotImplementedError

        @action
        def mixed(
            self, first: int, second: int = 2, *, third: str, by: Participant
        ) -> Card | None:
            raise NotImplementedError

        @action
        def keywords(self, new: int, default: int, var: str | None = None) -> None:
            raise NotImplementedError

        @action
        def unannotated(self):
            return 1

    class Empty(State, scope="session"):
        pass

    class Board(State, watch=("facilitator",)):
        deck: list[str] = field(default_factory=list)
        piles: dict[str, list[str]] = field(default_factory=dict)

        @action
        def move(
            self,
            card: str,
            pile: Literal["keep", "drop"],
            at: int | None = None,
            *,
            table: Table,
            by: Participant,
        ) -> int:
            """Put a card on a pile.

            It is an @action.
            """
            self.expect(card)
            check(card)
            raise ActionRejected("No.", code=NOT_THERE)

        @action(role=("facilitator", "host"))
        def clear(self) -> None:
            """Take every card back."""
            if not self.is_clear:
                raise Refusal
            raise ActionRejected("No.", code="a" if self.deck else "b")

        @property
        def is_clear(self) -> bool:
            raise ActionRejected("No.", code=Reasons.FULL.value)

        def expect(self, card: str) -> None:
            """Refuse.

            A line that is not indented.
            """
            raise ActionRejected("No.", code="unexpected")

    class Table(State, scope="session"):
        step: Literal[1, 2, 3] = 1

        @action
        def seat(self, name: str, *, boards: Mapping[str, Board]) -> dict[int, Card]:
            raise NotImplementedError


GALLERY: tuple[type[State], ...] = (Gallery, Empty, Board, Table)
