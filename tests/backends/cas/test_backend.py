"""The logic over compare-and-set, with a primitive that fails or is overtaken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from math import inf
from typing import Any

import pytest
from pytest_django import Settings

from sessionstores.backends.base import run
from sessionstores.backends.cas import backend
from sessionstores.backends.cas.key_value import Versioned
from sessionstores.backends.cas.serializers import codes_in, ids_in
from sessionstores.backends.locmem import LocMemBackend
from sessionstores.backends.types import Attempt, Committed, Record, Stale
from sessionstores.exceptions import (
    LimitReached,
    SessionEnded,
    SessionStoresError,
    StateCorrupt,
    StoreUnavailable,
)
from sessionstores.keys import StoreKey
from sessionstores.state.revisions import RING_LENGTH
from tests.contract.contract import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    ELSEWHERE,
    JUNK,
    MORE,
    OWN,
    Clock,
    lease,
)

Call = Callable[[LocMemBackend], Coroutine[Any, Any, Any]]


class Stepwise(LocMemBackend):
    """A backend over the same values, that lets something happen at chosen steps.

    A step is one operation of the primitive: `before` and `after` are called with its
    number and what it does, from 0 on.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__("cas", blocking=True, clock=clock)
        self.steps = 0
        self.before: Callable[[int, str], None] = lambda step, what: None
        self.after: Callable[[int, str], None] = lambda step, what: None

    async def pause(self, seconds: float) -> None:
        pass

    async def _read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        with_step = self._begin("read")
        found = await super()._read(keys)
        self.after(with_step, "read")
        return found

    async def _cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        with_step = self._begin("cas")
        answer = await super()._cas(key, token, value, ttl)
        self.after(with_step, "cas")
        return answer

    async def _delete(self, key: str, token: Any) -> bool:
        with_step = self._begin("delete")
        answer = await super()._delete(key, token)
        self.after(with_step, "delete")
        return answer

    def _begin(self, what: str) -> int:
        step, self.steps = self.steps, self.steps + 1
        self.before(step, what)
        return step


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plain(clock: Clock) -> Iterator[LocMemBackend]:
    """The same values, undisturbed."""
    backend = LocMemBackend("cas", blocking=True, clock=clock)
    run(backend.clear())
    yield backend
    run(backend.clear())


@pytest.fixture
def stepwise(plain: LocMemBackend, clock: Clock) -> Stepwise:
    return Stepwise(clock)


def fail_at(
    backend: Stepwise, *steps: int, after: bool = False, error: type[OSError] = OSError
) -> None:
    """Let it fail at these steps, before or after they have taken effect."""

    def fail(step: int, what: str) -> None:
        if step in steps:
            raise error(f"at step {step}")

    backend.steps = 0
    backend.before = backend.after = lambda step, what: None
    if after:
        backend.after = fail
    else:
        backend.before = fail


def values(backend: LocMemBackend) -> dict[str, bytes]:
    return dict(backend._cache._cache)


def record(backend: LocMemBackend, key: StoreKey = ALICE) -> Record:
    found = run(backend.read(key, touch=False))
    assert isinstance(found, Record)
    return found


def check_index(backend: LocMemBackend) -> None:
    """Check that index, sessions and records say the same."""
    there = values(backend)
    records = {key for key in there if ":p:" in key}
    listed = {
        key.replace(":m:", f":p:{id}")
        for key, value in there.items()
        if ":m:" in key
        for id in ids_in(value)
    }
    assert listed == records
    sessions = {key[4:10] for key in there if key.endswith(":s:")}
    assert {key[4:10] for key in records} <= sessions
    registered = {
        code
        for key, value in there.items()
        if key.startswith("ss:reg:")
        for code in codes_in(value)
    }
    assert registered == sessions
    assert not sessions & {key[4:10] for key in there if key.endswith(":t:")}
    connected = {key.replace(":c:", ":") for key in there if ":c:" in key}
    attending = {
        key.replace(":a:", f":{id}")
        for key, value in there.items()
        if ":a:" in key
        for id in ids_in(value)
    }
    assert connected <= attending


# Failing at each step

CREATIONS: dict[str, Call] = {
    "a participant": lambda backend: backend.open(ALICE, BOARD),
    "a session": lambda backend: backend.open(OWN, BOARD),
    "a claim": lambda backend: backend.create_session(CODE, label="", keep=60),
    "a participant elsewhere": lambda backend: backend.open(ELSEWHERE, BOARD),
}


@pytest.mark.parametrize(
    "error", [ConnectionResetError, TimeoutError, StoreUnavailable]
)
@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("creation", CREATIONS)
def test_a_creation_that_fails_at_any_step_leaves_nothing_behind(
    plain: LocMemBackend,
    stepwise: Stepwise,
    creation: str,
    after: bool,
    error: type[OSError],
) -> None:
    run(plain.open(StoreKey("ELSE23", "bob"), BOARD))
    before = values(plain)
    for step in range(100):
        fail_at(stepwise, step, after=after, error=error)
        try:
            run(CREATIONS[creation](stepwise))
        except StoreUnavailable:
            assert values(plain) == before
        else:
            break
    assert step >= 5
    assert values(plain) != before
    check_index(plain)


CALLS: dict[str, Call] = {
    **CREATIONS,
    "open again": lambda backend: backend.open(BOB, BOARD),
    "read": lambda backend: backend.read(BOB),
    "heads": lambda backend: backend.heads([BOB]),
    "touch": lambda backend: backend.touch(BOB),
    "delete": lambda backend: backend.delete(BOB),
    "delete a session's": lambda backend: backend.delete(OWN),
    "set aside": lambda backend: backend.set_aside(BOB, "board", b"x"),
    "set aside whole": lambda backend: backend.set_aside(ELSEWHERE, None, None),
    "session": lambda backend: backend.session(CODE),
    "update": lambda backend: backend.update_session(CODE, label="x"),
    "end": lambda backend: backend.end_session(CODE),
    "delete session": lambda backend: backend.delete_session(CODE),
    "sessions": lambda backend: backend.sessions(),
    "participants": lambda backend: backend.participants(CODE),
    "session count": lambda backend: backend.session_count(),
    "participant count": lambda backend: backend.participant_count(),
    "evict": lambda backend: backend.evict_idle(CODE, idle_for=0, limit=9),
    "evict session": lambda backend: backend.evict_empty_session("EMPTY2", idle_for=0),
    "revoke": lambda backend: backend.revoke(BOB),
    "standings": lambda backend: backend.standings([BOB]),
    "lease": lambda backend: backend.lease([lease(BOB)]),
    "release": lambda backend: backend.release(lease(BOB)),
    "connections": lambda backend: backend.connections(OWN),
    "followers": lambda backend: backend.followers(BOB),
    "value": lambda backend: backend.value("x"),
    "swap": lambda backend: backend.swap_value("x", None, b"x", seconds=9),
    "values": lambda backend: backend.values(["x", "y"]),
    "reap": lambda backend: backend.reap([CODE]),
    "connections of several": lambda backend: backend.connections_of([CODE]),
    "note": lambda backend: backend.note(CODE, [{"kind": "end"}], changes=1),
    "summaries": lambda backend: backend.summaries(),
    "due": lambda backend: backend.due_sessions(idle_for=0, limit=9),
    "orphans": lambda backend: backend.orphans(),
    "reindex": lambda backend: backend.reindex(BOB),
}


@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("name", CALLS)
def test_whatever_step_fails_the_store_is_unavailable_or_the_work_done(
    plain: LocMemBackend, stepwise: Stepwise, clock: Clock, name: str, after: bool
) -> None:
    failures: list[StoreUnavailable] = []
    for step in range(100):
        run(plain.clear())
        run(plain.open(BOB, BOARD))
        run(plain.note(CODE, [{"kind": "start"}]))
        run(plain.open(StoreKey.of_session("EMPTY2"), {}))
        stepwise._cache.cas(
            "ss:{ELSE23}:p:alice", None, b"junk", clock.time, clock.time + 600
        )
        clock.advance(100)
        fail_at(stepwise, step, after=after)
        with suppress(StateCorrupt):
            try:
                run(CALLS[name](stepwise))
            except StoreUnavailable as error:
                failures.append(error)
        if stepwise.steps <= step:
            break
    assert failures
    assert all(isinstance(error.__cause__, OSError) for error in failures)
    assert all("OSError: at step" in str(error) for error in failures)
    # What was cut short, the next access mends.
    for key in (BOB, ALICE):
        with suppress(SessionEnded):
            run(plain.open(key, BOARD))
    run(plain.delete(ELSEWHERE))
    run(plain.evict_idle(CODE, idle_for=0, limit=99))
    run(plain.evict_empty_session(CODE, idle_for=0))
    run(plain.evict_empty_session("EMPTY2", idle_for=0))
    run(plain.evict_empty_session("ELSE23", idle_for=0))
    check_index(plain)


def test_an_error_that_is_none_of_the_connection_passes_through(
    stepwise: Stepwise,
) -> None:
    def fail(step: int, what: str) -> None:
        raise ZeroDivisionError

    stepwise.before = fail
    with pytest.raises(ZeroDivisionError):
        run(stepwise.read(ALICE))


# A commit whose reply is lost


def interfere(backend: LocMemBackend, times: int) -> Callable[[], None]:
    def commit() -> None:
        for _ in range(times):
            base = record(backend)
            assert isinstance(
                run(backend.commit(base, base.rev.next(), BOARD)), Committed
            )

    return commit


def lose_reply(
    backend: Stepwise, *, applied: bool, then: Callable[[], None] = lambda: None
) -> None:
    """Lose the reply to the first compare-and-set, and let `then` happen at once."""
    lost = []

    def lose(step: int, what: str) -> None:
        if what == "cas" and not lost:
            lost.append(step)
            then()
            raise TimeoutError("lost")

    backend.steps = 0
    if applied:
        backend.after = lose
    else:
        backend.before = lose


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("others", [0, 1, RING_LENGTH - 1])
def test_a_commit_is_in_exactly_once_though_its_reply_was_lost(
    plain: LocMemBackend, stepwise: Stepwise, applied: bool, others: int
) -> None:
    base = run(plain.open(ALICE, BOARD)).record
    rev = base.rev.next()
    lose_reply(stepwise, applied=applied, then=interfere(plain, others))
    answer = run(stepwise.commit(base, rev, MORE, Attempt("tab", 1, {})))
    stored = record(plain)
    if applied or others == 0:
        assert isinstance(answer, Committed)
        assert stored.rev.counter == 2 + others
        assert stored.history.place(rev) == ("past" if others else "head")
        assert stored.clients["tab"].last == 1
    else:
        assert isinstance(answer, Stale)
        assert stored.history.place(rev) == "foreign"
        assert stored.rev.counter == 1 + others
        assert "tab" not in stored.clients


def test_a_lost_reply_beyond_the_ring_is_of_unknown_outcome(
    plain: LocMemBackend, stepwise: Stepwise
) -> None:
    base = run(plain.open(ALICE, BOARD)).record
    rev = base.rev.next()
    lose_reply(stepwise, applied=True, then=interfere(plain, RING_LENGTH))
    with pytest.raises(StoreUnavailable, match=str(rev)) as caught:
        run(stepwise.commit(base, rev, MORE))
    assert isinstance(caught.value.__cause__, StoreUnavailable)
    assert record(plain).rev.counter == 2 + RING_LENGTH


@pytest.mark.parametrize("applied", [True, False])
def test_a_lost_reply_before_a_reset_is_of_unknown_outcome(
    plain: LocMemBackend, stepwise: Stepwise, applied: bool
) -> None:
    base = run(plain.open(ALICE, BOARD)).record
    rev = base.rev.next()

    def reset() -> None:
        newer = record(plain)
        run(plain.commit(newer, newer.rev.reincarnated(), BOARD))

    lose_reply(stepwise, applied=applied, then=reset)
    with pytest.raises(StoreUnavailable, match=str(rev)):
        run(stepwise.commit(base, rev, MORE))
    assert record(plain).rev.counter == 1


def test_a_commit_that_waited_long_for_its_answer_waits_no_longer(
    plain: LocMemBackend, stepwise: Stepwise, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = run(plain.open(ALICE, BOARD)).record
    monkeypatch.setattr(backend, "SOON", -1)
    lose_reply(stepwise, applied=True)
    with pytest.raises(StoreUnavailable, match="may or may not be in"):
        run(stepwise.commit(base, base.rev.next(), MORE))
    assert stepwise.steps == 1
    answer = run(plain.commit(base, record(plain).rev, MORE, repeated=True))
    assert isinstance(answer, Committed)


def test_a_record_removed_after_a_lost_reply_is_gone(
    plain: LocMemBackend, stepwise: Stepwise
) -> None:
    base = run(plain.open(ALICE, BOARD)).record
    lose_reply(stepwise, applied=True, then=lambda: run(plain.delete(ALICE)) and None)
    assert run(stepwise.commit(base, base.rev.next(), MORE)) == Stale(None)
    check_index(plain)


def test_a_cache_that_keeps_failing_is_not_asked_for_ever(
    plain: LocMemBackend, stepwise: Stepwise
) -> None:
    base = run(plain.open(ALICE, BOARD)).record
    fail_at(stepwise, *range(100))
    with pytest.raises(StoreUnavailable):
        run(stepwise.commit(base, base.rev.next(), MORE))
    assert stepwise.steps == 2
    fail_at(stepwise, 0, 2)
    with pytest.raises(StoreUnavailable):
        run(stepwise.commit(base, base.rev.next(), MORE))
    assert record(plain).rev == base.rev


def test_a_commit_that_is_in_is_reported_though_followers_cannot_be_told(
    plain: LocMemBackend, stepwise: Stepwise, clock: Clock
) -> None:
    base = run(plain.open(ALICE, BOARD)).record
    run(plain.lease([lease()]))
    clock.advance(100)
    for step in range(1, 50):
        fail_at(stepwise, step)
        answer = run(stepwise.commit(base, base.rev.next(), MORE))
        assert isinstance(answer, Committed)
        base = answer.record
        if stepwise.steps <= step:
            break
        assert answer.followers == frozenset()
        clock.advance(100)
    assert step > 3


# One operation overtaken by another, at each of its steps

RACES: dict[str, Call] = {
    "open": lambda backend: backend.open(ALICE, BOARD),
    "open session": lambda backend: backend.open(OWN, {}),
    "claim": lambda backend: backend.create_session(CODE, label="", keep=0),
    "read": lambda backend: backend.read(ALICE),
    "touch": lambda backend: backend.touch(ALICE),
    "lease": lambda backend: backend.lease([lease()]),
    "delete": lambda backend: backend.delete(ALICE),
    "wipe": lambda backend: backend.delete(OWN),
    "evict": lambda backend: backend.evict_idle(CODE, idle_for=50, limit=9),
    "evict session": lambda backend: backend.evict_empty_session(CODE, idle_for=50),
    "delete session": lambda backend: backend.delete_session(CODE),
    "end": lambda backend: backend.end_session(CODE),
    "update": lambda backend: backend.update_session(CODE, label="x"),
    "release": lambda backend: backend.release(lease()),
    "reap": lambda backend: backend.reap([CODE]),
    "reindex": lambda backend: backend.reindex(ALICE),
}

STARTS: dict[str, list[Call]] = {
    "nothing": [],
    "session": [lambda backend: backend.open(OWN, BOARD)],
    "participant": [
        lambda backend: backend.open(ALICE, BOARD),
        lambda backend: backend.lease([lease()]),
    ],
    "tombstone": [lambda backend: backend.end_session(CODE)],
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("other", RACES)
@pytest.mark.parametrize("name", RACES)
def test_whoever_overtakes_at_whatever_step_the_index_stays_true(
    plain: LocMemBackend,
    stepwise: Stepwise,
    clock: Clock,
    name: str,
    other: str,
    start: str,
) -> None:
    for at in range(100):
        run(plain.clear())
        for call in STARTS[start]:
            run(call(plain))
        clock.advance(100)

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                with suppress(SessionEnded):
                    run(RACES[other](plain))

        stepwise.steps, stepwise.before = 0, overtake
        with suppress(SessionEnded):
            run(RACES[name](stepwise))
        check_index(plain)
        if stepwise.steps <= at:
            return
    raise AssertionError("never came to an end")


PRESENCE: dict[str, Call] = {
    "come": lambda backend: backend.lease([lease()]),
    "come again": lambda backend: backend.lease([lease(ALICE, "c2")]),
    "go": lambda backend: backend.release(lease()),
    "leave": lambda backend: backend.release(lease(), grace=5),
    "reap": lambda backend: backend.reap([CODE]),
}


@pytest.mark.parametrize("lapsed", [False, True])
@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("other", PRESENCE)
@pytest.mark.parametrize("name", PRESENCE)
def test_whoever_overtakes_joins_and_leaves_are_told_in_turn(
    plain: LocMemBackend,
    stepwise: Stepwise,
    clock: Clock,
    name: str,
    other: str,
    connected: bool,
    lapsed: bool,
) -> None:
    for at in range(100):
        run(plain.clear())
        present = int(connected)
        if connected:
            run(plain.lease([lease()]))
        if lapsed:
            clock.advance(31)
        answers: list[tuple[str, Any]] = []

        def overtake(
            step: int, what: str, at: int = at, told: list[Any] = answers
        ) -> None:
            if step == at:
                told.append((other, run(PRESENCE[other](plain))))

        stepwise.steps, stepwise.before = 0, overtake
        answers.append((name, run(PRESENCE[name](stepwise))))
        for called, answer in answers:
            told = len(answer) if isinstance(answer, list) else answer
            present += told if called.startswith("come") else -told
        there = [key for key in values(plain) if ":c:" in key]
        assert present == len(there)
        assert len(run(plain.connections(OWN))) <= 2
        check_index(plain)
        if stepwise.steps <= at:
            return
    raise AssertionError("never came to an end")


def test_whoever_overtakes_an_eviction_each_participant_is_reported_once(
    plain: LocMemBackend, stepwise: Stepwise, clock: Clock
) -> None:
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        run(plain.open(BOB, BOARD))
        name = f"ss:{{{CODE}}}:p:bob"
        plain._cache.remove(name, values(plain)[name], clock())
        clock.advance(301)
        removed = []

        def overtake(
            step: int, what: str, at: int = at, told: list[Any] = removed
        ) -> None:
            if step == at:
                told += run(plain.evict_idle(CODE, idle_for=300, limit=9))

        stepwise.steps, stepwise.before = 0, overtake
        removed += run(stepwise.evict_idle(CODE, idle_for=300, limit=9))
        told = sorted((final.key, final.states) for final in removed)
        assert told == [(ALICE, BOARD), (BOB, None)]
        if stepwise.steps <= at:
            return
    raise AssertionError("never came to an end")


CLEARINGS: dict[str, Call] = {
    "delete session": lambda backend: backend.delete_session(CODE),
    "end": lambda backend: backend.end_session(CODE),
}


@pytest.mark.parametrize("clearing", CLEARINGS)
def test_a_sweep_beside_a_session_that_goes_finds_none_of_its_participants_lost(
    plain: LocMemBackend, stepwise: Stepwise, clearing: str
) -> None:
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        run(plain.open(BOB, BOARD))
        removed = []

        def overtake(
            step: int, what: str, at: int = at, told: list[Any] = removed
        ) -> None:
            if step == at:
                told += run(plain.evict_idle(CODE, idle_for=inf, limit=9))

        stepwise.steps, stepwise.before = 0, overtake
        removed += run(CLEARINGS[clearing](stepwise))
        told = [(final.key, final.states) for final in removed]
        assert told == [(ALICE, BOARD), (BOB, BOARD), (OWN, {})]
        if stepwise.steps <= at:
            return
    raise AssertionError("never came to an end")


def test_a_look_for_orphans_beside_an_end_takes_nobody_from_who_ends_it(
    plain: LocMemBackend, stepwise: Stepwise
) -> None:
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        run(plain.open(BOB, BOARD))

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                for key in run(plain.orphans()) or ():
                    run(plain.reindex(key))

        stepwise.steps, stepwise.before = 0, overtake
        removed = run(stepwise.end_session(CODE))
        told = [(final.key, final.states) for final in removed]
        assert told == [(ALICE, BOARD), (BOB, BOARD), (OWN, {})]
        check_index(plain)
        if stepwise.steps <= at:
            return
    raise AssertionError("never came to an end")


def test_who_comes_back_to_a_session_that_goes_is_not_told_as_lost_too(
    plain: LocMemBackend, stepwise: Stepwise
) -> None:
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        back = []

        def overtake(
            step: int, what: str, at: int = at, told: list[Any] = back
        ) -> None:
            if step == at:
                told.append(run(plain.open(ALICE, MORE)))

        stepwise.steps, stepwise.before = 0, overtake
        removed = run(stepwise.delete_session(CODE))
        told = [final.states for final in removed if final.key == ALICE]
        assert told == [BOARD]
        assert not any(opened.lost for opened in back)
        check_index(plain)
        if stepwise.steps <= at:
            return
    raise AssertionError("never came to an end")


@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("clearing", CLEARINGS)
def test_whatever_step_of_it_fails_nobody_in_a_session_that_goes_is_left_untold(
    plain: LocMemBackend, stepwise: Stepwise, clearing: str, after: bool
) -> None:
    keys = [StoreKey(CODE, f"p{number:02d}") for number in range(20)]
    for step in range(100):
        run(plain.clear())
        for key in keys:
            run(plain.open(key, BOARD))
        fail_at(stepwise, step, after=after)
        removed = []
        with suppress(StoreUnavailable):
            removed += run(CLEARINGS[clearing](stepwise))
        steps, lost = stepwise.steps, []
        removed += run(CLEARINGS[clearing](plain))
        told = Counter(final.key for final in removed if not final.key.is_session)
        assert set(told.values()) == {1}
        # Whose removal was not answered may have been removed by another, who tells.
        lost = [key for key in keys if key not in told]
        assert len(lost) <= after
        check_index(plain)
        if steps <= step:
            assert not lost
            return
    raise AssertionError("never came to an end")


def test_who_finds_a_record_lost_at_the_same_time_as_another_is_the_only_one(
    plain: LocMemBackend, stepwise: Stepwise, clock: Clock
) -> None:
    finders = []
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        name = f"ss:{{{CODE}}}:p:alice"
        plain._cache.remove(name, values(plain)[name], clock())
        lost = []

        def overtake(
            step: int, what: str, at: int = at, told: list[bool] = lost
        ) -> None:
            if step == at:
                told.append(run(plain.open(ALICE, BOARD)).lost)

        stepwise.steps, stepwise.before = 0, overtake
        lost.append(run(stepwise.open(ALICE, BOARD)).lost)
        finders.append(sum(lost))
        check_index(plain)
        if stepwise.steps <= at:
            break
    assert set(finders) == {1}


def test_nothing_is_evicted_that_was_touched_or_leased_meanwhile(
    plain: LocMemBackend, stepwise: Stepwise, clock: Clock
) -> None:
    for use in ("touch", "lease", "read", "open"):
        for at in range(100):
            run(plain.clear())
            run(plain.open(ALICE, BOARD))
            clock.advance(301)
            used: list[int] = []

            def overtake(
                step: int,
                what: str,
                at: int = at,
                use: str = use,
                used: list[int] = used,
            ) -> None:
                if step == at:
                    used.append(run(plain.read(ALICE, touch=False)) is not None)
                    run(RACES[use](plain))

            stepwise.steps, stepwise.before = 0, overtake
            removed = run(stepwise.evict_idle(CODE, idle_for=300, limit=9))
            if stepwise.steps <= at:
                break
            if used == [True]:
                assert removed == []
                assert record(plain).states == BOARD
        assert at > 3


def test_a_session_joined_while_it_is_evicted_comes_back_as_it_was(
    plain: LocMemBackend, stepwise: Stepwise, clock: Clock
) -> None:
    kept = 0
    for at in range(100):
        run(plain.clear())
        run(plain.create_session(CODE, label="Team day", keep=0))
        clock.advance(301)

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                run(plain.open(ALICE, BOARD))

        stepwise.steps, stepwise.before = 0, overtake
        evicted = run(stepwise.evict_empty_session(CODE, idle_for=300))
        if stepwise.steps <= at:
            break
        info = run(plain.session(CODE))
        assert info is not None
        assert not (evicted and info.label)
        kept += info.label == "Team day"
    assert kept >= 2


def test_a_creation_overtaken_by_the_end_says_so_and_leaves_nothing(
    plain: LocMemBackend, stepwise: Stepwise
) -> None:
    for at in range(100):
        run(plain.clear())

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                run(plain.end_session(CODE))

        stepwise.steps, stepwise.before = 0, overtake
        try:
            run(stepwise.open(ALICE, BOARD))
        except SessionEnded:
            assert list(values(plain)) == [f"ss:{{{CODE}}}:t:"]
        else:
            assert stepwise.steps <= at
            break
    assert at >= 5


def test_a_participant_who_is_just_being_created_is_not_reported_as_lost(
    plain: LocMemBackend, stepwise: Stepwise, clock: Clock
) -> None:
    reported = []
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        name = f"ss:{{{CODE}}}:p:alice"
        plain._cache.remove(name, values(plain)[name], clock())

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                run(plain.open(ALICE, BOARD))

        clock.advance(301)
        stepwise.steps, stepwise.before = 0, overtake
        removed = run(stepwise.evict_idle(CODE, idle_for=300, limit=9))
        if stepwise.steps <= at:
            break
        assert run(plain.participant_count(CODE)) == 1
        reported.append(len(removed))
    # Only those who come when it has been looked at for the last time.
    assert reported == [0] * (len(reported) - 1) + [1]


def test_sessions_created_at_the_same_time_do_not_exceed_the_limit(
    plain: LocMemBackend, stepwise: Stepwise, settings: Settings
) -> None:
    settings.SESSIONSTORES = {"MAX_SESSIONS": 1}
    for at in range(100):
        run(plain.clear())

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                with suppress(LimitReached):
                    run(plain.open(ELSEWHERE, BOARD))

        stepwise.steps, stepwise.before = 0, overtake
        with suppress(LimitReached):
            run(stepwise.open(ALICE, BOARD))
        assert run(plain.session_count()) <= 1
        check_index(plain)
        if stepwise.steps <= at:
            break
    assert at > 5


# A primitive that always loses


@pytest.mark.parametrize(
    "call",
    [
        lambda backend: backend.open(ALICE, BOARD),
        lambda backend: backend.update_session(CODE, label="x"),
        lambda backend: backend.delete(OWN),
        lambda backend: backend.revoke(BOB),
        lambda backend: backend.lease([lease(BOB)]),
        lambda backend: backend.end_session(CODE),
        lambda backend: backend.note(CODE, [{"kind": "start"}]),
        lambda backend: backend.set_aside(ELSEWHERE, None, None),
        lambda backend: backend.commit(
            record(backend, BOB), record(backend, BOB).rev.next(), MORE
        ),
    ],
)
def test_tries_come_to_an_end(
    plain: LocMemBackend,
    clock: Clock,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Loser(Stepwise):
        async def _cas(self, *args: Any) -> None:
            return None

        async def _delete(self, *args: Any) -> bool:
            return False

    run(plain.open(BOB, BOARD))
    run(plain.open(OWN, BOARD))
    base = record(plain, OWN)
    run(plain.commit(base, base.rev.next(), BOARD))
    plain._cache.cas("ss:{ELSE23}:p:alice", None, b"junk", clock(), clock() + 600)
    with pytest.raises(StoreUnavailable, match="64 tries"):
        run(call(Loser(clock)))


# Values that are none


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize(
    "kind", ["m:", "r:", "t:", "a:", "n:", "c:alice", "f:alice", "f:+", "reg"]
)
def test_junk_in_any_other_value_is_no_crash_and_heals(
    plain: LocMemBackend, clock: Clock, kind: str, junk: bytes
) -> None:
    run(plain.open(ALICE, BOARD))
    run(plain.lease([lease()]))
    name = next((k for k in values(plain) if "reg" in k), "")
    if kind != "reg":
        name = f"ss:{{{CODE}}}:{kind}"
    token = plain._cache.read([name], clock()).get(name)
    plain._cache.cas(name, token and token.token, junk, clock(), clock() + 600)
    clock.advance(100)
    for call in CALLS.values():
        if kind == "m:" or kind == "reg":
            run(plain.touch(ALICE))
        with suppress(SessionStoresError):
            run(call(plain))


def test_an_index_cut_off_anywhere_names_nobody_who_is_not_there(
    plain: LocMemBackend, clock: Clock
) -> None:
    for length in range(10):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        run(plain.open(BOB, BOARD))
        name = f"ss:{{{CODE}}}:m:"
        token = values(plain)[name]
        plain._cache.cas(name, token, token[:length], clock(), clock() + 600)
        clock.advance(100)
        run(plain.touch(ALICE))
        run(plain.touch(BOB))
        check_index(plain)


def test_an_index_that_was_lost_is_entered_again_by_those_in_use(
    plain: LocMemBackend, clock: Clock
) -> None:
    run(plain.open(ALICE, BOARD))
    run(plain.open(BOB, BOARD))
    for name, value in values(plain).items():
        if ":m:" in name or "reg" in name:
            plain._cache.remove(name, value, clock())
    assert run(plain.sessions()) == []
    clock.advance(100)
    run(plain.read(ALICE))
    run(plain.touch(BOB))
    assert run(plain.sessions()) == [CODE]
    assert run(plain.participant_count(CODE)) == 2
    check_index(plain)


def test_a_clock_that_went_back_does_not_let_what_is_in_use_expire(
    plain: LocMemBackend, clock: Clock
) -> None:
    clock.advance(3_600)
    run(plain.open(ALICE, BOARD))
    clock.advance(-3_600)
    run(plain.touch(ALICE))
    assert record(plain).seen == clock.time
    info = run(plain.session(CODE))
    assert info is not None
    assert info.seen == clock.time


def test_revocations_that_cannot_be_read_let_nobody_in(
    plain: LocMemBackend, clock: Clock
) -> None:
    plain._cache.cas(f"ss:{{{CODE}}}:r:", None, b"junk", clock(), clock() + 600)
    with pytest.raises(StateCorrupt, match=CODE):
        run(plain.standings([ALICE]))
    with pytest.raises(StateCorrupt, match=CODE):
        run(plain.revoke(ALICE))


def test_what_is_set_aside_can_be_found_for_a_day(
    plain: LocMemBackend, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    run(plain.open(ALICE, BOARD))
    for _ in range(2):
        run(plain.set_aside(ALICE, "board", b"one"))
    run(plain.set_aside(ALICE, "board", b"two"))
    kept = [name for name in values(plain) if ":q:alice:" in name]
    assert len(kept) == 2
    assert all(name in caplog.text for name in kept)
    clock.advance(86_399)
    assert set(plain._cache.read(kept, clock())) == set(kept)
    clock.advance(2)
    assert not plain._cache.read(kept, clock())
