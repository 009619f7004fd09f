"""Stats: exact, the same on every backend, in a constant number of round trips."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from sessionstores.backends import drop_backends, get_backend
from sessionstores.backends.base import run
from sessionstores.manager import stores
from sessionstores.monitoring import process
from sessionstores.monitoring.alerts import BUDGET_PER_PARTICIPANT
from sessionstores.monitoring.process import resident
from sessionstores.monitoring.stats import plain
from sessionstores.monitoring.tally import tally_of
from sessionstores.monitoring.workers import report
from tests.sockets import CODE, Socket
from tests.trips import trips_of
from tests.workshop.states import Agenda, Board


def fill(sessions: int, participants: int) -> int:
    """Make sessions with participants each; return their bytes."""
    for number in range(sessions):
        code = stores.create_session(label=f"Table {number}")
        for person in range(participants):
            stores.get(Board, code, f"p{person}").dispatch(Board.note, "x" * person)
    return sum(each.bytes for each in run(get_backend(blocking=True).summaries()))


class Voter:
    """As much of a participant as an action looks at."""

    def __init__(self, id: str) -> None:
        self.id = id


def test_bytes_are_those_of_the_stored_states_and_nothing_else() -> None:
    def size(participant: str) -> int:
        record = run(get_backend(blocking=True).read(key(participant), touch=False))
        return sum(map(len, record.states.values()))  # type: ignore[union-attr]

    def key(participant: str) -> Any:
        return stores.get(Board, CODE, participant).key

    alice = stores.get(Board, CODE, "alice")
    stores.get(Board, CODE, "bob").dispatch(Board.note, "mine")
    sizes = []
    for length in (0, 1_000, 10):
        alice.dispatch(Board.note, "x" * length)
        figures = stores.stats()
        assert figures.bytes == size("alice") + size("bob")
        sizes.append(figures.bytes)
    assert sizes[1] == sizes[0] + 1_000
    assert sizes[2] == sizes[0] + 10
    stores.get(Agenda, CODE).dispatch(Agenda.vote, 3, by=Voter("alice"))
    with_session = stores.stats()
    assert with_session.bytes > sizes[2]
    (summary,) = with_session.summaries
    assert summary.bytes == with_session.bytes
    stores.cleanup_participant(CODE, "alice")
    stores.cleanup_participant(CODE, "bob")
    assert stores.stats().bytes == with_session.bytes - sizes[2]
    stores.cleanup_session(CODE)
    assert stores.stats().bytes == 0


async def test_people_and_connections_are_told_apart() -> None:
    sockets = [await Socket().hello("alice", client=f"c{n}") for n in range(3)]
    sockets.append(await Socket().hello("bob"))
    await stores.get(Board, CODE, "carol").asnapshot()
    figures = await stores.astats()
    for each in sockets:
        await each.drop()
    assert (figures.sessions, figures.participants) == (1, 3)
    assert (figures.online, figures.connections) == (2, 4)
    assert figures.budget == 3 * BUDGET_PER_PARTICIPANT == 3 * 10 * 2**20 // 50
    assert (figures.scope, figures.cache) == ("process", "default")
    assert figures.backend == "LocMemBackend"
    assert figures.server is None


def test_live_stores_are_counted() -> None:
    gc.collect()
    before = stores.stats().process.stores
    held = [stores.get(Board, CODE, f"p{number}") for number in range(20)]
    assert stores.get(Board, CODE, "p3") is held[3]
    assert stores.stats().process.stores == before + 20
    del held
    gc.collect()
    assert stores.stats().process.stores == before


def test_resident_memory_is_what_the_system_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "_STATM", tmp_path / "statm")
    peak = resident()
    assert peak is not None
    if sys.platform == "linux":
        (tmp_path / "statm").write_text("9000 250 100 1 0 500 0\n")
        assert resident() == 250 * os.sysconf("SC_PAGE_SIZE")
        (tmp_path / "statm").write_text("")
        monkeypatch.undo()
        current = resident()
        assert current is not None
        assert 2**20 < current <= peak * 1.5


def test_slow_operations_of_this_process_are_among_the_leaks() -> None:
    board = stores.get(Board, CODE, "alice")
    with override_settings(SESSIONSTORES={"SLOW_OPERATION_MS": 0}):
        board.dispatch(Board.note, "x")
        assert [(leak.code, leak.key) for leak in stores.stats().leaks] == [
            ("slow", f"{CODE}:alice")
        ]
    # The settings have changed: what was known of another backend says nothing now.
    assert stores.stats().leaks == ()


def test_a_large_record_is_among_the_leaks_until_it_is_smaller() -> None:
    board = stores.get(Board, CODE, "alice")
    with override_settings(SESSIONSTORES={"MAX_STATE_BYTES": 1_000}):
        board.dispatch(Board.note, "x" * 800)
        assert [leak.code for leak in stores.stats().leaks] == ["near_limit"]
        board.dispatch(Board.note, "")
        assert stores.stats().leaks == ()


def test_figures_become_json_by_their_names() -> None:
    fill(2, 2)
    stores.sweep()
    told = json.loads(json.dumps(plain(stores.stats())))
    assert (told["sessions"], told["participants"]) == (2, 4)
    assert told["process"]["pid"] == os.getpid()
    assert told["last_sweep"]["sweep"]["participants"] == 0
    assert told["series"][0]["participants"] == 4
    assert [each["label"] for each in told["summaries"]] in (
        ["Table 0", "Table 1"],
        ["Table 1", "Table 0"],
    )
    assert len(told["summaries"][0]["activity"]) == 30
    assert told["health"]["actions"] == 4
    assert told["workers"][0]["pid"] == os.getpid()
    assert (told["errors"], len(told["day"])) == ([], 1)
    assert plain({"a": (1, 2)}) == {"a": [1, 2]}


@pytest.mark.usefixtures("redis_site")
def test_on_redis_the_figures_take_as_many_trips_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trips = trips_of(get_backend(blocking=True), monkeypatch)
    counts = []
    for sessions in (1, 30):
        total = fill(sessions, 10)
        stores.stats()
        trips.clear()
        figures = stores.stats()
        counts.append(list(trips))
        assert figures.bytes == total
    assert (figures.sessions, figures.participants) == (31, 310)
    assert counts[0] == counts[1]
    assert len(counts[0]) == 5
    assert figures.scope == "shared"
    assert figures.server is not None
    assert figures.server.name.split()[0] in {"Valkey", "Redis"}
    assert figures.server.used is not None


@pytest.mark.usefixtures("redis_site")
def test_the_records_of_all_processes_are_read_in_one_trip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = []
    trips: list[str] = []
    for processes in (1, 5):
        for _ in range(processes):
            # Each a backend of its own, as in another process.
            drop_backends()
            backend = get_backend(blocking=True)
            tally_of(backend).refuse("rejected")
            run(report(backend))
        trips = trips_of(backend, monkeypatch)
        stores.stats()
        trips.clear()
        figures = stores.stats()
        counts.append(list(trips))
    assert figures.health.refused == {"rejected": 6}
    assert counts[0] == counts[1]
    assert len(counts[0]) == 6


@pytest.mark.django_db(transaction=True)
def test_on_a_database_the_figures_take_as_many_queries_however_many_there_are() -> (
    None
):
    cache = {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "figures",
    }
    with override_settings(CACHES={"default": cache}):
        call_command("createcachetable", verbosity=0)
        counts = []
        for sessions in (1, 30):
            total = fill(sessions, 10)
            with CaptureQueriesContext(connection) as queries:
                figures = stores.stats()
            counts.append(len(queries))
            assert figures.bytes == total
    assert figures.participants == 310
    assert counts[0] == counts[1] <= 8
