"""The keyword `progress=`: what it may name, and what is refused with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Annotated, Any, Literal, NamedTuple

import pytest

from sessionstores import State, action, field
from sessionstores.state.declaration import class_problems_of, problems_of, registry


class Share(NamedTuple):
    done: int
    of: int


class Level(IntEnum):
    LOW = 1


@pytest.fixture(autouse=True)
def _own_states() -> Iterator[None]:
    with registry.isolated():
        yield


def declare(progress: Any, **keywords: Any) -> type[State]:
    class Quiz(State, name="quiz", progress=progress, **keywords):
        step: int = 1
        share: tuple[int, int] = (0, 1)
        perhaps: tuple[int, int] | None = None
        words: Annotated[str, "read by people"] = ""
        phase: Literal["sort", "vote"] = "sort"
        level: Level = Level.LOW
        ratio: float = 0.0
        ready: bool = False
        deck: list[str] = field(default_factory=list)
        answer: str = ""

        @property
        def placed(self) -> tuple[int, int]:
            return self.step, 14

        @property
        def named(self) -> Share:
            return Share(1, 2)

        @property
        def free(self):  # type: ignore[no-untyped-def]
            return 1

        @property
        def part(self) -> float:
            return 0.5

        @property
        def triple(self) -> tuple[int, int, int]:
            return 1, 2, 3

        @action
        def move(self) -> None:
            self.step += 1

    return Quiz


@pytest.mark.parametrize(
    "name",
    ["step", "share", "perhaps", "words", "phase", "level", "placed", "named", "free"],
)
def test_a_field_or_property_that_says_how_far_somebody_is_may_be_named(
    name: str,
) -> None:
    cls = declare(name)
    assert cls.__sessionstores__.progress == name
    assert class_problems_of(cls) == problems_of(cls) == []


def test_without_it_there_is_none() -> None:
    assert declare(None).__sessionstores__.progress == ""


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("plased", ValueError, "is no field or property. Did you mean 'placed'?"),
        ("zzzz", ValueError, "progress='zzzz' is no field or property."),
        ("", ValueError, "progress='' is no field or property."),
        ("__class__", ValueError, "is no field or property."),
        (("placed",), TypeError, "must be the name of a field or property."),
        ("move", TypeError, "is a method. Make it a property: write @property"),
        ("migrate", TypeError, "is of type classmethod. Make it a property"),
        ("ratio", TypeError, "it is annotated float, but a progress is a pair"),
        ("ready", TypeError, "it is annotated bool, but a progress is a pair"),
        ("deck", TypeError, "it is annotated list[str], but a progress is a pair"),
        ("part", TypeError, "it is annotated float, but a progress is a pair"),
        ("triple", TypeError, "Annotate it tuple[int, int], int, str, or one of"),
    ],
)
def test_what_cannot_be_one_is_refused_with_class_and_value(
    name: Any, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error) as caught:
        declare(name)
    assert "State declare.<locals>.Quiz: progress=" in str(caught.value)
    assert reason in str(caught.value)
    assert registry.classes() == []


def test_what_is_sensitive_cannot_be_shown_to_staff() -> None:
    with pytest.raises(ValueError, match="progress='answer' is sensitive"):
        declare("answer", sensitive=("answer",))
    assert declare("placed", sensitive=("answer",))


def test_an_annotation_that_resolves_later_is_judged_by_the_check() -> None:
    class Early(State, name="early", progress="how_far"):
        @property
        def how_far(self) -> _Later:  # noqa: F821
            return 0.5

    assert class_problems_of(Early) == []
    globals()["_Later"] = float
    try:
        (problem,) = class_problems_of(Early)
    finally:
        del globals()["_Later"]
    assert "Early.how_far: it is annotated float" in problem


def test_a_subclass_says_anew_what_its_progress_is() -> None:
    class Longer(declare("placed"), name="longer"):  # type: ignore[misc]
        pass

    class Other(declare("placed"), name="other", progress="step"):  # type: ignore[misc]
        pass

    assert Longer.__sessionstores__.progress == ""
    assert Other.__sessionstores__.progress == "step"
