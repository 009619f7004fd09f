"""Token buckets: never more than was earned, and nobody waits who keeps to the rate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from sessionstores.realtime import token_bucket
from sessionstores.realtime.token_bucket import TokenBucket


class Clock:
    """A clock that stands still between two `pass_by`."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def pass_by(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


@contextmanager
def clocked() -> Iterator[Clock]:
    """Let buckets go by a clock of the test's own."""
    clock = Clock()
    time = SimpleNamespace(monotonic=lambda: clock.now)
    with mock.patch.object(token_bucket, "time", time):
        yield clock


gaps = st.floats(0, 30, allow_nan=False)
costs = st.floats(0.1, 100, allow_nan=False)
rates = st.floats(0.1, 500, allow_nan=False)
bursts = st.floats(1, 500, allow_nan=False)


@given(rates, bursts, st.lists(st.tuples(gaps, costs), max_size=40))
def test_who_waits_for_what_they_spend_gets_no_more_than_the_rate(
    rate: float, burst: float, spendings: list[tuple[float, float]]
) -> None:
    with clocked() as clock:
        bucket = TokenBucket(rate, burst)
        begun, spent = clock.now, 0.0
        for gap, cost in spendings:
            clock.pass_by(gap)
            seconds = bucket.spend(cost)
            assert seconds >= 0
            clock.pass_by(seconds)
            spent += cost
            earned = burst + rate * (clock.now - begun)
            assert spent <= earned * (1 + 1e-9) + 1e-6


@given(rates, bursts, st.lists(st.floats(0.1, 1), max_size=40))
def test_who_keeps_to_the_rate_never_waits(
    rate: float, burst: float, costs: list[float]
) -> None:
    with clocked() as clock:
        bucket = TokenBucket(rate, burst)
        for cost in costs:
            clock.pass_by(cost / rate * (1 + 1e-9))
            assert bucket.spend(cost) == 0


@given(rates, bursts, st.lists(gaps, max_size=40))
def test_taking_gives_no_more_than_the_rate_and_says_when_there_is_one(
    rate: float, burst: float, pauses: list[float]
) -> None:
    with clocked() as clock:
        bucket = TokenBucket(rate, burst)
        begun = clock.now
        for taken, gap in enumerate(pauses, 1):
            clock.pass_by(gap)
            if not bucket.take():
                clock.pass_by(bucket.delay() * (1 + 1e-9) + 1e-9)
                assert bucket.take()
            assert taken <= burst + rate * (clock.now - begun) + 1e-6
