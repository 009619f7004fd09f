"""Counters of dispatches in this process: tries, conflicts, rejections, failures."""

from __future__ import annotations

from dataclasses import dataclass


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
