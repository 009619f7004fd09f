"""History: samples of the last hour in shared values, each taken by one process."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf

import msgspec

from .. import conf
from ..backends.base import Backend
from ..backends.shared_values import update_value
from ..backends.types import ServerInfo, SessionSummary, Value
from ..exceptions import StateCorrupt, StoreUnavailable
from . import alerts, diagnosis, health, sweeps, workers
from .alerts import Alert
from .counts import NOTHING
from .diagnosis import Evictions
from .samples import DAY, HOUR, SLOT_SECONDS, Totals
from .summaries import read_summaries

logger = logging.getLogger("sessionstores.stats")

# The name of the shared value, the seconds between samples, and those they are kept.
NAME = "series"
SAMPLE_SECONDS = SLOT_SECONDS
KEPT = HOUR
# Others may write the series at the same time.
SETTLE_TRIES = 5


class Series(msgspec.Struct, frozen=True):
    """The samples, oldest first, and what the next one is compared with.

    `warned` maps codes of alerts to the time at which any process last gave them.
    """

    samples: tuple[Totals, ...] = ()
    evictions: Evictions | None = None
    warned: dict[str, float] = {}


@dataclass
class SampleMemory:
    """When this process next has to look for a sample, by `time.monotonic`.

    Part of a backend's `ProcessMemory`.
    """

    next_look: float = -inf


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Series).decode


def decode_series(data: bytes | None, now: float) -> Series:
    """Decode the shared value `NAME`; keep the samples of the hour before `now`."""
    if data is None:
        return Series()
    try:
        series = _decode(data)
    except msgspec.MsgspecError:
        # Written by another version; the next sample starts a new series.
        return Series()
    # The clock may have gone back: a sample in the future would stop the series.
    samples = tuple(each for each in series.samples if now - KEPT < each.at <= now)
    return msgspec.structs.replace(series, samples=samples)


def make_sample(
    at: float, summaries: Sequence[SessionSummary], server: ServerInfo | None
) -> Totals:
    """Return a sample: the totals of all sessions, at time `at`."""
    return Totals(
        at,
        len(summaries),
        sum(each.participants for each in summaries),
        sum(each.online for each in summaries),
        sum(each.connections for each in summaries),
        sum(each.bytes for each in summaries),
        None if server is None else server.used,
    )


async def write_figures(backend: Backend, *, last: bool = False) -> None:
    """Write the record of this process, then take the sample if it is due.

    `last`: this process may not do so again, and nobody else either, before its record
    expires; so what it counts is added to the series at once. Logs what fails, and
    raises nothing: nobody waits for it.
    """
    await workers.report(backend)
    try:
        await sample(backend)
        if last:
            await settle(backend)
    except Exception:
        logger.exception("No sample was taken")


async def sample(backend: Backend) -> bool:
    """Take the sample of the current `SAMPLE_SECONDS` unless another process has.

    True if this call took it: it then has given the alerts that concern the whole site,
    each once in `IDLE_TIMEOUT` across all processes. False too if the cache does not
    answer: there will be a next sample.
    """
    if time.monotonic() < backend.memory.of(SampleMemory).next_look:
        return False
    try:
        return await _sample(backend)
    except (StoreUnavailable, StateCorrupt) as error:
        logger.info("No sample was taken: %s", error)
        return False


async def settle(backend: Backend) -> None:
    """Add what all processes have counted since the last slot, though none is due.

    Does nothing if that is nothing, or if the cache does not answer.
    """
    with suppress(StoreUnavailable, StateCorrupt):
        for _ in range(SETTLE_TRIES):
            # The series first, so that no record is older than what it knows.
            values = await backend.values((NAME, workers.NAME, health.NAME))
            at = await backend.now()
            records = await workers.read_records(backend, values[workers.NAME])
            held = values[health.NAME]
            series = health.decode_health(held.data, at)
            if series.pending(at, records).counts == NOTHING:
                return
            totals = decode_series(values[NAME].data, at).samples
            data = health.encode(series.extended(at, records, totals))
            if await backend.swap_value(health.NAME, held.token, data, seconds=DAY):
                return


async def _sample(backend: Backend) -> bool:
    # What this process has counted belongs to the sample.
    await workers.report_news(backend)
    names = (NAME, sweeps.NAME, workers.NAME, health.NAME)
    values = await backend.values(names)
    at = await backend.now()
    remaining = SAMPLE_SECONDS - at % SAMPLE_SECONDS
    backend.memory.of(SampleMemory).next_look = time.monotonic() + remaining
    series = decode_series(values[NAME].data, at)
    taken = False
    if not _has_sample(series, at):
        taken = await _take_totals(backend, values, at)
    # By itself: processes of earlier versions take the totals only.
    if not health.decode_health(values[health.NAME].data, at).has_slot(at):
        await _take_counts(backend, values, at)
    return taken


async def _take_totals(
    backend: Backend, values: Mapping[str, Value], at: float
) -> bool:
    """Add the totals at time `at`, and give the alerts that follow; False: others did.

    `values` are those that were read at that time.
    """
    summaries, _ = await read_summaries(backend)
    server = await backend.server()
    last_sweep = sweeps.decode_last_sweep(values[sweeps.NAME].data)
    new: list[Alert] = []

    def add_sample(data: bytes | None) -> bytes | None:
        series = decode_series(data, at)
        if _has_sample(series, at):
            return None
        evictions = diagnosis.update_evictions(at, server, series.evictions)
        samples = (*series.samples, make_sample(at, summaries, server))
        found = diagnosis.of_site(
            at,
            summaries,
            samples,
            last_sweep=last_sweep,
            server=server,
            evictions=evictions,
        )
        since = at - conf.get().idle_timeout
        warned = {code: then for code, then in series.warned.items() if then > since}
        new[:] = [alert for alert in found if alert.code not in warned]
        warned.update((alert.code, at) for alert in new)
        return _encode(Series(samples, evictions, warned))

    if not await update_value(
        backend, NAME, add_sample, seconds=KEPT, held=values[NAME]
    ):
        return False
    for alert in new:
        await alerts.warn(backend, alert)
    return True


async def _take_counts(
    backend: Backend, values: Mapping[str, Value], at: float
) -> None:
    """Add what all processes have counted by time `at`, unless others have done that.

    `values` are those that were read at that time.
    """
    index = values[workers.NAME]
    records = await workers.read_records(backend, index)
    totals = decode_series(values[NAME].data, at).samples

    def add_slot(data: bytes | None) -> bytes | None:
        series = health.decode_health(data, at)
        if series.has_slot(at):
            return None
        return health.encode(series.extended(at, records, totals))

    if await update_value(
        backend, health.NAME, add_slot, seconds=DAY, held=values[health.NAME]
    ):
        await workers.forget(backend, index, records, at)


def _has_sample(series: Series, at: float) -> bool:
    """Return whether the slot of time `at` has been sampled."""
    slots = [each.at // SAMPLE_SECONDS for each in series.samples[-1:]]
    return slots == [at // SAMPLE_SECONDS]
