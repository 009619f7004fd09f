"""What msgspec refuses in a state is told with class, field or keyword, and way out."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from sessionstores.exceptions import StateCorrupt
from sessionstores.state import codec
from sessionstores.state.declaration import State, action, field, registry


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    with registry.isolated():
        yield


def declare(body: dict[str, Any], **keywords: Any) -> type[State]:
    namespace = {"__module__": __name__, "__qualname__": "Bad", **body}
    cls: type[State] = type(State)("Bad", (State,), namespace, **keywords)  # type: ignore[call-arg]
    return cls


class Card(msgspec.Struct):
    a: int = 0


class Other(msgspec.Struct):
    a: int = 0


class Left(msgspec.Struct, tag="x"):
    a: int = 0


class Right(msgspec.Struct, tag="x"):
    a: int = 0


class Suit(Enum):
    HEARTS = "hearts"


class Typed(TypedDict):
    a: int


@dataclass
class Data:
    a: int = 0


STEP = {"__annotations__": {"step": int}, "step": 1}
ITEMS = {"__annotations__": {"items": list[str]}}

BODIES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (STEP, {"nmae": "x"}, "it takes no keyword nmae='x'. Did you mean 'name'?"),
    (STEP, {"kwonly": 1}, "it takes no keyword kwonly=1. Did you mean 'kw_only'?"),
    (
        STEP,
        {"zzzzz": 1},
        "it takes no keyword zzzzz=1. There are name, version, scope,",
    ),
    ({**STEP, "__init__": print}, {}, "a state cannot define __init__, since it is"),
    ({**STEP, "__new__": print}, {}, "a state cannot define __new__, since it is"),
    ({**STEP, "__slots__": ()}, {}, "a state cannot define __slots__, since it is"),
    (
        STEP,
        {"rename": "cammel"},
        "rename='cammel' is none of 'lower', 'upper', 'camel', 'pascal', 'kebab', a "
        "dict and a function. Did you mean 'camel'?",
    ),
    (STEP, {"rename": 5}, "rename=5 is none of 'lower', 'upper', 'camel', 'pascal',"),
    (
        {**ITEMS, "items": ["a"]},
        {},
        "the default of field 'items', ['a'], would be one for all: write items: ... = "
        "field(default_factory=lambda: ['a']).",
    ),
    (
        {**ITEMS, "items": field(default=["a"])},
        {},
        "the default of field 'items', ['a'], would be one for all: write items: ...",
    ),
    (
        {"__annotations__": {"card": Card}, "card": Card()},
        {},
        "the default of field 'card', Card(a=0), would be one for all: write card: ... "
        "= field(default_factory=Card).",
    ),
    (
        {"__annotations__": {"a": int, "b": int}, "a": 1, "b": 1},
        {"rename": {"a": "b"}},
        "Multiple fields rename to the same name, field names must be unique.",
    ),
    (STEP, {"order": True, "eq": False}, "Cannot set eq=False and order=True."),
    (ITEMS, {}, "field 'items' needs a default, for fresh states and for data without"),
    *(
        (STEP, {option: True}, f"a state cannot have {option}, since {reason}. Leave")
        for option, reason in {
            "frozen": "its actions change it",
            "array_like": "tabs and other releases find its fields by name",
            "forbid_unknown_fields": "fields that another release has stored are kept",
            "omit_defaults": "tabs get every field",
            "tag": "it is told from others by its name=",
        }.items()
    ),
]


@pytest.mark.parametrize(("body", "keywords", "text"), BODIES)
def test_a_class_that_cannot_be_is_refused_by_name_with_a_way_out(
    body: dict[str, Any], keywords: dict[str, Any], text: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        declare(body, **keywords)
    assert str(caught.value).startswith(f"State Bad: {text}")
    assert registry.classes() == []


def test_a_state_is_no_dataclass() -> None:
    with pytest.raises(TypeError, match=r"State .*Bad: a state is no dataclass.*Leave"):

        @dataclass
        class Bad(State):
            step: int = 1


APART = "which JSON cannot tell apart. Use one of them, or a struct"
LISTS = f"has two kinds of list, {APART}"
DICTS = f"has two kinds of dict or struct, {APART}"
TEXTS = f"has two kinds of text, {APART}"

UNIONS: list[tuple[Any, str]] = [
    (int | str | list[int] | list[str], LISTS),
    (list[int] | set[int], LISTS),
    (list[int] | tuple[int, ...], LISTS),
    (dict[str, int] | dict[str, str], DICTS),
    (Card | dict[str, int], DICTS),
    (Data | dict[str, int], DICTS),
    (Typed | dict[str, int], DICTS),
    (str | datetime.date, TEXTS),
    (str | Suit, TEXTS),
    (bytes | str, TEXTS),
    (Card | Other, "has several structs, which JSON cannot tell apart. Declare each"),
    (Left | Right, "has two structs of the same tag. Give each a tag of its own"),
    (complex | str, "cannot be used: Type unions containing a custom type may not"),
    (Literal[1.5], "cannot be used: Literal may only contain None/booleans/integers"),
    (Annotated[str, msgspec.Meta(ge=1)], "cannot be used: Can only set ge on a numer"),
]


@pytest.mark.parametrize(("hint", "text"), UNIONS)
def test_a_type_that_cannot_be_decoded_is_not_said_to_be_missing(
    hint: Any, text: str
) -> None:
    def act(self: Any, part: hint) -> None: ...

    act.__annotations__["part"] = hint
    declare({"__annotations__": {"part": hint}, "part": None, "act": action(act)})
    of_field, of_argument = registry.problems()
    assert of_field.startswith(f"{__name__}.Bad.part: ")
    assert f" {text}" in of_field
    assert "act: its arguments cannot come from JSON: part: " in of_argument
    assert f" {text}" in of_argument
    for problem in (of_field, of_argument):
        assert "not resolve" not in problem
        assert "`" not in problem
        assert problem.endswith(".")


class Tree(msgspec.Struct):
    mode: Literal["keep", "drop"] = "keep"
    seats: dict[str, list[Suit | None]] = {}


with registry.isolated():

    class Choosing(State):
        tree: Tree = field(default_factory=Tree)
        pair: tuple[int, Literal[1, 2]] = (0, 1)
        size: Literal["a", "b", "c", None] = None
        card: Card = field(default_factory=Card)
        many: list[int] = field(default_factory=list[int])


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("tree.mode", "kep", "tree.mode: must be 'drop' or 'keep', not 'kep'."),
        (
            "tree.seats",
            {"x": [None, "spades"]},
            "tree.seats[...][1]: must be 'hearts', not 'spades'.",
        ),
        ("pair", (0, 5), "pair[1]: must be 1 or 2, not 5."),
        ("size", "d", "size: must be None, 'a', 'b' or 'c', not 'd'."),
        ("size", 5, "size: expected str | None, got int."),
        ("card", [1], "card: expected Card, got list."),
        ("many", {"a": 1}, "many: expected list, got dict."),
        ("many", None, "many: expected list, got None."),
    ],
)
def test_a_wrong_value_is_told_what_is_allowed_in_words_of_python(
    path: str, value: Any, text: str
) -> None:
    state: Any = Choosing()
    *steps, last = path.split(".")
    place = state
    for step in steps:
        place = getattr(place, step)
    setattr(place, last, value)
    with pytest.raises(StateCorrupt) as caught:
        codec.encode(state)
    assert str(caught.value) == f"choosing.{text} The state was not stored."
