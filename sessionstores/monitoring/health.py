"""Health: actions, refusals, errors and their latency over the last hour."""

from __future__ import annotations

import msgspec


class Health(msgspec.Struct, frozen=True):
    """Figures of the last `seconds`, at most an hour, of all processes.

    `actions`: dispatches that ran, those of server code too; `actions_per_minute` is
    their rate over the last five minutes. `refused`: what somebody asked for and was
    refused, by error code; `errors`: what failed by a fault of the site, the server or
    the cache. `conflicts`: commits that lost to another and were tried again; `slow`:
    operations longer than `SLOW_OPERATION_MS`. Half of the actions took at most `p50`
    seconds, and 95 of 100 at most `p95`; None: there was none. `sockets`: tabs that are
    connected now; `reconnects`: tabs that came back with what they had; `dropped`:
    messages between processes that the channel layer did not take.
    """

    seconds: float = 0.0
    actions: int = 0
    actions_per_minute: float = 0.0
    refused: dict[str, int] = {}
    errors: int = 0
    conflicts: int = 0
    slow: int = 0
    p50: float | None = None
    p95: float | None = None
    sockets: int = 0
    reconnects: int = 0
    dropped: int = 0


class ErrorReport(msgspec.Struct, frozen=True):
    """An error of the last hour, without its text, which may hold content.

    `at`: the latest time; `type`: the name of its class; `action`: what was run, as
    "board.move", or ""; `place`: file and line, as "workshop/states.py:41"; `count`:
    how often it was raised there.
    """

    at: float
    type: str
    action: str
    place: str
    count: int
