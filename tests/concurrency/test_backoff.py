"""Backoff: delays between attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sessionstores.concurrency.backoff import Backoff


@given(
    attempt=st.integers(0, 10_000),
    base=st.floats(1e-6, 10),
    cap=st.floats(1e-6, 60),
    eager=st.integers(0, 8),
)
def test_a_delay_is_between_zero_and_the_doubled_base_or_the_cap(
    attempt: int, base: float, cap: float, eager: int
) -> None:
    delay = Backoff(base, cap, eager).delay(attempt)
    assert 0 <= delay <= cap
    if attempt < eager:
        assert delay == 0
    if attempt < 16:
        assert delay <= base * 2**attempt


def test_delays_are_spread() -> None:
    backoff = Backoff(1, 60)
    assert len({backoff.delay(5) for _ in range(50)}) > 40
