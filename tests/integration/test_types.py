"""Every type that a state may declare works all the way: cache, patch and browser."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import json
import subprocess
import uuid
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
)

import msgspec
import pytest

from sessionstores import State, event_bus, field, stores
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import Record
from sessionstores.keys import StoreKey
from sessionstores.state import codec
from sessionstores.state.declaration import problems_of, registry
from tests.integration.test_client_patch import NODE, SCRIPT

ALICE = StoreKey("K7Q2ZD", "alice")
T = TypeVar("T")


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Options(TypedDict):
    sound: bool
    colour: NotRequired[str]


class Pair(NamedTuple):
    left: int
    right: str = "x"


@dataclass
class Point:
    x: int = 0
    parts: list[Point] = dataclasses.field(default_factory=list["Point"])


@dataclass(frozen=True)
class Spot:
    x: int = 0


class Card(msgspec.Struct, rename="camel", omit_defaults=True):
    long_title: str = ""
    parts: dict[str, Card] = {}


class Row(msgspec.Struct, array_like=True):
    a: int = 0
    b: set[str] = set()


class Pin(msgspec.Struct, frozen=True):
    at: tuple[int, ...] = ()
    beside: frozenset[Pin] = frozenset()
    over: Pin | None = None


class Ace(msgspec.Struct, tag=True):
    suit: str = ""


class Joker(msgspec.Struct, tag=True):
    wild: bool = True


class Box(msgspec.Struct, Generic[T]):
    content: T | None = None


Points = NewType("Points", int)
NOON = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)
ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)
D = decimal.Decimal

# A type, and two values of it.
TYPES: dict[str, tuple[Any, Any, Any]] = {
    "str": (str, "a", "é\n🂡"),
    "int": (int, 1, -(2**53) + 1),
    "float": (float, 1.5, 1e300),
    "bool": (bool, True, False),
    "none": (int | None, None, 1),
    "bytes": (bytes, b"a", b"\xff\x00"),
    "bytearray": (bytearray, bytearray(b"a"), bytearray(b"b")),
    "memoryview": (memoryview, memoryview(b"a"), memoryview(b"b")),
    "datetime": (datetime.datetime, NOON, NOON + datetime.timedelta(seconds=1.5)),
    "date": (datetime.date, NOON.date(), datetime.date(1, 1, 1)),
    "time": (datetime.time, NOON.time(), datetime.time(1, 2, 3, 4)),
    "timedelta": (datetime.timedelta, datetime.timedelta(1), datetime.timedelta(0, 2)),
    "uuid": (uuid.UUID, ONE, TWO),
    "decimal": (D, D("1.10"), D("1e-30")),
    "enum": (Colour, Colour.RED, Colour.BLUE),
    "int_enum": (Number, Number.ONE, Number.TWO),
    "flag": (Rights, Rights.READ, Rights.READ | Rights.WRITE),
    "literal": (Literal["a", 1, None], "a", 1),
    "new_type": (Points, 1, 2),
    "annotated": (Annotated[int, msgspec.Meta(ge=0)], 1, 2),
    "final": (Final[int], 1, 2),
    "list": (list[int], [1, 2, 3], [3, 1, 2]),
    "bare_list": (list, [1, "a"], [{"a": None}]),
    "sequence": (collections.abc.Sequence[int], [1], [2]),
    "tuple": (tuple[int, str], (1, "a"), (2, "a")),
    "var_tuple": (tuple[int, ...], (1,), (1, 2)),
    "set": (set[str], {"b", "a", "c"}, {"d", "a", "b"}),
    "frozenset": (frozenset[int], frozenset({10, 9}), frozenset({2, 10})),
    "set_of_mixed": (set[int | str | None], {1, "a", None}, {2, "a"}),
    "set_of_enum": (set[Colour], {Colour.RED}, {Colour.RED, Colour.BLUE}),
    "set_of_tuples": (set[tuple[int, str]], {(1, "a")}, {(10, "a"), (2, "b")}),
    "set_of_sets": (
        set[frozenset[int]],
        {frozenset({1, 2})},
        {frozenset({3, 20}), frozenset({1})},
    ),
    "set_of_structs": (set[Pin], {Pin((1,))}, {Pin((1,)), Pin((2, 3))}),
    "set_of_dataclasses": (set[Spot], {Spot(1)}, {Spot(2), Spot(1)}),
    "set_of_pairs": (set[Pair], {Pair(1)}, {Pair(2), Pair(1)}),
    "set_of_anything": (set[Any], {1, "a"}, {1, "b"}),
    "dict": (dict[str, int], {"b": 1, "a": 2}, {"a": 2, "b": 1}),
    "bare_dict": (dict, {"b": 1}, {"b": [1]}),
    "mapping": (collections.abc.Mapping[str, int], {"b": 1}, {"b": 2}),
    "by_int": (dict[int, str], {2: "b", 1: "a"}, {1: "a", 2: "c"}),
    "by_float": (dict[float, str], {1.5: "a"}, {1.5: "b", 2.0: "a"}),
    "by_enum": (dict[Colour, int], {Colour.RED: 1}, {Colour.BLUE: 2}),
    "by_int_enum": (dict[Number, int], {Number.ONE: 1}, {Number.TWO: 2}),
    "by_uuid": (dict[uuid.UUID, int], {ONE: 1}, {TWO: 2, ONE: 1}),
    "by_date": (dict[datetime.date, int], {NOON.date(): 1}, {}),
    "by_datetime": (dict[datetime.datetime, int], {NOON: 1}, {NOON: 2}),
    "by_time": (dict[datetime.time, int], {NOON.time(): 1}, {NOON.time(): 2}),
    "by_timedelta": (dict[datetime.timedelta, int], {datetime.timedelta(1): 1}, {}),
    "by_decimal": (dict[D, int], {D("1.10"): 1}, {D("1.1"): 2}),
    "by_bytes": (dict[bytes, int], {b"a": 1}, {b"b": 1}),
    "by_literal": (dict[Literal["a", 1], int], {"a": 1}, {1: 2}),
    "by_uuid_or_int": (dict[uuid.UUID | int, int], {ONE: 1}, {7: 1, ONE: 2}),
    "by_annotated": (dict[Annotated[int, msgspec.Meta(ge=0)], int], {1: 1}, {2: 1}),
    "typed_dict": (Options, {"sound": True}, {"sound": False, "colour": "red"}),
    "named_tuple": (Pair, Pair(1), Pair(2, "y")),
    "dataclass": (Point, Point(1), Point(1, [Point(2)])),
    "struct": (Card, Card("a"), Card("b", {"x": Card("y")})),
    "array_like": (Row, Row(1), Row(2, {"b", "a"})),
    "tagged": (Ace | Joker | None, Ace("spades"), Joker()),
    "by_struct": (dict[str, Card], {"a": Card("b")}, {"a": Card("c"), "d": Card()}),
    "union": (int | str | list[int] | dict[str, int], [1], {"a": 1}),
    "generic": (Box[int], Box(1), Box(2)),
    "anything": (Any, {"a": [1, None, {"b": 1.5}]}, [True, "x"]),
    "raw": (msgspec.Raw, msgspec.Raw(b'{"a": [1,  2]}'), msgspec.Raw(b"null")),
    "unset": (int | msgspec.UnsetType, msgspec.UNSET, 1),
}

with registry.isolated():

    def declare(name: str, hint: Any, default: Any) -> type[State]:
        def fresh() -> Any:
            return default

        return type(State)(
            name,
            (State,),
            {
                "__annotations__": {"part": hint, "beside": dict[int, set[str]]},
                "part": field(default_factory=fresh),
                "beside": field(default_factory=dict),
                "__module__": __name__,
            },
            name=f"type_{name}",
        )

    # Each beside a set and a dict of numbers, which were once not to be combined.
    CLASSES = {name: declare(name, hint, one) for name, (hint, one, _) in TYPES.items()}


@pytest.fixture
def changes() -> Any:
    seen: list[event_bus.Change] = []
    with event_bus.bus.isolated():
        event_bus.bus.subscribe(seen.append, event_bus.Change)
        yield seen


def stored(name: str) -> bytes:
    record = run(get_backend(blocking=True).read(ALICE))
    assert isinstance(record, Record)
    return record.states[f"type_{name}"]


def same(one: Any, other: Any) -> bool:
    """Compare values; `Raw` is compared as JSON."""
    if isinstance(one, msgspec.Raw):
        return msgspec.json.decode(one) == msgspec.json.decode(other)
    return type(one) is type(other) and one == other


def test_every_type_goes_all_the_way_to_the_browser(
    changes: list[event_bus.Change],
) -> None:
    cases = []
    with registry.isolated(*CLASSES.values()):
        for name, (_, one, other) in TYPES.items():
            cls: Any = CLASSES[name]
            assert problems_of(cls) == [], name
            store = stores.get(cls, *ALICE)
            assert same(store.state.part, one), name
            before = stored(name)

            def put(state: Any, value: Any = other) -> None:
                state.part = value
                state.beside = {2: {"b", "a"}, 1: set()}

            changes.clear()
            store.dispatch(put)
            assert same(store.state.part, other), name
            assert store.state.beside == {2: {"b", "a"}, 1: set()}
            after = stored(name)
            assert codec.is_current(cls, after, store.state), name
            # To look at it has changed nothing, and nor has doing the same again.
            store.dispatch(put)
            assert len(changes) == 1, name
            (change,) = changes
            assert change.operations != b"[]", name
            cases.append(
                {
                    "old": {f"type_{name}": json.loads(before[2:])},
                    "ops": json.loads(change.operations),
                    "expected": {f"type_{name}": json.loads(after[2:])},
                }
            )
    subprocess.run(
        [NODE, "--input-type=module", "--eval", SCRIPT],
        input=json.dumps(cases),
        check=True,
        text=True,
        timeout=60,
    )
