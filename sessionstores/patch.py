"""Compute and apply RFC 6902 patches between JSON documents, exactly."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypedDict

import msgspec

Json = Any
Operation = TypedDict(
    "Operation", {"op": str, "path": str, "from": str, "value": Json}, total=False
)

_ABSENT: Final = object()
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")
# Bytes of an encoded operation without its paths and value, with a comma.
_REMOVE, _ADD, _REPLACE, _MOVE = 26, 32, 36, 34
_encode = msgspec.json.Encoder().encode


class PatchError(ValueError):
    """Say which operation does not fit the document, and why."""


def diff(old: Json, new: Json, prefix: str = "") -> list[Operation]:
    """Return the operations that lead from ``old`` to ``new``; ``[]`` if equal.

    Both are what ``msgspec.json.decode`` gives. Types count: 1, 1.0 and True differ,
    as do 0.0 and -0.0; the order of an object's keys does not. Every path begins with
    ``prefix``, a JSON pointer. The operations share values with ``new``.
    """
    found = _Difference()
    found.compare(old, new, prefix, prefix, True)
    return found.operations()


class _Row:
    """A list that elements enter or leave, as it stands while moves are applied."""

    __slots__ = ("kept", "kept_before", "path", "placed", "waiting")

    def __init__(self, path: str, head: int, kept: list[tuple[int, int]]) -> None:
        self.path = path
        # The head is common: as one kept element at its end it counts for all of it.
        self.kept_before = [i for i, _ in kept]
        self.kept = [j for _, j in kept]
        self.placed: list[int] = []
        self.waiting: list[int] = []
        self.head = head
