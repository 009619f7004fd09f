"""List alignment: the elements that stay in place, by a longest increasing run."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque


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
