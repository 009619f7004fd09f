"""Counters of dispatches in this process: tries, conflicts, rejections, failures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class DispatchCounters:
    """Totals since this process started.

    `dispatches`: calls, whose durations add up to `seconds`. Of these, `rejected` were
    refused by their action and `failures` raised another error. `tries`: runs of
    actions, several to a dispatch if other commits come first; `conflicts`: commits
    that lost to another. Without a lock, so two threads at once may count as one.
    """

    dispatches: int = 0
    tries: int = 0
    conflicts: int = 0
    rejected: int = 0
    failures: int = 0
    seconds: float = 0.0


counters = DispatchCounters()
