"""TypeScript translation: turns declared Python types into types of TypeScript."""

from __future__ import annotations

import enum
import inspect as python
from collections.abc import Callable, Iterable
from types import MemberDescriptorType
from typing import Any

import msgspec
from msgspec import inspect

from .typescript_types import (
    BOOLEAN,
    NULL,
    NUMBER,
    STRING,
    Constant,
    ItemsType,
    Keyword,
    Member,
    MembersType,
    Place,
    Reference,
    TupleRow,
    TypeNode,
    ValuesType,
    union,
)

# Text types of ours, and what stands in them.
TEXTS = {
    "IsoDateTime": 'A date and time, such as "2026-03-01T09:30:00Z".',
    "IsoDate": 'A date, such as "2026-03-01".',
    "IsoTime": 'A time of day, such as "09:30:00".',
    "IsoDuration": 'A duration, such as "PT90S" or "P1DT2H".',
    "Base64": "Bytes, in base64.",
    "DecimalText": 'A decimal number, such as "12.50", which JavaScript would round.',
    "Uuid": 'A UUID, such as "0b4ae3c1-6d3f-4b8e-9a53-5c3fb8f4a2d1".',
}
# What JSON can hold, to who reads it and to who writes it.
JSON = Keyword("Json")
ANYTHING = Keyword("unknown")

_SCALARS: dict[Any, TypeNode] = {
    inspect.NoneType: NULL,
    inspect.BoolType: BOOLEAN,
    inspect.IntType: NUMBER,
    inspect.FloatType: NUMBER,
    inspect.StrType: STRING,
    inspect.BytesType: Keyword("Base64"),
    inspect.ByteArrayType: Keyword("Base64"),
    inspect.MemoryViewType: Keyword("Base64"),
    inspect.DateTimeType: Keyword("IsoDateTime"),
    inspect.DateType: Keyword("IsoDate"),
    inspect.TimeType: Keyword("IsoTime"),
    inspect.TimeDeltaType: Keyword("IsoDuration"),
    inspect.UUIDType: Keyword("Uuid"),
    inspect.DecimalType: Keyword("DecimalText"),
}


class Translator:
    """Translates types as clients read them or, if `sent`, as they write them.

    Who writes may leave out what has a default; what is read is as complete as msgspec
    makes it. Classes become references, and what they consist of is kept in `bodies`.
    """

    def __init__(self, *, sent: bool) -> None:
        self.sent = sent
        self.bodies: dict[Any, TypeNode] = {}
        self._anything = ANYTHING if sent else JSON

    def result(self, hint: Any) -> TypeNode:
        """Return the type of a result; of a hint that msgspec does not know, `Json`."""
        try:
            return self.node(inspect.type_info(hint))
        except (TypeError, NameError):
            return self._anything

    def members(self, cls: type[msgspec.Struct]) -> tuple[Member, ...]:
        """Return the members of a struct that is written as an object."""
        return self._members(inspect.type_info(cls))

    def node(self, node: inspect.Type) -> TypeNode:
        """Return the type that a node of msgspec's stands for."""
        node = _bare(node)
        scalar = _SCALARS.get(type(node))
        if scalar is not None:
            return scalar
        if hasattr(node, "cls") and not isinstance(node, inspect.CustomType):
            return self._reference(node)
        for kinds, make in _KINDS:
            if isinstance(node, kinds):
                return make(self, node)
        return self._anything

    def _reference(self, node: Any) -> TypeNode:
        if node.cls not in self.bodies:
            # Classes may contain themselves.
            self.bodies[node.cls] = self._anything
            self.bodies[node.cls] = _body(self, node)
        return Reference(node.cls, self.sent)

    def _enumeration(self, node: Any) -> TypeNode:
        # Flags are combined.
        return NUMBER if issubclass(node.cls, enum.Flag) else _constants(_values(node))

    def _members(self, node: Any) -> tuple[Member, ...]:
        members = [
            Member(
                field.encode_name,
                self.node(field.type),
                self._is_optional(node, field),
                _description(field.type),
            )
            for field in node.fields
        ]
        if getattr(node, "tag_field", None) is not None:
            members.insert(0, Member(node.tag_field, _constants([node.tag])))
        return tuple(members)

    def _is_optional(self, node: Any, field: inspect.Field) -> bool:
        if self.sent or field.required or isinstance(node, inspect.TypedDictType):
            return not field.required
        has_default = field.default is not msgspec.NODEFAULT
        if isinstance(node, inspect.DataclassType):
            # msgspec leaves such a default where it is, on the class, so that what it
            # has decoded lacks the field when it is encoded; but for a slot.
            place = getattr(node.cls, field.name, None)
            return has_default and not isinstance(place, MemberDescriptorType)
        # It has neither if its default is UNSET.
        has_factory = field.default_factory is not msgspec.NODEFAULT
        return bool(_config(node).omit_defaults) or not (has_default or has_factory)

    def _object(self, node: Any) -> TypeNode:
        return MembersType(self._members(node))

    def _struct(self, node: Any) -> TypeNode:
        return self._row(node) if node.array_like else self._object(node)

    def _row(self, node: Any) -> TypeNode:
        """Return an array of fields; other releases may have appended some."""
        places: list[Place] = []
        optional = self.sent
        for each in reversed(node.fields):
            # What is required may follow what has a default.
            optional = optional and not each.required
            places.insert(0, Place(each.name, self.node(each.type), optional))
        is_struct = isinstance(node, inspect.StructType)
        if is_struct and node.tag is not None:
            places.insert(0, Place("tag", _constants([node.tag])))
        open_ = is_struct and not node.forbid_unknown_fields
        return TupleRow(tuple(places), self._anything if open_ else None)

    def _fixed(self, node: Any) -> TypeNode:
        return TupleRow(tuple(Place("", self.node(each)) for each in node.item_types))

    def _items(self, node: Any) -> TypeNode:
        return ItemsType(self.node(node.item_type))

    def _dict(self, node: Any) -> TypeNode:
        value = self.node(node.value_type)
        keys = _keys(node.key_type)
        if keys is None:
            return ValuesType(value)
        names = dict.fromkeys(str(key) for key in keys)
        return MembersType(tuple(Member(name, value, optional=True) for name in names))

    def _literal(self, node: Any) -> TypeNode:
        return _constants(node.values)

    def _union(self, node: Any) -> TypeNode:
        return union(map(self.node, node.types))


_Make = Callable[[Translator, Any], TypeNode]

# Kinds that have no class of their own, and those that have one.
_KINDS: tuple[tuple[Any, _Make], ...] = (
    (inspect.CollectionType, Translator._items),
    (inspect.TupleType, Translator._fixed),
    (inspect.LiteralType, Translator._literal),
    (inspect.UnionType, Translator._union),
    (
        (inspect.DictType, getattr(inspect, "FrozenDictType", inspect.DictType)),
        Translator._dict,
    ),
)
_CLASSES: tuple[tuple[Any, _Make], ...] = (
    (inspect.StructType, Translator._struct),
    (inspect.NamedTupleType, Translator._row),
    (inspect.EnumType, Translator._enumeration),
    ((inspect.DataclassType, inspect.TypedDictType), Translator._object),
)


def _body(translator: Translator, node: Any) -> TypeNode:
    return next(make for kinds, make in _CLASSES if isinstance(node, kinds))(
        translator, node
    )


def differing(classes: Iterable[Any]) -> set[Any]:
    """Return those of `classes` that are written differently from how they are read.

    Those too that contain such a class.
    """
    read, sent = Translator(sent=False), Translator(sent=True)
    for cls in classes:
        for translator in (read, sent):
            translator.node(inspect.type_info(cls))
    found = {cls for cls, body in sent.bodies.items() if body != read.bodies[cls]}
    while more := {
        cls
        for cls, body in sent.bodies.items()
        if cls not in found and any(each.cls in found for each in body.references())
    }:
        found |= more
    return found


def doc_of(cls: Any) -> str:
    """Return the docstring that stands in a class, not one that was made for it."""
    cls = getattr(cls, "__origin__", cls)
    doc = vars(cls).get("__doc__")
    if not isinstance(doc, str) or doc.startswith(f"{cls.__name__}("):
        return ""
    # That of enumerations.
    return python.cleandoc(doc) if doc != "An enumeration." else ""


def _bare(node: inspect.Type) -> inspect.Type:
    while isinstance(node, inspect.Metadata):
        node = node.type
    return node


def _config(node: Any) -> Any:
    return getattr(node.cls, "__origin__", node.cls).__struct_config__


def _description(node: inspect.Type) -> str:
    while isinstance(node, inspect.Metadata):
        if description := (node.extra_json_schema or {}).get("description"):
            return python.cleandoc(str(description))
        node = node.type
    return ""


def _values(node: Any) -> list[Any]:
    return [each.value for each in node.cls]


def _constants(values: Iterable[Any]) -> TypeNode:
    return union(
        NULL if value is None else Constant(type(value), value) for value in values
    )


def _keys(node: inspect.Type) -> list[Any] | None:
    """Return the keys that a type allows, if they can be enumerated."""
    node = _bare(node)
    if isinstance(node, inspect.LiteralType):
        return list(node.values)
    if isinstance(node, inspect.EnumType) and not issubclass(node.cls, enum.Flag):
        return _values(node)
    if isinstance(node, inspect.UnionType):
        keys = [_keys(each) for each in node.types]
        known = [each for each in keys if each is not None]
        return [key for each in known for key in each] if known == keys else None
    return None
