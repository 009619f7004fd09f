"""Types for TypeScript against a second way: JSON Schema, as msgspec makes it."""

from __future__ import annotations

import datetime
import enum
import itertools
import json
import uuid
from collections.abc import Iterator
from dataclasses import field as dataclass_field
from dataclasses import make_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from sessionstores import State, action
from sessionstores.management.typescript import typescript
from sessionstores.management.typescript_translation import TEXTS, Translator
from sessionstores.management.typescript_types import (
    Constant,
    ItemsType,
    Keyword,
    MembersType,
    Reference,
    TupleRow,
    TypeNode,
    UnionOf,
    ValuesType,
)
from sessionstores.state.declaration import StateMeta, registry
from sessionstores.state.type_rules import refusals
from tests.management.test_typescript import complaints, needs_tsc

# Types

numbers = itertools.count()


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


SCALARS: list[Any] = [
    *(str, int, float, bool, type(None), bytes, Colour, Level, uuid.UUID, Decimal),
    *(datetime.datetime, datetime.date, datetime.timedelta),
    # The schema of another time of day does not say that it is one.
    Annotated[datetime.time, msgspec.Meta(tz=False)],
    *(Literal["a", "b"], Literal[1, 2], Literal["a", None]),
]
KEYS: list[Any] = [str, int, Colour, Literal["x", "y"], Literal[3, 4]]
HASHABLE: list[Any] = [str, int, Colour, uuid.UUID, Literal["a", "b"]]
NAMES = ("one", "two", "three_words", "constructors")


def hint_of(hint: Any, given: bool) -> Any:
    """Return a field's annotation: a default is None, in every type that has one."""
    return Optional[hint] if given else hint  # noqa: UP045 - of any form, None too


def struct(fields: list[tuple[Any, ...]], options: dict[str, Any]) -> Any:
    made = [
        (name, hint_of(hint, given), *([None] if given else []))
        for name, hint, given in fields
    ]
    return msgspec.defstruct(f"Struct{next(numbers)}", made, kw_only=True, **options)


def dataclass(fields: list[tuple[Any, ...]], slots: bool) -> Any:
    made = [
        (name, hint_of(hint, given), dataclass_field(kw_only=True, **default))
        for name, hint, given in fields
        for default in [{"default": None} if given else {}]
    ]
    return make_dataclass(f"Data{next(numbers)}", made, slots=slots)


def named_tuple(fields: list[tuple[Any, ...]]) -> Any:
    # Those that have a default are last.
    ordered = sorted(fields, key=lambda each: each[2])
    hints = [(name, hint_of(hint, given)) for name, hint, given in ordered]
    made: Any = NamedTuple(f"Row{next(numbers)}", hints)
    made._field_defaults = {name: None for name, _, given in ordered if given}
    made.__new__.__defaults__ = tuple(made._field_defaults.values())
    return made


def typed_dict(fields: list[tuple[Any, ...]], total: bool) -> Any:
    hints = {name: hint for name, hint, _ in fields}
    return TypedDict(f"Dict{next(numbers)}", hints, total=total)


# Of structs.
OPTIONS: list[dict[str, Any]] = [
    *({}, {"rename": "camel"}, {"tag": "tagged"}, {"tag": 3, "tag_field": "kind"}),
    *({"array_like": True}, {"array_like": True, "tag": "row"}),
    {"rename": {"one": "one-1"}},
]


def is_usable(hint: Any) -> bool:
    """Return whether states may have fields of a type, and msgspec takes it."""
    try:
        made = msgspec.defstruct("Made", [("it", hint)])
        return not list(refusals(made, stored=False))
    except TypeError:
        return False


class Kinds:
    """Draws types of every kind, one inside the other."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def any(self, depth: int) -> Any:
        kind = self.draw(st.integers(0, 10 if depth else 0))
        if kind == 0:
            return self.draw(st.sampled_from([*SCALARS, Any]))
        made = self.bare(kind, depth - 1)
        # msgspec refuses most unions of two.
        return made if is_usable(made) else list[int]

    def bare(self, kind: int, depth: int) -> Any:
        if kind == 1:
            return list[self.any(depth)]
        if kind == 2:
            return tuple[self.any(depth), ...]
        if kind == 3:
            length = self.draw(st.integers(0, 3))
            return tuple[tuple(self.any(depth) for _ in range(length))]
        if kind == 4:
            return set[self.draw(st.sampled_from(HASHABLE))]
        if kind == 5:
            return dict[self.draw(st.sampled_from(KEYS)), self.any(depth)]
        if kind == 6:
            return self.any(depth) | self.any(depth)
        fields = self.fields(depth)
        if kind == 7:
            return struct(fields, self.draw(st.sampled_from(OPTIONS)))
        if kind == 8:
            return dataclass(fields, self.draw(st.booleans()))
        if kind == 9:
            return named_tuple(fields)
        return typed_dict(fields, self.draw(st.booleans()))

    def fields(self, depth: int) -> list[tuple[Any, ...]]:
        """Fields by name, type and whether they have a default."""
        names = NAMES[: self.draw(st.integers(1, len(NAMES)))]
        return [(name, self.any(depth), self.draw(st.booleans())) for name in names]


@st.composite
def types(draw: st.DrawFn) -> Any:
    """Types that fields and arguments may have."""
    return Kinds(draw).any(3)


# Shapes: what a model and a schema have in common, as nested tuples

Shape = Any


def shape_of(node: TypeNode, bodies: dict[Any, TypeNode]) -> Shape:
    """Return the shape of a type of the model; keys of a dict may not be known."""
    if isinstance(node, Reference):
        return shape_of(bodies[node.cls], bodies)
    if isinstance(node, Keyword):
        return ("any",) if node.word in ("Json", "unknown") else _word(node.word)
    if isinstance(node, Constant):
        return ("constants", frozenset([(node.kind, node.value)]))
    if isinstance(node, ItemsType):
        return ("items", shape_of(node.item, bodies))
    if isinstance(node, ValuesType):
        return ("values", shape_of(node.value, bodies))
    if isinstance(node, TupleRow):
        places = tuple(shape_of(each.type, bodies) for each in node.places)
        least = sum(not each.optional for each in node.places)
        return ("row", places, least)
    if isinstance(node, MembersType):
        return _members(
            {each.name: shape_of(each.type, bodies) for each in node.members},
            {each.name for each in node.members if not each.optional},
        )
    assert isinstance(node, UnionOf)
    return _union([shape_of(each, bodies) for each in node.options])


def _word(word: str) -> Shape:
    return ("null",) if word == "null" else ("string" if word in TEXTS else word,)


def _members(members: dict[str, Shape], required: set[str]) -> Shape:
    return ("members", frozenset(members.items()), frozenset(required))


def _union(shapes: list[Shape]) -> Shape:
    options: set[Shape] = set()
    constants: set[Any] = set()
    for each in shapes:
        if each[0] == "union":
            options |= each[1]
        elif each[0] == "constants":
            constants |= each[1]
        else:
            options.add(each)
    for each in [each for each in options if each[0] == "constants"]:
        options.remove(each)
        constants |= each[1]
    if constants:
        options.add(("constants", frozenset(constants)))
    if ("any",) in options:
        return ("any",)
    return next(iter(options)) if len(options) == 1 else ("union", frozenset(options))


def shape_in(schema: dict[str, Any], components: dict[str, Any]) -> Shape:
    """Return the shape of a JSON schema."""
    if "$ref" in schema:
        return shape_in(components[schema["$ref"].rpartition("/")[2]], components)
    if "enum" in schema:
        constants = [
            ("null",) if v is None else ("constants", frozenset([(type(v), v)]))
            for v in schema["enum"]
        ]
        return _union(constants)
    if "anyOf" in schema:
        return _union([shape_in(each, components) for each in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "array":
        return _array(schema, components)
    if kind == "object":
        return _object(schema, components)
    words = {"integer": "number", None: "any"}
    return (words.get(kind, kind),)


def _array(schema: dict[str, Any], components: dict[str, Any]) -> Shape:
    if "prefixItems" in schema or schema.get("maxItems") == 0:
        places = [shape_in(e, components) for e in schema.get("prefixItems", ())]
        return ("row", tuple(places), schema["minItems"])
    return ("items", shape_in(schema.get("items", {}), components))


def _object(schema: dict[str, Any], components: dict[str, Any]) -> Shape:
    if "properties" not in schema:
        return ("values", shape_in(schema.get("additionalProperties", {}), components))
    members = schema["properties"]
    return _members(
        {name: shape_in(each, components) for name, each in members.items()},
        set(schema["required"]),
    )


def has_known_keys(hint: Any) -> bool:
    """Return whether a dict in it has keys that are listed, which no schema says."""
    pending: list[Any] = [inspect.type_info(hint)]
    while pending:
        node = pending.pop()
        if isinstance(node, inspect.DictType) and isinstance(
            node.key_type, inspect.LiteralType | inspect.EnumType
        ):
            return True
        for part in msgspec.structs.asdict(node).values():
            parts = part if isinstance(part, tuple) else (part,)
            pending += [getattr(each, "type", each) for each in parts]
        pending = [each for each in pending if isinstance(each, inspect.Type)]
    return False


@given(types())
def test_what_is_written_is_what_the_schema_says(hint: Any) -> None:
    assume(not has_known_keys(hint))
    sent = Translator(sent=True)
    node = sent.node(inspect.type_info(hint))
    (schema,), components = msgspec.json.schema_components([hint])
    assert shape_of(node, sent.bodies) == shape_in(schema, components)


# Values

SAMPLES = {
    "date-time": "2026-03-01T09:30:00Z",
    "date": "2026-03-01",
    "time": "09:30:00Z",
    "partial-time": "09:30:00",
    "duration": "PT90S",
    "uuid": "0b4ae3c1-6d3f-4b8e-9a53-5c3fb8f4a2d1",
    "decimal": "12.50",
}
# A date and time, which its schema does not say unless it has a zone.
TEXT = SAMPLES["date-time"]


def values(
    schema: dict[str, Any], components: dict[str, Any]
) -> st.SearchStrategy[Any]:
    """Values that a schema accepts."""
    if "$ref" in schema:
        return values(components[schema["$ref"].rpartition("/")[2]], components)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of([values(each, components) for each in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "array":
        prefix = [values(each, components) for each in schema.get("prefixItems", ())]
        if prefix or schema.get("maxItems") == 0:
            lengths = st.integers(schema["minItems"], len(prefix))
            return lengths.flatmap(lambda n: st.tuples(*prefix[:n])).map(list)
        items = values(schema.get("items", {}), components)
        unique = schema.get("uniqueItems", False)
        return st.lists(items, max_size=3, unique=unique)
    if kind == "object" and "properties" in schema:
        members = {n: values(e, components) for n, e in schema["properties"].items()}
        required = {n: members.pop(n) for n in schema["required"]}
        return st.fixed_dictionaries(required, optional=members)
    if kind == "object":
        inner = values(schema.get("additionalProperties", {}), components)
        # Of every kind of key.
        keys = st.sampled_from(["3", "red", "x", "4"])
        return st.dictionaries(keys, inner, max_size=2)
    if kind == "string":
        text = "YQ==" if "contentEncoding" in schema else TEXT
        return st.just(SAMPLES.get(schema.get("format", ""), text))
    plain = {
        "integer": st.sampled_from([0, 1, -7]),
        "number": st.sampled_from([0, 1.5, -2]),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return plain.get(str(kind), st.sampled_from([None, 1, "a", [1], {"a": []}]))


def fits(node: TypeNode, value: Any, bodies: dict[Any, TypeNode]) -> bool:
    """Return whether TypeScript would accept a value, but for members too many."""
    if isinstance(node, Reference):
        return fits(bodies[node.cls], value, bodies)
    if isinstance(node, UnionOf):
        return any(fits(each, value, bodies) for each in node.options)
    if isinstance(node, Constant):
        return type(value) is node.kind and value == node.value
    if isinstance(node, Keyword):
        return node.word in (*_words(value), "Json", "unknown")
    if isinstance(node, ItemsType):
        return isinstance(value, list) and all(
            fits(node.item, each, bodies) for each in value
        )
    if isinstance(node, TupleRow):
        least = sum(not each.optional for each in node.places)
        return (
            isinstance(value, list)
            and least <= len(value)
            and (len(value) <= len(node.places) or node.rest is not None)
            and all(
                fits(place.type, each, bodies)
                for place, each in zip(node.places, value, strict=False)
            )
        )
    if not isinstance(value, dict):
        return False
    if isinstance(node, ValuesType):
        return all(fits(node.value, each, bodies) for each in value.values())
    assert isinstance(node, MembersType)
    return all(
        fits(each.type, value[each.name], bodies)
        if each.name in value
        else each.optional
        for each in node.members
    )


def _words(value: Any) -> tuple[str, ...]:
    if value is None:
        return ("null",)
    if isinstance(value, str):
        return ("string", *TEXTS)
    return ("boolean",) if isinstance(value, bool) else _number(value)


def _number(value: Any) -> tuple[str, ...]:
    return ("number",) if isinstance(value, int | float) else ()


def valid(schema: dict[str, Any], value: Any, components: dict[str, Any]) -> bool:
    """Return whether a schema accepts a value; the forms of texts are left out."""
    if "$ref" in schema:
        return valid(components[schema["$ref"].rpartition("/")[2]], value, components)
    if "enum" in schema:
        return any(type(v) is type(value) and v == value for v in schema["enum"])
    if "anyOf" in schema:
        return any(valid(each, value, components) for each in schema["anyOf"])
    if "type" not in schema:
        return True
    if schema["type"] not in KINDS[type(value)]:
        return False
    if isinstance(value, list):
        prefix = schema.get("prefixItems", [])
        rest = [schema.get("items", {})] * (len(value) - len(prefix))
        return schema.get("minItems", 0) <= len(value) and all(
            each is not False and valid(each, item, components)
            for each, item in zip([*prefix, *rest], value, strict=False)
        )
    if isinstance(value, dict):
        members = schema.get("properties", {})
        rest = schema.get("additionalProperties", {})
        return value.keys() >= {*schema.get("required", ())} and all(
            valid(members.get(name, rest), each, components)
            for name, each in value.items()
        )
    return True


KINDS: dict[type, tuple[str, ...]] = {
    list: ("array",),
    dict: ("object",),
    str: ("string",),
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
    type(None): ("null",),
}


def accepted(hint: Any, value: Any) -> Any:
    """Return what msgspec makes of a value; refuse the example if it is refused."""
    try:
        return msgspec.json.decode(json.dumps(value), type=hint)
    except msgspec.ValidationError:
        # Keys are of all kinds: no schema says of which.
        assume(False)
        raise


def wrong_values(value: Any) -> Iterator[Any]:
    """Yield values with one part replaced, or one member left out."""
    for other in (None, True, "zzz", [], {}, 10**6):
        if type(other) is not type(value):
            yield other
    if isinstance(value, list):
        for place, each in enumerate(value):
            for other in wrong_values(each):
                yield [*value[:place], other, *value[place + 1 :]]
        yield from (value[:place] for place in range(len(value)))
    if isinstance(value, dict):
        for name, each in value.items():
            yield {key: value[key] for key in value if key != name}
            for other in wrong_values(each):
                yield {**value, name: other}


@given(st.data())
def test_values_fit_if_the_schema_accepts_them_and_what_is_read_fits_too(
    data: st.DataObject,
) -> None:
    hint = data.draw(types())
    node = inspect.type_info(hint)
    (schema,), components = msgspec.json.schema_components([hint])
    value = data.draw(values(schema, components))
    read, sent = Translator(sent=False), Translator(sent=True)
    as_read, as_sent = read.node(node), sent.node(node)
    answer = json.loads(msgspec.json.encode(accepted(hint, value)))
    assert fits(as_sent, value, sent.bodies)
    assert fits(as_read, answer, read.bodies)
    # What was read may be sent.
    assert fits(as_sent, answer, sent.bodies)
    for wrong in itertools.islice(wrong_values(value), 100):
        by_schema = valid(schema, wrong, components)
        assert fits(as_sent, wrong, sent.bodies) == by_schema, wrong


# What tsc itself says of both


def state_of(number: int, hint: Any) -> type[State]:
    """Return a state with a field, an argument and a result of one type."""

    def act(self: State, it: Any) -> Any:
        return it

    act.__annotations__ = {"it": hint, "return": hint}
    space = {
        "__module__": __name__,
        "__annotations__": {"it": Optional[hint]},  # noqa: UP045 - see hint_of
        "it": None,
        "act": action(act),
    }
    made: type[State] = StateMeta(f"State{number}", (State,), space)
    return made


@needs_tsc
def test_tsc_accepts_what_fits_and_refuses_what_does_not(tmp_path: Path) -> None:
    """One run for all examples, which are the same each time."""
    states: list[type[State]] = []
    lines: list[str] = []

    @given(st.data())
    @settings(derandomize=True, max_examples=60, database=None)
    def collect(data: st.DataObject) -> None:
        hint = data.draw(types())
        (schema,), components = msgspec.json.schema_components([hint])
        value = data.draw(values(schema, components))
        answer = json.loads(msgspec.json.encode(accepted(hint, value)))
        place = f'States["state{len(states)}"]'
        argument = f'{place}["actions"]["act"]["it"]'
        states.append(state_of(len(states), hint))
        for kind, each in (
            (argument, value),
            (argument, answer),
            (f'{place}["state"]["it"]', answer),
            (f'{place}["results"]["act"]', answer),
        ):
            lines.append(f"show<{kind}>({json.dumps(each)});")
        for wrong in itertools.islice(wrong_values(value), 20):
            if not valid(schema, wrong, components):
                lines.append("// @ts-expect-error")
                lines.append(f"show<{argument}>({json.dumps(wrong)});")

    with registry.isolated():
        collect()
        text = typescript(states, "./client")
    (tmp_path / "states.ts").write_text(text)
    (tmp_path / "client.ts").write_text("export interface Register {}\n")
    head = (
        'import type { States } from "./states";\nfunction show<T>(value: T): void {}'
    )
    (tmp_path / "cases.ts").write_text("\n".join([head, *lines, ""]))
    config = {"strict": True, "noEmit": True, "exactOptionalPropertyTypes": True}
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": config}))
    assert lines.count("// @ts-expect-error") > 100
    assert complaints(tmp_path) == ""
