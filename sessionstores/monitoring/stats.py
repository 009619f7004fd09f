"""Stats: totals, summaries of sessions, process and server memory, and alerts.

Bytes are those of stored states, counted at each write: no state is decoded and no key
is scanned. The memory of the server and of this process is reported beside them.
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
from . import alerts, diagnosis, history, sweeps
from .alerts import BUDGET_PER_PARTICIPANT
from .alerts import Alert as Alert
from .counters import counters
from .health import ErrorReport, Health
from .samples import Sample as Sample
from .summaries import read_summaries
from .sweeps import LastSweep
from .workers import Worker

if sys.platform != "win32":
    import resource

# When this process began to count, by its own clock.
STARTED = time.time()

_STATM = Path("/proc/self/statm")


class Process(NamedTuple):
    """Figures of this process alone, even where the cache is shared.

    `rss` is its resident memory in bytes, or its peak on systems that report no other;
    `stores` the number of live store objects. See `DispatchCounters` for the others.
    `started` is when it began to count, by its own clock.
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
    """All figures at time `at`, by the backend's clock.

    `scope`: whether they cover all processes or this one alone; `cache`: the alias that
    was asked (`REDIS` may lead elsewhere); `backend`: the class that keeps the records;
    `budget`: bytes for all participants at 10 MB for 50; `leaks`: alerts, those of the
    site first, "slow" ones of this process only; `series`: the last hour, oldest
    first; `summaries`: sorted by code; `unreadable`: by code, why nothing else is known
    of sessions whose data is corrupt. `health`: of the last hour; `workers`: the
    processes, by host and pid; `errors`: the last twenty, the newest first; `day`: the
    last day, oldest first, one sample for each quarter of an hour.
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
    health: Health = Health()
    workers: tuple[Worker, ...] = ()
    errors: tuple[ErrorReport, ...] = ()
    day: tuple[Sample, ...] = ()


async def gather(backend: Backend, *, stores: int, alias: str | None = None) -> Stats:
    """Return the figures, in a number of round trips that does not grow with them.

    `stores`: the number of live store objects; `alias`: the cache of `backend`, if it
    is not `CACHE`. Raises `StoreUnavailable`.
    """
    at = await backend.now()
    values = await backend.values((history.NAME, sweeps.NAME))
    summaries, unreadable = await read_summaries(backend)
    server = await backend.server()
    hour = history.decode_series(values[history.NAME].data, at)
    last = sweeps.decode_last_sweep(values[sweeps.NAME].data)
    totals = history.make_sample(at, summaries, server)
    site = diagnosis.of_site(
        at,
        summaries,
        hour.samples,
        last_sweep=last,
        server=server,
        evictions=diagnosis.update_evictions(at, server, hour.evictions),
    )
    recent = alerts.recent_alerts(backend).current()
    slow = (alert for alert in recent if alert.code == "slow")
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
        (*site, *diagnosis.of_records(summaries), *slow),
        tuple(Sample(*totals) for totals in hour.samples),
        tuple(summaries),
        {code: str(error) for code, error in unreadable.items()},
        Health(),
        (
            Worker(
                socket.gethostname(),
                os.getpid(),
                totals.connections,
                STARTED,
                "",
                None,
                resident(),
                at,
            ),
        ),
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
    """Return the resident memory of this process in bytes; None if unknown."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        if sys.platform == "win32":
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def plain(value: Any) -> Any:
    """Return figures as dicts, lists and scalars, keyed by field names."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
