"""Counters of this process: dispatches, removed participants, resumed tabs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..event_bus import Note, Removal


@dataclass(slots=True)
class DispatchCounters:
    """What this process has done since it started.

    `dispatches`: calls, which took `seconds` together; of these, actions refused
    `rejected` and `failures` raised anything else; `tries`: runs of their actions,
    more than one to a dispatch when others come first; `conflicts`: commits that
    another came before. Without a lock, so that two threads at once may count as one.
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
