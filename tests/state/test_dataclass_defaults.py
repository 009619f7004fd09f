"""Tabs get every field of a dataclass, whatever of it is stored or sent.

Of one without slots, msgspec leaves a default on the class, and writes the instance
without it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.state import codec
from sessionstores.state.declaration import State, action, field, get_action, registry


@dataclass
class Inner:
    a: int = 1
    b: str = "b"


@dataclass(frozen=True)
class Firm:
    a: int = 1
    drawn: bool = dataclasses.field(default=False, init=False)


@dataclass(slots=True)
class Slotted:
    a: int = 1
    b: str = "b"


@dataclass
class Derived(Slotted):
    c: int = 3


@dataclass
class Outer:
    inner: Inner = dataclasses.field(default_factory=Inner)
    many: list[Inner] = dataclasses.field(default_factory=list[Inner])
    n: int = 0
    _hidden: int = 7


T = TypeVar("T")


class Pair(msgspec.Struct, Generic[T]):
    left: T
    right: Inner = Inner()


@dataclass
class Boxed(Generic[T]):
    content: T | None = None


class Row(NamedTuple):
    inner: Inner


class Holder(msgspec.Struct):
    part: Inner | None = None


with registry.isolated():

    class Board(State):
        outer: Outer = field(default_factory=Outer)
        slotted: Slotted = field(default_factory=Slotted)
        derived: Derived = field(default_factory=Derived)
        by_id: dict[str, Inner] = field(default_factory=dict[str, Inner])
        pair: tuple[Inner, ...] = ()
        row: Row = field(default_factory=lambda: Row(Inner()))
        firm: frozenset[Firm] = frozenset()
        held: Holder = field(default_factory=Holder)

        @action
        def put(self, outer: Outer, by_id: dict[str, Inner]) -> Outer:
            self.outer, self.by_id = outer, by_id
            return outer


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


INNER = some(a=st.integers(0, 3), b=st.text(max_size=2))
OUTER = some(inner=INNER, many=st.lists(INNER, max_size=2), n=st.integers(0, 3))
BY_ID = st.dictionaries(st.sampled_from("xyz"), INNER, max_size=2)
BOARDS = some(
    outer=OUTER,
    slotted=INNER,
    derived=INNER,
    by_id=BY_ID,
    pair=st.lists(INNER, max_size=2),
    row=INNER.map(lambda inner: [inner]),
    firm=st.lists(some(a=st.integers(0, 3)), max_size=2),
    held=some(part=st.none() | INNER),
)


def whole(value: Any) -> Any:
    """Return what a value is to be in JSON, of which each field is read."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {each.name: whole(getattr(value, each.name)) for each in fields}
    if isinstance(value, msgspec.Struct):
        return {name: whole(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [*map(whole, value)]
    if isinstance(value, frozenset):
        return sorted(map(whole, value), key=str)
    return value


@given(BOARDS)
def test_stored_dataclasses_get_the_fields_that_they_lack(stored: Any) -> None:
    data = b"1:" + msgspec.json.encode(stored)
    board, before = codec.load(Board, data)
    dumped, decoded = codec.dump(board, before)
    assert msgspec.json.decode(msgspec.json.encode(board)) == {
        **whole(board),
        "firm": msgspec.to_builtins(board.firm),
    }
    plain = codec.plain(dumped)
    assert {**plain, "firm": sorted(plain["firm"], key=str)} == whole(board)
    # What a tab is sent as a patch is made of the instance.
    assert codec.plain_of(decoded) == plain
    # It is settled by its first read.
    assert codec.load(Board, dumped)[0] == board
    assert codec.is_current(Board, dumped, codec.decode(Board, dumped))
    assert codec.is_current(Board, data, board) is (data == dumped)


@given(OUTER, BY_ID)
def test_sent_dataclasses_get_the_fields_that_they_lack(outer: Any, by_id: Any) -> None:
    sent = msgspec.json.encode({"outer": outer, "by_id": by_id})
    board = Board()
    result = board.put(**get_action(Board, "put").decode(sent))
    assert msgspec.json.decode(msgspec.json.encode(result)) == whole(result)
    plain = codec.plain(codec.encode(board))
    assert (plain["outer"], plain["by_id"]) == (whole(result), whole(board.by_id))


class Shelf(msgspec.Struct, frozen=True):
    part: Inner = Inner()


@dataclass(eq=False)
class Plain:
    a: int = 0


@dataclass
class Holding:
    part: Plain = Plain()  # noqa: RUF009


@dataclass(slots=True, frozen=True)
class Frame:
    part: Plain = Plain()  # noqa: RUF009


with registry.isolated():

    class Sharing(State):
        part: Inner = Inner()
        slotted: Slotted = Slotted()
        pair: Pair[int] = field(default_factory=lambda: Pair(1))
        boxed: Boxed[int] = field(default_factory=Boxed[int])
        given: Inner = field(default=Inner())
        shelf: Shelf = field(default_factory=Shelf)
        holding: Holding = field(default_factory=Holding)
        frame: Frame = field(default_factory=Frame)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        b"1:{}",
        b'1:{"shelf":{},"holding":{},"frame":{}}',
        b'1:{"part":{"a":1},"pair":{"left":1},"boxed":{}}',
    ],
)
def test_a_default_that_is_an_instance_is_each_states_own(stored: bytes | None) -> None:
    fresh = msgspec.json.encode(Sharing())
    for _ in range(2):
        state, before = codec.load(Sharing, stored)
        parts = (state.part, state.slotted, state.given, state.shelf.part)
        for part in (*parts, state.pair.right, state.holding.part, state.frame.part):
            part.a = 99
        after = codec.plain(codec.dump(state, before)[0])
        assert {after[name]["a"] for name in ("part", "slotted", "given")} == {99}
        assert after["boxed"] == {"content": None}
        assert after["pair"]["right"]["a"] == 99
        assert after["shelf"]["part"]["a"] == after["holding"]["part"]["a"] == 99
        assert msgspec.json.encode(Sharing()) == fresh


def test_what_another_release_has_stored_in_a_dataclass_stays() -> None:
    data = b'1:{"outer":{"n":1,"later":true}}'
    board, before = codec.load(Board, data)
    plain = codec.plain(codec.dump(board, before)[0])
    assert plain["outer"] == {"n": 1, "later": True, **whole(Outer(n=1))}
