"""The last hour in samples, kept in the cache: taken by whoever runs, never twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from math import inf
from weakref import WeakKeyDictionary

import msgspec

from .. import conf
from ..backends.base import Backend
from ..backends.types import ServerInfo, SessionSummary
from ..exceptions import StateCorrupt, StoreUnavailable
from . import alerts, health, sweeps
from .alerts import Alert
from .health import Evictions, Sample
from .summaries import read_summaries

logger = logging.getLogger("sessionstores.stats")

# The shared value, how often it gets a sample, and how long it keeps one.
NAME = "series"
SAMPLE_SECONDS = 30.0
KEPT = 3_600.0


class Series(msgspec.Struct, frozen=True):
    """The samples, oldest first, and what else must be known to judge the next one.

    `warned` says when the site was last warned of what, by any process.
    """

    samples: tuple[Sample, ...] = ()
    evictions: Evictions | None = None
    warned: dict[str, float] = {}


# Until when, by `time.monotonic`, this process need not ask whether there is a sample.
taken_until: WeakKeyDictionary[Backend, float] = WeakKeyDictionary()

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Series).decode


def decode_series(data: bytes | None, now: float) -> Series:
    """Return what the shared value `NAME` says of the hour before `now`."""
    if data is None:
        return Series()
    try:
        series = _decode(data)
    except msgspec.MsgspecError:
        # Another version's; the next sample begins anew.
        return Series()
    # The clock may have gone back: what lies ahead would stop the series till then.
    samples = tuple(each for each in series.samples if now - KEPT < each.at <= now)
    return msgspec.structs.replace(series, samples=samples)


def take(
    at: float, summaries: Sequence[SessionSummary], server: ServerInfo | None
) -> Sample:
    """Return the totals."""
    return Sample(
        at,
        len(summaries),
        sum(each.participants for each in summaries),
        sum(each.online for each in summaries),
        sum(each.connections for each in summaries),
        sum(each.bytes for each in summaries),
        None if server is None else server.used,
    )


async def sample(backend: Backend) -> bool:
    """Take the sample of the current `SAMPLE_SECONDS` unless somebody has.

    True if this call took it: it then has warned of what concerns the site as a whole,
    each thing once in `IDLE_TIMEOUT` however many processes run. False too if the cache
    cannot be asked: the next one comes.
    """
    if time.monotonic() < taken_until.get(backend, -inf):
        return False
    try:
        return await _sample(backend)
    except (StoreUnavailable, StateCorrupt) as error:
        logger.info("No sample is taken: %s", error)
        return False


async def _sample(backend: Backend) -> bool:
    values = await backend.values((NAME, sweeps.NAME))
    at = await backend.now()
    held = values[NAME]
    series = decode_series(held.data, at)
    slot, into = divmod(at, SAMPLE_SECONDS)
    taken_until[backend] = time.monotonic() + SAMPLE_SECONDS - into
    if series.samples and series.samples[-1].at // SAMPLE_SECONDS == slot:
        return False
    summaries, _ = await read_summaries(backend)
    server = await backend.server()
    evictions = health.rose(at, server, series.evictions)
    samples = (*series.samples, take(at, summaries, server))
    found = health.of_site(
        at,
        summaries,
        samples,
        last_sweep=sweeps.decode_last_sweep(values[sweeps.NAME].data),
        server=server,
        evictions=evictions,
    )
    lately = at - conf.get().idle_timeout
    warned = {code: since for code, since in series.warned.items() if since > lately}
    fresh = [leak for leak in found if leak.code not in warned]
    warned.update((leak.code, at) for leak in fresh)
    data = _encode(Series(samples, evictions, warned))
    if not await backend.swap_value(NAME, held.token, data, seconds=KEPT):
        return False
    await _warn(fresh, backend)
    return True


async def _warn(found: Sequence[Alert], backend: Backend) -> None:
    for leak in found:
        await alerts.warn(leak, blocking=backend.blocking)
