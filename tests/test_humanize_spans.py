from __future__ import annotations

import pytest

from sessionstores.humanize import size, span


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1 KB"),
        (1_536, "1.5 KB"),
        (10_200, "10 KB"),
        (999.4 * 1024, "999 KB"),
        (999.6 * 1024, "1 MB"),
        (3 * 2**30, "3 GB"),
        (8_185 * 2**40, "8185 TB"),
    ],
)
def test_a_size_has_two_digits_or_more(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (0.0124, "12 ms"),
        (1, "1 s"),
        (59.7, "60 s"),
        (61, "1 min"),
        (90, "1.5 min"),
        (840, "14 min"),
        (3.5 * 3_600, "3.5 h"),
        (12 * 86_400, "12 d"),
    ],
)
def test_a_span_has_one_unit(seconds: float, text: str) -> None:
    assert span(seconds) == text
