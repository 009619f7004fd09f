"""Stats: totals, summaries of sessions, process and server memory, and alerts.

Bytes are those of stored states, counted at each write: no state is decoded and no key
is scanned. The memory of the server and of this process is reported beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Literal

import msgspec

from .. import conf
from ..backends.base import Backend
from ..backends.types import ServerInfo, SessionSummary
from . import alerts, diagnosis, health, history, sweeps, workers
from .alerts import BUDGET_PER_PARTICIPANT
from .alerts import Alert as Alert
from .health import (
    ErrorReport,
    Health,
    decode_health,
    latest_errors,
    summarise,
)
from .process import Process as Process
from .process import this_process
from .samples import Sample as Sample
from .samples import samples_of_day, samples_of_hour
from .summaries import read_summaries
from .sweeps import LastSweep
from .workers import Worker


class Stats(msgspec.Struct, frozen=True):
    """All figures at time `at`, by the backend's clock.

    `scope`: whether they cover all processes or this one alone; `cache`: the alias that
    was asked (`REDIS` may lead elsewhere); `backend`: the class that keeps the records;
    `budget`: bytes for all participants at 10 MB for 50; `leaks`: alerts, those of the
    site first, "slow" ones of this process only; `series`: the last hour, oldest
    first; `summaries`: sorted by code; `unreadable`: by code, why nothing else is known
    of sessions whose data is corrupt. `health`: of the last hour; `workers`: the
    processes, by host and pid; `errors`: the last twenty, the newest first; `day`: the
    last day, oldest first, one sample for each quarter of an hour. `lost`: processes
    that fell silent while they had tabs, for a minute and a half after their lease.
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
    lost: tuple[Worker, ...] = ()


async def gather(backend: Backend, *, stores: int, alias: str | None = None) -> Stats:
    """Return the figures, in a number of round trips that does not grow with them.

    `stores`: the number of live store objects; `alias`: the cache of `backend`, if it
    is not `CACHE`. Raises `StoreUnavailable`.
    """
    at = await backend.now()
    names = (history.NAME, sweeps.NAME, workers.NAME, health.NAME)
    values = await backend.values(names)
    records = await workers.read_records(backend, values[workers.NAME])
    records = workers.with_own(backend, records, at)
    summaries, unreadable = await read_summaries(backend)
    server = await backend.server()
    hour = history.decode_series(values[history.NAME].data, at)
    counted = decode_health(values[health.NAME].data, at)
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
        samples_of_hour(hour.samples, counted.slots),
        tuple(summaries),
        {code: str(error) for code, error in unreadable.items()},
        summarise(counted, records, at),
        workers.listed(records, at),
        latest_errors(counted, records),
        samples_of_day(counted.day, hour.samples, counted.slots, before=inf),
        workers.lost(records, at),
    )


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
