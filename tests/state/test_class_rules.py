"""Every mistake in a class body that Python accepts is found, by name, with a way out.

And nothing that works is one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import pytest

from sessionstores.state.declaration import (
    State,
    action,
    class_problems_of,
    field,
    injected,
    registry,
)


@dataclass
class Loose:
    a: int = 0


@dataclass(frozen=True)
class Firm:
    a: int = 0


class ModelField:
    """Stands for a field of a Django model."""

    def contribute_to_class(self) -> None: ...


MODEL_FIELD: Any = ModelField()


with registry.isolated():

    class Hand(State):
        cards: int = 0

    class Base(State):
        step: int = 1


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    with registry.isolated(Hand, Base):
        yield


def migrate_of_two() -> type[State]:
    class Odd(State, version=2):
        @classmethod
        def migrate(cls, data: Any) -> Any:  # type: ignore[override]
            return data

    return Odd


def migrate_of_an_instance() -> type[State]:
    class Odd(State, version=2):
        def migrate(self, data: Any, from_version: int) -> Any:  # type: ignore[override]
            return data

    return Odd


def migrate_without_classmethod() -> type[State]:
    class Odd(State, version=2):
        def migrate(cls, data: Any) -> Any:  # type: ignore[override]
            return data

    return Odd


def migrate_that_waits() -> type[State]:
    class Odd(State, version=2):
        @classmethod
        async def migrate(cls, data: Any, from_version: int) -> Any:  # type: ignore[override]
            return data

    return Odd


def migrate_that_is_a_field() -> type[State]:
    class Odd(State, version=2):
        migrate: int = 0  # type: ignore[assignment]

    return Odd


def counter_without_annotation() -> type[State]:
    class Odd(State):
        count = 0

        def add(self) -> None:
            self.count += 1

    return Odd


def list_without_annotation() -> type[State]:
    class Odd(State):
        deck = []  # type: ignore[var-annotated]

        @action
        def put(self, card: str) -> None:
            self.deck.append(card)

    return Odd


def dict_without_annotation() -> type[State]:
    class Odd(State):
        piles = {"keep": 1}

        @action
        def put(self, card: str) -> None:
            self.piles[card] = 1

    return Odd


def field_without_annotation() -> type[State]:
    class Odd(State):
        deck = field(default_factory=list[str])

    return Odd


def model_field_without_annotation() -> type[State]:
    class Odd(State):
        deck = MODEL_FIELD

    return Odd


def model_field_as_default() -> type[State]:
    class Odd(State):
        deck: str = MODEL_FIELD

    return Odd


def field_of_dataclasses() -> type[State]:
    class Odd(State):
        deck: list[str] = dataclasses.field(default_factory=list[str])

    return Odd


def field_and_action() -> type[State]:
    class Odd(State):
        x: int = 0

        @action
        def x(self) -> None: ...  # type: ignore[no-redef] # noqa: F811

    return Odd


def field_and_property() -> type[State]:
    class Odd(State):
        x: int = 0

        @property
        def x(self) -> int:  # type: ignore[no-redef] # noqa: F811
            return 1

    return Odd


def inherited_field_and_action() -> type[State]:
    class Odd(Base):
        @action
        def step(self) -> None: ...  # type: ignore[override, assignment]

    return Odd


def default_without_annotation() -> type[State]:
    class Odd(Base):
        step = 5

    return Odd


def action_under_property() -> type[State]:
    class Odd(State):
        @property
        @action
        def total(self) -> int:
            return 1

    return Odd


def action_under_cached_property() -> type[State]:
    class Odd(State):
        @functools.cached_property
        @action
        def total(self) -> int:
            return 1

    return Odd


def action_under_cache() -> type[State]:
    class Odd(State):
        @functools.lru_cache  # noqa: B019
        @action
        def total(self) -> int:
            return 1

    return Odd


def self_forgotten() -> type[State]:
    class Odd(State):
        @action
        def go(card: str) -> None: ...  # type: ignore[misc]

    return Odd


def self_forgotten_before_a_list() -> type[State]:
    class Odd(State):
        @action
        def go(cards: list[str], pile: str) -> None: ...  # type: ignore[misc]

    return Odd


def default_of_another_type() -> type[State]:
    class Odd(State):
        @action
        def go(self, n: int = "a") -> None: ...  # type: ignore[assignment]

    return Odd


def list_as_default_of_a_text() -> type[State]:
    class Odd(State):
        @action
        def go(self, text: str = [1]) -> None: ...  # type: ignore[assignment]

    return Odd


def somebodys_state_for_everybody() -> type[State]:
    class Odd(State, scope="session"):
        @action
        def mine(self, *, hand: Hand = injected) -> None: ...

    return Odd


MISTAKES: list[tuple[Callable[[], type[State]], str, str]] = [
    (migrate_of_two, "Odd.migrate: it is called as migrate(data, fr", "`@classmethod`"),
    (
        migrate_of_an_instance,
        "Odd.migrate: it is called on the class",
        "`@classmethod`",
    ),
    (migrate_without_classmethod, "Odd.migrate: it is called on the", "`@classmethod`"),
    (migrate_that_waits, "Odd.migrate: it is called where", "return the data"),
    (migrate_that_is_a_field, "Odd.migrate: it is no method", "`@classmethod`"),
    (counter_without_annotation, "Odd.count: it has no annot", "`count: int = 0`"),
    (list_without_annotation, "Odd.deck: it has no", "`deck: list[...] = []`"),
    (dict_without_annotation, "Odd.piles: it has no", "field(default_factory=...)"),
    (field_without_annotation, "Odd.deck: it has no annotation", "<its type>"),
    (model_field_without_annotation, "Odd.deck: it has no annot", "<its type>"),
    (model_field_as_default, "Odd.deck: ModelField of", "Give the value itself"),
    (field_of_dataclasses, "Odd.deck: Field of dataclasses", "`field(default_factory"),
    (field_and_action, "Odd.x: it is a field and an action", "Rename one"),
    (field_and_property, "Odd.x: it is a field and a method", "Rename one"),
    (inherited_field_and_action, "Odd.step: it is a field and an act", "Rename one"),
    (default_without_annotation, "Odd.step: 5 without an annot", "`step: int = 5`"),
    (action_under_property, "Odd.total: @property around @action", "Leave one"),
    (action_under_cached_property, "Odd.total: @cached_property ar", "Leave one"),
    (action_under_cache, "Odd.total: @lru_cache around @action", "Leave one"),
    (self_forgotten, "Odd.go: its first parameter is given", "Write `self` before it"),
    (self_forgotten_before_a_list, "Odd.go: its first", "annotated list[str]. Write"),
    (default_of_another_type, "Odd.go: n: expected int, got str", "of that type"),
    (list_as_default_of_a_text, "Odd.go: text: expected str, got list", "of that type"),
    (
        somebodys_state_for_everybody,
        "Odd.mine: hand: a session's action cannot be given Hand",
        "Mapping[str, Hand] for everybody's",
    ),
]


@pytest.mark.parametrize(
    ("declare", "beginning", "way_out"),
    MISTAKES,
    ids=[declare.__name__ for declare, *_ in MISTAKES],
)
def test_a_mistake_in_a_class_body_is_found_with_its_name_and_a_way_out(
    declare: Callable[[], type[State]], beginning: str, way_out: str
) -> None:
    place = f"{__name__}.{declare.__name__}.<locals>."
    (problem,) = class_problems_of(declare())
    assert problem.startswith(f"{place}{beginning}")
    assert way_out in problem
    assert problem.endswith(".")
    assert problem in registry.problems()


def odd_but_working() -> type[State]:
    class Odd(State, scope="session"):
        LIMIT = 5
        suits = ["hearts"]
        seen: ClassVar[list[str]] = []
        first: Firm = Firm()
        part: Loose = Loose()
        none: list[str] = []
        call: str | None = None

        @action
        def go(
            self,
            n: int = None,  # type: ignore[assignment] # noqa: RUF013
            weight: float = 1,
            tags: tuple[str, ...] = ("a",),
            side: Literal["left", "right"] = "",  # type: ignore[assignment]
            place: Annotated[int, msgspec.Meta(ge=0)] = -1,
            text: str = MODEL_FIELD,
            *,
            hands: Mapping[str, Hand] = injected,
        ) -> list[str]:
            count = [n]
            count.append(n)
            return self.suits[: self.LIMIT]

        @action
        def named(this: Self) -> None: ...

        @action
        def anything(it: Any) -> None: ...

        @action
        def bare(me) -> None: ...  # type: ignore[no-untyped-def]

        @action
        def inherited(it: State) -> None: ...

        @property
        def total(self) -> int:
            return 1

    return Odd


def static_migrate() -> type[State]:
    class Odd(State, version=2):
        @staticmethod
        def migrate(data: Any, from_version: int) -> Any:  # type: ignore[override]
            return data

    return Odd


def migrate_that_is_never_called() -> type[State]:
    class Odd(State):
        @action
        def migrate(self, to: str) -> None: ...  # type: ignore[override]

    return Odd


def typed_again() -> type[State]:
    class Odd(Base):
        step: int = 5

    return Odd


@pytest.mark.parametrize(
    "declare",
    [odd_but_working, static_migrate, migrate_that_is_never_called, typed_again],
)
def test_what_works_is_no_mistake(declare: Callable[[], type[State]]) -> None:
    assert class_problems_of(declare()) == []


def test_methods_without_source_are_no_mistake() -> None:
    space: dict[str, Any] = {"State": State, "__name__": __name__}
    exec(
        "class Odd(State):\n  count = 0\n  def add(self): self.count += 1\n"
        "  def both(self): return [].append(1)",
        space,
    )
    assert class_problems_of(space["Odd"]) == []
