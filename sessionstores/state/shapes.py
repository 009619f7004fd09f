"""Shapes: where in a state's JSON the fields of structs and the items of sets are.

A release of the site knows some of the fields that are stored; others, which another
release has written, are kept. And sets have no order of their own, so they are sorted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import msgspec

Json = Any

_encode = msgspec.json.Encoder().encode


class Shape(ABC):
    """A type whose JSON may hold fields of structs, or sets, at some depth.

    No method minds JSON of another type: there is nothing of this shape in it.
    """

    __slots__ = ()

    @abstractmethod
    def is_exact(self, value: Json) -> bool:
        """Return whether all structs have only declared fields, in their order.

        A field that takes its default may be missing.
        """

    @abstractmethod
    def keep(self, old: Json, known: Json, new: Json) -> Json:
        """Return `new` with what is unknown in `old`.

        `known` is `old` without that and with all defaults. Fields stay where they are
        in `old`. In a list, it is kept only if `known` and `new` do not differ there.
        """

    @abstractmethod
    def unknown(self, value: Json, path: str) -> Iterator[str]:
        """Yield the JSON pointers of fields that are not declared."""

    @abstractmethod
    def sort_sets(self, value: Json) -> None:
        """Sort the items of all sets, in place."""


class FieldsShape(Shape):
    """An object whose keys are declared."""

    __slots__ = ("declared", "names", "parts")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.declared = frozenset(names)
        self.parts: dict[str, Shape] = {}

    def is_exact(self, value: Json) -> bool:
        if type(value) is not dict:
            return True
        if self.names != tuple(value) and [*value] != [
            name for name in self.names if name in value
        ]:
            return False
        for name, part in self.parts.items():
            if name in value and not part.is_exact(value[name]):
                return False
        return True

    def keep(self, old: Json, known: Json, new: Json) -> Json:
        if not type(old) is type(known) is type(new) is dict:
            return new
        kept = {}
        for name, value in old.items():
            if name not in self.declared:
                kept[name] = value
            elif name in new:
                part = self.parts.get(name)
                now = new[name]
                kept[name] = part.keep(value, known.get(name), now) if part else now
        for name, value in new.items():
            kept.setdefault(name, value)
        return kept

    def unknown(self, value: Json, path: str) -> Iterator[str]:
        if type(value) is dict:
            for name, each in value.items():
                step = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
                if name not in self.declared:
                    yield step
                elif name in self.parts:
                    yield from self.parts[name].unknown(each, step)

    def sort_sets(self, value: Json) -> None:
        if type(value) is dict:
            for name, part in self.parts.items():
                if name in value:
                    part.sort_sets(value[name])


class MembersShape(FieldsShape):
    """A dict whose keys are declared, each in the order in which it was filled."""

    __slots__ = ()

    def is_exact(self, value: Json) -> bool:
        if type(value) is not dict:
            return True
        return self.declared.issuperset(value) and all(
            part.is_exact(value[name])
            for name, part in self.parts.items()
            if name in value
        )


class ValuesShape(Shape):
    """An object of any keys."""

    __slots__ = ("part",)

    def __init__(self, part: Shape) -> None:
        self.part = part

    def is_exact(self, value: Json) -> bool:
        return type(value) is not dict or _all_exact(self.part, [*value.values()])

    def keep(self, old: Json, known: Json, new: Json) -> Json:
        if not type(old) is type(known) is type(new) is dict:
            return new
        return {
            key: self.part.keep(old[key], known.get(key), value)
            if key in old
            else value
            for key, value in new.items()
        }

    def unknown(self, value: Json, path: str) -> Iterator[str]:
        if type(value) is dict:
            for key, each in value.items():
                step = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
                yield from self.part.unknown(each, step)

    def sort_sets(self, value: Json) -> None:
        if type(value) is dict:
            for each in value.values():
                self.part.sort_sets(each)


class ItemsShape(Shape):
    """An array of items of one type."""

    __slots__ = ("part",)

    def __init__(self, part: Shape) -> None:
        self.part = part

    def is_exact(self, value: Json) -> bool:
        return type(value) is not list or _all_exact(self.part, value)

    def keep(self, old: Json, known: Json, new: Json) -> Json:
        if not type(old) is type(known) is type(new) is list:
            return new
        if len(old) != len(known) or _encode(known) != _encode(new):
            return new
        return [*map(self.part.keep, old, known, new)]

    def unknown(self, value: Json, path: str) -> Iterator[str]:
        if type(value) is list:
            for place, each in enumerate(value):
                yield from self.part.unknown(each, f"{path}/{place}")

    def sort_sets(self, value: Json) -> None:
        if type(value) is list:
            for each in value:
                self.part.sort_sets(each)


class SetShape(Shape):
    """An array that a set was written as; `part` of its items."""

    __slots__ = ("part",)

    def __init__(self, part: Shape | None) -> None:
        self.part = part

    def is_exact(self, value: Json) -> bool:
        return (
            type(value) is not list or self.part is None or _all_exact(self.part, value)
        )

    def keep(self, old: Json, known: Json, new: Json) -> Json:
        # Items have no place by which to tell what belongs to which.
        if _encode(known) != _encode(new) or not any(self.unknown(old, "")):
            return new
        return old

    def unknown(self, value: Json, path: str) -> Iterator[str]:
        if self.part is not None:
            yield from ItemsShape(self.part).unknown(value, path)

    def sort_sets(self, value: Json) -> None:
        if type(value) is not list or len(value) < 2:
            return
        if self.part is not None:
            for each in value:
                self.part.sort_sets(each)
        try:
            value.sort()
        except TypeError:
            value.sort(key=_encode)


class RowShape(Shape):
    """An array whose places are declared, such as a struct's that is array-like."""

    __slots__ = ("length", "open", "parts")

    def __init__(self, length: int, *, open: bool) -> None:
        self.length = length
        # Whether more places are another release's.
        self.open = open
        self.parts: dict[int, Shape] = {}

    def is_exact(self, value: Json) -> bool:
        if type(value) is not list:
            return True
        return len(value) == self.length and all(
            part.is_exact(value[place]) for place, part in self.parts.items()
        )

    def keep(self, old: Json, known: Json, new: Json) -> Json:
        if not type(old) is type(known) is type(new) is list:
            return new
        kept = [*new, *old[self.length :]] if self.open else [*new]
        for place, part in self.parts.items():
            if place < min(len(old), len(known), len(new)):
                kept[place] = part.keep(old[place], known[place], new[place])
        return kept

    def unknown(self, value: Json, path: str) -> Iterator[str]:
        if type(value) is list:
            for place, each in enumerate(value):
                if place in self.parts:
                    yield from self.parts[place].unknown(each, f"{path}/{place}")
                elif place >= self.length:
                    yield f"{path}/{place}"

    def sort_sets(self, value: Json) -> None:
        if type(value) is list:
            for place, part in self.parts.items():
                if place < len(value):
                    part.sort_sets(value[place])


class TupleShape(RowShape):
    """An array of items of several types."""

    __slots__ = ()

    def keep(self, old: Json, known: Json, new: Json) -> Json:
        return super().keep(old, known, new) if _encode(known) == _encode(new) else new


class ChoiceShape(Shape):
    """One of several types, told apart by their JSON or by a tag."""

    __slots__ = ("array", "object", "tag_field", "tagged")

    def __init__(self) -> None:
        self.object: Shape | None = None
        self.array: Shape | None = None
        # By the tag, which is the value of this field or, without one, the first item.
        self.tag_field = ""
        self.tagged: dict[Json, Shape] = {}

    def pick(self, value: Json) -> Shape | None:
        if type(value) is dict:
            return self.tagged.get(value.get(self.tag_field), self.object)
        if type(value) is list:
            return self.tagged.get(str(value[:1]), self.array)
        return None

    def is_exact(self, value: Json) -> bool:
        shape = self.pick(value)
        return shape is None or shape.is_exact(value)

    def keep(self, old: Json, known: Json, new: Json) -> Json:
        shape = self.pick(old)
        if shape is None or self.pick(new) is not shape:
            return new
        return shape.keep(old, known, new)

    def unknown(self, value: Json, path: str) -> Iterator[str]:
        shape = self.pick(value)
        if shape is not None:
            yield from shape.unknown(value, path)

    def sort_sets(self, value: Json) -> None:
        shape = self.pick(value)
        if shape is not None:
            shape.sort_sets(value)


def _all_exact(part: Shape, values: list[Json]) -> bool:
    if len(values) > 1 and type(part) is FieldsShape and not part.parts:
        # In many objects of the same keys: a third of the time.
        try:
            keys = [*map(tuple, values)]
        except TypeError:
            return all(map(part.is_exact, values))
        if keys.count(keys[0]) == len(keys):
            return part.is_exact(values[0])
    return all(map(part.is_exact, values))
