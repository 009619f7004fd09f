"""Latency: durations counted in buckets of fixed bounds, and percentiles of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from math import ceil, inf, sqrt

# Each bound is 2 ** (1 / STEPS) times the one before, 9 % more. They are those of
# Prometheus's native histograms of schema 3, so that these can be made of the buckets.
STEPS = 8
SCHEMA = 3
# From 7.6 µs to 64 s, in powers of two.
LOWEST, HIGHEST = -17, 6

# The upper bounds of buckets in seconds; what takes longer has a bucket of its own.
BOUNDS = tuple(
    2 ** (place / STEPS) for place in range(LOWEST * STEPS, HIGHEST * STEPS + 1)
)


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket in which a duration is counted."""
    return bisect_left(BOUNDS, seconds)


def upper_bound(bucket: int) -> float:
    """Return the longest duration that a bucket counts, in seconds."""
    return BOUNDS[bucket] if bucket < len(BOUNDS) else inf


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the duration that `share` of those counted do not exceed, in seconds.

    It is in the middle of the exact one's bucket, so at most 5 % away from it; what is
    beyond the last bound counts as that. None: there are no durations.
    """
    rank = ceil(share * sum(counts.values()))
    for bucket in sorted(counts):
        rank -= counts[bucket]
        if rank <= 0 and counts[bucket]:
            if bucket == 0 or bucket >= len(BOUNDS):
                return BOUNDS[min(bucket, len(BOUNDS) - 1)]
            return sqrt(BOUNDS[bucket - 1] * BOUNDS[bucket])
    return None
