"""Tally: this process's counts of actions, refusals and errors about one backend.

Numbers are counted without a lock, so two threads at once may count as one. Nothing in
it names a session or a participant.
"""

from __future__ import annotations

import os
from weakref import WeakMethod

from ..backends.base import Backend
from ..concurrency.threads import mutex
from .counts import Counts
from .latency import BOUNDS

# Of each kind, what a process tells apart; others are counted as one.
MAX_CODES = 50
MAX_TYPES = 50
OTHER = "other"
# Errors are told apart by type, action and place; of more, the newest are known.
MAX_ERRORS = 20

# Of an error: its type, the action, and file and line.
ErrorKind = tuple[str, str, str]


class Tally:
    """Totals since this process began. Part of a backend's `ProcessMemory`.

    `latency`: how many actions lasted as long as each bucket says, `seconds`: all of
    them together; `tabs`: ids of the connections that are open; `refused` and `errors`
    are by code and by type.
    """

    def __init__(self) -> None:
        self.tabs: set[str] = set()
        self.clear()
        if hasattr(os, "register_at_fork"):
            # What the parent counts is not the child's to tell.
            clear = WeakMethod(self.clear)
            os.register_at_fork(after_in_child=lambda: (alive := clear()) and alive())

    def clear(self) -> None:
        """Begin to count anew."""
        self._lock = mutex()
        self.tabs.clear()
        self.seconds = 0.0
        self.latency = [0] * (len(BOUNDS) + 1)
        self.refused: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self._known: dict[ErrorKind, tuple[float, int]] = {}
        self.conflicts = 0
        self.slow = 0
        self.reconnects = 0
        self.dropped = 0

    def refuse(self, code: str) -> None:
        """Count a refusal."""
        with self._lock:
            _count(self.refused, code, MAX_CODES)

    def fail(self, kind: ErrorKind, at: float) -> None:
        """Count an error at time `at`."""
        with self._lock:
            _count(self.errors, kind[0], MAX_TYPES)
            _, count = self._known.pop(kind, (0.0, 0))
            if len(self._known) >= MAX_ERRORS:
                del self._known[next(iter(self._known))]
            # The newest comes last.
            self._known[kind] = at, count + 1

    def latest_errors(self) -> dict[ErrorKind, tuple[float, int]]:
        """Return the time and the number of the latest errors, by kind."""
        with self._lock:
            return dict(self._known)

    def counts(self) -> Counts:
        """Return what has been counted."""
        with self._lock:
            refused, errors = dict(self.refused), sum(self.errors.values())
        return Counts(
            {bucket: count for bucket, count in enumerate(self.latency) if count},
            refused,
            errors,
            self.conflicts,
            self.slow,
            self.reconnects,
            self.dropped,
        )


def _count(counts: dict[str, int], name: str, most: int) -> None:
    if name not in counts and len(counts) >= most:
        name = OTHER
    counts[name] = counts.get(name, 0) + 1


def tally_of(backend: Backend) -> Tally:
    """Return this process's tally about a backend."""
    return backend.memory.of(Tally)
