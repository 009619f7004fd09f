"""The part of the contract about people whom a session keeps out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from sessionstores.backends.base import Backend, run
from sessionstores.backends.types import (
    Committed,
    Record,
    Removed,
    Stale,
    removed_with,
)
from sessionstores.exceptions import (
    Kicked,
    LimitReached,
    SessionEnded,
    SessionLocked,
    UnknownSession,
)
from sessionstores.keys import StoreKey
from tests.backends.driven import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    ELSEWHERE,
    MORE,
    OWN,
    START,
    BackendTests,
    Clock,
    Driven,
    in_threads,
    lease,
)

Use = Callable[[Driven, int], object]

# The default of IDLE_TIMEOUT, in seconds.
TIMEOUT = 300.0


def is_out(backend: Driven, key: StoreKey) -> bool:
    """Whether a session keeps somebody out, by all that say so, which must agree."""
    said = {
        backend.standings([key])[key].kicked,
        key.participant in backend.kicked(key.session),
    }
    if said == {True}:
        with pytest.raises(Kicked, match=key.participant):
            backend.open(key, BOARD)
    return said.pop() if len(said) == 1 else pytest.fail(f"{key}: {said}")


def commit_as(key: StoreKey) -> Use:
    """Return a use by commits alone, which of a session touch it only when due."""

    def use(backend: Driven, number: int) -> None:
        backend.commit_next(backend.read_record(key), {"a": b"1:%d" % number})

    return use


USES: dict[str, Use] = {
    "opened": lambda backend, number: backend.open(BOB, BOARD),
    "touched": lambda backend, number: backend.touch(BOB),
    "read": lambda backend, number: backend.read(BOB),
    "connected": lambda backend, number: backend.lease([lease(BOB)]),
    "changed": commit_as(BOB),
    "its state is changed": commit_as(OWN),
    "its state is read": lambda backend, number: backend.read(OWN),
    "labelled": lambda backend, number: backend.update_session(CODE, label=f"{number}"),
}


def kick_in_threads(
    backend: Backend, key: StoreKey, threads: int
) -> list[Removed | None]:
    """Kick somebody in two threads, while they come back and act in the others.

    Returns what the kicks did; nothing that began after one of them is let through.
    """
    is_over = threading.Event()
    removed: list[Removed | None] = []

    def work(number: int) -> None:
        if number < 2:
            removed.append(run(backend.kick(key)))
            is_over.set()
            return
        was_over = False
        while not was_over:
            was_over = is_over.is_set()
            with suppress(Kicked):
                record = run(backend.read(key))
                if not isinstance(record, Record):
                    record = run(backend.open(key, BOARD)).record
                    assert not was_over
                answer = run(backend.commit(record, record.rev.next(), MORE))
                assert not (was_over and isinstance(answer, Committed))

    in_threads(threads, work)
    return removed


class KicksContract(BackendTests):
    def test_a_kick_removes_the_record_and_keeps_its_participant_out(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, MORE)
        backend.open(BOB, BOARD)
        backend.open(ELSEWHERE, BOARD)
        backend.lease([lease()])
        clock.advance(5)
        assert backend.kick(ALICE) == removed_with(ALICE, MORE, frozenset({"web-1"}))
        assert backend.read(ALICE) is None
        assert is_out(backend, ALICE)
        assert backend.kicked(CODE) == {"alice": START + 5}
        assert not is_out(backend, BOB)
        assert not is_out(backend, ELSEWHERE)
        standings = backend.standings([BOB, ALICE, ELSEWHERE])
        assert [standings[key].kicked for key in (BOB, ALICE, ELSEWHERE)] == [
            False,
            True,
            False,
        ]
        assert [info.id for info in backend.participants(CODE)] == ["bob"]
        assert backend.open(BOB, BOARD).record.states == BOARD
        assert backend.open(OWN, {}).record.states == {}

    def test_somebody_who_is_not_there_is_kept_out_as_well(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(BOB, BOARD)
        assert backend.kick(ALICE) is None
        clock.advance(5)
        assert backend.kick(ALICE) is None
        assert is_out(backend, ALICE)
        assert backend.kicked(CODE) == {"alice": START}
        assert backend.participant_count(CODE) == 1

    def test_who_is_readmitted_starts_afresh(self, backend: Driven) -> None:
        backend.open(ALICE, MORE)
        backend.kick(ALICE)
        backend.kick(BOB)
        assert backend.readmit(ALICE) is True
        assert backend.readmit(ALICE) is False
        assert not is_out(backend, ALICE)
        assert is_out(backend, BOB)
        opened = backend.open(ALICE, BOARD)
        assert opened.created
        assert not opened.lost
        assert opened.record.states == BOARD
        assert backend.readmit(BOB) is True
        assert backend.kicked(CODE) == {}

    def test_no_lock_and_no_admission_comes_before_a_kick(
        self, backend: Driven
    ) -> None:
        backend.open(BOB, BOARD)
        backend.kick(ALICE)
        backend.update_session(CODE, locked=True)
        for admitted in (False, True):
            with pytest.raises(Kicked):
                backend.open(ALICE, BOARD, admitted=admitted)
        backend.readmit(ALICE)
        with pytest.raises(SessionLocked):
            backend.open(ALICE, BOARD)
        assert backend.open(ALICE, BOARD, admitted=True).created

    def test_of_no_session_nobody_can_be_kicked(self, backend: Driven) -> None:
        for _ in range(2):
            with pytest.raises(UnknownSession, match=CODE):
                backend.kick(ALICE)
            with pytest.raises(UnknownSession, match=CODE):
                backend.readmit(ALICE)
            assert backend.kicked(CODE) == {}
            assert not backend.standings([ALICE])[ALICE].kicked
            backend.end_session(CODE)

    @pytest.mark.parametrize("way", USES)
    def test_a_kick_lives_as_long_as_a_session_that_is_used(
        self, backend: Driven, clock: Clock, way: str
    ) -> None:
        backend.open(BOB, BOARD)
        backend.kick(ALICE)
        for number in range(10):
            clock.advance(0.8 * TIMEOUT)
            USES[way](backend, number)
        assert is_out(backend, ALICE)

    @pytest.mark.parametrize("way", ["created", "extended", "kept later"])
    def test_a_kick_lives_as_long_as_a_session_that_is_kept(
        self, backend: Driven, clock: Clock, way: str
    ) -> None:
        keep = 20 * TIMEOUT
        backend.create_session(CODE, label="", keep=keep if way == "created" else 0)
        backend.kick(ALICE)
        if way == "extended":
            backend.update_session(CODE, extend=keep)
        elif way == "kept later":
            backend.update_session(CODE, keep=keep)
        for _ in range(2):
            clock.advance(keep / 2 - 1)
            assert is_out(backend, ALICE)
        clock.advance(2 * TIMEOUT)
        assert is_out(backend, ALICE)

    @pytest.mark.parametrize(
        ("way", "anew"),
        [
            ("expires", "claim"),
            ("expires", "participant"),
            ("expires", "session"),
            ("is evicted", "participant"),
            ("is deleted", "session"),
            ("is ended", "claim"),
            ("is lost", "participant"),
        ],
    )
    def test_no_kick_is_left_for_the_next_session_of_the_code(
        self, backend: Driven, clock: Clock, way: str, anew: str
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.kick(ALICE)
        if way == "expires":
            # Its own record first, and the rest is still there.
            clock.advance(2.2 * TIMEOUT + 1)
        elif way == "is evicted":
            clock.advance(2 * TIMEOUT)
            assert backend.evict_empty_session(CODE, idle_for=TIMEOUT)
        elif way == "is deleted":
            backend.delete_session(CODE)
        elif way == "is ended":
            backend.end_session(CODE)
            clock.advance(43_201)
        else:
            self.lose_record(OWN, clock)
        assert not is_out(backend, ALICE)
        if anew == "claim":
            assert backend.create_session(CODE, label="", keep=60)
        elif anew == "participant":
            assert backend.open(ALICE, BOARD).created
        else:
            backend.open(OWN, {})
        assert not is_out(backend, ALICE)
        assert backend.open(ALICE, BOARD).record.states == BOARD
        clock.advance(TIMEOUT)
        assert not is_out(backend, ALICE)

    def test_a_kick_outlives_the_loss_of_the_sessions_own_record(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(BOB, BOARD)
        backend.kick(ALICE)
        self.lose_record(OWN, clock)
        assert is_out(backend, ALICE)
        assert backend.readmit(ALICE)
        assert backend.kick(ALICE) is None
        for _ in range(10):
            clock.advance(TIMEOUT)
            backend.open(BOB, BOARD)
            assert is_out(backend, ALICE)

    def test_the_states_of_a_session_go_without_its_kicks(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(BOB, BOARD)
        backend.kick(ALICE)
        for number in range(10):
            clock.advance(TIMEOUT)
            backend.open(BOB, BOARD)
            record = backend.read_record(OWN)
            backend.commit_next(record, {"agenda": b"1:%d" % number})
            assert backend.delete(OWN) is not None
        assert is_out(backend, ALICE)

    def test_more_are_not_kept_out_than_fit(
        self, backend: Driven, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for place in ("cas.kicks", "redis.kicks", "errors"):
            monkeypatch.setattr(f"sessionstores.backends.{place}.MAX_KICKED", 3)
        backend.open(ALICE, BOARD)
        ids = ["x" * 64, "y" * 64, "z" * 64]
        for id in ids:
            backend.kick(StoreKey(CODE, id))
        with pytest.raises(LimitReached, match="keeps 3 people out"):
            backend.kick(ALICE)
        assert backend.read_record(ALICE).states == BOARD
        assert sorted(backend.kicked(CODE)) == ids
        # Again, and after a readmission, there is room.
        backend.kick(StoreKey(CODE, ids[0]))
        backend.readmit(StoreKey(CODE, ids[1]))
        assert backend.kick(ALICE) is not None
        assert is_out(backend, ALICE)

    def test_an_orphan_of_who_is_kept_out_is_removed(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(BOB, BOARD)
        backend.open(ALICE, BOARD)
        backend.kick(ALICE)
        assert backend.reindex(ALICE) is False
        assert backend.participant_count(CODE) == 1

    def test_what_was_open_before_a_kick_commits_nothing_after_it(
        self, backend: Driven
    ) -> None:
        record = backend.open(ALICE, BOARD).record
        backend.kick(ALICE)
        assert backend.commit(record, record.rev.next(), MORE) == Stale(None)
        assert backend.touch(ALICE) is False
        assert backend.heads([ALICE]) == {ALICE: None}
        assert backend.read(ALICE) is None

    def test_nothing_of_who_was_kicked_is_stored_though_threads_try(
        self, blocking: Backend
    ) -> None:
        for race in range(self.RACES):
            key = StoreKey(f"KICK{race:02d}", "alice")
            run(blocking.open(StoreKey(key.session, "bob"), BOARD))
            if race % 2:
                run(blocking.open(key, BOARD))
            removed = kick_in_threads(blocking, key, self.THREADS)
            assert len(removed) == 2
            # Of two at once, one at most is told what there was.
            assert None in removed
            assert run(blocking.read(key)) is None
            assert run(blocking.participant_count(key.session)) == 1
            assert run(blocking.readmit(key))
            assert run(blocking.open(key, BOARD)).created

    def test_a_kick_and_the_end_of_the_session_at_once_leave_nothing(
        self, blocking: Backend
    ) -> None:
        for race in range(self.RACES):
            key = StoreKey(f"GONE{race:02d}", "alice")
            run(blocking.open(key, BOARD))

            def work(number: int, key: StoreKey = key) -> None:
                with suppress(UnknownSession, SessionEnded, Kicked):
                    if number == 0:
                        run(blocking.end_session(key.session))
                    elif number % 2:
                        run(blocking.kick(key))
                    else:
                        run(blocking.open(key, BOARD))

            in_threads(self.THREADS, work)
            assert run(blocking.read(key)) is None
            assert run(blocking.kicked(key.session)) == {}
        assert run(blocking.sessions()) == []
