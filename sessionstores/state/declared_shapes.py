"""Declared shapes: what shapes a struct has, by its annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from msgspec import inspect

from .shapes import (
    ChoiceShape,
    FieldsShape,
    ItemsShape,
    MembersShape,
    RowShape,
    SetShape,
    Shape,
    TupleShape,
    ValuesShape,
)

R = TypeVar("R", FieldsShape, RowShape)


class _Place(NamedTuple):
    """A place of a declared type: its key or index, and the type there."""

    key: Any
    type: inspect.Type


class Shapes(NamedTuple):
    """What shapes a struct has; `sets` is None if it holds none.

    `nested`: it holds others with fields.
    """

    fields: Shape
    sets: Shape | None
    nested: bool


def shapes_of(cls: type[Any]) -> Shapes:
    """Return the shapes of a struct. Raises what `msgspec.inspect` raises."""
    node = inspect.type_info(cls)
    builder = _Builder(sets=True)
    sets = builder.struct(node)
    fields = _Builder(sets=False).struct(node)
    return Shapes(fields, sets if builder.found_set else None, bool(fields.parts))


class _Builder:
    """Builds the shape of a type, by node of `msgspec.inspect`; types may recur.

    `sets`: of those too that hold nothing but text and numbers.
    """

    def __init__(self, *, sets: bool) -> None:
        self.sets = sets
        self.found_set = False
        self.known: dict[int, Shape] = {}

    def build(self, node: inspect.Type) -> Shape | None:
        if isinstance(node, inspect.Metadata):
            return self.build(node.type)
        if id(node) in self.known:
            return self.known[id(node)]
        for kinds, make in _KINDS:
            if isinstance(node, kinds):
                return make(self, node)
        return None

    def struct(self, node: Any) -> FieldsShape | RowShape:
        names = tuple(field.encode_name for field in node.fields)
        if node.array_like:
            tag = node.tag is not None
            row = RowShape(len(names) + tag, open=True)
            return self._fill(
                node,
                row,
                [_Place(i + tag, field.type) for i, field in enumerate(node.fields)],
            )
        if node.tag_field is not None:
            names = (node.tag_field, *names)
        return self._fill(node, FieldsShape(names), _places(node.fields))

    def dataclass(self, node: Any) -> Shape:
        names = tuple(field.encode_name for field in node.fields)
        return self._fill(node, FieldsShape(names), _places(node.fields))

    def typed_dict(self, node: Any) -> Shape:
        names = tuple(field.encode_name for field in node.fields)
        return self._fill(node, MembersShape(names), _places(node.fields))

    def named_tuple(self, node: Any) -> Shape | None:
        places = [_Place(i, field.type) for i, field in enumerate(node.fields)]
        row = RowShape(len(node.fields), open=False)
        return self._fill(node, row, places) if places else None

    def fixed(self, node: Any) -> Shape | None:
        parts = {place: self.build(each) for place, each in enumerate(node.item_types)}
        row = TupleShape(len(node.item_types), open=False)
        row.parts = {place: part for place, part in parts.items() if part is not None}
        return row if row.parts else None

    def values(self, node: Any) -> Shape | None:
        part = self.build(node.value_type)
        return None if part is None else ValuesShape(part)

    def items(self, node: Any) -> Shape | None:
        part = self.build(node.item_type)
        return None if part is None else ItemsShape(part)

    def unordered(self, node: Any) -> Shape | None:
        part = self.build(node.item_type)
        self.found_set = True
        return SetShape(part) if self.sets or part is not None else None

    def union(self, node: Any) -> Shape | None:
        choice = ChoiceShape()
        for each in node.types:
            shape = self.build(each)
            if shape is not None:
                self._offer(choice, each, shape)
        shapes = (choice.object, choice.array, *choice.tagged.values())
        return choice if any(shape is not None for shape in shapes) else None

    def _offer(self, choice: ChoiceShape, node: inspect.Type, shape: Shape) -> None:
        if isinstance(node, inspect.StructType) and node.tag is not None:
            if node.array_like:
                choice.tagged[str([node.tag])] = shape
            else:
                choice.tag_field = node.tag_field or ""
                choice.tagged[node.tag] = shape
        elif isinstance(shape, FieldsShape | ValuesShape):
            choice.object = shape
        else:
            choice.array = shape

    def _fill(self, node: Any, shape: R, places: list[_Place]) -> R:
        self.known[id(node)] = shape
        for key, kind in places:
            part = self.build(kind)
            if part is not None:
                shape.parts[key] = part
        return shape


def _places(fields: Any) -> list[_Place]:
    return [_Place(field.encode_name, field.type) for field in fields]


_KINDS: tuple[tuple[Any, Callable[[_Builder, Any], Shape | None]], ...] = (
    (inspect.StructType, _Builder.struct),
    (inspect.DataclassType, _Builder.dataclass),
    (inspect.TypedDictType, _Builder.typed_dict),
    (inspect.NamedTupleType, _Builder.named_tuple),
    (inspect.DictType, _Builder.values),
    ((inspect.SetType, inspect.FrozenSetType), _Builder.unordered),
    (inspect.TupleType, _Builder.fixed),
    (inspect.CollectionType, _Builder.items),
    (inspect.UnionType, _Builder.union),
)
