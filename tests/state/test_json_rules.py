"""What goes to browsers besides states: JSON that they read as it is, or an error."""

from __future__ import annotations

import dataclasses
import json
import math
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessionstores.exceptions import InvalidArguments
from sessionstores.keys import REFUSED_IDS
from sessionstores.state.json_rules import (
    MAX_DEPTH,
    MAX_INTEGER,
    REFUSED_NAMES,
    encode_portable,
    portable_text,
)

numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([2**53, 2**53 - 1, -(2**53), -(2**53) + 1, 2**63, 2**64, 1e300])
)
texts = st.text() | st.text(
    st.sampled_from("a\ud800\udfff\U0001f600\u2028\x00\"\\'"), max_size=6
)
keys = (
    texts | numbers | st.sampled_from([*sorted(REFUSED_NAMES), "1", "protos", b"", ()])
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.just(object()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.frozensets(st.integers() | texts, max_size=3)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)


class Pair(NamedTuple):
    left: Any
    right: Any


class Shape(msgspec.Struct):
    size: Any


@dataclasses.dataclass
class Card:
    name: Any


class Level(Enum):
    TOO_HIGH = 2**60


def is_exact(text: bytes) -> bool:
    """Whether JavaScript reads it, and reads nothing differently, by its own rules."""

    def integer(digits: str) -> int:
        number = int(digits)
        assert abs(number) <= MAX_INTEGER
        return number

    def constant(name: str) -> None:
        raise AssertionError(name)

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(found)) == len(found), "a key twice"
        assert not REFUSED_NAMES & dict(found).keys()
        return dict(found)

    read = json.loads(
        text.decode(),
        parse_int=integer,
        parse_constant=constant,
        object_pairs_hook=pairs,
    )
    json.dumps(read, ensure_ascii=False).encode()
    return True


def plain(value: Any) -> Any:
    """Return a value as Python's own decoder reads it back from JSON."""
    if isinstance(value, dict):
        return {_text(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [plain(each) for each in value]
    return value


def _text(key: Any) -> str:
    (text,) = json.loads(msgspec.json.encode({key: None}))
    return str(text)


@given(values)
@example({1: "a", "1": "b"})
@example([{"deep": {1.0: "a", "1.0": "b"}}])
@example("constructor")
@example({"a": [None, math.nan]})
@example([[1152921504606846977]])
@example({1e16: None, 1e-7: None, 1e300: 1e16})
def test_what_is_let_out_is_read_as_it_is_and_all_else_is_refused(value: Any) -> None:
    try:
        text = encode_portable(value, "data")
    except InvalidArguments as error:
        message = str(error)
        assert message.startswith("data")
        assert message.isprintable()
        assert message.encode()
        return
    assert is_exact(text)
    assert msgspec.json.decode(text) == plain(value)


portable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text().filter(lambda key: key not in REFUSED_NAMES), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(portable)
@example({"1e16": 1e16, "-0.0": -0.0, "1e-7": 1e-7, "e": 123456789012345.6})
def test_what_browsers_read_as_it_is_is_let_out(value: Any) -> None:
    assert msgspec.json.decode(encode_portable(value, "data")) == value


nested: Any = "bottom"
for _ in range(MAX_DEPTH):
    nested = [nested]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (2**53, "data: an integer beyond"),
        (-(2**53), "data: an integer beyond"),
        (math.nan, "data: JSON has no nan"),
        (math.inf, "data: JSON has no inf"),
        ("\ud800", "data: a lone surrogate"),
        ({"a": [1, 2**60]}, "data.a[1]: an integer beyond"),
        ({"a b": -math.inf}, "data['a b']: JSON has no -inf"),
        ({"a": {"\udfff": 1}}, "data.a: a lone surrogate in a key"),
        ({"a": {"__proto__": 1}}, "data.a.__proto__: browsers refuse this key"),
        ({1: 1, "1": 2}, "data: two keys that JSON writes alike"),
        ([{"a": {1: 1, "1": 2}}], "data[0].a: two keys that JSON writes alike"),
        ({"a": object()}, "data.a: object is not a JSON value"),
        ({None: 1}, "data: NoneType is not a JSON key"),
        ([nested], "more than 32 levels"),
        (Pair(1, math.nan), "data[1]: JSON has no nan"),
        (Shape([2**60]), "data.size[0]: an integer beyond"),
        (Card({"a": math.nan}), "data.name.a: JSON has no nan"),
        ([Level.TOO_HIGH], "data[0]: an integer beyond"),
    ],
)
def test_a_refusal_names_the_place_and_the_reason(value: Any, place: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        encode_portable(value, "data")
    assert place in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_a_value_that_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InvalidArguments, match="contains itself"):
        encode_portable(circle, "data")


@given(
    st.dictionaries(st.floats() | st.integers() | texts, st.none() | st.floats(0, 1))
)
def test_only_keys_that_are_written_alike_are_refused_as_that(
    value: dict[Any, Any],
) -> None:
    written = [_text(key) for key in value if not isinstance(key, str)]
    written += [key for key in value if isinstance(key, str)]
    try:
        encode_portable(value, "data")
    except InvalidArguments as error:
        message = str(error)
    else:
        message = ""
    if "writes alike" in message:
        assert len(set(written)) < len(written)
    elif not message:
        assert len(set(written)) == len(written)


def test_thirty_two_levels_are_let_out() -> None:
    assert encode_portable(nested, "data").count(b"[") == MAX_DEPTH


@given(texts | numbers)
def test_any_text_can_be_made_one_for_browsers(value: Any) -> None:
    text = portable_text(value)
    assert text.encode().decode() == text
    assert len(text) == len(str(value))
    if not any("\ud800" <= character <= "\udfff" for character in str(value)):
        assert text == str(value)


def test_ids_are_refused_that_are_refused_as_keys() -> None:
    assert REFUSED_IDS == REFUSED_NAMES
