"""The server's clock, as estimated here."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from sessionstores.backends.clock import ServerClock

Advance = Callable[..., None]


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> Advance:
    """Stop this machine's clocks at 1000 and 50 s; call it to advance them."""
    now = {"wall": 1_000.0, "even": 50.0}
    monkeypatch.setattr(time, "time", lambda: now["wall"])
    monkeypatch.setattr(time, "monotonic", lambda: now["even"])

    def advance(wall: float, even: float | None = None) -> None:
        now["wall"] += wall
        now["even"] += wall if even is None else even

    return advance


def test_until_it_is_synchronised_it_is_this_machines(advance: Advance) -> None:
    clock = ServerClock()
    assert (clock(), clock.is_known, clock.is_due()) == (1_000, False, True)
    advance(7)
    assert clock() == 1_007


def test_it_follows_the_server_whatever_is_done_to_this_machines_time(
    advance: Advance,
) -> None:
    clock = ServerClock()
    clock.synchronise(4_600)
    assert (clock(), clock.is_known, clock.is_due()) == (4_600, True, False)
    advance(-500, even=10)
    assert clock() == 4_610


def test_an_estimate_holds_for_a_minute(advance: Advance) -> None:
    clock = ServerClock()
    clock.synchronise(4_600)
    advance(59)
    assert not clock.is_due()
    advance(1)
    assert clock.is_due()


def test_it_is_due_again_when_the_machine_has_been_asleep(advance: Advance) -> None:
    clock = ServerClock(tolerance=3)
    clock.synchronise(4_600)
    advance(30)
    assert not clock.is_due()
    assert clock() == 4_630
    # Suspended: one of the clocks stood still.
    advance(500, even=0)
    assert clock.is_due()
    clock.synchronise(5_130)
    assert not clock.is_due()
    assert clock() == 5_130


def test_a_slow_answer_counts_from_when_it_was_asked_and_holds_a_second(
    advance: Advance,
) -> None:
    clock = ServerClock()
    advance(0.5)
    clock.synchronise(4_600, asked_at=50.0)
    assert clock() == 4_600.5
    advance(0.4)
    assert not clock.is_due()
    advance(0.2)
    assert clock.is_due()


def test_a_difference_within_the_tolerance_is_none(advance: Advance) -> None:
    rough, exact = ServerClock(tolerance=3), ServerClock()
    for clock in (rough, exact):
        clock.synchronise(1_002)
    assert (rough(), exact()) == (1_000, 1_002)
    rough.synchronise(1_003)
    assert rough() == 1_003
