"""Compute RFC 6902 patches between JSON documents."""

from __future__ import annotations

from bisect import bisect, bisect_left, insort
from collections import defaultdict, deque
from itertools import compress, count
from operator import ne
from typing import Any, Final, TypedDict

import msgspec

from .key_order import moved_keys
from .list_diff import align

Json = Any
Operation = TypedDict(
    "Operation", {"op": str, "path": str, "from": str, "value": Json}, total=False
)

_ABSENT: Final = object()
_encode = msgspec.json.Encoder().encode
# Bytes of an encoded operation and its comma, without paths and value.
_REMOVE, _ADD, _REPLACE, _HALF_MOVE = 26, 32, 36, 17
# Path, value, container's path if the value may move, index in the container's middle
# or -1 in an object; of additions the encoded value; of replacements the bytes spent.
_Removed = tuple[str, Json, str | None, int]
_Added = tuple[str, Json, str | None, int, bytes]
_Replaced = tuple[str, Json, int]


def diff(old: Json, new: Json, prefix: str = "") -> list[Operation]:
    """Return the operations that lead from ``old`` to ``new``; ``[]`` if equal.

    Both are what ``msgspec.json.decode`` gives. Types count: 1, 1.0 and True differ,
    as do 0.0 and -0.0. So does the order of an object's keys, except of those that
    look like integers, which JavaScript sorts: of a change in their order alone, the
    operations only say that there was one. Every path begins with ``prefix``, a JSON
    pointer. The operations share values with ``new``.
    """
    difference = _Difference()
    difference.compare(old, new, prefix, None)
    operations = difference.operations()
    if not operations and old is not new and not same(old, new):
        return [{"op": "replace", "path": prefix, "value": new}]
    return operations


def same(old: Json, new: Json) -> bool:
    """Compare as JSON, in which the order of an object's keys counts."""
    if old != new:
        return False
    kind = type(old)
    if kind is str:
        return True
    if kind is list:
        # Joining is the fastest way to learn that a list holds nothing but text, for
        # which equality in Python is equality as JSON.
        try:
            "".join(old)
            return True
        except TypeError:
            pass
    return _encode(old) == _encode(new)


def _trim(old: list[Any], new: list[Any]) -> tuple[int, int, int]:
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
    if _encode(old[:head]) == _encode(new[:head]) and _encode(
        old[len(old) - tail :]
    ) == _encode(new[len(new) - tail :]):
        return head, tail, 0
    return _trim([*map(_encode, old)], [*map(_encode, new)])


class _Difference:
    """Collects removals by old position, additions and replacements by new.

    Applied in this order, removals from the last, no position needs adjusting. Moves
    come between removals and additions, as do additions to objects that stay in place.
    Only values in containers that stay in place ("steady") may move: then only their
    own list's indexes shift.
    """

    __slots__ = ("added", "least", "removed", "replaced", "rows", "spans", "spent")

    def __init__(self) -> None:
        self.removed: list[_Removed] = []
        self.added: list[_Added] = []
        self.replaced: list[_Replaced] = []
        self.rows: dict[str, tuple[int, list[tuple[int, int]]]] = {}
        # Containers that may be shorter to replace, innermost first: which parts of
        # the three lists lie inside. The replacement of the whole follows those inside.
        self.spans: list[tuple[range, range, range]] = []
        self.spent = 0  # bytes of the operations, if nothing moves
        self.least = 0  # lower bound of the new document's bytes

    def compare(self, old: Json, new: Json, path: str, before: str | None) -> None:
        """Compare two values at ``path``; ``before``: the old path, if not steady."""
        kind = type(new)
        if kind is not type(old) or (kind is not dict and kind is not list):
            if old is not new and not same(old, new):
                cost = _REPLACE + len(path) + len(_encode(new))
                self.replaced.append((path, new, cost))
                self.spent += cost
            return
        removed, added = len(self.removed), len(self.added)
        replaced, spent, least = len(self.replaced), self.spent, self.least
        if kind is dict:
            self._compare_objects(old, new, path, before)
        else:
            self._compare_lists(old, new, path, before)
        if self.spent - spent > self.least - least:
            removals = range(removed, len(self.removed))
            additions = range(added, len(self.added))
            changes = range(replaced, len(self.replaced))
            if len(removals) + len(additions) + len(changes) > 1:
                self.replaced.append((path, new, 0))
                self.spans.append((removals, additions, changes))

    def _compare_objects(
        self, old: Json, new: Json, path: str, before: str | None
    ) -> None:
        if [*old] != [*new]:
            self._compare_keys(old, new, path, before)
            return
        for name, value in new.items():
            was = old[name]
            if was is not value and not same(was, value):
                step = _escape(name)
                at = None if before is None else f"{before}/{step}"
                self.compare(was, value, f"{path}/{step}", at)

    def _compare_keys(
        self, old: Json, new: Json, path: str, before: str | None
    ) -> None:
        home = path if before is None else None
        start = path if before is None else before
        moved = moved_keys(old, new)
        for name, value in new.items():
            step = _escape(name)
            was = old.get(name, _ABSENT)
            if was is _ABSENT:
                self._add(f"{path}/{step}", value, home, -1)
            elif name in moved:
                # Its old value may not move elsewhere: by then, this is in its place.
                self._remove(f"{start}/{step}", was, None, -1)
                self._add(f"{path}/{step}", value, home, -1)
            elif was is not value and not same(was, value):
                at = None if before is None else f"{before}/{step}"
                self.compare(was, value, f"{path}/{step}", at)
        for name, value in old.items():
            if name not in new:
                self._remove(f"{start}/{_escape(name)}", value, home, -1)

    def _compare_lists(
        self, old: Json, new: Json, path: str, before: str | None
    ) -> None:
        head, tail, least = _trim(old, new)
        self.least += least
        was = old[head : len(old) - tail]
        now = new[head : len(new) - tail]
        kept: list[tuple[int, int]] = []
        if was and now:
            kept = align([*map(_encode, was)], [*map(_encode, now)])
        home = None
        start = path if before is None else before
        if len(kept) < len(was) or len(kept) < len(now):
            if before is None:
                home = path
                self.rows[path] = head, kept
            before = start
        removed = added = 0
        for i, j in [*kept, (len(was), len(now))]:
            while removed < i:
                self._remove(f"{start}/{head + removed}", was[removed], home, removed)
                removed += 1
            while added < j:
                self._add(f"{path}/{head + added}", now[added], home, added)
                added += 1
            if i < len(was) and not same(was[i], now[j]):
                at = None if before is None else f"{before}/{head + i}"
                self.compare(was[i], now[j], f"{path}/{head + j}", at)
            removed, added = i + 1, j + 1

    def _remove(self, path: str, value: Json, home: str | None, i: int) -> None:
        self.removed.append((path, value, home, i))
        self.spent += _REMOVE + len(path)

    def _add(self, path: str, value: Json, home: str | None, j: int) -> None:
        encoded = _encode(value)
        self.added.append((path, value, home, j, encoded))
        self.spent += _ADD + len(path) + len(encoded)

    def operations(self) -> list[Operation]:
        if len(self.removed) == len(self.added) == 1 and not self.spans:
            operations = self._one_by_one()
        elif self.removed or self.added or self.spans:
            operations = self._many()
        else:
            operations = []
        for path, value, _ in self.replaced:
            # Some libraries read "-" as the end of a list even where it names a
            # member; adding a member that exists replaces it.
            op = "add" if path.endswith("/-") else "replace"
            operations.append({"op": op, "path": path, "value": value})
        return operations

    def _one_by_one(self) -> list[Operation]:
        origin, old, home, _ = self.removed[0]
        path, new, goal, _, encoded = self.added[0]
        if home is not None and goal is not None and _encode(old) == encoded:
            # A move removes and adds in one step, so no index needs adjusting.
            return [{"op": "move", "from": origin, "path": path}]
        return [
            {"op": "remove", "path": origin},
            {"op": "add", "path": path, "value": new},
        ]

    def _many(self) -> list[Operation]:
        removed, added = dict(enumerate(self.removed)), dict(enumerate(self.added))
        targets = self._pair()
        self._replace_spans(removed, added, targets)
        rows = {path: _Row(path, *middle) for path, middle in self.rows.items()}
        operations: list[Operation] = []
        for n, (path, _, home, i) in reversed(removed.items()):
            if n not in targets:
                operations.append({"op": "remove", "path": path})
            elif home is not None and i >= 0:
                rows[home].expect(i)
        operations += _move_in(removed, added, targets, rows)
        for path, value, _, _, _ in added.values():
            operations.append({"op": "add", "path": path, "value": value})
        return operations

    def _pair(self) -> dict[int, int]:
        """Pair removals with additions of the same value, by their numbers."""
        sources: defaultdict[bytes, deque[int]] = defaultdict(deque)
        for n, (_, value, home, _) in enumerate(self.removed):
            if home is not None:
                sources[_encode(value)].append(n)
        targets = {}
        for n, (_, _, home, _, encoded) in enumerate(self.added):
            if home is not None and sources.get(encoded):
                targets[sources[encoded].popleft()] = n
        return targets

    def _replace_spans(
        self,
        removed: dict[int, _Removed],
        added: dict[int, _Added],
        targets: dict[int, int],
    ) -> None:
        """Replace each container whose operations take more bytes than itself."""
        sources = {target: source for source, target in targets.items()}
        replaced = dict(enumerate(self.replaced))
        for _, _, changes in self.spans:
            del replaced[changes.stop]
        for removals, additions, changes in self.spans:
            leaving = [n for n in removals if n in removed]
            entering = [n for n in additions if n in added]
            changing = [n for n in changes if n in replaced]
            path, new, _ = self.replaced[changes.stop]
            whole = _REPLACE + len(path) + len(_encode(new))
            goals = [targets[n] for n in leaving if n in targets]
            origins = [sources[n] for n in entering if n in sources]
            cost = sum(replaced[n][2] for n in changing) + sum(
                len(removed[n][0]) + (_HALF_MOVE if n in targets else _REMOVE)
                for n in leaving
            )
            cost += sum(
                len(added[n][0])
                + (_HALF_MOVE if n in sources else _ADD + len(added[n][4]))
                for n in entering
            )
            # Moves across the container's border would no longer be possible.
            lost = sum(_REMOVE - _HALF_MOVE for n in origins if n not in removals)
            lost += sum(
                _ADD - _HALF_MOVE + len(added[n][4])
                for n in goals
                if n not in additions
            )
            if cost <= whole + lost:
                continue
            for n in goals:
                del targets[sources.pop(n)]
            for n in origins:
                sources.pop(targets.pop(n, -1), None)
            for n in leaving:
                del removed[n]
            for n in entering:
                del added[n]
            for n in changing:
                del replaced[n]
            replaced[changes.stop] = path, new, whole
        self.replaced = [replaced[n] for n in sorted(replaced)]


def _move_in(
    removed: dict[int, _Removed],
    added: dict[int, _Added],
    targets: dict[int, int],
    rows: dict[str, _Row],
) -> list[Operation]:
    """Move values to their targets, and take from ``added`` what has been dealt with.

    That is what moves, and what enters an object that stays in place: its keys keep
    the order in which they come, whether they are moved or added.
    """
    sources = {target: source for source, target in targets.items()}
    operations: list[Operation] = []
    for n, (path, value, goal, j, _) in [*added.items()]:
        if goal is None or (j >= 0 and n not in sources):
            continue
        del added[n]
        if n not in sources:
            operations.append({"op": "add", "path": path, "value": value})
            continue
        origin, _, home, i = removed[sources[n]]
        if home is not None and i >= 0:
            origin = rows[home].take(i)
        if j >= 0:
            path = rows[goal].put(j)
        if origin != path:
            operations.append({"op": "move", "from": origin, "path": path})
    return operations


def _escape(name: str) -> str:
    if "~" in name or "/" in name:
        return name.replace("~", "~0").replace("/", "~1")
    return name


class _Row:
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
