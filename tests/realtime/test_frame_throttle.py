"""Frame throttles: a flood is slowed down and given up, an honest tab never is."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.realtime import frame_throttle
from sessionstores.realtime.frame_throttle import (
    FRAME_BURST,
    FRAMES_PER_SECOND,
    READ_BURST,
    READS_PER_SECOND,
    WAITING_SHARE,
    FrameThrottle,
    TooManyFrames,
)
from sessionstores.realtime.token_bucket import TokenBucket
from tests.realtime.test_token_bucket import Clock, clocked

RATE, BURST = 20.0, 40.0
WAITING = 3.0


class Reader:
    """Reads frames as a consumer does, by a clock of its own."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.begun = clock.now
        self.throttle = FrameThrottle((RATE, BURST))
        self.waited = 0.0

    async def spend(self, bucket: TokenBucket, tokens: float) -> None:
        """Spend from a bucket of the throttle's, and wait as it says."""
        if seconds := bucket.spend(tokens):
            await self.throttle.wait(seconds)

    async def sleep(self, seconds: float) -> None:
        """Take the place of asyncio's."""
        self.waited += seconds
        self.clock.pass_by(seconds)

    @property
    def passed(self) -> float:
        """Seconds since the first frame."""
        return self.clock.now - self.begun


@given(st.lists(st.integers(0, 10), min_size=1, max_size=20), st.integers(1, 50))
@pytest.mark.parametrize("kind", ["frames", "reads"])
async def test_a_flood_gets_no_more_than_its_share_and_is_given_up(
    kind: str, gaps: list[int], cost: int
) -> None:
    rate, burst = {
        "frames": (FRAMES_PER_SECOND + RATE, FRAME_BURST + BURST),
        "reads": (READS_PER_SECOND, READ_BURST),
    }[kind]
    spent = 0.0

    async def flood() -> None:
        nonlocal spent
        for gap in itertools.cycle(gaps):
            # Half of what is spent is earned meanwhile, at most.
            clock.pass_by(gap / 10 * 0.5 * cost / rate)
            await reader.spend(bucket, cost)
            spent += cost
            assert spent <= burst + rate * reader.passed + 1e-6
            most = WAITING + WAITING_SHARE * reader.passed
            assert reader.waited <= most + 1e-6

    with clocked() as clock, mock.patch.object(frame_throttle, "MAX_WAITING", WAITING):
        reader = Reader(clock)
        bucket: TokenBucket = getattr(reader.throttle, kind)
        asyncio = SimpleNamespace(sleep=reader.sleep)
        patched = mock.patch.object(frame_throttle, "asyncio", asyncio)
        with patched, pytest.raises(TooManyFrames):
            await flood()


@given(st.lists(st.sampled_from(["pong", "meta", "action", "sync"]), max_size=300))
async def test_an_honest_tab_never_waits(kinds: list[str]) -> None:
    # What client.js sends at most: actions at the rate that it is told, metas at a
    # pace, and a question for each document whose patches never come.
    pauses = {"pong": 0.0, "meta": 0.1, "action": 1 / RATE, "sync": 0.15}
    with clocked() as clock:
        reader = Reader(clock)
        for kind in kinds:
            clock.pass_by(pauses[kind] * (1 + 1e-9))
            if kind == "pong":
                clock.pass_by(10)
            assert reader.throttle.frames.spend(1) == 0
            if kind == "sync":
                assert reader.throttle.reads.spend(1) == 0


async def test_what_a_slow_network_delivers_at_once_is_read_within_seconds() -> None:
    with clocked() as clock:
        reader = Reader(clock)
        asyncio = SimpleNamespace(sleep=reader.sleep)
        with mock.patch.object(frame_throttle, "asyncio", asyncio):
            # Ten seconds of a pointer, by a client of an earlier release.
            for _ in range(600):
                await reader.spend(reader.throttle.frames, 1)
    assert reader.waited < 10
