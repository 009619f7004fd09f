"""Health: actions, refusals, errors and their latency, of all processes together.

A shared value holds what was counted in each slot of the last hour, a day of samples,
and what each process had counted by the last slot. Whoever takes a sample adds the
slot; whoever reads adds what processes have counted since.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .counts import NOTHING, Counts
from .samples import DAY, HOUR, SLOT_SECONDS, Sample, Slot, Totals, samples_of_day
from .tally import MAX_ERRORS, ErrorKind
from .workers import UNWRITTEN, Records, WorkerRecord, listed

# The name of the shared value.
NAME = "health"
# Seconds over which the rate of actions is taken, and the least.
RATE_SECONDS = 300.0
LEAST_SECONDS = 60.0


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
    """An error of the last day, without its text, which may hold content.

    `at`: the latest time; `type`: the name of its class; `action`: what was run, as
    "board.move", or ""; `place`: file and line, as "workshop/states.py:41"; `count`:
    how often it was raised there.
    """

    at: float
    type: str
    action: str
    place: str
    count: int


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What one process had counted by the last slot."""

    counts: Counts = NOTHING
    errors: dict[ErrorKind, int] = {}


class HealthSeries(msgspec.Struct, frozen=True):
    """The slots of an hour and the samples of a day, oldest first.

    `at`: the time of the last slot; `known`: by the id of its record, what each process
    had counted then; `errors`: the latest of all processes, by kind.
    """

    at: float = 0.0
    slots: tuple[Slot, ...] = ()
    day: tuple[Sample, ...] = ()
    known: dict[str, Known] = {}
    errors: dict[ErrorKind, tuple[float, int]] = {}

    def has_slot(self, at: float) -> bool:
        """Return whether the slot of time `at` has been added."""
        return self.at // SLOT_SECONDS == at // SLOT_SECONDS

    def extended(
        self, at: float, records: Records, totals: Sequence[Totals]
    ) -> HealthSeries:
        """Return it with the slot that ends at `at`, and all that follows from that.

        If that slot has been added, with what was counted since.
        """
        before, slot = self.slots, self.pending(at, records)
        if before and self.has_slot(at):
            counts = before[-1].counts + slot.counts
            before, slot = before[:-1], Slot(at, before[-1].since, counts)
        slots = (*before, slot)
        return HealthSeries(
            at,
            slots,
            samples_of_day(self.day, totals, slots, before=at),
            {id: self._known_now(id, record) for id, record in records.items()},
            self.errors_with(records),
        )

    def pending(self, at: float, records: Records) -> Slot:
        """Return what processes have counted since the last slot."""
        counts = NOTHING
        for id, record in records.items():
            counts += record.counts.since(self._before(id, record).counts)
        began = min((record.began for record in records.values()), default=at)
        return Slot(at, max(self.at or began, at - HOUR), counts)

    def errors_with(self, records: Records) -> dict[ErrorKind, tuple[float, int]]:
        """Return the latest errors, with those since the last slot, oldest first."""
        found = dict(self.errors)
        for id, record in records.items():
            before = self._before(id, record).errors
            for kind, (then, count) in record.errors.items():
                known = before.get(kind, 0)
                # A process that forgot an error has begun to count it anew.
                rise = count - known if count >= known else count
                if rise:
                    latest, total = found.get(kind, (0.0, 0))
                    found[kind] = max(latest, then), total + rise
        latest_first = sorted(found.items(), key=lambda each: -each[1][0])
        return dict(reversed(latest_first[:MAX_ERRORS]))

    def _known_now(self, id: str, record: WorkerRecord) -> Known:
        """Return what is known of a process that has counted as its record says."""
        known = self.known.get(id)
        if known is None or record.counts.since(known.counts) != NOTHING:
            return _known(record)
        # A record that was read before another process wrote the series may be older.
        return known

    def _before(self, id: str, record: WorkerRecord) -> Known:
        """Return what a process had counted by the last slot."""
        known = self.known.get(id)
        if known is None:
            # One that is new counts from its begin. Of one whose record is older than
            # the slot it is not known what was counted before that.
            is_new = id == UNWRITTEN or record.began >= self.at - SLOT_SECONDS
            known = Known() if is_new else _known(record)
        return known


def _known(record: WorkerRecord) -> Known:
    errors = {kind: count for kind, (_, count) in record.errors.items()}
    return Known(record.counts, errors)


encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(HealthSeries).decode


def decode_health(data: bytes | None, now: float) -> HealthSeries:
    """Decode the shared value `NAME`; keep what belongs to the day before `now`."""
    if data is None:
        return HealthSeries()
    try:
        series = _decode(data)
    except msgspec.MsgspecError:
        # Written by another version; the next slot starts a new series.
        return HealthSeries()
    # The clock may have gone back: a slot in the future would stop the series.
    return HealthSeries(
        series.at if series.at <= now else 0.0,
        tuple(each for each in series.slots if now - HOUR < each.at <= now),
        tuple(each for each in series.day if now - DAY < each.at <= now),
        series.known,
        {
            kind: error
            for kind, error in series.errors.items()
            if now - DAY < error[0] <= now + SLOT_SECONDS
        },
    )


def summarise(series: HealthSeries, records: Records, at: float) -> Health:
    """Return the figures of the last hour, up to now."""
    slots = (*series.slots, series.pending(at, records))
    total = NOTHING
    recent, since = 0, at
    for slot in slots:
        total += slot.counts
        if slot.at > at - RATE_SECONDS:
            recent += slot.counts.actions
            since = min(since, slot.since)
    return Health(
        at - max(slots[0].since, at - HOUR),
        total.actions,
        recent / max(at - since, LEAST_SECONDS) * 60,
        total.refused,
        total.errors,
        total.conflicts,
        total.slow,
        total.p50,
        total.p95,
        sum(worker.tabs for worker in listed(records, at)),
        total.reconnects,
        total.dropped,
    )


def latest_errors(series: HealthSeries, records: Records) -> tuple[ErrorReport, ...]:
    """Return the latest errors of all processes, the newest first."""
    return tuple(
        ErrorReport(at, *kind, count)
        for kind, (at, count) in reversed(series.errors_with(records).items())
    )
