"""The log limiter: one line for each kind and beat, with a count."""

from __future__ import annotations

import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.backends import get_backend
from sessionstores.monitoring.log_limiter import LogLimiter, log_limiter
from tests.logs import records_of_ours

logger = logging.getLogger("sessionstores.tests")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def written(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in records_of_ours(caplog)]
    caplog.clear()
    return lines


def test_lines_of_one_kind_are_one_in_a_beat_and_say_how_many_there_were(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    limiter = LogLimiter()
    for number in range(300):
        limiter.log(logger, logging.WARNING, "%s is slow: 100 %%", number)
    limiter.log(logger, logging.WARNING, "Something else")
    assert written(caplog) == ["0 is slow: 100 %", "Something else"]
    limiter.flush()
    assert written(caplog) == []
    clock[0] = 10.0
    limiter.flush()
    assert written(caplog) == ["1 is slow: 100 % (298 more like it)"]
    # What was written for the others counts as a line of its beat.
    limiter.log(logger, logging.WARNING, "%s is slow: 100 %%", 300)
    clock[0] = 25.0
    limiter.log(logger, logging.WARNING, "%s is slow: 100 %%", 301)
    assert written(caplog) == ["301 is slow: 100 % (1 more like it)"]
    clock[0] = 40.0
    limiter.flush()
    assert written(caplog) == []


# Seconds that add up exactly, so that ten of them are ten.
pauses = st.integers(0, 48).map(lambda quarters: quarters / 4)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", ""]), pauses), max_size=60))
def test_every_line_is_written_or_counted(steps: list[tuple[str, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr(
            logger, "log", lambda _, text, *args, **how: lines.append(text % args)
        )
        now = 0.0
        patch.setattr(time, "monotonic", lambda: now)
        limiter = LogLimiter()
        last: dict[str, float] = {}
        for kind, seconds in steps:
            before = len(lines)
            if kind:
                limiter.log(logger, logging.WARNING, f"{kind}: %s", now)
            else:
                limiter.flush()
            for line in lines[before:]:
                at = last.get(line[0])
                assert at is None or now - at >= 10
                last[line[0]] = now
            now += seconds
        now += 10
        limiter.flush()
        for kind in ("a", "b"):
            ours = [line for line in lines if line.startswith(kind)]
            more = [int(each.split("(")[1].split()[0]) for each in ours if "(" in each]
            assert len(ours) + sum(more) == sum(step[0] == kind for step in steps)


def test_both_flavours_of_a_backend_share_one() -> None:
    assert log_limiter(get_backend(blocking=True)) is log_limiter(
        get_backend(blocking=False)
    )
