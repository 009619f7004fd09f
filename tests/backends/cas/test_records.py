"""Records: commits whose reply is missing, corrupt data, lost records."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.cas import records
from sessionstores.backends.types import Attempt, Committed, Record, Stale
from sessionstores.exceptions import (
    StoreUnavailable,
)
from sessionstores.state.revisions import RING_LENGTH
from tests.backends.cas.stores import (
    DictBackend,
    Stepwise,
    check_index,
    fail_at,
    record,
)
from tests.backends.driven import (
    ALICE,
    BOARD,
    CODE,
    MORE,
    Clock,
    lease,
)


def interfere(backend: DictBackend, times: int) -> Callable[[], None]:
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

    backend.store.steps = 0
    if applied:
        backend.store.after = lose
    else:
        backend.store.before = lose


def used(backend: DictBackend) -> Record:
    """Return a record that somebody has changed, whose next commit is one step."""
    new = run(backend.open(ALICE, BOARD)).record
    answer = run(backend.commit(new, new.rev.next(), BOARD))
    assert isinstance(answer, Committed)
    return answer.record


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("others", [0, 1, RING_LENGTH - 1])
def test_a_commit_is_in_exactly_once_though_its_reply_was_lost(
    plain: DictBackend, stepwise: Stepwise, applied: bool, others: int
) -> None:
    base = run(plain.open(ALICE, BOARD)).record
    rev = base.rev.next()
    lose_reply(stepwise, applied=applied, then=interfere(plain, others))
    answer = run(stepwise.commit(base, rev, MORE, [Attempt("tab", 1, {})]))
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
    plain: DictBackend, stepwise: Stepwise
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
    plain: DictBackend, stepwise: Stepwise, applied: bool
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
    plain: DictBackend, stepwise: Stepwise, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = used(plain)
    monkeypatch.setattr(records, "REPEAT_WITHIN", -1)
    lose_reply(stepwise, applied=True)
    with pytest.raises(StoreUnavailable, match="may or may not be stored"):
        run(stepwise.commit(base, base.rev.next(), MORE))
    assert stepwise.store.steps == 1
    answer = run(plain.commit(base, record(plain).rev, MORE, repeated=True))
    assert isinstance(answer, Committed)


def test_a_record_removed_after_a_lost_reply_is_absent(
    plain: DictBackend, stepwise: Stepwise
) -> None:
    base = run(plain.open(ALICE, BOARD)).record
    lose_reply(stepwise, applied=True, then=lambda: run(plain.delete(ALICE)) and None)
    assert run(stepwise.commit(base, base.rev.next(), MORE)) == Stale(None)
    check_index(plain)


def test_a_cache_that_keeps_failing_is_not_asked_for_ever(
    plain: DictBackend, stepwise: Stepwise
) -> None:
    base = used(plain)
    fail_at(stepwise, *range(100))
    with pytest.raises(StoreUnavailable):
        run(stepwise.commit(base, base.rev.next(), MORE))
    assert stepwise.store.steps == 2
    fail_at(stepwise, 0, 2)
    with pytest.raises(StoreUnavailable):
        run(stepwise.commit(base, base.rev.next(), MORE))
    assert record(plain).rev == base.rev


def test_a_commit_that_is_in_is_reported_though_its_followers_are_unknown(
    plain: DictBackend, stepwise: Stepwise, clock: Clock
) -> None:
    base = run(plain.open(ALICE, BOARD)).record
    run(plain.lease([lease()]))
    clock.advance(100)
    for step in range(1, 50):
        fail_at(stepwise, step)
        answer = run(stepwise.commit(base, base.rev.next(), MORE))
        assert isinstance(answer, Committed)
        base = answer.record
        if stepwise.store.steps <= step:
            break
        assert answer.followers == frozenset()
        clock.advance(100)
    assert step > 3


def test_who_finds_a_record_lost_at_the_same_time_as_another_is_the_only_one(
    plain: DictBackend, stepwise: Stepwise, clock: Clock
) -> None:
    finders = []
    for at in range(100):
        run(plain.clear())
        run(plain.open(ALICE, BOARD))
        name = f"ss:{{{CODE}}}:p:alice"
        plain.store.lose(name)
        lost = []

        def overtake(
            step: int, what: str, at: int = at, told: list[bool] = lost
        ) -> None:
            if step == at:
                told.append(run(plain.open(ALICE, BOARD)).lost)

        stepwise.store.steps, stepwise.store.before = 0, overtake
        lost.append(run(stepwise.open(ALICE, BOARD)).lost)
        finders.append(sum(lost))
        check_index(plain)
        if stepwise.store.steps <= at:
            break
    assert set(finders) == {1}


def test_a_clock_that_went_back_does_not_let_what_is_in_use_expire(
    plain: DictBackend, clock: Clock
) -> None:
    clock.advance(3_600)
    run(plain.open(ALICE, BOARD))
    clock.advance(-3_600)
    run(plain.touch(ALICE))
    assert record(plain).seen == clock.time
    info = run(plain.session(CODE))
    assert info is not None
    assert info.seen == clock.time


def test_what_is_set_aside_can_be_found_for_a_day(
    plain: DictBackend, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    run(plain.open(ALICE, BOARD))
    for _ in range(2):
        run(plain.set_aside(ALICE, "board", b"one"))
    run(plain.set_aside(ALICE, "board", b"two"))
    kept = [name for name in plain.store.values() if ":q:alice:" in name]
    assert len(kept) == 2
    assert all(name in caplog.text for name in kept)
    clock.advance(86_399)
    assert set(kept) <= set(plain.store.values())
    clock.advance(2)
    assert not set(kept) & set(plain.store.values())
