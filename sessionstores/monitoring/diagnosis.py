"""Diagnosis: derive alerts from the figures of all sessions; pure computation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from .. import conf
from ..backends.types import ServerInfo, SessionSummary
from ..humanize import size, span
from ..keys import StoreKey
from .alerts import Alert, oversized
from .samples import Totals
from .sweeps import LastSweep

# Growth is steady if each of these parts of the series grows by a factor of EACH_PART
# and the whole by IN_ALL. Shorter series and smaller sites are not judged.
PARTS = 4
LEAST_SECONDS = 900.0
EACH_PART = 1.02
IN_ALL = 1.25
LEAST_BYTES = 2**20
# A share of a server's memory.
NEARLY_FULL = 0.9
# Seconds after its latest eviction during which a server counts as evicting.
EVICTING_SECONDS = 3_600.0


class Evictions(NamedTuple):
    """The number of evictions by the server, and when that was last seen to rise."""

    total: int
    rose_at: float


def of_records(summaries: Sequence[SessionSummary]) -> Iterator[Alert]:
    """Yield the alerts on each session's largest record."""
    limit = conf.get().max_state_bytes
    for summary in summaries:
        id, largest = summary.largest
        yield from oversized(StoreKey.stored(summary.code, id), largest, limit)


def of_site(
    at: float,
    summaries: Sequence[SessionSummary],
    samples: Sequence[Totals],
    *,
    last_sweep: LastSweep | None,
    server: ServerInfo | None,
    evictions: Evictions | None,
) -> Iterator[Alert]:
    """Yield the alerts that concern the site as a whole, each once."""
    yield from _unswept(at, summaries, last_sweep)
    yield from _orphans(summaries)
    yield from _growing(samples)
    if server is not None:
        yield from _full(server)
        yield from _evicting(at, server, evictions)


def _unswept(
    at: float, summaries: Sequence[SessionSummary], last_sweep: LastSweep | None
) -> Iterator[Alert]:
    since = at - 2 * conf.get().idle_timeout
    # A session without participants stays until the end of its keep. Of one whose
    # record is missing, the time of last use is unknown.
    unused = [
        summary.oldest
        for summary in summaries
        if 0 < summary.oldest < since
        and (summary.participants or summary.created + summary.keep < at)
    ]
    lost = sum(summary.lost for summary in summaries)
    if unused:
        many = f"{len(unused)} sessions hold" if unused[1:] else "1 session holds"
        age = span(at - min(unused))
        what = f"{many} records idle for {age}, more than twice IDLE_TIMEOUT"
    elif lost and (last_sweep is None or last_sweep.at < since):
        # By that age, a cache expires records without a sweep.
        records = "records have" if lost > 1 else "record has"
        what = f"{lost} lost {records} not been announced"
    else:
        return
    swept = "there was no sweep yet"
    if last_sweep is not None:
        swept = f"the last sweep was {span(at - last_sweep.at)} ago"
    yield Alert(
        "unswept",
        f"{what}; {swept}.",
        "Run manage.py sweepstores more often. If the cache is in the memory of a "
        "process, turn AUTO_SWEEP on.",
        "",
        {
            "sessions": len(unused),
            "unused": at - min(unused) if unused else None,
            "lost": lost,
            "swept": None if last_sweep is None else at - last_sweep.at,
        },
    )


def _orphans(summaries: Sequence[SessionSummary]) -> Iterator[Alert]:
    lost = sum(summary.lost for summary in summaries)
    if lost:
        entries = "entries have no records" if lost > 1 else "entry has no record"
        yield Alert(
            "orphans",
            f"{lost} index {entries} any more: expired before a sweep, evicted by the "
            "server, or deleted by hand.",
            "A sweep removes them. If they come back, sweep more often and make sure "
            "that the server evicts nothing.",
            "",
            {"lost": lost},
        )


def _growing(samples: Sequence[Totals]) -> Iterator[Alert]:
    if len(samples) <= PARTS or samples[-1].bytes < LEAST_BYTES:
        return
    minutes = (samples[-1].at - samples[0].at) / 60
    if minutes * 60 < LEAST_SECONDS:
        return
    each = [sample.bytes / max(sample.participants, 1) for sample in samples]
    bounds = [each[(len(each) - 1) * part // PARTS] for part in range(PARTS + 1)]
    pauses = any(b < a * EACH_PART for a, b in pairwise(bounds))
    if pauses or bounds[-1] < bounds[0] * IN_ALL:
        return
    yield Alert(
        "growing",
        f"State has grown for {minutes:.0f} minutes without a pause, from "
        f"{size(bounds[0])} to {size(bounds[-1])} for each participant.",
        "Look for a list or dict in a state that only grows, and limit it in the "
        "action that adds to it.",
        "",
        {"seconds": minutes * 60, "before": bounds[0], "after": bounds[-1]},
    )


def _full(server: ServerInfo) -> Iterator[Alert]:
    if server.used is None or not server.limit:
        return
    if server.used >= NEARLY_FULL * server.limit:
        yield Alert(
            "evicting",
            f"{server.name} uses {size(server.used)} of {size(server.limit)}: soon it "
            "will evict state or refuse changes.",
            "Give it more memory, or move its other data to another server.",
            "",
            {"server": server.name, "used": server.used, "limit": server.limit},
        )


def _evicting(
    at: float, server: ServerInfo, evictions: Evictions | None
) -> Iterator[Alert]:
    known = update_evictions(at, server, evictions)
    if known is None or not at - known.rose_at < EVICTING_SECONDS:
        return
    policy = f" (its policy is {server.policy})" if server.policy else ""
    yield Alert(
        "evicting",
        f"{server.name} was out of memory and evicted {known.total} entries, the "
        f"latest within the last {span(at - known.rose_at + 60)}{policy}; state may be "
        "among them.",
        "Give it more memory and a policy that never evicts (maxmemory-policy "
        "noeviction), or give sessionstores a server of its own.",
        "",
        {
            "server": server.name,
            "evicted": known.total,
            "ago": at - known.rose_at,
            "policy": server.policy,
        },
    )


def update_evictions(
    at: float, server: ServerInfo | None, known: Evictions | None
) -> Evictions | None:
    """Return what is known of evictions, given the server's answer of time `at`.

    The first answer says nothing about when they happened: they count as long past.
    """
    if server is None or server.evicted is None:
        return known
    if known is None:
        return Evictions(server.evicted, 0.0)
    if server.evicted > known.total:
        return Evictions(server.evicted, at)
    # Lower if the server was restarted.
    return Evictions(server.evicted, known.rose_at)
