"""Sizes, durations and counts in words."""

from __future__ import annotations

import pytest
from django.utils import translation

from sessionstores.humanize import number_text, percent_text, size, size_text, span


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1_024, "1 KB"),
        (8_602, "8.4 KB"),
        (118 * 1_024, "118 KB"),
        (99.97 * 1_024, "100 KB"),
        (2**20 - 1, "1 MB"),
        (10 * 2**20, "10 MB"),
        (3 * 2**30, "3 GB"),
    ],
)
def test_sizes_have_two_digits_or_more(size: float | None, text: str) -> None:
    assert size_text(size).replace("\N{NO-BREAK SPACE}", " ") == text


def test_numbers_and_shares_have_as_many_digits_as_they_need() -> None:
    assert number_text(12_345) == "12,345"
    assert number_text(None) == "–"
    assert [percent_text(share) for share in (0, 0.0012, 0.0996, 0.61, 1.7)] == [
        "0",
        "0.1",
        "10",
        "61",
        "170",
    ]


def test_they_are_written_as_the_language_does() -> None:
    with translation.override("de"):
        assert number_text(12_345) == "12.345"
        assert size_text(8_602) == "8,4\N{NO-BREAK SPACE}KB"
    with translation.override("he"):
        # The unit stays behind the number where lines begin on the right.
        assert (
            size_text(0) == "\N{LEFT-TO-RIGHT ISOLATE}0\xa0B\N{POP DIRECTIONAL ISOLATE}"
        )


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
