"""Samples of the last hour and the last day: totals, and what was counted between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .counts import NOTHING, Counts

# Seconds between the samples of the hour, those between the samples of the day, and
# those that either are kept.
SLOT_SECONDS = 30.0
QUARTER = 900.0
HOUR = 3_600.0
DAY = 86_400.0


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

    Of a sample of the day, the highest in that quarter of an hour. `actions`, `refused`
    and `errors` are counts since the sample before, of all processes. Half of those
    actions took at most `p50` seconds, and 95 of 100 at most `p95`; None: there was
    none.
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


class Slot(NamedTuple):
    """What all processes counted between `since` and `at`."""

    at: float
    since: float
    counts: Counts


def samples_of_hour(
    totals: Iterable[Totals], slots: Iterable[Slot]
) -> tuple[Sample, ...]:
    """Return the totals, each with what its slot counted."""
    found = {slot.at // SLOT_SECONDS: slot.counts for slot in slots}
    return tuple(
        _sample(each, found.get(each.at // SLOT_SECONDS, NOTHING)) for each in totals
    )


def samples_of_day(
    day: Sequence[Sample],
    totals: Sequence[Totals],
    slots: Sequence[Slot],
    *,
    before: float,
) -> tuple[Sample, ...]:
    """Return the samples of the day, with the quarters of the hour that they lack.

    Of those, the ones that are over at time `before`.
    """
    last = day[-1].at // QUARTER if day else -1.0
    return (*day, *_quarters(totals, slots, last, before))


def _quarters(
    totals: Sequence[Totals], slots: Sequence[Slot], after: float, before: float
) -> Iterator[Sample]:
    for quarter in sorted({each.at // QUARTER for each in totals}):
        if after < quarter and (quarter + 1) * QUARTER <= before:
            found = [each for each in totals if each.at // QUARTER == quarter]
            counts = NOTHING
            for slot in slots:
                if slot.at // QUARTER == quarter:
                    counts += slot.counts
            yield _sample(_highest(found), counts)


def _highest(totals: Sequence[Totals]) -> Totals:
    """Return the highest of each figure, and the latest time."""
    return Totals(
        max(each.at for each in totals),
        max(each.sessions for each in totals),
        max(each.participants for each in totals),
        max(each.online for each in totals),
        max(each.connections for each in totals),
        max(each.bytes for each in totals),
        max((each.server for each in totals if each.server is not None), default=None),
    )


def _sample(totals: Totals, counts: Counts) -> Sample:
    return Sample(
        *totals,
        counts.actions,
        counts.refusals,
        counts.errors,
        counts.p50,
        counts.p95,
    )
