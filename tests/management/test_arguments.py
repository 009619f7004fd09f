"""Arguments of commands: durations and numbers."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from sessionstores.management.arguments import positive, positive_seconds, seconds_in


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("300", 300),
        ("1.5", 1.5),
        ("250ms", 0.25),
        ("90s", 90),
        ("5m", 300),
        ("5min", 300),
        ("1h30m", 5_400),
        ("1h 30m", 5_400),
        ("2d", 172_800),
    ],
)
def test_times_are_written_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5x", "-5", "5m!", "1e3", "soon", "٣"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a duration"):
        seconds_in(text)


def test_some_numbers_must_be_more_than_nothing() -> None:
    assert (positive("7"), positive_seconds("1m")) == (7, 60)
    for call in (lambda: positive("0"), lambda: positive("²"), lambda: positive("-1")):
        with pytest.raises(ArgumentTypeError):
            call()
    with pytest.raises(ArgumentTypeError, match="more than 0"):
        positive_seconds("0")
