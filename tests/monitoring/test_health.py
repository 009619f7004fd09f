"""Health: the last hour of all processes together, and the day that is made of it."""

from __future__ import annotations

from collections import Counter
from math import ceil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.backends.base import run
from sessionstores.backends.types import Value
from sessionstores.monitoring import health, history, workers
from sessionstores.monitoring.counts import Counts
from sessionstores.monitoring.health import HealthSeries, decode_health, encode
from sessionstores.monitoring.history import NAME as SERIES
from sessionstores.monitoring.history import Series, decode_series
from sessionstores.monitoring.latency import bucket_of
from sessionstores.monitoring.samples import (
    DAY,
    HOUR,
    QUARTER,
    Sample,
    Slot,
    Totals,
    samples_of_day,
    samples_of_hour,
)
from tests.monitoring.site import Process, Site

KIND = ("ValueError", "board.move", "workshop/states.py:41")
SLOT = 30.0


@pytest.fixture
def site() -> Site:
    return Site()


def series_of(process: Process) -> HealthSeries:
    data = run(process.backend.value(health.NAME)).data
    return decode_health(data, run(process.backend.now()))


def test_the_figures_of_all_processes_are_summed(site: Site) -> None:
    first, second = site.process(), site.process()
    first.act(0.01, 0.01, 0.3)
    first.tally.refuse("rejected")
    first.tally.slow += 1
    first.tally.conflicts += 4
    second.act(0.02)
    second.tally.refuse("rejected")
    second.tally.refuse("limit_reached")
    second.tally.reconnects += 2
    second.tally.dropped += 5
    second.tally.tabs.update(("c1", "c2"))
    for process in (first, second):
        process.tally.fail(KIND, site.clock.time)
        process.beat()
    site.clock.advance(SLOT)
    for process in (first, second):
        process.act(0.01)
        process.beat()
    # Not sampled yet.
    first.act(0.01)
    site.clock.advance(1)
    first.beat()
    for process in (first, second, site.process()):
        found = process.stats()
        assert found.health.actions == 7
        assert found.health.refused == {"rejected": 2, "limit_reached": 1}
        assert (found.health.errors, found.health.conflicts) == (2, 4)
        assert (found.health.slow, found.health.sockets) == (1, 2)
        assert (found.health.reconnects, found.health.dropped) == (2, 5)
        assert found.health.p50 == pytest.approx(0.01, rel=0.1)
        assert found.health.p95 == pytest.approx(0.3, rel=0.1)
        (error,) = found.errors
        assert (error.type, error.action, error.place) == KIND
        assert error.count == 2
    assert found.health.seconds == pytest.approx(31)


def test_the_rate_is_that_of_the_last_minutes(site: Site) -> None:
    process = site.process()
    process.act(*[0.01] * 600)
    process.beat()
    for _ in range(20):
        site.clock.advance(SLOT)
        process.beat()
    for _ in range(10):
        process.act(*[0.01] * 3)
        site.clock.advance(SLOT)
        process.beat()
    assert process.stats().health.actions_per_minute == pytest.approx(6)
    assert process.stats().health.actions == 630


def test_a_site_that_has_just_begun_has_a_rate_of_a_minute_at_least(
    site: Site,
) -> None:
    process = site.process()
    process.act(0.01, 0.01)
    process.beat()
    assert process.stats().health.actions_per_minute == 2


def test_an_hour_is_kept_and_no_more(site: Site) -> None:
    process = site.process()
    for _ in range(130):
        process.act(0.01)
        process.beat()
        site.clock.advance(SLOT)
    found = process.stats().health
    assert found.seconds <= HOUR
    assert 118 <= found.actions <= 121
    assert len(encode(series_of(process))) < 30_000


def test_a_sample_holds_what_came_since_the_one_before(site: Site) -> None:
    process, other = site.process(), site.process()
    for number in range(3):
        for each in (process, other):
            each.act(*[0.01] * number)
            each.tally.refuse("rejected")
            each.beat()
        site.clock.advance(SLOT)
    first, *rest = process.stats().series
    # Each slot is closed by the first process, before the other one counts on.
    assert [each.actions for each in (first, *rest)] == [0, 1, 3]
    assert [each.refused for each in (first, *rest)] == [1, 2, 2]
    assert first.p95 is None
    assert rest[0].p50 == pytest.approx(0.01, rel=0.1)


def test_processes_of_an_earlier_version_take_and_read_the_totals(site: Site) -> None:
    process = site.process()
    process.act(0.01)
    # As an earlier version has taken it, in the same slot.
    old = msgspec.msgpack.encode(
        {
            "samples": [[site.clock.time, 1, 2, 3, 4, 500, None]],
            "evictions": None,
            "warned": {},
        }
    )
    held = run(process.backend.value(SERIES))
    assert run(process.backend.swap_value(SERIES, held.token, old, seconds=60))
    process.beat()
    (sample,) = process.stats().series
    assert sample == (site.clock.time, 1, 2, 3, 4, 500, None, 1, 0, 0, *sample[-2:])
    site.clock.advance(SLOT)
    process.beat()
    # And as one reads it.
    data = run(process.backend.value(SERIES)).data
    assert data is not None
    samples = msgspec.msgpack.decode(data)["samples"]
    assert [len(each) for each in samples] == [7, 7]


def test_a_sample_without_counts_is_read_as_one_with_none() -> None:
    old = msgspec.msgpack.encode([1_000.0, 1, 2, 3, 4, 500, None])
    sample = msgspec.msgpack.decode(old, type=Sample)
    assert sample == Sample(1_000.0, 1, 2, 3, 4, 500, None, 0, 0, 0, None, None)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x93\x01\x02\x03"])
def test_what_cannot_be_read_is_begun_anew(site: Site, data: bytes) -> None:
    process = site.process()
    held = run(process.backend.value(health.NAME))
    assert run(process.backend.swap_value(health.NAME, held.token, data, seconds=60))
    process.act(0.01)
    process.beat()
    assert process.stats().health.actions == 1
    assert len(series_of(process).slots) == 1


def test_what_a_long_lived_process_counted_before_is_not_counted_as_new(
    site: Site,
) -> None:
    process = site.process()
    process.act(*[0.01] * 500)
    for _ in range(3):
        process.beat()
        site.clock.advance(SLOT)
    # The cache has evicted what was known of it, and a slot was added since.
    held = run(process.backend.value(health.NAME))
    gone = encode(HealthSeries(at=site.clock.time - SLOT))
    run(process.backend.swap_value(health.NAME, held.token, gone, seconds=60))
    process.act(0.01)
    process.beat()
    assert process.stats().health.actions < 500


def test_a_clock_that_goes_back_does_not_stop_the_series(site: Site) -> None:
    process = site.process()
    process.beat()
    site.clock.advance(-1_000)
    process.act(0.01)
    process.beat()
    assert [slot.at for slot in series_of(process).slots] == [site.clock.time]
    assert process.stats().health.actions == 1


# The day


def test_the_samples_of_the_day_come_from_those_of_the_hour(site: Site) -> None:
    process = site.process()
    start = ceil(site.clock.time / QUARTER) * QUARTER
    site.clock.advance(start - site.clock.time)
    counted = Counter[float]()
    # Two hours and a half.
    for number in range(300):
        process.act(*[0.01] * (number % 7))
        counted[site.clock.time // QUARTER] += number % 7
        process.beat()
        site.clock.advance(SLOT)
    day = process.stats().day
    assert len(day) == 10
    assert [each.at // QUARTER for each in day] == sorted(counted)
    assert [each.actions for each in day] == list(counted.values())
    assert all(each.p95 == pytest.approx(0.01, rel=0.1) for each in day)


def test_a_day_is_kept(site: Site) -> None:
    process = site.process()
    for _ in range(100):
        process.beat()
        site.clock.advance(SLOT)
        process.beat()
        site.clock.advance(QUARTER - SLOT)
    day = process.stats().day
    assert 95 <= len(day) <= 97
    assert day[0].at > site.clock.time - DAY


def test_a_quarter_that_is_not_over_is_shown_and_not_kept(site: Site) -> None:
    process = site.process()
    start = ceil(site.clock.time / QUARTER) * QUARTER
    site.clock.advance(start - site.clock.time)
    for _ in range(3):
        process.act(0.01)
        process.beat()
        site.clock.advance(SLOT)
    assert series_of(process).day == ()
    (sample,) = process.stats().day
    assert (sample.actions, sample.at) == (3, site.clock.time - SLOT)


hours = st.lists(
    st.tuples(st.integers(0, 9), st.lists(st.floats(0.001, 1), max_size=3)),
    min_size=1,
    max_size=120,
)


@given(hours)
def test_a_quarter_has_the_highest_totals_and_all_that_was_counted(
    taken: list[tuple[int, list[float]]],
) -> None:
    totals, slots = [], []
    for place, (online, seconds) in enumerate(taken):
        at = 1_700_000_100.0 + SLOT * place
        totals.append(Totals(at, 1, 9, online, online, 100, None))
        counts = Counts(dict(Counter(map(bucket_of, seconds))), {}, online)
        slots.append(Slot(at, at - SLOT, counts))
    day = samples_of_day((), totals, slots, before=float("inf"))
    hour = samples_of_hour(totals, slots)
    for sample in day:
        own = [each for each in hour if each.at // QUARTER == sample.at // QUARTER]
        assert sample.at == own[-1].at
        assert sample.online == max(each.online for each in own)
        assert sample.actions == sum(each.actions for each in own)
        assert sample.errors == sum(each.errors for each in own)
        known = [each.p95 for each in own if each.p95 is not None]
        assert (sample.p95 is None) == (known == [])
        assert sample.p95 is None or sample.p95 <= max(known)
    assert sum(each.actions for each in day) == sum(each.actions for each in hour)
    # What is kept is not made again.
    assert samples_of_day(day, totals, slots, before=float("inf")) == day


# Errors


def test_the_latest_twenty_errors_are_kept_for_a_day(site: Site) -> None:
    process = site.process()
    for number in range(30):
        kind = ("ValueError", "board.move", f"workshop/states.py:{number}")
        process.tally.fail(kind, site.clock.time)
        process.beat()
        site.clock.advance(SLOT)
    errors = process.stats().errors
    assert [each.place for each in errors] == [
        f"workshop/states.py:{number}" for number in range(29, 9, -1)
    ]
    site.clock.advance(DAY)
    assert site.process().stats().errors == ()


def test_errors_outlive_the_process_that_had_them(site: Site) -> None:
    process, other = site.process(), site.process()
    process.tally.fail(KIND, site.clock.time)
    process.beat()
    for _ in range(10):
        site.clock.advance(SLOT)
        other.beat()
    (error,) = other.stats().errors
    assert error.count == 1
    assert decode_series(None, 0.0) == Series()


def test_what_a_process_counts_last_outlives_its_record(site: Site) -> None:
    ended, left = site.process(), site.process()
    ended.act(0.01)
    ended.tally.fail(KIND, site.clock.time)
    ended.beat()
    slots = series_of(left).slots
    ended.act(0.01, 0.3)
    ended.tally.refuse("rejected")
    ended.tally.fail(KIND, site.clock.time)
    run(history.write_figures(ended.backend, last=True))
    (slot,) = series_of(left).slots
    assert (slot.at, slot.since) == (slots[0].at, slots[0].since)
    assert (slot.counts.actions, slot.counts.errors) == (3, 2)
    # Nobody takes a sample before the record is gone.
    site.clock.advance(HOUR / 2)
    stats = left.stats()
    assert (stats.health.actions, stats.health.errors) == (3, 2)
    assert stats.health.refused == {"rejected": 1}
    assert [error.count for error in stats.errors] == [2]
    left.act(0.01)
    left.beat()
    assert left.stats().health.actions == 4
    assert sum(slot.counts.actions for slot in series_of(left).slots) == 4


def test_what_is_added_within_a_slot_is_not_counted_again(site: Site) -> None:
    first, second = site.process(), site.process()
    for _ in range(3):
        for process in (first, second):
            process.act(0.01)
            process.tally.fail(KIND, site.clock.time)
            run(history.write_figures(process.backend, last=True))
    assert first.stats().health.actions == second.stats().health.actions == 6
    site.clock.advance(SLOT)
    first.act(0.01)
    first.beat()
    second.beat()
    assert second.stats().health.actions == 7
    assert sum(slot.counts.actions for slot in series_of(first).slots) == 7
    assert [error.count for error in first.stats().errors] == [6]


def test_an_older_record_does_not_have_counts_added_twice(site: Site) -> None:
    process = site.process()
    process.act(0.01)
    process.beat()
    older = run(workers.read_records(process.backend, index_of(process)))
    process.act(0.01)
    run(history.write_figures(process.backend, last=True))
    at = site.clock.time
    series = series_of(process).extended(at, older, ())
    newer = run(workers.read_records(process.backend, index_of(process)))
    assert series.pending(at, newer).counts.actions == 0


def index_of(process: Process) -> Value:
    return run(process.backend.value(workers.NAME))
