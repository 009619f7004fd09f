"""Sweep: removals, repairs, limits, and the counts of both."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessionstores import event_bus, signals
from sessionstores.backends.base import Backend, run
from sessionstores.backends.cas.keys import members_key, record_key
from sessionstores.backends.locmem import LocMemBackend
from sessionstores.backends.types import Lease
from sessionstores.exceptions import InvalidKey, StateCorrupt, StoreUnavailable
from sessionstores.keys import StoreKey
from sessionstores.monitoring import history, sweeps
from sessionstores.monitoring.sweeps import Sweep, last_sweep
from sessionstores.sessions import sweeper
from sessionstores.sessions.sweeper import SweepLimits
from sessionstores.state import codec
from tests.contract.contract import Clock
from tests.logs import records_of_ours
from tests.workshop.states import Board

CODE = "K7Q2ZD"
ALICE = StoreKey(CODE, "alice")
BOB = StoreKey(CODE, "bob")
OWN = StoreKey.of_session(CODE)
BOARD = {"board": codec.encode(Board(notes="last words"))}
SIZE = len(BOARD["board"])
IDLE = 300.0

Sweeper = Callable[..., Sweep]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(clock: Clock) -> Iterator[LocMemBackend]:
    """The blocking flavour, through which tests arrange and look."""
    made = LocMemBackend("swept", blocking=True, clock=clock)
    yield made
    run(made.clear())


@pytest.fixture(params=["blocking", "async"])
def sweep(
    request: pytest.FixtureRequest, backend: LocMemBackend, clock: Clock
) -> Sweeper:
    """Sweep once with either flavour."""
    if request.param == "blocking":
        return lambda **options: run(sweeper.sweep(backend, **options))
    flavour = LocMemBackend("swept", blocking=False, clock=clock)
    return lambda **options: asyncio.run(sweeper.sweep(flavour, **options))


@pytest.fixture
def removed() -> Iterator[list[tuple[str, str, Any]]]:
    """Who was removed, why, and with which final states, as receivers learn of it."""
    told: list[tuple[str, str, Any]] = []

    def receive(
        session: str, participant: str, reason: str, states: Any, **kwargs: Any
    ) -> None:
        told.append((f"{session}:{participant}", reason, states))

    signals.participant_removed.connect(receive)
    yield told
    signals.participant_removed.disconnect(receive)


def fill(backend: Backend, code: str, count: int) -> None:
    """Let that many participants come into a session."""
    for number in range(count):
        run(backend.open(StoreKey(code, f"p{number}"), BOARD))


def lose(backend: LocMemBackend, key: StoreKey) -> None:
    """Lose a record as a cache does: the index still names it."""
    name = record_key(key)
    found = run(backend.store.read([name]))[name]
    assert run(backend.store.delete(name, found.token))


def forget(backend: LocMemBackend, key: StoreKey) -> None:
    """Lose the index of a session's participants; their records stay."""
    name = members_key(key.session)
    found = run(backend.store.read([name]))[name]
    assert run(backend.store.delete(name, found.token))


def lease(key: StoreKey) -> Lease:
    return Lease("c1", key, "web-1", "tab", frozenset([key.participant]))


# What it takes


def test_idle_participants_go_and_others_stay(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock, removed: list[Any]
) -> None:
    run(backend.open(ALICE, BOARD))
    clock.advance(IDLE / 2)
    run(backend.open(BOB, BOARD))
    clock.advance(IDLE / 2)
    done = sweep()
    assert (done.participants, done.sessions, done.bytes) == (1, 0, SIZE)
    assert done.finished
    assert [info.id for info in run(backend.participants(CODE))] == ["bob"]
    ((who, reason, states),) = removed
    assert (who, reason) == ("K7Q2ZD:alice", "idle")
    assert isinstance(states["board"], Board)
    assert states["board"].notes == "last words"


def test_connected_participants_are_never_idle(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock, removed: list[Any]
) -> None:
    run(backend.open(ALICE, BOARD))
    for _ in range(20):
        run(backend.lease([lease(ALICE)]))
        clock.advance(25)
        assert sweep(idle_for=0).participants == 0
    assert removed == []


def test_session_goes_with_its_last_participant_but_not_before_its_keep(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock
) -> None:
    run(backend.create_session("KEPT23", label="", keep=1_000))
    run(backend.open(ALICE, BOARD))
    run(backend.open(StoreKey("KEPT23", "bob"), BOARD))
    clock.advance(IDLE)
    done = sweep()
    assert (done.participants, done.sessions) == (2, 1)
    assert run(backend.sessions()) == ["KEPT23"]
    clock.advance(1_000)
    assert sweep().sessions == 1
    assert run(backend.sessions()) == []


def test_time_may_be_given(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock
) -> None:
    run(backend.open(ALICE, BOARD))
    clock.advance(60)
    assert sweep(idle_for=61).participants == 0
    assert sweep(idle_for=60).participants == 1


def test_one_session_or_one_participant_may_be_chosen(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock, removed: list[Any]
) -> None:
    for key in (ALICE, BOB, StoreKey("ELSE23", "alice")):
        run(backend.open(key, BOARD))
    clock.advance(IDLE)
    done = sweep(session=CODE, participant="bob")
    assert (done.participants, done.sessions) == (1, 0)
    done = sweep(session=CODE)
    assert (done.participants, done.sessions) == (1, 1)
    assert [who for who, _, _ in removed] == ["K7Q2ZD:bob", "K7Q2ZD:alice"]
    assert run(backend.sessions()) == ["ELSE23"]
    assert run(last_sweep(backend)) is None


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"idle_for": -1}, ValueError, "idle_for is -1"),
        ({"idle_for": float("nan")}, ValueError, "idle_for is nan"),
        ({"session": "no"}, InvalidKey, "'no'"),
        ({"session": CODE, "participant": "*"}, InvalidKey, r"'\*'"),
        (
            {"participant": "alice"},
            InvalidKey,
            "participant='alice' also needs session=",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    sweep: Sweeper, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        sweep(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"pause": -0.1}, "pause is -0.1"),
        ({"max_seconds": -1}, "max_seconds is -1"),
    ],
)
def test_impossible_pace_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SweepLimits(**options)


# How it goes


def test_large_session_goes_in_batches_with_a_pause_after_each(
    sweep: Sweeper,
    backend: LocMemBackend,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(backend, CODE, 25)
    clock.advance(IDLE)
    pauses: list[float] = []
    shown: list[Sweep] = []

    async def pause(self: Backend, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(LocMemBackend, "pause", pause)
    done = sweep(pace=SweepLimits(10, pause=0.5), progress=shown.append)
    assert done.participants == 25
    assert [each.participants for each in shown] == [10, 20, 25, 25]
    assert pauses.count(0.5) == 2
    assert [each.finished for each in shown] == [False, False, True, True]
    assert (done.visited, done.due) == (1, 1)


def test_pass_ends_with_the_batch_in_which_its_time_is_over(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock
) -> None:
    fill(backend, CODE, 25)
    fill(backend, "ELSE23", 5)
    clock.advance(IDLE)
    done = sweep(pace=SweepLimits(10, max_seconds=0))
    assert (done.participants, done.finished) == (5, False)
    assert (done.visited, done.due) == (1, 2)
    done = sweep(pace=SweepLimits(10, max_seconds=0))
    assert (done.participants, done.visited, done.finished) == (10, 0, False)
    last = run(last_sweep(backend))
    assert last is not None
    assert last.sweep == done
    assert sweep().finished
    assert run(backend.sessions()) == []


def test_many_sessions_are_asked_for_in_pages(
    sweep: Sweeper,
    backend: LocMemBackend,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeper, "PAGE", 3)
    monkeypatch.setattr(sweeper, "STRIDE", 2)
    codes = [f"CODE{number:02}" for number in range(9)]
    for code in codes:
        run(backend.open(StoreKey(code, "alice"), BOARD))
    clock.advance(IDLE)
    done = sweep()
    assert (done.participants, done.sessions) == (9, 9)
    assert (done.visited, done.due) == (9, 9)


def test_dry_run_counts_what_the_next_pass_takes_and_changes_nothing(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock, removed: list[Any]
) -> None:
    run(backend.create_session("KEPT23", label="", keep=1_000))
    fill(backend, "KEPT23", 3)
    fill(backend, "STAY23", 3)
    fill(backend, CODE, 3)
    clock.advance(IDLE)
    run(backend.touch(StoreKey("STAY23", "p1")))
    run(backend.lease([lease(StoreKey("STAY23", "p2"))]))
    before = run(backend.summaries())
    foreseen, found = sweep(dry_run=True), Counter[str]()
    assert run(backend.summaries()) == before
    assert removed == []
    assert run(last_sweep(backend)) is None
    done = sweep(counted=lambda key, name, size: found.update([name]))
    for name in ("participants", "sessions", "bytes", "visited", "due", "finished"):
        assert getattr(foreseen, name) == getattr(done, name), name
    assert (foreseen.dry_run, done.dry_run) == (True, False)
    assert (done.participants, done.sessions) == (7, 1)
    assert found == {"participants": 7, "sessions": 1}


def test_dry_run_of_one_participant_leaves_the_session_out(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock
) -> None:
    run(backend.open(ALICE, BOARD))
    clock.advance(IDLE)
    done = sweep(dry_run=True, session=CODE, participant="alice")
    assert (done.participants, done.sessions) == (1, 0)
    assert sweep(dry_run=True, session="ELSE23").is_quiet


def test_corrupt_records_stay_and_stop_nothing(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock
) -> None:
    """Who reads them sets them aside; a sweep would lose what might be repaired."""
    for code in (CODE, "ELSE23"):
        fill(backend, code, 2)
    for key in (OWN, StoreKey("ELSE23", "p0")):
        name = record_key(key)
        token = run(backend.store.read([name]))[name].token
        run(backend.store.cas(name, token, b"junk", 600))
    clock.advance(IDLE)
    assert sweep(dry_run=True).participants == 1
    done = sweep()
    assert (done.participants, done.lost, done.finished) == (3, 0, True)
    assert run(backend.sessions()) == ["ELSE23", CODE]


def test_outage_in_the_middle_is_raised_and_what_went_before_has_been_told(
    backend: LocMemBackend,
    clock: Clock,
    removed: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(backend, CODE, 4)
    clock.advance(IDLE)
    evict = backend.evict_idle

    async def failing(*args: Any, **kwargs: Any) -> Any:
        if removed:
            raise StoreUnavailable("gone")
        return await evict(*args, **kwargs)

    monkeypatch.setattr(backend, "evict_idle", failing)
    with pytest.raises(StoreUnavailable):
        run(sweeper.sweep(backend, pace=SweepLimits(2)))
    assert len(removed) == 2
    assert run(backend.participant_count()) == 2


def test_cache_that_takes_no_notes_is_swept_all_the_same(
    sweep: Sweeper,
    backend: LocMemBackend,
    clock: Clock,
    removed: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def full(self: LocMemBackend, *args: Any, **options: Any) -> bool:
        raise StoreUnavailable("full")

    monkeypatch.setattr(LocMemBackend, "swap_value", full)
    fill(backend, CODE, 2)
    lose(backend, StoreKey(CODE, "p0"))
    clock.advance(IDLE)
    done = sweep()
    assert (done.participants, done.lost, done.finished) == (1, 1, True)
    assert sorted(each[:2] for each in removed) == [
        ("K7Q2ZD:p0", "lost"),
        ("K7Q2ZD:p1", "idle"),
    ]


def test_look_that_could_not_be_claimed_is_due_again(
    sweep: Sweeper, backend: LocMemBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: LocMemBackend, *args: Any, **options: Any) -> bool:
        raise StoreUnavailable("full")

    fill(backend, CODE, 1)
    forget(backend, StoreKey(CODE, "p0"))
    with monkeypatch.context() as patch:
        patch.setattr(LocMemBackend, "swap_value", full)
        assert sweep().readmitted == 0
    assert sweep().readmitted == 1


@pytest.mark.parametrize("method", ["evict_idle", "reap", "orphans", "summaries"])
def test_corrupt_session_stops_no_other(
    method: str,
    sweep: Sweeper,
    backend: LocMemBackend,
    clock: Clock,
    removed: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    working = getattr(LocMemBackend, method)

    async def failing(self: LocMemBackend, *args: Any, **options: Any) -> Any:
        if not args or CODE in args[0]:
            raise StateCorrupt("somebody wrote there")
        return await working(self, *args, **options)

    monkeypatch.setattr(LocMemBackend, method, failing)
    fill(backend, CODE, 2)
    fill(backend, "ELSE23", 2)
    clock.advance(IDLE)
    said: list[str] = []
    done = sweep(failed=lambda code, error: said.append(f"{code}: {error}"))
    assert {who for who, _, _ in removed} >= {"ELSE23:p0", "ELSE23:p1"}
    spoils = method in ("evict_idle", "reap")
    assert said == [f"{CODE}: somebody wrote there"] * spoils
    assert (done.failed, done.finished) == (int(spoils), True)


def test_session_that_cannot_be_swept_is_logged(
    sweep: Sweeper,
    backend: LocMemBackend,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def failing(self: LocMemBackend, *args: Any, **options: Any) -> Any:
        raise StateCorrupt("somebody wrote there")

    monkeypatch.setattr(LocMemBackend, "evict_idle", failing)
    fill(backend, CODE, 1)
    clock.advance(IDLE)
    assert sweep().failed == 1
    assert [each.message for each in records_of_ours(caplog)] == [
        f"{CODE} cannot be swept: somebody wrote there"
    ]


def test_dry_run_foresees_what_is_lost_and_what_is_readmitted(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock
) -> None:
    fill(backend, CODE, 3)
    lose(backend, StoreKey(CODE, "p1"))
    fill(backend, "ELSE23", 2)
    forget(backend, StoreKey("ELSE23", "p0"))
    for _ in range(2):
        foreseen = sweep(dry_run=True)
        assert (foreseen.lost, foreseen.readmitted) == (1, 2)
    done = sweep()
    assert (done.lost, done.readmitted) == (1, 2)
    # Where no look is due, the pass itself comes across it.
    lose(backend, StoreKey(CODE, "p2"))
    assert sweep(dry_run=True).lost == sweep().lost == 1


def test_two_sweepers_side_by_side_report_each_removal_once(
    backend: LocMemBackend, clock: Clock, removed: list[Any]
) -> None:
    codes = [f"CODE{number:02}" for number in range(10)]
    for code in codes:
        fill(backend, code, 20)
    clock.advance(IDLE)
    start = threading.Barrier(2)
    done: list[Sweep] = []

    def one() -> None:
        flavour = LocMemBackend("swept", blocking=True, clock=clock)
        start.wait(10)
        done.append(run(sweeper.sweep(flavour, pace=SweepLimits(3))))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(who for who, _, _ in removed) == {
        f"{code}:p{number}": 1 for code in codes for number in range(20)
    }
    assert sum(each.participants for each in done) == 200
    assert sum(each.sessions for each in done) == 10
    assert sum(each.bytes for each in done) == 200 * SIZE


async def test_event_loop_has_its_turn_after_each_batch(
    backend: LocMemBackend, clock: Clock
) -> None:
    fill(backend, CODE, 20)
    clock.advance(IDLE)
    flavour = LocMemBackend("swept", blocking=False, clock=clock)
    sweeping = asyncio.create_task(sweeper.sweep(flavour, pace=SweepLimits(5)))
    turns = 0
    while not sweeping.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await sweeping).participants == 20
    assert turns >= 4


# What it mends


def test_entries_without_a_record_are_reported_as_lost_once(
    sweep: Sweeper, backend: LocMemBackend, removed: list[Any]
) -> None:
    fill(backend, CODE, 2)
    lose(backend, StoreKey(CODE, "p1"))
    assert sweep(dry_run=True, orphans=True).lost == 1
    done = sweep()
    assert (done.lost, done.participants, done.bytes) == (1, 0, 0)
    assert removed == [("K7Q2ZD:p1", "lost", None)]
    assert sweep(orphans=True).lost == 0
    assert run(backend.participant_count(CODE)) == 1


def test_records_without_an_entry_are_entered_again_with_their_own_last_use(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock, removed: list[Any]
) -> None:
    fill(backend, CODE, 2)
    forget(backend, ALICE)
    assert run(backend.participant_count(CODE)) == 0
    listed = Counter[str]()
    assert sweep(dry_run=True, orphans=True).readmitted == 2
    assert run(backend.participant_count(CODE)) == 0
    done = sweep(orphans=True, counted=lambda key, name, size: listed.update([name]))
    assert (done.readmitted, done.participants) == (2, 0)
    assert listed == {"readmitted": 2}
    assert run(backend.participant_count(CODE)) == 2
    clock.advance(IDLE)
    assert sweep().participants == 2
    assert [reason for _, reason, _ in removed] == ["idle", "idle"]


def test_all_records_are_compared_once_in_an_idle_timeout_by_all_processes(
    backend: LocMemBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    orphans = LocMemBackend.orphans

    async def counted(self: LocMemBackend) -> Any:
        nonlocal looks
        looks += 1
        return await orphans(self)

    monkeypatch.setattr(LocMemBackend, "orphans", counted)
    fill(backend, CODE, 1)
    for _ in range(10):
        # Each another process, as far as its memory goes.
        run(sweeper.sweep(LocMemBackend("swept", blocking=True, clock=clock)))
    assert looks == 1
    run(sweeper.sweep(backend, orphans=True))
    assert looks == 2
    clock.advance(IDLE)
    for _ in range(10):
        run(sweeper.sweep(LocMemBackend("swept", blocking=True, clock=clock)))
    assert looks == 3
    run(sweeper.sweep(backend, orphans=False))
    clock.advance(-IDLE / 2)
    run(sweeper.sweep(LocMemBackend("swept", blocking=True, clock=clock)))
    assert looks == 4, "the clock went back"


def test_look_alone_takes_nobody(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock
) -> None:
    fill(backend, CODE, 3)
    lose(backend, StoreKey(CODE, "p1"))
    clock.advance(IDLE)
    done = sweep(orphans="only")
    assert (done.lost, done.participants, done.sessions) == (1, 0, 0)
    assert done.finished
    assert run(last_sweep(backend)) is None


def test_look_at_one_session_leaves_others_alone(
    sweep: Sweeper, backend: LocMemBackend
) -> None:
    fill(backend, CODE, 3)
    fill(backend, "ELSE23", 3)
    for code in (CODE, "ELSE23"):
        lose(backend, StoreKey(code, "p1"))
        lose(backend, StoreKey(code, "p2"))
    done = sweep(orphans="only", session=CODE, participant="p2")
    assert done.lost == 1
    assert sweep(orphans="only", session=CODE).lost == 1
    assert sweep(orphans="only").lost == 2


def test_look_ends_with_its_time(sweep: Sweeper, backend: LocMemBackend) -> None:
    for code in (CODE, "ELSE23"):
        fill(backend, code, 3)
        forget(backend, StoreKey(code, "p1"))
    done = sweep(orphans=True, pace=SweepLimits(max_seconds=0))
    assert (done.readmitted, done.due, done.finished) == (1, 0, False)


def test_connections_that_have_run_out_are_left_once(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock
) -> None:
    told: list[str] = []

    def receive(participant: str, **kwargs: Any) -> None:
        told.append(participant)

    run(backend.open(ALICE, BOARD))
    run(backend.lease([lease(ALICE)]))
    clock.advance(29)
    signals.participant_left.connect(receive)
    try:
        assert sweep(dry_run=True).left == 0
        assert sweep().left == 0
        clock.advance(2)
        assert sweep().left == 1
        assert sweep().left == 0
    finally:
        signals.participant_left.disconnect(receive)
    assert told == ["alice"]


# What is known of it


def test_last_sweep_says_when_by_whom_and_what(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock
) -> None:
    assert run(last_sweep(backend)) is None
    fill(backend, CODE, 3)
    clock.advance(IDLE)
    done = sweep(by="a test", interval=60)
    last = run(last_sweep(backend))
    assert last is not None
    assert (last.at, last.interval, last.looked) == (clock(), 60, clock())
    assert last.by.startswith("a test, ")
    assert last.sweep == done


def test_quiet_passes_write_now_and_then_only(
    backend: LocMemBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps.time, "monotonic", clock)
    fill(backend, CODE, 1)
    for _ in range(60):
        run(sweeper.sweep(backend))
        last = run(last_sweep(backend))
        assert last is not None
        assert clock() - last.at < 30
        run(backend.touch(StoreKey(CODE, "p0")))
        clock.advance(4)
    asked: list[str] = []
    value, swap = backend.value, backend.swap_value

    async def counted_value(name: str) -> Any:
        asked.append(name)
        return await value(name)

    async def counted_swap(name: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(name)
        return await swap(name, *args, **kwargs)

    async def nothing(backend: Backend) -> bool:
        return False

    monkeypatch.setattr(sweeper, "sample", nothing)
    run(sweeper.sweep(backend))
    monkeypatch.setattr(backend, "value", counted_value)
    monkeypatch.setattr(backend, "swap_value", counted_swap)
    for _ in range(10):
        run(sweeper.sweep(backend))
    assert asked == []
    clock.advance(IDLE)
    assert run(sweeper.sweep(backend)).participants == 1
    assert asked


def test_what_another_version_wrote_counts_as_nothing(
    sweep: Sweeper, backend: LocMemBackend
) -> None:
    run(backend.swap_value("sweep", None, b"\x93\x01\x02\x03", seconds=60))
    assert run(last_sweep(backend)) is None
    sweep()
    assert run(last_sweep(backend)) is not None


def test_pass_ends_with_a_sample(sweep: Sweeper, backend: LocMemBackend) -> None:
    fill(backend, CODE, 2)
    sweep()
    at = run(backend.now())
    held = run(backend.value(history.NAME))
    (sample,) = history.decode_series(held.data, at).samples
    assert (sample.sessions, sample.participants) == (1, 2)


def test_timeline_is_told_how_many_were_swept(
    sweep: Sweeper, backend: LocMemBackend, clock: Clock
) -> None:
    notes: list[event_bus.Note] = []

    def keep(event: event_bus.Note) -> None:
        if event.kind == "swept":
            notes.append(event)

    fill(backend, CODE, 5)
    clock.advance(IDLE)
    event_bus.bus.subscribe(keep, event_bus.Note)
    try:
        sweep(pace=SweepLimits(2))
    finally:
        event_bus.bus.unsubscribe(keep)
    assert [(note.key, note.count) for note in notes] == [(OWN, 5)]
