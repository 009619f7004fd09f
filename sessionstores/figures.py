"""Sizes and counts in words, in the language of the page."""

from __future__ import annotations

from typing import Any

from django.utils import formats
from django.utils.translation import get_language_bidi

from .units import in_unit


def size_text(size: float | None) -> str:
    """Write bytes as people read them, "8.4 KB" or "118 KB"; None as a dash."""
    if size is None:
        return "–"
    number, unit = in_unit(size)
    digits = 0 if number == int(number) else 1
    text = formats.number_format(number, digits, use_l10n=True)
    text = f"{text}\N{NO-BREAK SPACE}{unit}"
    if get_language_bidi():
        # Else the unit, in Latin letters, would come before its number.
        text = f"\N{LEFT-TO-RIGHT ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"
    return text


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
