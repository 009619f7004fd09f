"""Type rules: find the declared types whose values cannot be stored as JSON."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
from msgspec import inspect as types

from .json_rules import REFUSED_NAMES

if sys.version_info >= (3, 14):
    import annotationlib

    def _annotations(cls: type) -> dict[str, Any]:
        # They may name what does not exist.
        forward = annotationlib.Format.FORWARDREF
        return annotationlib.get_annotations(cls, format=forward)
else:
    _annotations = inspect.get_annotations

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
        for name, hint in _annotations(base).items():
            if name not in cls.__struct_fields__:
                continue
            space = {"__annotations__": {name: hint}, "__module__": base.__module__}
            try:
                resolved = get_type_hints(type(name, (), space), include_extras=True)
                types.type_info(resolved[name])
            except UNRESOLVED as error:
                yield Refusal(
                    name,
                    f"{_shown(hint)} does not resolve: {error}. Import what it names "
                    "at module level, outside `if TYPE_CHECKING`, and use types that "
                    "msgspec supports.",
                )


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


def _shown(hint: Any) -> str:
    if isinstance(hint, str):
        return hint
    if isinstance(hint, type):
        return hint.__qualname__
    return str(hint)


def refuse_unportable(cls: type[msgspec.Struct]) -> None:
    """Raise TypeError if a field of a struct has a type that JSON cannot carry."""
    for refusal in refusals(cls, stored=False):
        raise TypeError(str(refusal))
