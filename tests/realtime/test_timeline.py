"""The timeline: what is counted together, who writes it, and when it cannot be."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from sessionstores import event_bus
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import MAX_EVENTS
from sessionstores.event_bus import Act, Attendance, Change, Message, Note, Removal
from sessionstores.exceptions import StateCorrupt, StoreUnavailable
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.realtime import timeline as module
from sessionstores.realtime.hub import hubs
from sessionstores.realtime.publisher import publisher
from sessionstores.realtime.timeline import Timeline, timeline, write_timeline
from tests.caches import SHARED, cache_on
from tests.rivals import overtake
from tests.sockets import CODE, PATIENCE, Socket, until
from tests.workshop.states import Board

ROOT = Path(__file__).parents[2]
ALICE = StoreKey(CODE, "alice")
BOB = StoreKey(CODE, "bob")
SESSION = StoreKey.of_session(CODE)

Event = dict[str, Any]


class Cache:
    """As much of a backend as the timeline needs, whose clock is an hour ahead."""

    blocking = True

    def __init__(self) -> None:
        self.written: list[tuple[str, list[Event], int]] = []
        self.broken: dict[str, BaseException] = {}
        self.time = 3_600.0

    async def now(self) -> float:
        return self.time

    async def note(
        self, code: str, events: Sequence[Mapping[str, Any]], *, changes: int = 0
    ) -> None:
        if code in self.broken:
            raise self.broken[code]
        self.written.append((code, [dict(event) for event in events], changes))

    def flush(self, line: Timeline) -> list[tuple[str, list[Event], int]]:
        """Return what a flush writes."""
        self.written = []
        run(line.flush(self))  # type: ignore[arg-type]
        return self.written


@pytest.fixture
def line() -> Timeline:
    return Timeline()


@pytest.fixture
def cache() -> Cache:
    return Cache()


def change(key: StoreKey = ALICE, action: str = "Board.move") -> Change:
    return Change(key, "1.1-a", "1.2-b", {}, {"board": b"1:{}"}, action=action)


def told(events: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, int]]:
    return [(e["kind"], e["who"], e["text"], e["count"]) for e in events]


def events_of(code: str) -> list[Mapping[str, Any]]:
    info = run(get_backend(blocking=True).session(code))
    return list(info.events) if info else []


def test_what_is_alike_is_counted_together(line: Timeline, cache: Cache) -> None:
    for _ in range(40):
        line.note(change())
    line.note(change(BOB))
    line.note(Note(ALICE, "conflict", count=3))
    line.note(Note(ALICE, "conflict"))
    line.note(Removal(BOB, "idle"))
    line.note(Message(SESSION, {"secret": "text"}))
    line.note(Attendance(ALICE))
    ((code, events, changes),) = cache.flush(line)
    assert (code, changes) == (CODE, 41)
    assert told(events) == [
        ("changed", "alice", "board.move", 40),
        ("changed", "bob", "board.move", 1),
        ("conflict", "alice", "", 4),
        ("removed", "bob", "idle", 1),
        ("message", "*", "", 1),
    ]
    assert cache.flush(line) == []


def test_unlike_actions_are_counted_apart_and_those_without_a_name_by_their_state(
    line: Timeline, cache: Cache
) -> None:
    for action in ("Board.move", "Board.note", "f.<locals>.<lambda>", "Board.move"):
        line.note(change(action=action))
        line.note(change(BOB, "Board.clear"))
    line.note(change(action=""))
    ((_, events, changes),) = cache.flush(line)
    assert changes == 9
    assert sorted(told(events)) == [
        ("changed", "alice", "board", 2),
        ("changed", "alice", "board.move", 2),
        ("changed", "alice", "board.note", 1),
        ("changed", "bob", "board.clear", 4),
    ]


def test_a_commit_of_unlike_actions_tells_how_many_of_each_it_carried(
    line: Timeline, cache: Cache
) -> None:
    both = change(SESSION, "Agenda.vote")
    both.count = 4
    both.parts = {("agenda", "Agenda.vote"): 3, ("agenda", "Agenda.advance"): 1}
    line.note(change(SESSION, "Agenda.vote"))
    line.note(both)
    ((_, events, changes),) = cache.flush(line)
    assert changes == 5
    assert sorted(told(events)) == [
        ("changed", "*", "agenda.advance", 1),
        ("changed", "*", "agenda.vote", 3),
        ("changed", "*", "board.vote", 1),
    ]


def test_what_people_change_in_the_session_s_state_is_told_of_them(
    line: Timeline, cache: Cache
) -> None:
    line.note(change(SESSION, "Agenda.vote"))
    for key in (ALICE, BOB, ALICE):
        line.note(change(SESSION, "Agenda.vote"))
        line.note(Act(key, "board", "Agenda.vote"))
    for key in (SESSION, ALICE):
        line.note(Message(key, {}))
    ((_, events, changes),) = cache.flush(line)
    # The one that the site's own code has made is the session's.
    assert changes == 4
    assert sorted(told(events)) == [
        ("changed", "*", "board.vote", 1),
        ("changed", "alice", "board.vote", 2),
        ("changed", "bob", "board.vote", 1),
        ("message", "*", "", 1),
        ("message", "alice", "", 1),
    ]
    line.note(change(SESSION, "Agenda.vote"))
    line.note(Act(ALICE, "board", "Agenda.vote"))
    ((_, events, changes),) = cache.flush(line)
    assert (told(events), changes) == ([("changed", "alice", "board.vote", 1)], 1)


def test_events_have_the_time_of_the_cache_and_its_order(
    line: Timeline, cache: Cache
) -> None:
    line.note(Note(ALICE, "joined"))
    line.note(Note(BOB, "joined"))
    line.note(Note(ALICE, "joined"))
    ((_, events, _),) = cache.flush(line)
    assert [event["who"] for event in events] == ["bob", "alice"]
    assert all(cache.time - 60 < event["at"] <= cache.time for event in events)


def test_each_session_gets_its_own(line: Timeline, cache: Cache) -> None:
    line.note(change())
    line.note(change(StoreKey("AAAAAA", "alice")))
    assert [code for code, *_ in cache.flush(line)] == [CODE, "AAAAAA"]


def test_a_session_gets_the_latest_that_its_ring_can_hold(
    line: Timeline, cache: Cache
) -> None:
    for number in range(MAX_EVENTS + 20):
        line.note(change(StoreKey(CODE, f"p{number}")))
    ((_, events, changes),) = cache.flush(line)
    assert changes == MAX_EVENTS + 20
    assert [e["who"] for e in events] == [f"p{n}" for n in range(20, MAX_EVENTS + 20)]


def test_what_waits_is_bounded(
    line: Timeline, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    for number in range(10):
        line.note(change(StoreKey(CODE, f"p{number}")))
        line.note(change(StoreKey(CODE, "p0")))
    ((_, events, _),) = cache.flush(line)
    assert sorted(event["who"] for event in events) == ["p0", "p1", "p2"]
    line.note(Note(StoreKey(CODE, "p0"), "conflict", "x" * 10_000))
    ((_, events, _),) = cache.flush(line)
    assert max(len(event["text"]) for event in events) == module.MAX_TEXT


def test_somebody_is_asked_to_write_once_and_again_when_nobody_has(
    line: Timeline, cache: Cache
) -> None:
    asked: list[float] = []
    line.request_write = asked.append
    for key in (ALICE, ALICE, BOB):
        line.note(change(key))
        assert len(asked) == 1
    cache.flush(line)
    line.note(change())
    assert len(asked) == 2
    with override_settings(SESSIONSTORES={"HEARTBEAT": 1e-9}):
        line.note(change(BOB))
    assert len(asked) == 3


def test_repeated_changes_are_reported_as_activity_once_until_it_is_rearmed(
    line: Timeline, cache: Cache
) -> None:
    active: list[str] = []
    line.on_activity = active.append
    for _ in range(3):
        line.note(change())
    assert active == [CODE]
    line.note(change(BOB))
    line.note(Attendance(ALICE))
    assert active == [CODE] * 3
    line.rearm()
    for _ in range(3):
        line.note(change())
    assert active == [CODE] * 4
    ((_, events, changes),) = cache.flush(line)
    assert changes == 7
    assert told(events)[0] == ("changed", "bob", "board.move", 1)
    line.note(change())
    assert active == [CODE] * 5


def test_entries_of_another_backend_are_dropped(settings: Any) -> None:
    stores.get(Board, CODE, "alice").dispatch(Board.note, "x")
    assert timeline._waiting
    settings.CACHES = {**settings.CACHES}
    assert not timeline._waiting


def test_a_write_that_was_requested_for_dropped_entries_writes_no_others() -> None:
    requested: list[float] = []
    line = Timeline()
    line.request_write = requested.append
    line.note(change())
    line.clear()
    line.note(change(BOB))
    first, second = requested
    run(line.flush_since(first))
    assert line._waiting
    run(line.flush_since(second))
    assert not line._waiting


def test_in_an_outage_it_waits_and_is_counted_on(
    line: Timeline, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    line.note(change())
    line.note(Note(BOB, "joined"))
    cache.broken[CODE] = StoreUnavailable("no answer")
    assert cache.flush(line) == []
    assert "no answer" in caplog.text
    line.note(change())
    cache.broken.clear()
    ((_, events, changes),) = cache.flush(line)
    assert changes == 2
    assert sorted(told(events)) == [
        ("changed", "alice", "board.move", 2),
        ("joined", "bob", "", 1),
    ]


def test_a_session_that_cannot_be_written_does_not_hold_up_the_others(
    line: Timeline, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    codes = ["AAAAAA", "BBBBBB", "CCCCCC"]
    for code in codes:
        line.note(change(StoreKey(code, "alice")))
    cache.broken["AAAAAA"] = StoreUnavailable("its shard is down")
    assert cache.flush(line) == []
    assert [code for code, *_ in cache.flush(line)] == codes[1:]
    cache.broken["AAAAAA"] = StateCorrupt("no record")
    line.note(change(StoreKey("BBBBBB", "alice")))
    assert [code for code, *_ in cache.flush(line)] == ["BBBBBB"]
    assert "AAAAAA: its timeline is not written: no record" in caplog.text
    assert cache.flush(line) == []


def test_threads_count_without_losing_any(line: Timeline, cache: Cache) -> None:
    barrier = threading.Barrier(4)

    def take(number: int) -> None:
        barrier.wait(10)
        for turn in range(500):
            line.note(Note(StoreKey(CODE, f"p{turn % 7}"), "joined"))

    threads = [threading.Thread(target=take, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((_, events, _),) = cache.flush(line)
    assert sum(event["count"] for event in events) == 2_000


async def test_the_heartbeat_writes_it() -> None:
    with override_settings(SESSIONSTORES={"HEARTBEAT": 0.01, "AUTO_SWEEP": False}):
        socket = await Socket().hello("alice")
        for number in range(1, 4):
            await socket.act(number, "board.note", text=str(number))
        await until(lambda: events_of(CODE), "the timeline")
        assert hubs
        await socket.drop()
    written = [each[2:] for each in told(events_of(CODE)) if each[1] == "alice"]
    assert sum(count for text, count in written if text == "board.note") == 3


async def test_the_last_tab_that_leaves_has_it_written() -> None:
    socket = await Socket().hello("alice")
    await socket.act(1, "board.note", text="x")
    assert events_of(CODE) == []
    await socket.drop()
    assert not hubs
    assert ("changed", "alice", "board.note", 1) in told(events_of(CODE))


async def test_a_tab_that_comes_back_has_resumed() -> None:
    first = await Socket().hello("alice")
    have = {doc: frame["rev"] for doc, frame in first.snapshots.items()}
    await first.drop()
    assert "resumed" not in [event["kind"] for event in events_of(CODE)]
    second = await Socket().hello("alice", have=have)
    await second.drop()
    assert ("resumed", "alice", "", 1) in told(events_of(CODE))


async def test_a_page_load_is_told_of_once() -> None:
    async def load(client: str) -> Socket:
        # A page brings states with it, so even the first one's tab has something.
        config = await Participant(CODE, "alice").aconfig()
        have = {name: doc["rev"] for name, doc in config["docs"].items()}
        return await Socket().hello("alice", client=client, have=have)

    def happened() -> list[tuple[str, int]]:
        events = told(events_of(CODE))
        return [(kind, times) for kind, who, _, times in events if who == "alice"]

    first = await load("c1")
    second = await load("c2")
    for socket in (second, first):
        await socket.say(type="bye")
        await socket.closed()
    assert happened() == [("joined", 1), ("left", 1)]
    await (await load("c3")).drop()
    assert happened()[2:] == [("joined", 1)]


def test_without_tabs_the_publisher_writes_it_within_a_heartbeat() -> None:
    backend = get_backend(blocking=True)
    with override_settings(SESSIONSTORES={"HEARTBEAT": 0.01, "AUTO_SWEEP": False}):
        stores.get(Board, CODE, "alice").dispatch(Board.note, "x")
        deadline = time.monotonic() + PATIENCE
        while not events_of(CODE):
            assert time.monotonic() < deadline, "waited in vain for the timeline"
            time.sleep(0.001)
    assert told(events_of(CODE)) == [("changed", "alice", "board.note", 1)]
    (summary,) = run(backend.summaries())
    assert sum(summary.activity) == 1


def test_a_process_that_ends_writes_what_waits() -> None:
    stores.get(Board, CODE, "alice").dispatch(Board.note, "x")
    stores.send(CODE, {"text": "five minutes"}, "alice")
    assert events_of(CODE) == []
    publisher.close()
    assert told(events_of(CODE)) == [
        ("changed", "alice", "board.note", 1),
        ("message", "alice", "", 1),
    ]


SCRIPT = """
import django
django.setup()
from sessionstores.manager import stores
from sessionstores import Participant
from tests.workshop.states import Board
stores.get(Board, "K7Q2ZD", "alice").dispatch(Board.note, "x")
"""


@pytest.mark.parametrize("kind", SHARED)
def test_a_script_that_exits_has_its_timeline_written_and_says_nothing(
    kind: str, request: pytest.FixtureRequest, settings: Any, tmp_path: Path
) -> None:
    with cache_on(kind, request, settings) as site:
        site = {**site, "SESSIONSTORES": {"SLOW_OPERATION_MS": 10**6}}
        lines = [f"{name} = {value!r}" for name, value in site.items()]
        text = "\n".join(["from tests.settings import *", *lines, ""])
        (tmp_path / "ending_site.py").write_text(text)
        finished = subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "ending_site",
                "PYTHONPATH": os.pathsep.join([os.fspath(tmp_path), os.fspath(ROOT)]),
            },
        )
        ended = finished.returncode, finished.stdout, finished.stderr
        assert ended == (0, "", "")
        assert told(events_of(CODE)) == [("changed", "alice", "board.note", 1)]


def test_a_flush_that_is_broken_off_loses_nothing(line: Timeline, cache: Cache) -> None:
    for code in (CODE, "AAAAAA"):
        line.note(change(StoreKey(code, "alice")))
    cache.broken["AAAAAA"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        cache.flush(line)
    cache.broken.clear()
    assert [code for code, *_ in cache.flush(line)] == ["AAAAAA"]


def test_two_writers_at_once_are_told_of_as_a_conflict() -> None:
    board = stores.get(Board, CODE, "alice")
    overtaken = False

    def slow_note(state: Board) -> None:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            overtake(board, lambda board: board.note("overtaken"))
        state.notes = "slow"

    board.dispatch(slow_note)
    run(timeline.flush(get_backend(blocking=True)))
    assert ("conflict", "alice", "", 1) in told(events_of(CODE))


async def test_what_fails_is_logged_and_reaches_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> float:
        raise RuntimeError("broken")

    monkeypatch.setattr(get_backend(blocking=False), "now", fail)
    await stores.get(Board, CODE, "alice").adispatch(Board.note, "x")
    await write_timeline()
    assert "Timelines are not written" in caplog.text


def test_a_timeline_that_fails_fails_no_commit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: event_bus.Event) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(timeline, "_note", fail)
    board = stores.get(Board, CODE, "alice")
    board.dispatch(Board.note, "x")
    assert board.state.notes == "x"
    assert "broken" in caplog.text


FORK = """
import os
import django
django.setup()
from sessionstores.keys import StoreKey
from sessionstores.event_bus import Note
from sessionstores.realtime.staff import nudger
from sessionstores.realtime.timeline import timeline

asked = []
timeline.request_write = asked.append

def take(id):
    timeline.note(Note(StoreKey("K7Q2ZD", id), "joined"))

take("alice")
assert len(asked) == 1
nudger._codes.add("K7Q2ZD")
with timeline._lock, nudger._lock:
    child = os.fork()
    if child == 0:
        take("bob")
        is_free = nudger._lock.acquire(blocking=False)
        os._exit(7 if len(asked) == 2 and is_free and not nudger._codes else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7
take("carol")
assert len(asked) == 1
assert nudger._codes == {"K7Q2ZD"}
print("as it should")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_begins_with_nothing_and_an_open_lock() -> None:
    finished = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", FORK],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )
    told = finished.returncode, finished.stdout, finished.stderr
    assert told == (0, "as it should\n", "")


async def test_of_several_who_write_at_once_one_does() -> None:
    await stores.get(Board, CODE, "alice").adispatch(Board.note, "x")
    await asyncio.gather(*(write_timeline() for _ in range(5)))
    assert told(events_of(CODE)) == [("changed", "alice", "board.note", 1)]
