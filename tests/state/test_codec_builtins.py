"""States converted through builtins get the same stored form as through JSON."""

from __future__ import annotations

import enum
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessionstores import event_bus
from sessionstores.exceptions import StateCorrupt
from sessionstores.keys import StoreKey
from sessionstores.state import codec, json_rules
from sessionstores.state.declaration import State, field, registry


class Card(msgspec.Struct, omit_defaults=True):
    title: str = ""
    votes: int | None = None
    parts: list[Card] = field(default_factory=list["Card"])


with registry.isolated():

    class Table(State):
        step: int = 1
        done: bool = False
        note: str | None = None
        deck: list[str] = field(default_factory=list[str])
        piles: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
        cards: list[Card] = field(default_factory=list[Card])

    class Scored(State):
        score: float = 0.0

    class Pair(State):
        pair: tuple[int, int] = (0, 0)


class Suit(enum.Enum):
    HEARTS = "hearts"


TEXT = st.text(max_size=5)
INTEGER = st.integers(-(2**53) + 1, 2**53 - 1)
TITLES = st.builds(Card, TEXT, st.none() | INTEGER)
TABLES = st.builds(
    Table,
    INTEGER,
    st.booleans(),
    st.none() | TEXT,
    st.lists(TEXT, max_size=3),
    st.dictionaries(TEXT, st.lists(TEXT, max_size=3), max_size=3),
    st.lists(st.builds(Card, TEXT, INTEGER, st.lists(TITLES, max_size=2)), max_size=3),
)
# What an action may leave in a field, whatever the field's type says.
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**53, 2**70, 1.0, 1.5, -0.0, float("nan"), "\ud800", b"a"])
    | st.sampled_from([Suit.HEARTS, "a", "1", object(), {1, 2}, Card("a", 1)])
    | st.just({"title": "a", "unknown": 1}),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.tuples(inner)
        | st.dictionaries(st.sampled_from(["a", "1", 1, 1.5, None, True]), inner)
    ),
    max_leaves=4,
)


def through_json(state: Table) -> bytes | None:
    """The stored form by way of the JSON alone; None if it is refused."""
    try:
        body = msgspec.json.encode(state)
        body = msgspec.json.encode(msgspec.json.decode(body, type=Table))
    except (TypeError, ValueError):
        return None
    return b"1:" + body


def kept(value: Any, *, of_cards: bool) -> Any:
    """The same without what is dropped.

    Of keys that are one in JSON, such as 1 and "1", the last counts; and a card drops
    what is no field of it.
    """
    if isinstance(value, list | tuple):
        return [kept(each, of_cards=of_cards) for each in value]
    if isinstance(value, dict):
        named = {
            str(name): kept(each, of_cards=of_cards) for name, each in value.items()
        }
        fields = set(Card.__struct_fields__) if of_cards else named.keys()
        return {name: each for name, each in named.items() if name in fields}
    return value


@given(TABLES)
def test_the_plain_form_of_a_decoded_state_is_that_of_its_json(table: Table) -> None:
    stored, decoded = codec.dump(table)
    assert stored == through_json(table)
    for form in codec.plain_of(decoded), codec.load(Table, stored)[1]:
        assert repr(form) == repr(codec.plain(stored))


@given(st.sampled_from(Table.__struct_fields__), ODD)
@example("cards", ({"a": "\ud800"},))
@example("piles", {"a": [], "1": None, 1: []})
def test_what_does_not_fit_is_refused_or_stored_as_json_has_it(
    name: str, value: Any
) -> None:
    table = Table()
    setattr(table, name, value)
    expected = through_json(table)
    try:
        stored, decoded = codec.dump(table)
    except StateCorrupt:
        assert expected is None or json_rules.flaw(table)
        return
    if expected is None:
        # The reason is dropped with what holds it.
        setattr(table, name, kept(value, of_cards=name == "cards"))
        expected = through_json(table)
    assert stored == expected
    assert repr(codec.plain_of(decoded)) == repr(codec.plain(stored))


def test_a_loaded_state_shares_no_container_with_its_plain_form() -> None:
    stored = codec.encode(Table(piles={"a": ["b"]}, cards=[Card("c")]))
    table, unchanged = codec.load(Table, stored)
    table.piles["a"].append("more")
    table.cards[0].parts.append(Card())
    assert unchanged == codec.plain(stored)


@pytest.mark.parametrize("state", [Scored(score=1), Pair((1, 2))])
def test_other_types_go_through_json(state: State) -> None:
    stored, decoded = codec.dump(state)
    assert codec.load(type(state), stored) == (decoded, None)
    assert repr(codec.plain_of(decoded)) == repr(codec.plain(stored))


@given(TABLES, TABLES)
def test_an_edit_gives_the_operations_that_the_stored_forms_give(
    old: Table, new: Table
) -> None:
    before, after = codec.encode(old), codec.encode(new)
    unchanged = codec.load(Table, before)[1]
    slow, quick = (
        event_bus.Change(
            StoreKey("K7Q2ZD", "alice"),
            "7f3a.1-9f3ac21b",
            "7f3a.2-9f3ac21b",
            {"table": before},
            {"table": after},
            edit=edit,
        )
        for edit in (None, (unchanged, codec.dump(new)[1]))
    )
    assert quick.operations == slow.operations
