"""The edit page over all declared shapes: never an error, and no change by itself."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta

from sessionstores import State, field, stores
from sessionstores.state.declaration import registry
from tests.admin.page_forms import PageForm
from tests.staff import ALL, CODE, fill, page, signed_in

pytestmark = pytest.mark.django_db

PLACE = (CODE, "alice", "shaped")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Circle(msgspec.Struct, tag="circle"):
    radius: float = 1.0


class Square(msgspec.Struct, tag="square"):
    side: int = 1
    inner: Circle | None = None


class Row(msgspec.Struct, array_like=True):
    x: int = 0
    y: str = ""


class Pair(NamedTuple):
    left: int
    right: str


class Loose(TypedDict, total=False):
    name: str
    size: int


@dataclass
class Card:
    title: str = ""
    tags: list[str] = dataclass_field(default_factory=list)


class Checked(msgspec.Struct):
    low: int = 0
    high: int = 0

    def __post_init__(self) -> None:
        self.low, self.high = sorted((self.low, self.high))


class Nested(msgspec.Struct):
    children: list[Nested] = []
    secret_token: str = "hidden"


# What browsers, HTML and forms treat in their own way.
TEXT = st.text(
    st.characters(codec="utf-8") | st.sampled_from("\r\n\t\x00\x0b <>&\"'0-1,.'"),
    max_size=70,
) | st.sampled_from(["", " ", "\n", "a\r\nb", "\nfirst", "null", "true", "x" * 90])
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            TEXT.filter(lambda text: "proto" not in text), inner, max_size=3
        )
    ),
    max_leaves=6,
)
CIRCLES = st.builds(Circle, radius=FLOATS)
SQUARES = st.builds(Square, side=INTEGERS, inner=st.none() | CIRCLES)
DATES = st.dates(min_value=dt.date(1, 1, 1))

SHAPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, TEXT),
    (int, INTEGERS),
    (float, FLOATS),
    (bool, st.booleans()),
    (str | None, st.none() | TEXT),
    (int | None, st.none() | INTEGERS),
    (float | None, st.none() | FLOATS),
    (bool | None, st.none() | st.booleans()),
    (int | str, INTEGERS | TEXT),
    (float | bool | None, st.none() | FLOATS | st.booleans()),
    (Annotated[int, Meta(ge=0, le=9)], st.integers(0, 9)),
    (Annotated[float, Meta(gt=0, title="How much")], st.floats(0.5, 1e308)),
    (
        Annotated[str, Meta(min_length=1, max_length=5)] | None,
        st.none() | st.text("ab \n", min_size=1, max_size=5),
    ),
    (Literal["zeta", "alpha", 7], st.sampled_from(["zeta", "alpha", 7])),
    (Literal["1", 1], st.sampled_from(["1", 1])),
    (Literal["", "a"], st.sampled_from(["", "a"])),
    (Literal["a", None], st.sampled_from(["a", None])),
    (Colour, st.sampled_from(Colour)),
    (Level | None, st.none() | st.sampled_from(Level)),
    (list[str], st.lists(TEXT, max_size=4)),
    (list[str] | None, st.none() | st.lists(TEXT, max_size=4)),
    (set[str], st.sets(TEXT, max_size=4)),
    (frozenset[int], st.frozensets(INTEGERS, max_size=4)),
    (tuple[str, ...], st.lists(TEXT, max_size=4).map(tuple)),
    (tuple[int, str], st.tuples(INTEGERS, TEXT)),
    (list[Any], st.lists(JSON, max_size=3)),
    (list, st.lists(JSON, max_size=3)),
    (dict, st.dictionaries(st.text("ab", max_size=2), JSON, max_size=3)),
    (dict[str, object], st.dictionaries(st.text("ab", max_size=2), JSON, max_size=3)),
    (object, JSON),
    (Any, JSON),
    (dict[int, str], st.dictionaries(INTEGERS, TEXT, max_size=3)),
    (dict[dt.date, int], st.dictionaries(DATES, INTEGERS, max_size=3)),
    (dict[Colour, list[int]], st.dictionaries(st.sampled_from(Colour), st.just([1]))),
    (dict[uuid.UUID, bool], st.dictionaries(st.uuids(), st.booleans(), max_size=3)),
    (dict[str, dict[str, int]], st.just({"a": {"x": 1}, "b": {}})),
    (dt.date, DATES),
    (dt.datetime, st.datetimes(min_value=dt.datetime(1, 1, 2))),
    (dt.time, st.times()),
    (dt.timedelta, st.timedeltas(dt.timedelta(-9), dt.timedelta(99))),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (bytes, st.binary(max_size=9)),
    (Circle | Square, CIRCLES | SQUARES),
    (list[Circle | Square], st.lists(CIRCLES | SQUARES, max_size=3)),
    (dict[str, Square], st.dictionaries(st.text("ab", max_size=2), SQUARES)),
    (Row, st.builds(Row, x=INTEGERS, y=TEXT)),
    (Pair, st.builds(Pair, INTEGERS, TEXT)),
    (Loose, st.fixed_dictionaries({}, optional={"name": TEXT, "size": INTEGERS})),
    (Card, st.builds(Card, title=TEXT, tags=st.lists(TEXT, max_size=2))),
    (Checked, st.builds(Checked, low=INTEGERS, high=INTEGERS)),
    (Nested, st.builds(Nested, children=st.lists(st.builds(Nested), max_size=2))),
    (msgspec.Raw, JSON.map(lambda value: msgspec.Raw(msgspec.json.encode(value)))),
]
VALUES = st.tuples(*(values for _kind, values in SHAPES))


@settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)
@given(values=VALUES, others=VALUES)
def test_every_shape_is_shown_and_a_save_without_a_change_changes_nothing(
    client: Client, values: tuple[Any, ...], others: tuple[Any, ...]
) -> None:
    url = page("edit", *PLACE)
    kinds = [kind for kind, _values in SHAPES]
    with registry.isolated():
        cls = declared([*zip(kinds * 2, values + others, strict=True)])
        store = stores.get(cls, *PLACE[:2])
        store.delete()
        before = store.snapshot()
        by_field = client.get(url, {"as": "fields"})
        as_json = PageForm(by_field, "base").press(client, url, "json")
        again = PageForm(as_json, "base").press(client, url, "fields")
        for each in (by_field, as_json, again):
            assert each.status_code == 200
            saved = PageForm(each, "base").press(client, url)
            assert saved.status_code == 302, saved.content.decode()
            assert store.peek() == before


def declared(shaped: list[tuple[Any, Any]]) -> Any:
    """Return a state with a field of each type, whose default is the value."""
    names = {f"f{number}": kind for number, (kind, _value) in enumerate(shaped)}
    space: dict[str, Any] = {"__annotations__": names, "__module__": __name__}
    for name, (_kind, value) in zip(names, shaped, strict=True):
        space[name] = field(default_factory=lambda value=value: value)
    return type(State)("Shaped", (State,), space, name="shaped")


@pytest.fixture
def client() -> Client:
    fill("alice")
    return signed_in(*ALL)
