"""Percentiles of counted durations, beside those of a plain sorted list."""

from __future__ import annotations

from collections import Counter
from math import ceil, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.monitoring.latency import (
    BOUNDS,
    STEPS,
    bucket_of,
    percentile,
    upper_bound,
)

# A bound is so many times the one before.
STEP = 2 ** (1 / STEPS)

durations = st.lists(st.floats(BOUNDS[0], BOUNDS[-1]), min_size=1, max_size=200)


def exact(seconds: list[float], share: float) -> float:
    """Return the shortest duration that a share of them does not exceed."""
    return sorted(seconds)[ceil(share * len(seconds)) - 1]


@given(durations, st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_is_within_a_bucket_of_the_exact_one(
    seconds: list[float], share: float
) -> None:
    found = percentile(Counter(map(bucket_of, seconds)), share)
    assert found is not None
    assert 1 / STEP < found / exact(seconds, share) < STEP
    # The shortest are told apart no more.
    if found > BOUNDS[0]:
        assert found == pytest.approx(exact(seconds, share), rel=0.05)


@given(st.floats(0, 1e6))
def test_a_duration_is_counted_below_the_first_bound_that_it_does_not_exceed(
    seconds: float,
) -> None:
    bucket = bucket_of(seconds)
    assert seconds <= upper_bound(bucket)
    assert bucket == 0 or seconds > upper_bound(bucket - 1)


def test_what_is_shorter_or_longer_than_all_bounds_has_a_percentile_too() -> None:
    assert percentile({bucket_of(0.0): 3}, 0.5) == BOUNDS[0]
    assert percentile({bucket_of(1e9): 3}, 0.5) == BOUNDS[-1]
    assert upper_bound(bucket_of(1e9)) == inf


@pytest.mark.parametrize("counts", [{}, {3: 0}])
def test_of_nothing_there_is_no_percentile(counts: dict[int, int]) -> None:
    assert percentile(counts, 0.95) is None
