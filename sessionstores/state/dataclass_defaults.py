"""Dataclass defaults: put into decoded instances what msgspec leaves on their class.

Of a dataclass without slots, a field that is missing in JSON is not set: the instance
shows its class's, but is written without it. Tabs would lack the field.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

Decode = Callable[[bytes], Any]


def with_defaults(decode: Decode, types: Iterable[msgspec.inspect.Type]) -> Decode:
    """Return `decode`, followed by `fill_in` if values of these types need it."""
    if not any(
        isinstance(each, msgspec.inspect.DataclassType) and _names(each.cls)
        for each in types
    ):
        return decode

    def decode_and_fill_in(body: bytes) -> Any:
        return fill_in(decode(body))

    return decode_and_fill_in


def fill_in(value: Any) -> Any:
    """Return `value`, in whose dataclass instances all fields are set."""
    for part in _parts(value):
        fill_in(part)
    return value


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value):
        own = getattr(value, "__dict__", {})
        for name in _names(type(value)):
            own.setdefault(name, getattr(type(value), name))
        return [getattr(value, each.name) for each in dataclasses.fields(value)]
    return ()


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
