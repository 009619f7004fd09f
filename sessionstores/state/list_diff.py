"""List alignment: the elements that stay in place, by a longest increasing run."""

from __future__ import annotations

from bisect import bisect, bisect_left, insort
from collections import defaultdict, deque
from itertools import compress, count
from operator import ne
from typing import Any

import msgspec

encode = msgspec.json.Encoder().encode


def trim(old: list[Any], new: list[Any]) -> tuple[int, int, int]:
    """Count the equal elements at the start and at the end.

    The third figure is a lower bound of the bytes of ``new``.
    """
    limit = len(old) if len(old) < len(new) else len(new)
    head = next(compress(count(), map(ne, old, new)), limit)
    tail = limit - head
    # One element more or less is the usual case: then all the rest is equal.
    if old[len(old) - tail :] != new[len(new) - tail :]:
        tail = next(compress(count(), map(ne, reversed(old), reversed(new))))
    try:
        return head, tail, len("".join(new)) + 3 * len(new)
    except TypeError:
        pass
    # Equal in Python may differ as JSON: 1, 1.0 and True.
    if encode(old[:head]) == encode(new[:head]) and encode(
        old[len(old) - tail :]
    ) == encode(new[len(new) - tail :]):
        return head, tail, 0
    return trim([*map(encode, old)], [*map(encode, new)])


def align(was: list[bytes], now: list[bytes]) -> list[tuple[int, int]]:
    """Return index pairs of the elements that stay, ascending on both sides.

    Equal elements stay where the longest run allows; those without an equal are
    paired by their order between two that stay.
    """
    # Usually one element has moved along its list, which rotates those in between: to
    # test for that first costs a third of the rest.
    if len(was) == len(now) > 1:
        if was[1:] == now[:-1]:
            return [(i + 1, i) for i in range(len(was) - 1)]
        if was[:-1] == now[1:]:
            return [(i, i + 1) for i in range(len(was) - 1)]
    in_place = [
        i for i, (one, other) in enumerate(zip(was, now, strict=False)) if one == other
    ]
    if len(was) != len(now) or 2 * len(in_place) < len(was):
        in_place = []
    settled = set(in_place)
    places: defaultdict[bytes, deque[int]] = defaultdict(deque)
    for j, key in enumerate(now):
        if j not in settled:
            places[key].append(j)
    equal = [(i, i) for i in in_place]
    for i, key in enumerate(was):
        if i not in settled and places.get(key):
            equal.append((i, places[key].popleft()))
    equal.sort()
    equal_old = {i for i, _ in equal}
    equal_new = {j for _, j in equal}
    kept: list[tuple[int, int]] = []
    next_old = next_new = 0
    for i, j in [*_longest_rise(equal), (len(was), len(now))]:
        left = (n for n in range(next_old, i) if n not in equal_old)
        right = (n for n in range(next_new, j) if n not in equal_new)
        kept += [*zip(left, right, strict=False), (i, j)]
        next_old, next_new = i + 1, j + 1
    return kept[:-1]


def _longest_rise(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    lowest: list[int] = []
    ends: list[int] = []
    parents: list[int] = []
    for n, (_, j) in enumerate(pairs):
        length = bisect_left(lowest, j)
        parents.append(ends[length - 1] if length else -1)
        lowest[length : length + 1] = [j]
        ends[length : length + 1] = [n]
    rise = []
    n = ends[-1] if ends else -1
    while n >= 0:
        rise.append(pairs[n])
        n = parents[n]
    return rise[::-1]


class Row:
    """Indexes in a list between its removals and additions, while elements move."""

    def __init__(self, path: str, head: int, kept: list[tuple[int, int]]) -> None:
        self.path = path
        self.head = head
        self.kept_old = [i for i, _ in kept]
        self.kept_new = [j for _, j in kept]
        self.waiting: list[int] = []
        self.placed: list[int] = []

    def expect(self, i: int) -> None:
        """Register that the element at ``i`` will leave."""
        insort(self.waiting, i)

    def take(self, i: int) -> str:
        """Return the path of the element that leaves from ``i``."""
        rank = bisect(self.kept_old, i)
        ahead = bisect_left(self.waiting, i)
        del self.waiting[ahead]
        return f"{self.path}/{self.head + rank + ahead + bisect(self.placed, rank)}"

    def put(self, j: int) -> str:
        """Return the path for the element that enters at ``j``; ascending."""
        rank = bisect(self.kept_new, j)
        ahead = bisect(self.waiting, self.kept_old[rank - 1]) if rank else 0
        index = self.head + rank + ahead + len(self.placed)
        self.placed.append(rank)
        return f"{self.path}/{index}"
