"""Counts of what happened in a period, or since a process began; pure computation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from .latency import percentile

K = TypeVar("K", int, str)


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """What happened: see `Health`; fields are only ever added, at the end.

    `latency` has the actions by bucket of their duration, see `latency.BOUNDS`.
    """

    latency: dict[int, int] = {}
    refused: dict[str, int] = {}
    errors: int = 0
    conflicts: int = 0
    slow: int = 0
    reconnects: int = 0
    dropped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            _sum(self.latency, other.latency),
            _sum(self.refused, other.refused),
            self.errors + other.errors,
            self.conflicts + other.conflicts,
            self.slow + other.slow,
            self.reconnects + other.reconnects,
            self.dropped + other.dropped,
        )

    def since(self, before: Counts) -> Counts:
        """Return what came on top of `before`, of the same process; nothing below 0."""
        return Counts(
            _rise(self.latency, before.latency),
            _rise(self.refused, before.refused),
            max(self.errors - before.errors, 0),
            max(self.conflicts - before.conflicts, 0),
            max(self.slow - before.slow, 0),
            max(self.reconnects - before.reconnects, 0),
            max(self.dropped - before.dropped, 0),
        )

    @property
    def actions(self) -> int:
        """How many actions ran."""
        return sum(self.latency.values())

    @property
    def refusals(self) -> int:
        """How much was refused, whatever the code."""
        return sum(self.refused.values())

    @property
    def p50(self) -> float | None:
        """The median duration of the actions, in seconds."""
        return percentile(self.latency, 0.5)

    @property
    def p95(self) -> float | None:
        """The duration that 95 of 100 actions do not exceed, in seconds."""
        return percentile(self.latency, 0.95)


NOTHING = Counts()


def _sum(counts: Mapping[K, int], others: Mapping[K, int]) -> dict[K, int]:
    total = dict(counts)
    for each, count in others.items():
        total[each] = total.get(each, 0) + count
    return total


def _rise(counts: Mapping[K, int], before: Mapping[K, int]) -> dict[K, int]:
    return {
        each: count - before.get(each, 0)
        for each, count in counts.items()
        if count > before.get(each, 0)
    }
