"""Dataclass defaults: give instances their own, where msgspec leaves the class's.

Of a dataclass without slots, a field that is missing in JSON is not set: the instance
shows its class's, but is written without it. Tabs would lack the field. And a
dataclass's instance that is the default of a struct's field is one for all: what one
participant changes in it would show up with the next.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

Decode = Callable[[bytes], Any]


def are_wanted(types: Iterable[msgspec.inspect.Type]) -> bool:
    """Return whether values of these types need `fill_in`."""
    return any(
        _names(cls) or any(_shared(cls))
        for each in types
        if isinstance(each, msgspec.inspect.DataclassType | msgspec.inspect.StructType)
        # Of a generic one, not the alias.
        for cls in [typing.get_origin(each.cls) or each.cls]
    )


def with_defaults(decode: Decode, types: Iterable[msgspec.inspect.Type]) -> Decode:
    """Return `decode`, followed by `fill_in` if values of these types need it."""
    if not are_wanted(types):
        return decode

    def decode_and_fill_in(body: bytes) -> Any:
        return fill_in(decode(body))

    return decode_and_fill_in


def fill_in(value: Any) -> Any:
    """Return `value`, in which dataclass instances are its own, and all fields set."""
    for part in _parts(value):
        fill_in(part)
    return value


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, msgspec.Struct):
        for name, default in _shared(type(value)):
            if getattr(value, name) is default:
                msgspec.structs.force_setattr(value, name, copy.deepcopy(default))
        return [getattr(value, name) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value):
        own = getattr(value, "__dict__", {})
        for name in _names(type(value)):
            own.setdefault(name, getattr(type(value), name))
        for name, default in _shared(type(value)):
            if getattr(value, name) is default:
                object.__setattr__(value, name, copy.deepcopy(default))
        return [getattr(value, each.name) for each in dataclasses.fields(value)]
    return ()


def _shared(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields whose default is an instance of a dataclass, with that."""
    found: Iterable[tuple[str, Any]] = ()
    if dataclasses.is_dataclass(cls):
        found = [(field.name, field.default) for field in dataclasses.fields(cls)]
    elif issubclass(cls, msgspec.Struct):
        fields, defaults = cls.__struct_fields__, cls.__struct_defaults__
        found = zip(fields[len(fields) - len(defaults) :], defaults, strict=True)
    for name, default in found:
        if dataclasses.is_dataclass(default):
            yield name, default


def _names(cls: type[Any]) -> list[str]:
    """Return the fields whose default is an attribute of the class."""
    if not dataclasses.is_dataclass(cls):
        return []
    return [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is not dataclasses.MISSING
        and not inspect.ismemberdescriptor(inspect.getattr_static(cls, field.name))
    ]
