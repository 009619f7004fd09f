"""Sizes and counts in words."""

from __future__ import annotations

import pytest
from django.utils import translation

from sessionstores.humanize import number_text, percent_text, size_text


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
