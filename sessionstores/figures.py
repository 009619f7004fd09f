"""Sizes and counts in words, in the language of the page."""

from __future__ import annotations

from typing import Any

from django.utils import formats

_SIZES = (("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30))


def size_text(size: float | None) -> str:
    """Write bytes as people read them, "8.4 KB" or "118 KB"; None as a dash."""
    if size is None:
        return "–"
    unit, number = "B", float(size)
    for name, each in _SIZES:
        if size >= each:
            unit, number = name, size / each
    digits = 1 if unit != "B" and number < 99.95 else 0
    text = formats.number_format(round(number, digits), digits, use_l10n=True)
    return f"{text}\N{NO-BREAK SPACE}{unit}"


def percent_text(share: float) -> str:
    """Write a share of 1 as a number of percent; small ones keep a digit."""
    number = share * 100
    digits = 1 if 0 < number < 9.95 else 0
    return formats.number_format(round(number, digits), digits, use_l10n=True)


def number_text(value: Any) -> str:
    """Write a whole number with the separators of the language; None as a dash."""
    if value is None:
        return "–"
    return formats.number_format(value, 0, use_l10n=True, force_grouping=True)
