"""The contract of a backend, as a test class that each of them passes unchanged."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from pytest_django import Settings

from sessionstores.backends import client_limits
from sessionstores.backends.base import Backend, run
from sessionstores.backends.client_entries import OUTCOME_UNKNOWN, has_run
from sessionstores.backends.types import (
    CLIENT_MEMORY,
    Attempt,
    Committed,
    Record,
    Removed,
    Stale,
    Standing,
    Unchanged,
    removed_with,
)
from sessionstores.exceptions import (
    ActionRejected,
    LimitReached,
    SessionEnded,
    SessionLocked,
    StateCorrupt,
    StoreUnavailable,
)
from sessionstores.keys import SESSION, StoreKey
from sessionstores.sessions.lifecycle import LONGEST_KEEP
from sessionstores.state.revisions import RING_LENGTH
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
    Clock,
    Driven,
    in_threads,
    lease,
)
from tests.contract.connections import ConnectionsContract
from tests.contract.keeping import KeepingContract
from tests.contract.kicks import KicksContract
from tests.contract.overview import OverviewContract
from tests.contract.profiles import ProfilesContract
from tests.logs import records_of_ours

# Where the backends keep how long they wait for a server.
DEADLINES = [
    "database_pool.DEADLINE",
    "memcached_pool.TIMEOUT",
]


def quarantine_in(caplog: pytest.LogCaptureFixture) -> str:
    """Return the key of what was set aside last."""
    last = [each for each in records_of_ours(caplog) if "kept for a day" in each.msg]
    return str(last[-1].args[-1])  # type: ignore[index, arg-type]


class BackendContract(
    ConnectionsContract,
    KeepingContract,
    KicksContract,
    OverviewContract,
    ProfilesContract,
):
    """The whole of it."""

    @pytest.fixture(autouse=True)
    def _patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let a busy machine take its time: deadlines have tests of their own."""
        for name in DEADLINES:
            monkeypatch.setattr(f"sessionstores.backends.{name}", 10.0)

    # Opening and reading

    def test_first_open_creates_and_later_ones_return_what_is_there(
        self, backend: Driven
    ) -> None:
        first = backend.open(ALICE, BOARD)
        again = backend.open(ALICE, MORE)
        assert (first.created, again.created) == (True, False)
        assert first.record.states == again.record.states == BOARD
        assert first.record.rev == again.record.rev
        assert first.record.rev.counter == 1
        assert (first.record.created, first.record.seen) == (START, START)
        assert first.record.bytes == len(BOARD["board"])

    def test_states_come_back_byte_for_byte(self, backend: Driven) -> None:
        states = {"a": b"", "b": bytes(range(256)), "c": b"1:" + b"x" * 100_000}
        backend.open(ALICE, states)
        assert backend.read_record(ALICE).states == states

    def test_opening_a_participant_creates_its_session(self, backend: Driven) -> None:
        backend.open(ALICE, BOARD)
        assert backend.sessions() == [CODE]
        assert backend.session(CODE).bytes == 0
        assert backend.read_record(OWN).states == {}
        assert [info.id for info in backend.participants(CODE)] == ["alice"]

    def test_opening_a_session_makes_no_participant(self, backend: Driven) -> None:
        assert backend.open(OWN, {"agenda": b"1:{}"}).created
        assert not backend.open(OWN, {}).created
        assert backend.participant_count(CODE) == 0
        assert backend.session(CODE).bytes == 4

    def test_records_of_different_keys_are_apart(self, backend: Driven) -> None:
        for key in (ALICE, BOB, OWN, ELSEWHERE):
            backend.open(key, {"board": str(key).encode()})
        backend.commit_next(backend.read_record(BOB), {"board": b"bob's"})
        backend.delete(ELSEWHERE)
        assert backend.read_record(ALICE).states == {"board": b"K7Q2ZD:alice"}
        assert backend.read_record(OWN).states == {}
        assert backend.read(ELSEWHERE) is None

    def test_reading_what_is_not_there_creates_nothing(self, backend: Driven) -> None:
        assert backend.read(ALICE) is None
        assert backend.read(OWN) is None
        assert backend.touch(ALICE) is False
        assert backend.sessions() == []
        assert backend.session(CODE) is None

    def test_a_known_rev_is_answered_by_unchanged(self, backend: Driven) -> None:
        record = backend.open(ALICE, BOARD).record
        answer = backend.read(ALICE, known=record.rev)
        assert isinstance(answer, Unchanged)
        assert answer.rev == record.rev
        newer = backend.commit_next(record, MORE)
        assert backend.read(ALICE, known=record.rev).rev == newer.rev
        assert backend.read(BOB, known=record.rev) is None

    def test_the_token_of_unchanged_serves_the_next_commit(
        self, backend: Driven, clock: Clock
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        clock.advance(100)
        token = backend.read(ALICE, known=record.rev).token
        fresh = msgspec.structs.replace(record, token=token)
        assert backend.commit_next(fresh, MORE).states == MORE

    def test_heads_are_the_newest_revs(self, backend: Driven) -> None:
        record = backend.open(ALICE, BOARD).record
        newer = backend.commit_next(record, MORE)
        heads = backend.heads([ALICE, BOB, OWN, ELSEWHERE])
        assert heads[ALICE] == newer.rev
        assert heads[BOB] is heads[ELSEWHERE] is None
        assert heads[OWN] == backend.read_record(OWN).rev
        assert backend.heads([]) == {}

    def test_a_record_created_again_is_of_another_incarnation(
        self, backend: Driven
    ) -> None:
        revs = set()
        for _ in range(5):
            revs.add(backend.open(ALICE, BOARD).record.rev)
            backend.delete(ALICE)
        assert len(revs) == 5

    # Commits

    def test_a_commit_changes_what_it_names_and_keeps_the_rest(
        self, backend: Driven
    ) -> None:
        record = backend.open(ALICE, {"a": b"1:1", "b": b"1:2", "c": b"1:3"}).record
        rev = record.rev.next()
        answer = backend.commit(record, rev, {"b": b"1:22", "c": None, "d": b"1:4"})
        assert isinstance(answer, Committed)
        expected = {"a": b"1:1", "b": b"1:22", "d": b"1:4"}
        assert answer.record.states == expected
        assert answer.record.rev == rev
        stored = backend.read_record(ALICE)
        assert (stored.states, stored.rev) == (expected, rev)
        assert stored.history == record.history.extend(rev)
        assert stored.created == record.created

    def test_a_commit_on_an_older_rev_is_stale_and_shows_the_newer_record(
        self, backend: Driven
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        newer = backend.commit_next(record, MORE)
        answer = backend.commit(record, record.rev.next(), {"board": b"1:lost"})
        assert isinstance(answer, Stale)
        assert answer.record.rev == newer.rev
        assert answer.record.states == MORE
        assert backend.read_record(ALICE).states == MORE
        assert backend.commit_next(answer.record, BOARD).states == BOARD

    def test_a_commit_to_a_removed_record_creates_nothing(
        self, backend: Driven
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        backend.delete(ALICE)
        assert backend.commit(record, record.rev.next(), MORE) == Stale(None)
        assert backend.read(ALICE) is None
        assert backend.participant_count(CODE) == 0

    def test_a_commit_on_a_record_created_anew_is_stale(self, backend: Driven) -> None:
        record = backend.open(ALICE, BOARD).record
        backend.delete(ALICE)
        anew = backend.open(ALICE, BOARD).record
        answer = backend.commit(record, record.rev.next(), MORE)
        assert answer.record.rev == anew.rev
        assert backend.read_record(ALICE).states == BOARD

    def test_a_touch_in_between_does_not_make_a_commit_stale(
        self, backend: Driven, clock: Clock
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        clock.advance(100)
        assert backend.touch(ALICE)
        assert backend.commit_next(record, MORE).seen == START + 100

    def test_a_repeated_commit_finds_itself_in_the_ring(self, backend: Driven) -> None:
        record = backend.open(ALICE, BOARD).record
        rev = record.rev.next()
        backend.commit(record, rev, MORE)
        again = backend.commit(record, rev, MORE)
        assert isinstance(again, Committed)
        assert again.record.rev == rev
        later = backend.commit_next(again.record, BOARD)
        once_more = backend.commit(record, rev, MORE)
        assert isinstance(once_more, Committed)
        assert once_more.record.rev == later.rev
        assert backend.read_record(ALICE).states == BOARD

    def test_a_repeated_commit_beyond_the_ring_is_of_unknown_outcome(
        self, backend: Driven
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        rev = record.rev.next()
        newest = record
        for _ in range(RING_LENGTH):
            newest = backend.commit_next(newest, MORE)
        foreign = backend.commit(record, rev, BOARD, repeated=True)
        assert foreign.record.rev == newest.rev
        newest = backend.commit_next(newest, MORE)
        with pytest.raises(StoreUnavailable, match=str(rev)):
            backend.commit(record, rev, BOARD, repeated=True)
        assert backend.read_record(ALICE).rev == newest.rev

    def test_a_commit_repeated_after_a_reset_is_of_unknown_outcome(
        self, backend: Driven
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        rev = record.rev.next()
        newer = backend.commit(record, rev, MORE).record
        anew = backend.commit(newer, newer.rev.reincarnated(), BOARD).record
        with pytest.raises(StoreUnavailable, match=str(rev)):
            backend.commit(record, rev, MORE, repeated=True)
        # What nobody has sent before cannot be in.
        answer = backend.commit(record, record.rev.next(), MORE)
        assert isinstance(answer, Stale)
        assert answer.record.rev == anew.rev
        backend.delete(ALICE)
        again = backend.open(ALICE, BOARD).record
        with pytest.raises(StoreUnavailable, match=str(rev)):
            backend.commit(record, rev, MORE, repeated=True)
        assert backend.read_record(ALICE).rev == again.rev

    def test_a_reset_repeated_after_a_commit_of_another_is_stale(
        self, backend: Driven
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        newer = backend.commit_next(record, MORE)
        # Had it been in, the record would be of its incarnation, or of a later one.
        rev = record.rev.reincarnated()
        answer = backend.commit(record, rev, BOARD, repeated=True)
        assert isinstance(answer, Stale)
        assert answer.record.rev == newer.rev
        answer = backend.commit(newer, rev, BOARD)
        newest = backend.commit_next(answer.record, MORE)
        again = backend.commit(newer, rev, BOARD, repeated=True)
        assert isinstance(again, Committed)
        assert again.record.rev == newest.rev

    def test_a_first_commit_on_a_base_beyond_the_ring_is_merely_stale(
        self, backend: Driven
    ) -> None:
        record = newest = backend.open(ALICE, BOARD).record
        for _ in range(RING_LENGTH + 5):
            newest = backend.commit_next(newest, MORE)
        answer = backend.commit(record, record.rev.next(), BOARD)
        assert isinstance(answer, Stale)
        assert answer.record.rev == newest.rev

    def test_the_ring_keeps_the_last_revs(self, backend: Driven) -> None:
        newest = backend.open(ALICE, BOARD).record
        history = newest.history
        revs = [newest.rev]
        for _ in range(RING_LENGTH + 3):
            newest = backend.commit_next(newest, BOARD)
            history = history.extend(newest.rev)
            revs.append(newest.rev)
        assert backend.read_record(ALICE).history == history
        places = [history.place(rev) for rev in revs]
        assert places == ["unknown"] * 4 + ["past"] * (RING_LENGTH - 1) + ["head"]

    def test_a_commit_of_another_incarnation_starts_history_anew(
        self, backend: Driven
    ) -> None:
        record = backend.commit_next(backend.open(ALICE, BOARD).record, MORE)
        rev = record.rev.reincarnated()
        backend.commit(record, rev, BOARD)
        stored = backend.read_record(ALICE)
        assert stored.rev == rev
        assert stored.history.place(record.rev) == "foreign"
        again = backend.commit(record, rev, BOARD)
        assert isinstance(again, Committed)

    def test_a_commit_to_the_session_keeps_what_is_known_of_it(
        self, backend: Driven
    ) -> None:
        backend.create_session(CODE, label="Team day", keep=3600)
        backend.update_session(CODE, locked=True)
        backend.note(CODE, [{"kind": "start"}])
        record = backend.commit_next(backend.read_record(OWN), {"agenda": b"1:{}"})
        backend.commit_next(record, {"agenda": b"1:{} "})
        info = backend.session(CODE)
        assert (info.label, info.keep, info.locked) == ("Team day", 3600, True)
        assert info.events == ({"kind": "start"},)
        assert info.bytes == 5

    def test_session_data_changed_in_between_survives_a_commit(
        self, backend: Driven
    ) -> None:
        record = backend.open(OWN, {}).record
        backend.update_session(CODE, label="New")
        backend.commit_next(record, {"agenda": b"1:{}"})
        assert backend.session(CODE).label == "New"

    def test_an_attempt_is_remembered_with_what_was_rejected_before_it(
        self, backend: Driven, clock: Clock
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        attempt = Attempt("tab", 7, {5: "not_in_deck", 6: "rejected"})
        backend.commit(record, record.rev.next(), MORE, [attempt])
        entry = backend.read_record(ALICE).clients["tab"]
        assert entry.last == 7
        assert entry.refused == {5: "not_in_deck", 6: "rejected"}
        assert entry.at == clock.time
        record = backend.commit_next(backend.read_record(ALICE), BOARD)
        attempt = Attempt("other", 1, {})
        backend.commit(record, record.rev.next(), MORE, [attempt])
        clients = backend.read_record(ALICE).clients
        assert {client: entry.last for client, entry in clients.items()} == {
            "tab": 7,
            "other": 1,
        }
        record = backend.read_record(ALICE)
        attempt = Attempt("tab", 8, {})
        answer = backend.commit(record, record.rev.next(), BOARD, [attempt])
        assert answer.record.clients["tab"].last == 8
        # Another connection of the tab may be asked for them yet.
        assert answer.record.clients["tab"].refused == entry.refused
        attempt = Attempt("tab", 9, {}, floor=5)
        record = backend.commit(
            answer.record, answer.record.rev.next(), MORE, [attempt]
        ).record
        assert record.clients["tab"].refused == {6: "rejected"}

    def test_one_commit_carries_the_attempts_of_several_clients(
        self, backend: Driven, clock: Clock
    ) -> None:
        record = backend.open(ALICE, {"board": b"1:{}", "old": b"1:{}"}).record
        attempts = [Attempt(f"tab{n}", n, {}) for n in range(1, 258)]
        # One of them has two in this commit, and they count in their order.
        attempts += [
            Attempt("tab4", 6, {5: "rejected"}),
            Attempt("tab4", 9, {5: "rejected", 8: "conflict"}),
        ]
        changes = {"board": b"1:{}2", "new": b"1:{}", "old": None}
        answer = backend.commit(record, record.rev.next(), changes, attempts)
        stored = backend.read_record(ALICE)
        for clients in (answer.record.clients, stored.clients):
            assert {client: entry.last for client, entry in clients.items()} == {
                f"tab{n}": 9 if n == 4 else n for n in range(1, 258)
            }
            assert clients["tab4"].rejected[8] == "conflict"
            assert {entry.at for entry in clients.values()} == {clock.time}
        assert stored.states == {"board": b"1:{}2", "new": b"1:{}"}

    def test_a_commit_that_came_second_carries_no_attempts(
        self, backend: Driven
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        backend.commit_next(record, MORE)
        attempts = [Attempt("one", 1, {}), Attempt("two", 1, {})]
        answer = backend.commit(record, record.rev.next(), BOARD, attempts)
        assert isinstance(answer, Stale)
        assert backend.read_record(ALICE).clients == {}

    def test_clients_that_somebody_makes_up_cost_nobody_else_an_entry(
        self, backend: Driven, clock: Clock
    ) -> None:
        record = backend.open(OWN, {"agenda": b"1:{}"}).record
        honest = {f"p{person}/tab{tab}" for person in range(5) for tab in range(8)}
        attempts = [Attempt(name, 3, {2: "rejected"}) for name in honest]
        record = backend.commit(record, record.rev.next(), {}, attempts).record
        known = {name: record.clients[name] for name in honest}
        for number in range(0, 300, 20):
            clock.advance(1)
            attempts = [
                Attempt(f"eve/{each:030}", 1, {}) for each in range(number, number + 20)
            ]
            record = backend.commit(record, record.rev.next(), {}, attempts).record
        stored = backend.read_record(OWN).clients
        assert known.items() <= stored.items()
        assert stored == record.clients
        assert len(stored) < 70
        # The latest can be told, and what is dropped is not taken for new.
        for made_up, outcome in ((299, True), (0, OUTCOME_UNKNOWN)):
            attempt = Attempt(f"eve/{made_up:030}", 1, {}, resent=True)
            try:
                found: Any = has_run(stored, attempt)
            except ActionRejected as refusal:
                found = refusal.code
            assert found == outcome

    def test_entries_of_a_release_without_bounds_are_trimmed_by_the_next_commit(
        self, backend: Driven, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = backend.open(OWN, {"agenda": b"1:{}"}).record
        with monkeypatch.context() as unbounded:
            for name in ("SHARED_BYTES", "RECORD_BYTES"):
                unbounded.setattr(client_limits, name, 10_000_000)
            for number in range(0, 9_000, 3_000):
                attempts = [
                    Attempt(f"eve/{each:060}", 2, {1: "rejected"})
                    for each in range(number, number + 3_000)
                ]
                record = backend.commit(record, record.rev.next(), {}, attempts).record
        assert len(backend.read_record(OWN).clients) == 9_000
        attempts = [Attempt("bob/tab", 1, {})]
        answer = backend.commit(record, record.rev.next(), {}, attempts)
        stored = backend.read_record(OWN).clients
        assert stored == answer.record.clients
        assert "bob/tab" in stored
        assert len(stored) < 30

    def test_ids_only_count_up(self, backend: Driven) -> None:
        record = backend.open(ALICE, BOARD).record
        for id in (7, 3):
            attempt = Attempt("tab", id, {})
            record = backend.commit(record, record.rev.next(), MORE, [attempt]).record
        assert record.clients["tab"].last == 7

    def test_clients_are_forgotten_after_their_time(
        self, backend: Driven, clock: Clock
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        attempt = Attempt("tab", 7, {})
        record = backend.commit(record, record.rev.next(), MORE, [attempt]).record
        # In use all the while, or else the record itself would be gone.
        for _ in range(2):
            clock.advance(CLIENT_MEMORY / 2 - 1)
            backend.touch(ALICE)
        record = backend.commit_next(record, BOARD)
        assert "tab" in record.clients
        clock.advance(3)
        assert "tab" not in backend.commit_next(record, MORE).clients

    def test_clients_outlive_touches(self, backend: Driven, clock: Clock) -> None:
        record = backend.open(ALICE, BOARD).record
        backend.commit(record, record.rev.next(), MORE, [Attempt("tab", 7, {})])
        clock.advance(100)
        backend.touch(ALICE)
        assert backend.read_record(ALICE).clients["tab"].last == 7

    def test_threads_lose_no_commit(self, blocking: Backend) -> None:
        run(blocking.open(ALICE, {"count": b"0"}))
        won = [0] * self.THREADS

        def work(number: int) -> None:
            record = run(blocking.read(ALICE))
            while won[number] < self.COMMITS:
                assert isinstance(record, Record)
                count = int(record.states["count"]) + 1
                rev = record.rev.next()
                answer = run(
                    blocking.commit(record, rev, {"count": str(count).encode()})
                )
                won[number] += isinstance(answer, Committed)
                record = answer.record

        in_threads(self.THREADS, work)
        record = run(blocking.read(ALICE))
        assert isinstance(record, Record)
        assert int(record.states["count"]) == sum(won)
        assert record.rev.counter == 1 + self.THREADS * self.COMMITS

    def test_of_many_threads_exactly_one_creates(self, blocking: Backend) -> None:
        created: list[bool] = []
        for race in range(self.RACES):
            key = StoreKey(f"RACE{race:02d}", "alice")
            created.clear()

            def work(number: int, key: StoreKey = key) -> None:
                opened = run(blocking.open(key, {"by": str(number).encode()}))
                created.append(opened.created)
                record = run(blocking.read(key))
                assert isinstance(record, Record)
                assert record.states == opened.record.states

            in_threads(self.THREADS, work)
            assert sum(created) == 1
            assert run(blocking.participant_count(key.session)) == 1

    def test_followers_of_a_commit_hold_leases_on_the_record(
        self, backend: Driven
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        backend.open(BOB, BOARD)
        backend.lease(
            [
                lease(ALICE, "c1", "web-1"),
                lease(ALICE, "c2", "web-2"),
                lease(BOB, "c3", "web-3"),
                lease(BOB, "c4", "web-4", follows=("bob", SESSION, "alice")),
            ]
        )
        answer = backend.commit(record, record.rev.next(), MORE)
        assert answer.followers == {"web-1", "web-2", "web-4"}
        own = backend.read_record(OWN)
        answer = backend.commit(own, own.rev.next(), {"agenda": b"1:{}"})
        assert answer.followers == {"web-1", "web-2", "web-3", "web-4"}

    # Last use

    def test_time_of_use_is_written_at_most_ten_times_per_timeout(
        self, backend: Driven, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"IDLE_TIMEOUT": 100}
        backend.open(ALICE, BOARD)
        clock.advance(9)
        assert backend.touch(ALICE)
        assert backend.read_record(ALICE).seen == START
        clock.advance(1)
        assert backend.touch(ALICE)
        assert backend.read_record(ALICE).seen == START + 10
        assert backend.session(CODE).seen == START + 10

    @pytest.mark.parametrize("use", ["read", "open", "touch", "commit", "lease"])
    def test_every_use_touches_participant_and_session(
        self, backend: Driven, clock: Clock, use: str
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        clock.advance(100)
        if use == "commit":
            backend.commit_next(record, MORE)
        elif use == "lease":
            backend.lease([lease()])
        elif use == "open":
            backend.open(ALICE, BOARD)
        else:
            getattr(backend, use)(ALICE)
        assert backend.read_record(ALICE).seen == START + 100
        assert backend.session(CODE).seen == START + 100
        assert backend.read_record(ALICE).created == START

    def test_reading_without_touch_leaves_no_trace(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        clock.advance(100)
        backend.read(ALICE, touch=False)
        backend.heads([ALICE, OWN])
        backend.participants(CODE)
        assert backend.read_record(ALICE).seen == START
        assert backend.session(CODE).seen == START

    def test_using_the_session_keeps_it_and_no_participant(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        clock.advance(100)
        assert backend.touch(OWN)
        assert backend.session(CODE).seen == START + 100
        assert backend.read_record(ALICE).seen == START

    def test_unused_records_expire_and_used_ones_stay(
        self, backend: Driven, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"IDLE_TIMEOUT": 100}
        backend.open(ALICE, BOARD)
        backend.open(BOB, BOARD)
        for _ in range(50):
            clock.advance(9)
            record = backend.read_record(ALICE)
            backend.commit_next(record, MORE)
        assert backend.read(BOB) is None
        assert backend.session(CODE) is not None
        assert "alice" in [info.id for info in backend.participants(CODE)]
        clock.advance(500)
        assert backend.read(ALICE) is None
        assert backend.session(CODE) is None

    def test_a_session_never_expires_before_its_participants(
        self, backend: Driven, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"IDLE_TIMEOUT": 100}
        backend.open(OWN, {})
        clock.advance(9)
        record = backend.open(ALICE, BOARD).record
        clock.advance(9)
        backend.commit_next(record, MORE)
        clock.advance(199)
        assert backend.read(ALICE, touch=False) is not None
        assert backend.session(CODE) is not None
        assert backend.participant_count(CODE) == 1

    # Removal

    def test_delete_returns_final_states_and_leaves_the_others(
        self, backend: Driven
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.open(BOB, BOARD)
        backend.lease([lease()])
        removed = backend.delete(ALICE)
        assert removed.key == ALICE
        assert removed.states == BOARD
        assert removed.followers == {"web-1"}
        assert backend.delete(ALICE) is None
        assert [info.id for info in backend.participants(CODE)] == ["bob"]
        assert backend.sessions() == [CODE]

    def test_the_last_participant_leaves_the_session_behind(
        self, backend: Driven
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.delete(ALICE)
        assert backend.sessions() == [CODE]
        assert backend.participant_count(CODE) == 0
        assert backend.open(ALICE, BOARD).created

    def test_deleting_the_sessions_states_keeps_session_and_participants(
        self, backend: Driven
    ) -> None:
        backend.create_session(CODE, label="Team day", keep=60)
        backend.open(ALICE, BOARD)
        record = backend.read_record(OWN)
        attempt = Attempt("tab", 3, {})
        agenda = {"agenda": b"1:{}"}
        record = backend.commit(record, record.rev.next(), agenda, [attempt]).record
        removed = backend.delete(OWN)
        assert (removed.key, removed.states) == (OWN, agenda)
        blank = backend.read_record(OWN)
        assert blank.states == {}
        assert blank.rev.incarnation != record.rev.incarnation
        assert blank.clients["tab"].last == 3
        assert backend.session(CODE).label == "Team day"
        assert backend.participant_count(CODE) == 1
        assert backend.delete(OWN) is None
        assert backend.delete(StoreKey.of_session("NOSUCH")) is None

    def test_revocations_outlive_the_participant(self, backend: Driven) -> None:
        backend.open(ALICE, BOARD)
        backend.revoke(ALICE)
        backend.delete(ALICE)
        assert backend.standings([ALICE])[ALICE].revoked_at == START

    def test_threads_that_create_and_delete_leave_a_true_index(
        self, blocking: Backend
    ) -> None:
        def work(number: int) -> None:
            for _ in range(self.RACES):
                if number % 2:
                    run(blocking.open(ALICE, BOARD))
                else:
                    run(blocking.delete(ALICE))

        in_threads(self.THREADS, work)
        there = run(blocking.read(ALICE)) is not None
        assert run(blocking.participant_count(CODE)) == there
        assert run(blocking.sessions()) == [CODE]

    def test_threads_that_create_sessions_and_delete_them_leave_a_true_index(
        self, blocking: Backend
    ) -> None:
        def work(number: int) -> None:
            for _ in range(self.RACES):
                if number % 2:
                    run(blocking.open(StoreKey(CODE, f"p{number}"), BOARD))
                else:
                    run(blocking.delete_session(CODE))

        in_threads(self.THREADS, work)
        keys = [StoreKey(CODE, f"p{number}") for number in range(self.THREADS)]
        there = [key.participant for key in keys if run(blocking.read(key))]
        assert [info.id for info in run(blocking.participants(CODE))] == there
        assert run(blocking.participant_count(CODE)) == len(there)
        assert run(blocking.session(CODE)) is not None or not there

    # Quarantine

    def test_a_state_set_aside_leaves_the_record_as_it_is(
        self, backend: Driven
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        assert backend.set_aside(ALICE, "board", BOARD["board"]) is True
        assert backend.read_record(ALICE).rev == record.rev

    def test_what_was_set_aside_can_be_read_by_the_key_that_the_log_names(
        self, backend: Driven, caplog: pytest.LogCaptureFixture, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.set_aside(ALICE, "board", b"1:junk")
        assert backend.quarantined(quarantine_in(caplog)) == ("board", b"1:junk")
        assert backend.quarantined(quarantine_in(caplog)[:-1]) is None
        self.plant(self.key_of(ALICE), b"junk", clock)
        backend.set_aside(ALICE, None, None)
        found = backend.quarantined(quarantine_in(caplog))
        assert found is not None
        assert found.state is None
        assert b"junk" in found.data

    @pytest.mark.parametrize("junk", JUNK)
    @pytest.mark.parametrize("key", [ALICE, OWN])
    def test_a_corrupt_record_is_reported_until_it_is_set_aside(
        self, backend: Driven, clock: Clock, key: StoreKey, junk: bytes
    ) -> None:
        record = backend.open(key, BOARD).record
        self.plant(self.key_of(key), junk, clock)
        for call in (
            lambda: backend.read(key),
            lambda: backend.read(key, touch=False),
            lambda: backend.read(key, known=record.rev),
            lambda: backend.open(key, BOARD),
            lambda: backend.touch(key),
            lambda: backend.commit(record, record.rev.next(), MORE),
        ):
            with pytest.raises(StateCorrupt, match=CODE):
                call()
        assert backend.heads([key]) == {key: None}
        assert backend.set_aside(key, None, None) is True
        assert backend.set_aside(key, None, None) is False
        assert backend.read(key) is None
        anew = backend.open(key, BOARD)
        assert anew.created
        assert anew.record.rev != record.rev

    def test_a_good_record_is_never_set_aside(self, backend: Driven) -> None:
        record = backend.open(ALICE, BOARD).record
        assert backend.set_aside(ALICE, None, None) is False
        assert backend.set_aside(BOB, None, None) is False
        assert backend.read_record(ALICE).rev == record.rev

    def test_of_many_threads_one_sets_a_record_aside(
        self, blocking: Backend, clock: Clock
    ) -> None:
        run(blocking.open(ALICE, BOARD))
        self.plant(self.key_of(ALICE), b"junk", clock)
        moved: list[bool] = []

        def work(number: int) -> None:
            moved.append(run(blocking.set_aside(ALICE, None, None)))

        in_threads(self.THREADS, work)
        assert sorted(moved) == [False] * (self.THREADS - 1) + [True]

    def test_a_record_set_aside_can_be_opened_in_a_locked_session(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.update_session(CODE, locked=True)
        self.plant(self.key_of(ALICE), b"junk", clock)
        backend.set_aside(ALICE, None, None)
        assert backend.open(ALICE, BOARD).created

    def test_a_corrupt_record_hurts_nobody_else(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.open(BOB, BOARD)
        self.plant(self.key_of(ALICE), b"junk", clock)
        assert [info.id for info in backend.participants(CODE)] == ["bob"]
        [summary] = backend.summaries()
        assert (summary.participants, summary.bytes) == (2, len(BOARD["board"]))
        assert summary.lost == 0
        backend.lease([lease(ALICE), lease(BOB, "c2")])
        assert backend.evict_idle(CODE, idle_for=0, limit=10) == []
        removed = backend.delete(ALICE)
        assert (removed.key, removed.states) == (ALICE, None)

    def test_a_corrupt_session_hurts_no_participant(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        self.plant(self.key_of(OWN), b"junk", clock)
        clock.advance(100)
        assert backend.open(BOB, BOARD).created
        assert backend.read(ALICE) is not None
        for call in (
            lambda: backend.session(CODE),
            lambda: backend.update_session(CODE, label="x"),
        ):
            with pytest.raises(StateCorrupt):
                call()
        backend.delete(ALICE)
        backend.delete(BOB)
        assert backend.evict_empty_session(CODE, idle_for=0) is False
        assert backend.delete(OWN).states is None
        assert backend.session(CODE).label == ""

    def test_a_corrupt_session_can_be_deleted(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        self.plant(self.key_of(OWN), b"junk", clock)
        removed = backend.delete_session(CODE)
        assert [(final.key, final.states) for final in removed] == [
            (ALICE, BOARD),
            (OWN, None),
        ]
        assert backend.sessions() == []

    # Sessions

    def test_a_code_is_claimed_once(self, backend: Driven) -> None:
        assert backend.create_session(CODE, label="Team day", keep=86_400)
        assert not backend.create_session(CODE, label="Other", keep=0)
        info = backend.session(CODE)
        assert (info.code, info.label, info.keep) == (CODE, "Team day", 86_400)
        assert (info.created, info.seen, info.locked) == (START, START, False)
        assert (info.bytes, info.events) == (0, ())
        assert backend.sessions() == [CODE]

    def test_a_session_can_be_kept_for_a_century(
        self, backend: Driven, clock: Clock
    ) -> None:
        assert backend.create_session(CODE, label="", keep=LONGEST_KEEP)
        assert backend.update_session(CODE, extend=LONGEST_KEEP).keep == LONGEST_KEEP
        clock.advance(100)
        record = backend.commit_next(backend.read_record(OWN), BOARD)
        assert backend.read_record(OWN).rev == record.rev
        assert backend.session(CODE).keep == LONGEST_KEEP

    def test_of_many_threads_one_claims_the_code(self, blocking: Backend) -> None:
        claimed: list[str] = []
        for race in range(self.RACES):
            claimed.clear()
            code = f"RACE{race:02d}"

            def work(number: int, code: str = code) -> None:
                if run(blocking.create_session(code, label=str(number), keep=60)):
                    claimed.append(str(number))

            in_threads(self.THREADS, work)
            info = run(blocking.session(code))
            assert info is not None
            assert claimed == [info.label]

    def test_a_session_in_use_cannot_be_claimed(self, backend: Driven) -> None:
        backend.open(ALICE, BOARD)
        assert not backend.create_session(CODE, label="", keep=0)

    def test_updating_changes_what_is_given_and_no_rev(self, backend: Driven) -> None:
        backend.create_session(CODE, label="Team day", keep=60)
        rev = backend.read_record(OWN).rev
        backend.update_session(CODE, label="Away day")
        backend.update_session(CODE, keep=120)
        info = backend.update_session(CODE, locked=True)
        assert (info.label, info.keep, info.locked) == ("Away day", 120, True)
        assert backend.session(CODE) == info
        assert backend.read_record(OWN).rev == rev
        assert backend.update_session("NOSUCH", label="x") is None
        assert backend.session("NOSUCH") is None

    def test_a_locked_session_takes_no_newcomers(self, backend: Driven) -> None:
        backend.open(ALICE, BOARD)
        backend.update_session(CODE, locked=True)
        with pytest.raises(SessionLocked, match="bob"):
            backend.open(BOB, BOARD)
        assert not backend.open(ALICE, BOARD).created
        assert not backend.open(OWN, {}).created
        assert backend.participant_count(CODE) == 1
        backend.update_session(CODE, locked=False)
        assert backend.open(BOB, BOARD).created

    def test_a_session_takes_so_many_participants_and_no_more(
        self, backend: Driven, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"MAX_PARTICIPANTS": 2}
        backend.open(ALICE, BOARD)
        backend.open(BOB, BOARD)
        with pytest.raises(LimitReached, match="MAX_PARTICIPANTS"):
            backend.open(StoreKey(CODE, "carol"), BOARD)
        assert not backend.open(ALICE, BOARD).created
        assert backend.read(StoreKey(CODE, "carol")) is None
        backend.delete(ALICE)
        assert backend.open(StoreKey(CODE, "carol"), BOARD).created

    def test_threads_do_not_exceed_the_limit_of_participants(
        self, blocking: Backend, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"MAX_PARTICIPANTS": 10}
        refused: list[int] = []

        def work(number: int) -> None:
            for n in range(5):
                try:
                    run(blocking.open(StoreKey(CODE, f"p{number}-{n}"), BOARD))
                except LimitReached:
                    refused.append(number)

        in_threads(self.THREADS, work)
        assert run(blocking.participant_count(CODE)) == 10
        assert len(run(blocking.participants(CODE))) == 10
        assert len(refused) == self.THREADS * 5 - 10

    def test_of_those_who_race_for_the_last_place_one_gets_it(
        self, blocking: Backend, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"MAX_SESSIONS": 2}
        run(blocking.open(ALICE, BOARD))
        for race in range(self.RACES):
            admitted: list[str] = []

            def work(number: int, race: int = race, to: list[str] = admitted) -> None:
                code = f"R{race:02d}X{number:02d}"
                with suppress(LimitReached):
                    if run(blocking.create_session(code, label="", keep=60)):
                        to.append(code)

            in_threads(3, work)
            [code] = admitted
            assert run(blocking.sessions()) == [CODE, code]
            run(blocking.delete_session(code))

    def test_there_are_so_many_sessions_and_no_more(
        self, backend: Driven, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"MAX_SESSIONS": 2}
        backend.open(ALICE, BOARD)
        backend.create_session("SECOND", label="", keep=60)
        for call in (
            lambda: backend.create_session("THIRD3", label="", keep=60),
            lambda: backend.open(StoreKey("THIRD3", "alice"), BOARD),
            lambda: backend.open(StoreKey.of_session("THIRD3"), {}),
        ):
            with pytest.raises(LimitReached, match="MAX_SESSIONS"):
                call()
        assert backend.sessions() == [CODE, "SECOND"]
        assert backend.session("THIRD3") is None
        backend.open(BOB, BOARD)
        backend.delete_session("SECOND")
        assert backend.create_session("THIRD3", label="", keep=60)

    def test_an_ended_session_stays_closed_until_its_tombstone_expires(
        self, backend: Driven, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"TOKEN_MAX_AGE": 1_000}
        backend.create_session(CODE, label="", keep=10_000)
        backend.open(ALICE, BOARD)
        backend.end_session(CODE)
        for _ in range(2):
            for call in (
                lambda: backend.open(ALICE, BOARD),
                lambda: backend.open(BOB, BOARD),
                lambda: backend.open(OWN, {}),
            ):
                with pytest.raises(SessionEnded, match=CODE):
                    call()
            assert not backend.create_session(CODE, label="", keep=60)
            assert backend.standings([ALICE])[ALICE].ended
            assert backend.session(CODE) is None
            assert backend.update_session(CODE, label="x") is None
            assert backend.sessions() == []
            clock.advance(998)
        clock.advance(4)
        assert not backend.standings([ALICE])[ALICE].ended
        assert backend.open(ALICE, BOARD).created

    @pytest.mark.parametrize("way", ["end_session", "delete_session"])
    def test_all_records_go_with_the_session_its_own_last(
        self, backend: Driven, way: str
    ) -> None:
        backend.open(BOB, BOARD)
        backend.open(ALICE, MORE)
        backend.commit_next(backend.read_record(OWN), {"agenda": b"1:{}"})
        backend.open(ELSEWHERE, BOARD)
        backend.lease([lease()])
        removed = getattr(backend, way)(CODE)
        assert {final.key: final.states for final in removed} == {
            ALICE: MORE,
            BOB: BOARD,
            OWN: {"agenda": b"1:{}"},
        }
        assert removed[-1].key == OWN
        assert removed[-1].followers == {"web-1"}
        for key in (ALICE, BOB, OWN):
            assert backend.read(key) is None
        assert backend.sessions() == ["ELSE23"]
        assert backend.participant_count() == 1
        assert getattr(backend, way)(CODE) == []

    def test_after_delete_session_a_later_access_starts_afresh(
        self, backend: Driven
    ) -> None:
        backend.create_session(CODE, label="Old", keep=60)
        first = backend.open(ALICE, MORE).record
        backend.revoke(BOB)
        backend.delete_session(CODE)
        again = backend.open(ALICE, BOARD)
        assert again.created
        assert again.record.states == BOARD
        assert again.record.rev != first.rev
        assert backend.session(CODE).label == ""
        assert backend.standings([BOB])[BOB].revoked_at == START

    def test_ending_an_unknown_session_closes_its_code(self, backend: Driven) -> None:
        assert backend.end_session(CODE) == []
        with pytest.raises(SessionEnded):
            backend.open(ALICE, BOARD)

    def test_nothing_survives_an_end_that_threads_race_against(
        self, blocking: Backend
    ) -> None:
        for race in range(self.RACES):
            code = f"RACE{race:02d}"

            def work(number: int, code: str = code) -> None:
                key = StoreKey(code, f"p{number}")
                if number == 0:
                    run(blocking.end_session(code))
                else:
                    try:
                        run(blocking.open(key, BOARD))
                    except SessionEnded:
                        assert run(blocking.read(key)) is None

            in_threads(self.THREADS, work)
            for number in range(self.THREADS):
                assert run(blocking.read(StoreKey(code, f"p{number}"))) is None
            assert run(blocking.participant_count(code)) == 0
        assert run(blocking.sessions()) == []

    # The index

    def test_participants_are_listed_with_what_is_known_of_them(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(BOB, BOARD)
        clock.advance(50)
        record = backend.commit_next(backend.open(ALICE, BOARD).record, MORE)
        backend.lease([lease(ALICE, "c1"), lease(ALICE, "c2")])
        alice, bob = backend.participants(CODE)
        assert alice[:6] == (
            "alice",
            record.rev,
            START + 50,
            START + 50,
            record.bytes,
            2,
        )
        assert (bob.id, bob.created, bob.seen) == ("bob", START, START)
        assert (bob.bytes, bob.connections) == (len(BOARD["board"]), 0)
        assert backend.participants("NOSUCH") == []

    def test_counts_and_totals_are_exact(self, backend: Driven) -> None:
        assert backend.summaries() == []
        total = 0
        for number in range(40):
            code = f"S{number:05d}"
            for id in ("alice", "bob", "carol")[: number % 4]:
                data = b"1:" + b"x" * number
                total += len(data)
                backend.open(StoreKey(code, id), {"board": data})
            backend.open(StoreKey.of_session(code), {})
        backend.commit_next(
            backend.read_record(StoreKey.of_session("S00000")), {"agenda": b"1:{}"}
        )
        backend.lease([lease(StoreKey("S00001", "alice"))])
        assert backend.session_count() == len(backend.sessions()) == 40
        assert backend.participant_count() == 60
        assert backend.participant_count("S00003") == 3
        assert backend.participant_count("NOSUCH") == 0
        summaries = backend.summaries()
        assert [summary.code for summary in summaries] == backend.sessions()
        assert sum(summary.participants for summary in summaries) == 60
        assert sum(summary.connections for summary in summaries) == 1
        assert sum(summary.bytes for summary in summaries) == total + 4

    def test_ids_that_begin_or_end_alike_are_kept_apart(self, backend: Driven) -> None:
        ids = ["aa", "ba", "ab", "a-", "-a", "a_" * 32, "a", "A"]
        for id in ids:
            assert backend.open(StoreKey(CODE, id), {"board": id.encode()}).created
        for gone in ids:
            assert backend.delete(StoreKey(CODE, gone)).states == {
                "board": gone.encode()
            }
            ids = [id for id in ids if id != gone]
            listed = [info.id for info in backend.participants(CODE)]
            assert listed == sorted(ids)
            assert backend.participant_count(CODE) == len(ids)

    # Idleness

    def test_the_idle_go_with_their_final_states_and_the_others_stay(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, MORE)
        clock.advance(200)
        backend.open(BOB, BOARD)
        clock.advance(101)
        assert backend.evict_idle(CODE, idle_for=302, limit=10) == []
        removed = backend.evict_idle(CODE, idle_for=300, limit=10)
        assert removed == [removed_with(ALICE, MORE)]
        assert backend.read(ALICE) is None
        assert backend.read(BOB) is not None
        assert backend.participant_count(CODE) == 1
        assert backend.evict_idle(CODE, idle_for=300, limit=10) == []
        assert backend.evict_idle("NOSUCH", idle_for=0, limit=10) == []

    def test_eviction_stops_at_its_limit(self, backend: Driven, clock: Clock) -> None:
        for number in range(7):
            backend.open(StoreKey(CODE, f"p{number}"), BOARD)
        clock.advance(301)
        sizes = [len(backend.evict_idle(CODE, idle_for=300, limit=3)) for _ in range(4)]
        assert sizes == [3, 3, 1, 0]

    def test_the_connected_are_never_idle(self, backend: Driven, clock: Clock) -> None:
        backend.open(ALICE, BOARD)
        backend.lease([lease()])
        assert backend.evict_idle(CODE, idle_for=0, limit=10) == []
        clock.advance(31)
        assert len(backend.evict_idle(CODE, idle_for=0, limit=10)) == 1

    def test_a_listed_participant_without_a_record_is_reported_as_lost(
        self, backend: Driven, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"IDLE_TIMEOUT": 100}
        backend.open(ALICE, BOARD)
        backend.open(BOB, BOARD)
        for _ in range(25):
            clock.advance(10)
            backend.touch(BOB)
        assert backend.evict_idle(CODE, idle_for=100, limit=10) == [
            Removed(ALICE, None, frozenset())
        ]
        assert backend.evict_idle(CODE, idle_for=100, limit=10) == []
        assert backend.participant_count(CODE) == 1

    def test_nobody_who_is_touched_is_evicted(self, blocking: Backend) -> None:
        # The clock stands still, so all is idle for 0 s and only changes protect.
        run(blocking.open(ALICE, {"count": b"0"}))
        evicted: list[Mapping[str, bytes] | None] = []
        done = threading.Event()
        answers: list[int] = []

        def work(number: int) -> None:
            if number == 0:
                while not done.is_set():
                    removed = run(blocking.evict_idle(CODE, idle_for=0, limit=10))
                    evicted.extend(final.states for final in removed)
                return
            for _ in range(self.RACES * 10):
                opened = run(blocking.open(ALICE, {"count": b"0"}))
                count = int(opened.record.states["count"]) + 1
                answer = run(
                    blocking.commit(
                        opened.record,
                        opened.record.rev.next(),
                        {"count": str(count).encode()},
                    )
                )
                answers.append(isinstance(answer, Committed))
            done.set()

        in_threads(2, work)
        # Each acknowledged commit is in a final state or in what still stands.
        finals = [int(states["count"]) for states in evicted if states]
        record = run(blocking.read(ALICE))
        assert record is None or isinstance(record, Record)
        last = int(record.states["count"]) if record else 0
        assert sum(finals) + last == sum(answers)

    def test_an_empty_session_is_removed_when_idle_and_past_its_keep(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="", keep=1_000)
        backend.open(ALICE, BOARD)
        assert not backend.evict_empty_session(CODE, idle_for=0)
        backend.delete(ALICE)
        clock.advance(900)
        assert not backend.evict_empty_session(CODE, idle_for=300)
        backend.touch(OWN)
        clock.advance(101)
        assert not backend.evict_empty_session(CODE, idle_for=300)
        clock.advance(200)
        assert backend.evict_empty_session(CODE, idle_for=300)
        assert backend.sessions() == []
        assert backend.session(CODE) is None

    def test_keep_holds_the_session_however_long_it_is_unused(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="Team day", keep=86_400)
        backend.open(ALICE, BOARD)
        clock.advance(86_000)
        assert backend.session(CODE).label == "Team day"
        assert backend.read(ALICE) is None
        backend.update_session(CODE, keep=90_000)
        clock.advance(3_000)
        assert backend.session(CODE) is not None

    def test_a_session_that_expired_leaves_the_index_at_the_next_sweep(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(OWN, {})
        clock.advance(10_000)
        assert backend.session(CODE) is None
        assert backend.sessions() == [CODE]
        assert backend.evict_empty_session(CODE, idle_for=300)
        assert backend.sessions() == []

    def test_a_session_lost_from_under_its_participants_comes_back(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        self.plant(self.key_of(OWN), b"junk", clock)
        backend.set_aside(OWN, None, None)
        assert backend.session(CODE) is None
        assert not backend.open(ALICE, BOARD).created
        assert backend.session(CODE) is not None

    # Tokens

    def test_a_revocation_voids_what_one_was_given_or_all_were(
        self, backend: Driven, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"TOKEN_MAX_AGE": 1_000}
        backend.open(ALICE, BOARD)
        backend.lease([lease()])
        assert backend.standings([ALICE]) == {ALICE: Standing(False, None)}
        assert backend.revoke(ALICE) == {"web-1"}
        assert backend.revoke(BOB) == frozenset()
        clock.advance(5)
        keys = [ALICE, StoreKey(CODE, "carol"), ELSEWHERE]
        standings = backend.standings(keys)
        revoked = [standings[key].revoked_at for key in keys]
        assert revoked == [START, None, None]
        assert backend.revoke(OWN) == {"web-1"}
        clock.advance(5)
        backend.revoke(BOB)
        standings = backend.standings([*keys, BOB])
        revoked = [standings[key].revoked_at for key in (*keys, BOB)]
        assert revoked == [START + 5, START + 5, None, START + 10]
        clock.advance(996)
        backend.revoke(ALICE)
        assert backend.standings([BOB])[BOB].revoked_at == START + 10
        clock.advance(1_001)
        assert backend.standings([BOB])[BOB].revoked_at is None
        assert backend.standings([]) == {}

    def test_a_revocation_is_forgotten_when_no_token_can_be_that_old(
        self, backend: Driven, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"TOKEN_MAX_AGE": 1_000}
        for id in ("alice", "bob", "carol"):
            backend.revoke(StoreKey(CODE, id))
            clock.advance(600)
        standings = backend.standings([ALICE, BOB])
        assert standings[ALICE].revoked_at is None
        assert standings[BOB].revoked_at == START + 600

    # Shared values

    def test_a_shared_value_is_swapped_only_as_it_was_seen(
        self, backend: Driven, clock: Clock
    ) -> None:
        absent = backend.value("series")
        assert absent.data is None
        assert backend.swap_value("series", absent.token, b"one", seconds=100)
        assert not backend.swap_value("series", absent.token, b"two", seconds=100)
        seen = backend.value("series")
        assert seen.data == b"one"
        assert backend.swap_value("series", seen.token, b"two", seconds=100)
        assert not backend.swap_value("series", seen.token, b"three", seconds=100)
        assert backend.value("series").data == b"two"
        assert backend.value("other").data is None
        clock.advance(101)
        assert backend.value("series").data is None

    def test_several_values_are_read_together(self, backend: Driven) -> None:
        for name in ("series", "sweep"):
            backend.swap_value(name, backend.value(name).token, b"one", seconds=100)
        seen = backend.values(["series", "other", "sweep", "series"])
        assert {name: value.data for name, value in seen.items()} == {
            "series": b"one",
            "other": None,
            "sweep": b"one",
        }
        for name, value in seen.items():
            assert backend.swap_value(name, value.token, b"two", seconds=100)
        assert backend.value("other").data == b"two"
        assert backend.values([]) == {}

    def test_threads_swap_a_value_without_losing_any(self, blocking: Backend) -> None:
        def work(number: int) -> None:
            done = 0
            while done < self.RACES:
                data, token = run(blocking.value("n"))
                count = str(int(data or b"0") + 1).encode()
                done += run(blocking.swap_value("n", token, count, seconds=60))

        in_threads(self.THREADS, work)
        assert run(blocking.value("n")).data == str(self.THREADS * self.RACES).encode()

    # Flavours

    def test_what_suspends_cannot_be_driven_as_blocking(self) -> None:
        with pytest.raises(RuntimeError, match="suspended"):
            run(asyncio.sleep(0))

    def test_the_time_is_the_clocks(self, backend: Driven, clock: Clock) -> None:
        assert backend.now() == START
        clock.advance(5)
        assert backend.now() == START + 5

    def test_a_pause_waits_in_either_flavour(self, backend: Driven) -> None:
        assert backend.pause(0.001) is None

    def test_both_flavours_see_the_same_records(
        self, backend: Driven, blocking: Backend
    ) -> None:
        backend.open(ALICE, BOARD)
        assert run(blocking.read(ALICE)) is not None

    def test_clear_removes_everything(self, backend: Driven) -> None:
        backend.open(ALICE, BOARD)
        backend.end_session("ENDED2")
        backend.clear()
        assert backend.summaries() == []
        assert not backend.standings([StoreKey("ENDED2", "x")])[
            StoreKey("ENDED2", "x")
        ].ended
