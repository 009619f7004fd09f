"""Apply RFC 6902 patches to JSON documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

Json = Any

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")


class InvalidPatch(ValueError):
    """An operation does not fit the document; the message says which, and why."""


def apply(document: Json, operations: Iterable[Mapping[str, Json]]) -> Json:
    """Return ``document`` with the operations applied; the argument stays as it is.

    All six operations of RFC 6902. Unchanged parts are shared with ``document``, new
    ones with the operations' values. Atomic: `InvalidPatch` if any does not fit.
    """
    draft = _Draft(document)
    for number, operation in enumerate(operations):
        try:
            draft.apply(operation)
        except InvalidPatch as error:
            shown = {name: operation.get(name) for name in ("op", "from", "path")}
            raise InvalidPatch(f"operation {number} {shown}: {error}") from None
    return draft.root[""]


class _Draft:
    """A document being patched: containers are copied when first written to."""

    def __init__(self, document: Json) -> None:
        self.root: dict[str, Json] = {"": document}
        # By id; the values keep the ids from being reused.
        self.owned: dict[int, Json] = {}

    def apply(self, operation: Mapping[str, Json]) -> None:
        op = operation.get("op")
        path = _pointer(operation, "path")
        if op == "add":
            self.add(path, _value(operation))
        elif op == "remove":
            self.remove(path)
        elif op == "replace":
            value = _value(operation)
            container = self.parent(path)
            container[_member(container, path[-1])] = value
        elif op == "move":
            origin = _pointer(operation, "from")
            if len(origin) < len(path) and origin == path[: len(origin)]:
                raise InvalidPatch("a value cannot move into itself")
            if origin == path:
                self.find(path)
            else:
                self.add(path, self.remove(origin))
        elif op == "copy":
            self.add(path, self.find(_pointer(operation, "from")))
            # Containers may now be in two places: copy each before writing to it.
            self.owned.clear()
        elif op == "test":
            if not _equal(self.find(path), _value(operation)):
                raise InvalidPatch("the value differs from the one tested for")
        else:
            raise InvalidPatch(
                f"op is {op!r}; use add, remove, replace, move, copy or test"
            )

    def find(self, path: list[str]) -> Json:
        value: Json = self.root
        for token in path:
            value = value[_member(value, token)]
        return value

    def parent(self, path: list[str]) -> Json:
        container: Json = self.root
        for token in path[:-1]:
            key = _member(container, token)
            child = container[key]
            if isinstance(child, (dict, list)) and id(child) not in self.owned:
                child = container[key] = child.copy()
                self.owned[id(child)] = child
            container = child
        return container

    def add(self, path: list[str], value: Json) -> None:
        container = self.parent(path)
        key = _member(container, path[-1], adding=True)
        if isinstance(container, list):
            container.insert(key, value)
        else:
            container[key] = value

    def remove(self, path: list[str]) -> Json:
        if len(path) == 1:
            raise InvalidPatch("the whole document cannot be removed; replace it")
        container = self.parent(path)
        return container.pop(_member(container, path[-1]))


def _value(operation: Mapping[str, Json]) -> Json:
    if "value" not in operation:
        raise InvalidPatch("'value' is missing")
    return operation["value"]


def _equal(one: Json, other: Json) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _equal(value, other[name]) for name, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _pointer(operation: Mapping[str, Json], name: str) -> list[str]:
    """Return an operation's pointer, split; the first token is the document's, ""."""
    pointer = operation.get(name)
    if not isinstance(pointer, str):
        raise InvalidPatch(f"{name!r} must be a JSON pointer, a string")
    if pointer and pointer[0] != "/":
        raise InvalidPatch(f"the pointer {pointer!r} must be empty or begin with '/'")
    if "~" not in pointer:
        return pointer.split("/")
    if _BAD_ESCAPE.search(pointer):
        raise InvalidPatch(f"the pointer {pointer!r} has '~' without 0 or 1 after it")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")]


def _member(container: Json, token: str, *, adding: bool = False) -> Json:
    """Return the key or index that ``token`` stands for in ``container``."""
    if isinstance(container, dict):
        if adding or token in container:
            return token
        raise InvalidPatch(f"there is no member {token!r}")
    if not isinstance(container, list):
        raise InvalidPatch(f"{token!r} leads into a value that is not a container")
    if adding and token == "-":
        return len(container)
    if not _INDEX.fullmatch(token):
        raise InvalidPatch(f"{token!r} is not an array index")
    if int(token) >= len(container) + adding:
        raise InvalidPatch(f"index {token} is past the end, {len(container)}")
    return int(token)
