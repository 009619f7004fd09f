"""The figures: how many sessions, who is in them, what they cost, and what is wrong.

Bytes are those of stored states, counted at each write; none is decoded, no key is
searched for. What a server or process takes in all is told beside them.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from .. import conf
from ..backends.base import Backend
from ..backends.types import ServerInfo, SessionSummary
from . import alerts, health, history, sweeps
from .alerts import BUDGET_PER_PARTICIPANT
from .alerts import Alert as Alert
from .counters import counters
from .health import Sample as Sample
from .summaries import read_summaries
from .sweeps import LastSweep

if sys.platform != "win32":
    import resource

# When this process began to count.
STARTED = time.time()

_STATM = Path("/proc/self/statm")


class Process(NamedTuple):
    """This process, whose figures are its own even where the cache is shared.

    `rss` is its resident memory in bytes, on systems that do not tell the current one
    the highest so far; `stores` how many store objects live. See `tries.Counters` for
    the others. `started` is when it began to count, by its own clock.
    """

    pid: int
    host: str
    rss: int | None
    stores: int
    started: float
    dispatches: int
    tries: int
    conflicts: int


class Stats(msgspec.Struct, frozen=True):
    """All figures at one time, `at`, by the backend's clock.

    `scope` says whether they are of all processes or of this one alone, `cache` is the
    alias that they were asked of (`REDIS` may lead elsewhere) and `backend` the class
    that keeps the records. `budget` is what the participants may have together
    at 10 MB for 50. `leaks` come with those of the site first; "slow" ones are of this
    process. `series` is the last hour, oldest first; `summaries` are by code. Of a
    session in whose place somebody else has written, nothing is known but why it is
    `unreadable`.
    """

    at: float
    scope: Literal["process", "shared"]
    cache: str
    backend: str
    sessions: int
    participants: int
    online: int
    connections: int
    bytes: int
    budget: int
    process: Process
    server: ServerInfo | None
    last_sweep: LastSweep | None
    leaks: tuple[Alert, ...]
    series: tuple[Sample, ...]
    summaries: tuple[SessionSummary, ...]
    unreadable: dict[str, str] = {}


async def gather(backend: Backend, *, stores: int, alias: str | None = None) -> Stats:
    """Return the figures, in a number of round trips that does not grow with them.

    `stores` is the number of live store objects, `alias` the cache that `backend` was
    asked for if it is not `CACHE`. Raises `StoreUnavailable`.
    """
    at = await backend.now()
    values = await backend.values((history.NAME, sweeps.NAME))
    summaries, unreadable = await read_summaries(backend)
    server = await backend.server()
    hour = history.decode_series(values[history.NAME].data, at)
    last = sweeps.decode_last_sweep(values[sweeps.NAME].data)
    totals = history.take(at, summaries, server)
    site = health.of_site(
        at,
        summaries,
        hour.samples,
        last_sweep=last,
        server=server,
        evictions=health.rose(at, server, hour.evictions),
    )
    slow = (leak for leak in alerts.told.recent() if leak.code == "slow")
    return Stats(
        at,
        "shared" if backend.shared else "process",
        alias or conf.get().cache,
        type(backend).__name__,
        totals.sessions,
        totals.participants,
        totals.online,
        totals.connections,
        totals.bytes,
        totals.participants * BUDGET_PER_PARTICIPANT,
        this_process(stores),
        server,
        last,
        (*site, *health.of_records(summaries), *slow),
        hour.samples,
        tuple(summaries),
        {code: str(error) for code, error in unreadable.items()},
    )


def this_process(stores: int) -> Process:
    """Return the figures of the running process; asks no cache."""
    return Process(
        os.getpid(),
        socket.gethostname(),
        resident(),
        stores,
        STARTED,
        counters.dispatches,
        counters.tries,
        counters.conflicts,
    )


def resident() -> int | None:
    """Return the resident memory of this process in bytes; None where none tells."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        if sys.platform == "win32":
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def plain(value: Any) -> Any:
    """Return figures as dicts, lists and scalars, by the names that they have here."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
