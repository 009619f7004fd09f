"""Counters of this process: dispatches, removed participants, resumed tabs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..event_bus import Note, Removal


@dataclass(slots=True)
class DispatchCounters:
    """Totals since this process started.

    `dispatches`: calls, whose durations add up to `seconds`. Of these, `rejected` were
    refused, by their action or a limit, and `failures` failed by a fault, as in
    `failures.count`. `tries`: runs of actions, several to a dispatch if other commits
    come first; `conflicts`: commits that lost to another.
    Without a lock, so two threads at once may count as one.
    """

    dispatches: int = 0
    tries: int = 0
    conflicts: int = 0
    rejected: int = 0
    failures: int = 0
    seconds: float = 0.0


counters = DispatchCounters()

# Participants removed by this process, by reason; tabs that resumed here, by result.
removed: Counter[str] = Counter()
resumed: Counter[str] = Counter()


def count_removal(event: Removal) -> None:
    """Count a removed participant; a listener of the event bus."""
    if not event.key.is_session:
        removed[event.reason] += 1


def count_resumption(event: Note) -> None:
    """Count a tab that resumed; a listener of the event bus."""
    if event.kind == "resumed":
        resumed["ok"] += event.count
