"""Type rules: find the declared types whose values cannot be stored as JSON."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
from msgspec import inspect as types

from .json_rules import REFUSED_NAMES, explain, in_python

if sys.version_info >= (3, 14):
    import annotationlib

    def annotations_of(cls: type) -> dict[str, Any]:
        # They may name what does not exist.
        forward = annotationlib.Format.FORWARDREF
        return annotationlib.getannotations_of(cls, format=forward)
else:
    annotations_of = inspect.get_annotations

# What msgspec raises for a hint that it cannot resolve.
UNRESOLVED: Final = (NameError, AttributeError, TypeError, SyntaxError)

_TEXT_KEYS = (types.StrType, types.AnyType)
_KEYS = (
    *_TEXT_KEYS,
    *(types.IntType, types.FloatType, types.DecimalType, types.UUIDType),
    *(types.DateTimeType, types.DateType, types.TimeType, types.TimeDeltaType),
    *(types.BytesType, types.EnumType, types.LiteralType),
)
_UNHASHABLE = (
    *(types.ListType, types.DictType, types.SetType, types.TypedDictType),
    types.ByteArrayType,
)


class Refusal(NamedTuple):
    """A type that cannot be used at `path`; `reason` says why, and the way out."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def refusals(cls: type[Any], *, stored: bool) -> Iterator[Refusal]:
    """Yield what is refused in the fields of a struct, by path.

    `stored`: its values outlive this release of the site. Raises one of `UNRESOLVED`
    for hints that cannot be resolved; see `unresolved`.
    """
    return _Search(stored=stored).search(types.type_info(cls), "")


def unresolved(cls: type[Any]) -> Iterator[Refusal]:
    """Yield the fields of a struct whose annotations cannot be resolved, with why."""
    for base in reversed(cls.__mro__):
        for name, hint in annotations_of(base).items():
            if name not in cls.__struct_fields__:
                continue
            space = {"__annotations__": {name: hint}, "__module__": base.__module__}
            try:
                resolved = get_type_hints(type(name, (), space), include_extras=True)
                reason = next(
                    (why for _, why in unsupported([(name, resolved[name])])), None
                )
                if reason is not None:
                    yield Refusal(name, reason)
            except UNRESOLVED as error:
                yield Refusal(name, _unresolved(hint, error))


def _unresolved(hint: Any, error: Exception) -> str:
    return (
        f"{hint_text(hint)} does not resolve: {error}. Import what it names at module "
        "level, outside `if TYPE_CHECKING`"
    )


# What msgspec says of types that resolve, and what is said instead.
_MSGSPECS_REASONS = (
    ("more than one array-like", "has two kinds of list{apart}"),
    ("more than one dict", "has two kinds of dict or struct{apart}"),
    ("more than one str-like", "has two kinds of text{apart}"),
    ("more than one int-like", "has two kinds of number{apart}"),
    (
        "must be tagged",
        "has several structs, which JSON cannot tell apart. Declare each with tag=True",
    ),
    (
        "unique `tag` values",
        "has two structs of the same tag. Give each a tag of its own",
    ),
)
_APART = (
    ", which JSON cannot tell apart. Use one of them, or a struct with a field for each"
)


def unsupported(fields: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, str]]:
    """Yield names of fields of types that msgspec cannot decode, with why.

    Each field is a name and a type, and maybe more.
    """
    for name, hint, *_ in fields:
        try:
            types.type_info(hint)
        except UNRESOLVED as error:
            if not isinstance(error, TypeError):
                yield name, _unresolved(hint, error)
                continue
            text = str(error)
            for sign, said in _MSGSPECS_REASONS:
                if sign in text:
                    yield name, f"{hint_text(hint)} {said.format(apart=_APART)}"
                    break
            else:
                reason = text.rpartition(" - ")[0] or text
                reason = f"cannot be used: {reason.replace('`', '')}"
                yield name, f"{hint_text(hint)} {reason}. Use another type"


class _Search:
    def __init__(self, *, stored: bool) -> None:
        self.stored = stored
        self.seen: set[int] = set()

    def search(self, node: types.Type, path: str) -> Iterator[Refusal]:
        if id(node) in self.seen:
            return
        self.seen.add(id(node))
        reason = self._reason(node)
        if reason is not None:
            yield Refusal(path or "it", reason)
        for step, part in _parts(node):
            yield from self.search(part, f"{path}{step}" if path else step.lstrip("."))

    def _reason(self, node: Any) -> str | None:
        if isinstance(node, types.CustomType | types.ExtType):
            return (
                f"{_name(node)} has no JSON form. Use a type of msgspec's, such as a "
                "Struct, a list or a dict, or store a text or number that stands for it"
            )
        if isinstance(node, types.DictType):
            return _key_reason(node.key_type)
        if isinstance(node, types.SetType | types.FrozenSetType):
            return _item_reason(node)
        return self._name_reason(node)

    def _name_reason(self, node: Any) -> str | None:
        names = {each.encode_name for each in getattr(node, "fields", ())}
        names.add(getattr(node, "tag_field", None))
        for name in sorted(REFUSED_NAMES & names):
            return f"browsers refuse the field name {name}. Rename it"
        if self.stored and getattr(node, "forbid_unknown_fields", False):
            return (
                f"{_name(node)} forbids unknown fields, so what another release of the "
                "site stores would be set aside. Leave out forbid_unknown_fields"
            )
        return None


def _key_reason(key: types.Type) -> str | None:
    choices = key.types if isinstance(key, types.UnionType) else (key,)
    choices = tuple(map(_bare, choices))
    for each in choices:
        if not isinstance(each, _KEYS) or (
            isinstance(each, types.LiteralType) and None in each.values
        ):
            return (
                f"a key of type {_name(each)} has no JSON form. Use a text or number "
                "as the key, or a list of structs"
            )
    if len(choices) > 1 and any(isinstance(each, _TEXT_KEYS) for each in choices):
        return (
            "of keys that are text or "
            f"{' or '.join(_name(e) for e in choices if not isinstance(e, _TEXT_KEYS))}"
            ", all come back as text. Use one type of key"
        )
    return None


def _item_reason(node: Any) -> str | None:
    culprit = _unhashable(node.item_type, set())
    if culprit is None:
        return None
    return (
        f"a set cannot hold {_name(culprit)}, which is not hashable. Use a list, or "
        "items that are frozen"
    )


def _unhashable(node: types.Type, seen: set[int]) -> types.Type | None:
    """Return the part of a set's items that keeps it from being decoded."""
    node = _bare(node)
    if isinstance(node, _UNHASHABLE) or (
        isinstance(node, types.DataclassType) and node.cls.__hash__ is None
    ):
        return node
    if isinstance(node, types.StructType):
        config = node.cls.__struct_config__
        if not config.eq or not config.frozen:
            return node if config.eq else None
    if isinstance(node, types.FrozenSetType) or id(node) in seen:
        return None
    seen.add(id(node))
    inner = (_unhashable(part, seen) for _, part in _parts(node))
    return next(filter(None, inner), None)


def _parts(node: Any) -> Iterator[tuple[str, types.Type]]:
    """Yield the types that a type is made of, each with the step that leads there."""
    if isinstance(node, types.Metadata):
        yield "", node.type
    elif isinstance(node, types.DictType):
        yield "[...]", node.value_type
    elif isinstance(node, types.CollectionType):
        yield "[...]", node.item_type
    elif isinstance(node, types.TupleType):
        for place, each in enumerate(node.item_types):
            yield f"[{place}]", each
    elif isinstance(node, types.UnionType):
        for each in node.types:
            yield "", each
    else:
        for field in getattr(node, "fields", ()):
            yield f".{field.name}", field.type


def _bare(node: types.Type) -> types.Type:
    while isinstance(node, types.Metadata):
        node = node.type
    return node


def _name(node: Any) -> str:
    cls = getattr(node, "cls", None)
    if cls is not None:
        return str(cls.__qualname__)
    return _NAMES.get(type(node)) or type(node).__name__.removesuffix("Type").lower()


_NAMES: dict[Any, str] = {
    types.NoneType: "None",
    types.VarTupleType: "tuple",
    types.ExtType: "msgspec.msgpack.Ext",
    types.LiteralType: "Literal with None",
}


def hint_text(hint: Any) -> str:
    if isinstance(hint, str):
        return hint
    if isinstance(hint, type):
        return hint.__qualname__
    return str(hint)


_STEP = re.compile(r"\[[^\]]*\]|[^.\[]+")


def _types_at(cls: type[Any], path: str) -> list[types.Type]:
    """Return the types that values at a path of msgspec's may have."""
    found = _choices(types.type_info(cls))
    for step in _STEP.findall(path):
        found = [
            choice
            for node in found
            for name, part in _steps(node)
            if name == step or (name == "[...]" and step[0] == "[")
            for choice in _choices(part)
        ]
    return found


def _choices(node: types.Type) -> list[types.Type]:
    node = _bare(node)
    return [*map(_bare, node.types)] if isinstance(node, types.UnionType) else [node]


def _steps(node: Any) -> Iterator[tuple[str, types.Type]]:
    if isinstance(node, types.StructType) and node.array_like:
        for place, field in enumerate(node.fields):
            yield f"[{place}]", field.type
    elif hasattr(node, "fields"):
        for field in node.fields:
            yield field.encode_name, field.type
    else:
        yield from _parts(node)


def explain_typed(
    cls: type[Any], error: Exception, *, python: bool = False
) -> tuple[str, str]:
    """Return path and reason of an error in decoding `cls`, as `explain` does.

    With what is allowed, where that is a choice of values. `python`: in the words of
    Python for types, for developers; else in those of JSON.
    """
    path, reason = explain(error)
    nodes = _types_at(cls, path)
    wrong = reason.removeprefix("Invalid enum value").strip()
    if wrong != reason:
        null = "None" if python else "null"
        allowed = [
            null if value is None else repr(value)
            for node in nodes
            for value in _values(node)
        ]
        if allowed:
            return path, f"must be {_either(allowed)}{', not ' * bool(wrong)}{wrong}"
    if python and reason.startswith("expected "):
        reason = in_python(reason)
        if len(nodes) == 1 and isinstance(nodes[0], _CLASSES):
            reason = reason.replace("expected dict", f"expected {_name(nodes[0])}")
    return path, reason


_CLASSES = (types.StructType, types.DataclassType, types.TypedDictType)


def _values(node: Any) -> tuple[Any, ...]:
    if isinstance(node, types.EnumType):
        return tuple(member.value for member in node.cls)
    return node.values if isinstance(node, types.LiteralType) else ()


def _either(allowed: list[str]) -> str:
    shown = allowed[:12]
    if len(shown) < len(allowed):
        return f"one of {', '.join(shown)}, …"
    *others, last = shown
    return f"{', '.join(others)} or {last}" if others else last


def refuse_unportable(cls: type[msgspec.Struct]) -> None:
    """Raise TypeError if a field of a struct has a type that JSON cannot carry."""
    for refusal in refusals(cls, stored=False):
        raise TypeError(str(refusal))
