"""The part of the contract about all sessions: summaries, eviction and orphans."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from pytest_django import Settings

from sessionstores.backends.base import Backend, run
from sessionstores.backends.types import (
    ACTIVITY_MINUTES,
    MAX_EVENTS,
    Record,
    Removed,
    SessionSummary,
    StateAtRev,
)
from sessionstores.exceptions import LimitReached, StateCorrupt
from sessionstores.keys import StoreKey
from tests.backends.driven import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    ELSEWHERE,
    JUNK,
    MORE,
    OWN,
    START,
    BackendTests,
    Clock,
    Driven,
    in_threads,
    lease,
)

CAROL = StoreKey(CODE, "carol")
QUIET = (0,) * ACTIVITY_MINUTES


def code_of(number: int) -> str:
    return f"S{number:05d}"


def described(states: Mapping[str, StateAtRev | StateCorrupt]) -> dict[str, Any]:
    """Return the data of the states that were read, None for a corrupt record."""
    return {
        id: None if isinstance(state, StateCorrupt) else state.data
        for id, state in states.items()
    }


class OverviewContract(BackendTests):
    # One state of everybody

    def test_one_state_of_everybody_who_has_it_is_read(self, backend: Driven) -> None:
        backend.open(BOB, {**BOARD, "notes": b"1:{}"})
        record = backend.open(ALICE, BOARD).record
        record = backend.commit_next(record, MORE)
        backend.open(CAROL, {"notes": b"1:{}"})
        backend.open(OWN, {})
        backend.open(ELSEWHERE, {"board": b"1:theirs"})
        states = backend.read_states(CODE, "board")
        assert list(states) == ["alice", "bob"]
        assert described(states) == {"alice": MORE["board"], "bob": BOARD["board"]}
        assert states["alice"].rev == record.rev
        assert states["bob"].rev == backend.read_record(BOB).rev
        assert list(backend.read_states(CODE, "notes")) == ["bob", "carol"]
        assert backend.read_states(CODE, "board:") == {}

    def test_reading_everybody_creates_and_touches_nothing(
        self, backend: Driven, clock: Clock
    ) -> None:
        assert backend.read_states(CODE, "board") == {}
        assert backend.session(CODE) is None
        backend.open(ALICE, BOARD)
        clock.advance(100)
        before = backend.participants(CODE), backend.session(CODE)
        assert list(backend.read_states(CODE, "board")) == ["alice"]
        assert (backend.participants(CODE), backend.session(CODE)) == before
        clock.advance(201)
        assert [each.key for each in backend.evict_idle(CODE, idle_for=300, limit=9)]
        assert backend.read_states(CODE, "board") == {}

    def test_one_state_of_those_who_are_named_is_read(self, backend: Driven) -> None:
        for key in (ALICE, BOB, CAROL):
            backend.open(key, BOARD)
        backend.open(OWN, {})
        asked = ["carol", "nobody", "alice"]
        states = backend.read_states(CODE, "board", asked)
        assert list(states) == ["alice", "carol"]
        assert asked == ["carol", "nobody", "alice"]
        assert backend.read_states(CODE, "board", []) == {}
        assert backend.read_states("ZZZZZZ", "board", ["alice"]) == {}

    def test_nobody_is_read_of_a_session_that_has_ended(self, backend: Driven) -> None:
        backend.open(ALICE, BOARD)
        backend.end_session(CODE)
        assert backend.read_states(CODE, "board") == {}

    def test_a_corrupt_record_does_not_keep_the_others_from_being_read(
        self, backend: Driven, clock: Clock
    ) -> None:
        for key in (ALICE, BOB, CAROL):
            backend.open(key, BOARD)
        data = BOARD["board"]
        for junk in JUNK:
            self.plant(self.key_of(BOB), junk, clock)
            states = backend.read_states(CODE, "board")
            assert described(states) == {"alice": data, "bob": None, "carol": data}
            assert "bob" in str(states["bob"])
        # It is where it was: to be set aside at its next use.
        with pytest.raises(StateCorrupt):
            backend.read(BOB, touch=False)

    def test_a_lost_record_is_left_out(self, backend: Driven, clock: Clock) -> None:
        backend.open(ALICE, BOARD)
        backend.open(BOB, BOARD)
        self.lose_record(ALICE, clock)
        assert list(backend.read_states(CODE, "board")) == ["bob"]
        self.lose_index(CODE, clock)
        assert backend.read_states(CODE, "board") == {}

    def test_everybody_is_read_in_batches_of_people_and_of_bytes(
        self, backend: Driven, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("cas.records.STATES_BATCH", "redis.sessions.STATES_BATCH"):
            monkeypatch.setattr(f"sessionstores.backends.{name}", 3)
        monkeypatch.setattr("sessionstores.backends.redis.sessions.STATES_BYTES", 2_000)
        expected = {}
        for number in range(11):
            id = f"p{number:02d}"
            expected[id] = bytes(range(64)) * (number % 4 * 16)
            backend.open(StoreKey(CODE, id), {"board": expected[id]})
        assert described(backend.read_states(CODE, "board")) == expected

    # Summaries

    def test_a_summary_is_exact(self, backend: Driven, clock: Clock) -> None:
        backend.create_session(CODE, label="Team day", keep=60)
        backend.update_session(CODE, locked=False)
        for number, id in enumerate(("alice", "bob", "carol", "dave")):
            backend.open(StoreKey(CODE, id), {"board": b"x" * (10 + number)})
            clock.advance(10)
        backend.commit_next(backend.read_record(OWN), {"agenda": b"y" * 5})
        backend.lease([lease(ALICE, "c1"), lease(ALICE, "c2"), lease(BOB, "c3")])
        backend.lease([lease(StoreKey(CODE, "dave"), "c4")])
        backend.release(lease(BOB, "c3"), grace=30)
        backend.update_session(CODE, locked=True)
        backend.note(CODE, [], changes=3)
        self.lose_record(StoreKey(CODE, "dave"), clock)
        backend.open(ELSEWHERE, MORE)
        first, second = backend.summaries()
        assert first == SessionSummary(
            code="ELSE23",
            label="",
            created=START + 40,
            keep=0.0,
            locked=False,
            seen=START + 40,
            bytes=len(MORE["board"]),
            participants=1,
            online=0,
            connections=0,
            lost=0,
            oldest=START + 40,
            largest=("alice", len(MORE["board"])),
            activity=QUIET,
        )
        assert second == SessionSummary(
            code=CODE,
            label="Team day",
            created=START,
            keep=60.0,
            locked=True,
            seen=START + 40,
            bytes=10 + 11 + 12 + 5,
            participants=4,
            online=2,
            connections=3,
            lost=1,
            oldest=START + 20,
            largest=("carol", 12),
            activity=(*QUIET[1:], 3),
        )

    def test_a_summary_without_participants_is_of_the_session_alone(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(OWN, {"agenda": b"1:{}"})
        [summary] = backend.summaries()
        assert (summary.participants, summary.oldest) == (0, START)
        assert summary.largest == ("*", 4)
        clock.advance(10_000)
        [summary] = backend.summaries()
        assert (summary.lost, summary.bytes, summary.created) == (1, 0, 0)
        assert summary.largest == ("*", 0)

    def test_a_corrupt_session_has_a_summary_still(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        self.plant(self.key_of(OWN), b"junk", clock)
        [summary] = backend.summaries()
        assert (summary.label, summary.lost, summary.participants) == ("", 0, 1)
        assert summary.largest == ("alice", len(BOARD["board"]))

    def test_connections_that_have_run_out_count_nowhere(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.lease([lease()])
        clock.advance(31)
        [summary] = backend.summaries()
        assert (summary.online, summary.connections) == (0, 0)
        assert summary.oldest == START

    # What is noted of a session

    def test_events_are_kept_in_a_bounded_ring(self, backend: Driven) -> None:
        backend.create_session(CODE, label="", keep=60)
        backend.note(CODE, [{"n": 0}])
        for start in range(1, 2 * MAX_EVENTS, 3):
            backend.note(CODE, [{"n": start + extra} for extra in range(3)])
        numbers = [event["n"] for event in backend.session(CODE).events]
        assert numbers == list(range(numbers[-1] - MAX_EVENTS + 1, numbers[-1] + 1))
        backend.note(CODE, [{"n": n} for n in range(3 * MAX_EVENTS)])
        numbers = [event["n"] for event in backend.session(CODE).events]
        assert numbers == list(range(2 * MAX_EVENTS, 3 * MAX_EVENTS))
        event = {"at": START, "kind": "joined", "who": "Zoë", "text": "", "count": 2}
        backend.note(CODE, [event])
        assert backend.session(CODE).events[-1] == event
        assert backend.update_session(CODE, label="x").events[-1] == event

    def test_changes_are_counted_by_the_minute(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="", keep=86_400)
        clock.time = START - START % 60 + 60
        backend.note(CODE, [], changes=2)
        clock.advance(59)
        backend.note(CODE, [], changes=3)
        backend.note(CODE, [{"kind": "joined"}])
        assert backend.summaries()[0].activity == (*QUIET[1:], 5)
        clock.advance(1)
        assert backend.summaries()[0].activity == (*QUIET[2:], 5, 0)
        clock.advance(60)
        backend.note(CODE, [], changes=7)
        assert backend.summaries()[0].activity == (*QUIET[3:], 5, 0, 7)
        clock.advance(60 * (ACTIVITY_MINUTES - 1))
        assert backend.summaries()[0].activity == (7, *QUIET[1:])
        clock.advance(60)
        assert backend.summaries()[0].activity == QUIET
        backend.note(CODE, [], changes=1)
        assert backend.summaries()[0].activity == (*QUIET[1:], 1)
        clock.advance(-600)
        backend.note(CODE, [], changes=1)
        assert backend.summaries()[0].activity == (*QUIET[1:], 2)

    def test_noting_changes_no_rev_and_touches_nothing(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        before = backend.read_record(OWN)
        clock.advance(100)
        backend.note(CODE, [{"kind": "changed"}], changes=1)
        after = backend.read_record(OWN)
        assert (after.rev, after.seen) == (before.rev, START)
        assert backend.read_record(ALICE).seen == START
        assert backend.commit_next(before, {"agenda": b"1:{}"}).bytes == 4
        assert backend.session(CODE).events == ({"kind": "changed"},)

    def test_nothing_is_noted_without_a_session(self, backend: Driven) -> None:
        backend.note(CODE, [{"kind": "joined"}], changes=1)
        assert backend.sessions() == []
        backend.open(ALICE, BOARD)
        assert backend.session(CODE).events == ()
        backend.end_session(CODE)
        backend.note(CODE, [{"kind": "joined"}], changes=1)
        assert backend.session(CODE) is None

    @pytest.mark.parametrize("way", ["delete", "expire", "evict"])
    def test_notes_are_of_no_later_session_under_that_code(
        self, backend: Driven, clock: Clock, way: str
    ) -> None:
        backend.open(OWN, {})
        backend.note(CODE, [{"kind": "old"}], changes=4)
        if way == "delete":
            backend.delete_session(CODE)
        elif way == "expire":
            clock.advance(10_000)
        else:
            clock.advance(301)
            assert backend.evict_empty_session(CODE, idle_for=300)
        clock.advance(1)
        backend.open(OWN, {})
        assert backend.session(CODE).events == ()
        assert backend.summaries()[0].activity == QUIET

    def test_notes_outlast_a_lull_of_a_session_that_is_kept(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="", keep=86_000)
        backend.note(CODE, [{"kind": "created"}])
        clock.advance(80_000)
        assert backend.session(CODE).events == ({"kind": "created"},)

    def test_a_corrupt_session_cannot_be_noted(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(OWN, {})
        self.plant(self.key_of(OWN), b"junk", clock)
        with pytest.raises(StateCorrupt, match=CODE):
            backend.note(CODE, [{"kind": "joined"}], changes=1)

    def test_threads_lose_no_note(self, blocking: Backend) -> None:
        run(blocking.create_session(CODE, label="", keep=86_400))

        def work(number: int) -> None:
            for _ in range(self.RACES):
                run(blocking.note(CODE, [{"by": number}], changes=2))

        in_threads(self.THREADS, work)
        noted = self.THREADS * self.RACES
        info = run(blocking.session(CODE))
        assert info is not None
        assert len(info.events) == min(noted, MAX_EVENTS)
        assert sum(run(blocking.summaries())[0].activity) == 2 * noted

    # How long a session is kept

    def test_extending_lengthens_the_keep_and_never_shortens_it(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="", keep=1_000)
        clock.advance(100)
        assert backend.update_session(CODE, extend=500).keep == 1_000
        assert backend.update_session(CODE, extend=2_000).keep == 2_100
        assert backend.update_session(CODE, extend=10).keep == 2_100
        clock.advance(1_999)
        assert not backend.evict_empty_session(CODE, idle_for=0)
        clock.advance(1)
        assert backend.evict_empty_session(CODE, idle_for=0)

    # What is due

    def test_due_sessions_are_listed_in_order_and_in_parts(
        self, backend: Driven, clock: Clock
    ) -> None:
        codes = [code_of(number) for number in range(10)]
        for code in reversed(codes):
            backend.open(StoreKey(code, "alice"), BOARD)
        clock.advance(301)
        found: list[str] = []
        while some := backend.due_sessions(
            idle_for=300, limit=4, after=found[-1] if found else ""
        ):
            assert len(some) <= 4
            found += some
        assert found == codes
        assert backend.due_sessions(idle_for=300, limit=3) == codes[:3]

    def test_a_due_session_is_always_listed(
        self, backend: Driven, clock: Clock
    ) -> None:
        dice = random.Random(7)
        keys = [StoreKey(code_of(n), id) for n in range(4) for id in ("a", "b", "*")]
        keeps = [0, 200, 900]
        for _ in range(10 * self.RACES):
            key = dice.choice(keys)
            code = key.session
            choice = dice.randrange(12)
            if choice < 3:
                backend.open(key, BOARD)
            elif choice < 4:
                backend.create_session(code, label="", keep=dice.choice(keeps))
            elif choice < 5:
                backend.update_session(code, keep=dice.choice(keeps))
            elif choice < 6:
                backend.touch(key)
            elif choice < 7:
                backend.delete(key)
            elif choice < 8:
                backend.evict_empty_session(code, idle_for=100)
            elif choice < 10:
                backend.evict_idle(code, idle_for=100, limit=dice.randrange(1, 4))
            else:
                clock.advance(dice.choice([1, 20, 60, 150]))
            due = {c for c in map(code_of, range(4)) if self.is_due(backend, clock, c)}
            told = backend.due_sessions(idle_for=100, limit=10)
            assert due <= set(told)
            assert told == sorted(told)

    def is_due(self, backend: Driven, clock: Clock, code: str) -> bool:
        participants = backend.participants(code)
        if participants:
            return min(info.seen for info in participants) <= clock.time - 100
        info = backend.session(code)
        if info is None or backend.participant_count(code):
            return code in backend.sessions()
        over = info.created + info.keep
        return info.seen <= clock.time - 100 and over <= clock.time

    # What goes

    def test_one_participant_can_be_evicted_alone(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.open(BOB, BOARD)
        evict = backend.evict_idle
        assert evict(CODE, idle_for=100, limit=10, participant="bob") == []
        clock.advance(100)
        [removed] = evict(CODE, idle_for=100, limit=10, participant="bob")
        assert removed.key == BOB
        assert evict(CODE, idle_for=100, limit=10, participant="bob") == []
        assert evict(CODE, idle_for=100, limit=10, participant="nobody") == []
        assert [info.id for info in backend.participants(CODE)] == ["alice"]

    def test_for_an_infinite_time_only_the_lost_are_evicted(
        self, backend: Driven, clock: Clock
    ) -> None:
        for key in (ALICE, BOB, CAROL):
            backend.open(key, BOARD)
        self.lose_record(ALICE, clock)
        self.lose_record(CAROL, clock)
        forever = float("inf")
        assert backend.evict_idle(CODE, idle_for=forever, limit=1) == [
            Removed(ALICE, None, frozenset())
        ]
        assert backend.evict_idle(CODE, idle_for=forever, limit=10) == [
            Removed(CAROL, None, frozenset())
        ]
        assert backend.evict_idle(CODE, idle_for=forever, limit=10) == []
        assert [info.id for info in backend.participants(CODE)] == ["bob"]

    @pytest.mark.parametrize("use", ["touch", "open", "lease"])
    def test_who_returns_while_they_are_swept_is_swept_before_or_not_at_all(
        self, blocking: Backend, clock: Clock, use: str
    ) -> None:
        survived = 0
        for _ in range(4 * self.RACES):
            run(blocking.delete_session(CODE))
            run(blocking.open(ALICE, BOARD))
            clock.advance(200)
            removed = []
            there: list[bool] = []

            def work(
                number: int,
                removed: list[object] = removed,
                there: list[bool] = there,
            ) -> None:
                if number:
                    removed += run(blocking.evict_idle(CODE, idle_for=200, limit=9))
                elif use == "touch":
                    there.append(run(blocking.touch(ALICE)))
                elif use == "open":
                    there.append(not run(blocking.open(ALICE, MORE)).created)
                else:
                    run(blocking.lease([lease()]))
                    there.append(run(blocking.read(ALICE, touch=False)) is not None)

            in_threads(2, work)
            record = run(blocking.read(ALICE, touch=False))
            assert len(removed) <= 1
            if there == [True]:
                assert removed == []
                assert isinstance(record, Record)
                assert record.states == BOARD
                survived += 1
            else:
                assert len(removed) == 1
                assert (record is not None) == (use == "open")
            run(blocking.release(lease()))
        assert survived <= 4 * self.RACES

    def test_sweepers_side_by_side_report_each_removal_once(
        self, blocking: Backend, clock: Clock
    ) -> None:
        keys = [StoreKey(CODE, f"p{number:03d}") for number in range(4 * self.RACES)]
        for key in keys:
            run(blocking.open(key, {"board": str(key).encode()}))
        clock.advance(301)
        removed: list[tuple[StoreKey, Mapping[str, bytes] | None]] = []

        def work(number: int) -> None:
            while finals := run(blocking.evict_idle(CODE, idle_for=300, limit=7)):
                removed.extend((final.key, final.states) for final in finals)

        in_threads(self.THREADS, work)
        assert sorted(key for key, _ in removed) == keys
        assert all(states for _, states in removed)

    # What is lost

    def test_a_record_opened_in_place_of_a_lost_one_says_so(
        self, backend: Driven, clock: Clock
    ) -> None:
        first = backend.open(ALICE, BOARD)
        assert (first.created, first.lost) == (True, False)
        self.lose_record(ALICE, clock)
        anew = backend.open(ALICE, MORE)
        assert (anew.created, anew.lost) == (True, True)
        assert backend.open(ALICE, MORE).lost is False
        backend.delete(ALICE)
        assert backend.open(ALICE, MORE).lost is False
        self.lose_record(OWN, clock)
        again = backend.open(OWN, {})
        assert (again.created, again.lost) == (True, False)

    def test_nobody_is_taken_for_lost_because_threads_cross(
        self, blocking: Backend
    ) -> None:
        for race in range(self.RACES):
            key = StoreKey(CODE, f"p{race}")
            lost: list[bool] = []

            def work(number: int, key: StoreKey = key, lost: list[bool] = lost) -> None:
                lost.append(run(blocking.open(key, BOARD)).lost)

            in_threads(self.THREADS, work)
            assert not any(lost)

    def test_orphans_are_found_and_entered_again_as_they_are(
        self, backend: Driven, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"MAX_PARTICIPANTS": 2}
        backend.open(ALICE, BOARD)
        clock.advance(100)
        backend.open(BOB, MORE)
        backend.open(ELSEWHERE, BOARD)
        clock.advance(50)
        if not self.LISTS_KEYS:
            assert backend.orphans() is None
        else:
            assert backend.orphans() == []
        self.lose_index(CODE, clock)
        assert backend.participants(CODE) == []
        if self.LISTS_KEYS:
            assert backend.orphans() == [ALICE, BOB]
        assert backend.reindex(ALICE) is True
        assert backend.reindex(BOB) is True
        assert backend.reindex(BOB) is True
        assert backend.reindex(CAROL) is False
        assert not backend.orphans()
        listed = [(info.id, info.seen) for info in backend.participants(CODE)]
        assert listed == [("alice", START), ("bob", START + 100)]
        with pytest.raises(LimitReached):
            backend.open(CAROL, BOARD)
        assert CODE in backend.due_sessions(idle_for=150, limit=10)
        [removed] = backend.evict_idle(CODE, idle_for=150, limit=10)
        assert (removed.key, removed.states) == (ALICE, BOARD)

    def test_an_orphan_whose_session_is_missing_gets_one(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        self.lose_index(CODE, clock)
        backend.delete_session(CODE)
        assert backend.sessions() == []
        if self.LISTS_KEYS:
            assert backend.orphans() == [ALICE]
        assert backend.reindex(ALICE) is True
        assert backend.sessions() == [CODE]
        assert backend.session(CODE) is not None
        assert [info.id for info in backend.participants(CODE)] == ["alice"]

    def test_an_orphan_of_an_ended_session_is_removed(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        self.lose_index(CODE, clock)
        backend.end_session(CODE)
        # Until then, whoever ended it may be about to remove it too.
        clock.advance(61)
        assert backend.reindex(ALICE) is False
        assert backend.read(ALICE) is None
        assert backend.sessions() == []
        assert not backend.orphans()
