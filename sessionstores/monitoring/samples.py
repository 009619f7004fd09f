"""Samples of the last hour and the last day, and the totals that they begin with."""

from __future__ import annotations

from typing import NamedTuple


class Totals(NamedTuple):
    """Totals at time `at`; `server`: bytes of memory that the cache server uses.

    As `Series` keeps them: processes of earlier versions read them, too.
    """

    at: float
    sessions: int
    participants: int
    online: int
    connections: int
    bytes: int
    server: int | None


class Sample(NamedTuple):
    """Totals at time `at`; `server`: bytes of memory that the cache server uses.

    `actions`, `refused` and `errors` are counts since the sample before, of all
    processes; of the actions' durations, in seconds, `p50` is the median, and 95 of
    100 are at most `p95`. None: there was no action.
    """

    at: float
    sessions: int
    participants: int
    online: int
    connections: int
    bytes: int
    server: int | None
    actions: int = 0
    refused: int = 0
    errors: int = 0
    p50: float | None = None
    p95: float | None = None
