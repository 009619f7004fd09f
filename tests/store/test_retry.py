"""The tries of a commit: the first retry at once, then pauses, then `Conflict`."""

from __future__ import annotations

import time

import pytest

from sessionstores import Conflict, event_bus
from sessionstores.backends import get_backend
from sessionstores.backends.base import Backend, run
from sessionstores.keys import StoreKey
from sessionstores.monitoring.counters import counters
from sessionstores.store import retry
from sessionstores.store.retry import BACKOFF, MIN_SECONDS, MIN_TRIES, CommitRetry

ALICE = StoreKey("K7Q2ZD", "alice")


@pytest.fixture
def backend() -> Backend:
    return get_backend(blocking=True)


@pytest.fixture
def pauses(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were waited for, which take no time."""
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(backend, "pause", pause)
    return waited


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every pause be as long as it may."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)


@pytest.mark.usefixtures("longest")
def test_the_first_retry_is_immediate_and_later_ones_wait_longer_each(
    backend: Backend, pauses: list[float]
) -> None:
    tries = CommitRetry(backend, ALICE)
    for _ in range(MIN_TRIES):
        run(tries.wait())
    assert pauses[:4] == [0.002, 0.004, 0.008, 0.016]
    assert len(pauses) == MIN_TRIES - 1
    assert max(pauses) == pauses[-1] == BACKOFF.cap


def test_it_gives_up_when_both_tries_and_time_are_used_up(
    backend: Backend, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = CommitRetry(backend, ALICE)
    for _ in range(3 * MIN_TRIES):
        run(many.wait())
    late = CommitRetry(backend, ALICE, started=time.monotonic() - MIN_SECONDS)
    for _ in range(MIN_TRIES - 1):
        run(late.wait())
    with pytest.raises(Conflict, match=f"others committed first {MIN_TRIES} times"):
        run(late.wait())
    monkeypatch.setattr(retry, "MIN_SECONDS", 0.0)
    with pytest.raises(Conflict, match="Nothing was changed; dispatch again"):
        run(many.wait())


def test_each_conflict_is_counted_and_noted(
    backend: Backend, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[event_bus.Event] = []
    monkeypatch.setattr(event_bus.EventBus, "publish", lambda _, e: events.append(e))
    before = counters.conflicts
    tries = CommitRetry(backend, ALICE)
    for _ in range(3):
        run(tries.wait())
    assert counters.conflicts == before + 3
    assert [(event.kind, event.key) for event in events] == [("conflict", ALICE)] * 3
