from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from sessionstores import conf
from sessionstores.backends.types import ServerInfo, SessionSummary
from sessionstores.monitoring import diagnosis
from sessionstores.monitoring.alerts import BUDGET_PER_PARTICIPANT, Alert
from sessionstores.monitoring.diagnosis import (
    Evictions,
    of_records,
    of_site,
    update_evictions,
)
from sessionstores.monitoring.samples import Totals
from sessionstores.monitoring.sweeps import LastSweep, Sweep

NOW = 1_000_000.0
MB = 2**20


def summary(**values: Any) -> SessionSummary:
    """Return a healthy session of two participants, but for `values`."""
    healthy = SessionSummary(
        code="K7Q2ZD",
        label="",
        created=NOW - 3_600,
        keep=0,
        locked=False,
        seen=NOW,
        bytes=2_000,
        participants=2,
        online=1,
        connections=1,
        lost=0,
        oldest=NOW - 10,
        largest=("alice", 1_500),
        activity=(0,) * 30,
    )
    return healthy._replace(**values)


def server(**values: Any) -> ServerInfo:
    """Return a healthy server, but for `values`."""
    healthy = ServerInfo("Valkey 9.1.2", 10 * MB, 100 * MB, 0, "noeviction")
    return healthy._replace(**values)


def samples(*sizes: float, minutes: float = 60, people: int = 10) -> list[Totals]:
    """Return samples whose bytes take these values, spread over `minutes`."""
    step = minutes * 60 / max(len(sizes) - 1, 1)
    first = NOW - minutes * 60
    return [
        Totals(first + number * step, 1, people, 5, 5, int(size), None)
        for number, size in enumerate(sizes)
    ]


def found(
    *summaries: SessionSummary,
    series: list[Totals] | None = None,
    last_sweep: LastSweep | None = None,
    server: ServerInfo | None = None,
    evictions: Evictions | None = None,
) -> list[Alert]:
    return list(
        of_site(
            NOW,
            summaries,
            series or [],
            last_sweep=last_sweep,
            server=server,
            evictions=evictions,
        )
    )


def test_a_healthy_site_has_no_leaks() -> None:
    steady = samples(*[5 * MB, 6 * MB] * 30)
    assert found(summary(), series=steady, server=server()) == []
    assert list(of_records([summary()])) == []


def test_the_largest_record_of_each_session_is_weighed() -> None:
    limit = conf.get().max_state_bytes
    told = of_records(
        [
            summary(code="AAAAAA", largest=("alice", int(limit * 0.8) + 1)),
            summary(code="BBBBBB", largest=("*", BUDGET_PER_PARTICIPANT + 1)),
            summary(code="CCCCCC", largest=("carol", int(limit * 0.7))),
        ]
    )
    assert [(leak.code, leak.key) for leak in told] == [
        ("near_limit", "AAAAAA:alice"),
        ("over_budget", "AAAAAA:alice"),
        ("near_limit", "BBBBBB:*"),
    ]


@pytest.mark.parametrize(
    ("values", "is_leak"),
    [
        ({"oldest": NOW - 599}, False),
        ({"oldest": NOW - 601}, True),
        ({"oldest": NOW - 601, "participants": 0, "keep": 86_400}, False),
        ({"oldest": NOW - 601, "participants": 0, "keep": 60}, True),
    ],
)
def test_what_is_idle_beyond_twice_the_timeout_is_unswept(
    values: dict[str, Any], is_leak: bool
) -> None:
    assert [leak.code for leak in found(summary(**values))] == ["unswept"] * is_leak


def test_unswept_sessions_make_one_warning_that_says_when_the_last_sweep_was() -> None:
    forgotten = [summary(oldest=NOW - age) for age in (840, 700)]
    (leak,) = found(*forgotten)
    assert leak.text.startswith("2 sessions hold records idle for 14 min")
    assert "there was no sweep yet" in leak.text
    last = LastSweep(at=NOW - 3_600, by="cron", sweep=Sweep())
    (leak,) = found(forgotten[0], last_sweep=last)
    assert leak.text.startswith("1 session holds")
    assert "the last sweep was 1 h ago" in leak.text
    with override_settings(SESSIONSTORES={"IDLE_TIMEOUT": 900}):
        assert found(*forgotten) == []


def test_index_entries_without_a_record_are_orphans() -> None:
    swept = LastSweep(at=NOW - 599, by="cron", sweep=Sweep())
    (leak,) = found(summary(lost=1), last_sweep=swept)
    assert leak.code == "orphans"
    assert leak.text.startswith("1 index entry has no record")
    many = (summary(lost=1), summary(), summary(lost=2))
    (leak,) = found(*many, last_sweep=swept)
    assert leak.text.startswith("3 index entries have no records")


def test_records_that_expired_while_nobody_swept_are_unswept_too() -> None:
    # Of a session whose own record is gone, no times are known.
    gone = summary(lost=3, created=0, seen=0, oldest=0)
    for last in (None, LastSweep(at=NOW - 601, by="cron", sweep=Sweep())):
        leaks = found(gone, last_sweep=last)
        assert [leak.code for leak in leaks] == ["unswept", "orphans"]
        assert leaks[0].text.startswith("3 lost records have not been announced; ")


GROWING = [MB * (1 + number / 30) for number in range(60)]


@pytest.mark.parametrize(
    ("series", "is_leak"),
    [
        (samples(*GROWING), True),
        # For fewer than fifteen minutes.
        (samples(*GROWING, minutes=14), False),
        # It rests for a quarter of an hour.
        (samples(*GROWING[:45], *[GROWING[44]] * 30), False),
        # Small.
        (samples(*(each / 4 for each in GROWING)), False),
        # By less than a quarter in all.
        (samples(*(4 * MB * (1 + number / 600) for number in range(60))), False),
        (samples(2 * MB), False),
        ([], False),
    ],
)
def test_state_that_grows_without_a_pause_is_a_leak(
    series: list[Totals], is_leak: bool
) -> None:
    assert [leak.code for leak in found(series=series)] == ["growing"] * is_leak


def test_more_participants_are_no_leak() -> None:
    filling = [
        sample._replace(participants=10 + number)
        for number, sample in enumerate(samples(*(MB * (10 + n) for n in range(60))))
    ]
    assert found(series=filling) == []


def test_a_server_that_is_nearly_full_or_evicts_is_told_of() -> None:
    (leak,) = found(server=server(used=95 * MB))
    assert leak.code == "evicting"
    assert leak.text.startswith("Valkey 9.1.2 uses 95 MB of 100 MB")
    assert found(server=server(used=95 * MB, limit=None)) == []
    assert found(server=server(used=None)) == []
    known = Evictions(5, NOW - 60)
    (leak,) = found(server=server(evicted=7, policy="allkeys-lru"), evictions=known)
    assert leak.text.startswith("Valkey 9.1.2 was out of memory and evicted 7 entries")
    assert "allkeys-lru" in leak.text


def test_evictions_count_as_long_ago_until_they_rise() -> None:
    first = update_evictions(NOW, server(evicted=40), None)
    assert first == Evictions(40, 0.0)
    assert found(server=server(evicted=40), evictions=first) == []
    assert update_evictions(NOW + 30, server(evicted=40), first) == first
    later = update_evictions(NOW + 60, server(evicted=41), first)
    assert later == Evictions(41, NOW + 60)
    # The server was started again.
    assert update_evictions(NOW + 90, server(evicted=0), later) == Evictions(
        0, NOW + 60
    )
    for silent in (None, server(evicted=None)):
        assert update_evictions(NOW + 90, silent, later) is later
    old = Evictions(41, NOW - diagnosis.EVICTING_SECONDS - 1)
    assert found(server=server(evicted=41), evictions=old) == []
