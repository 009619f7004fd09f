"""Sizes, durations and counts in words, for pages, logs and terminals."""

from __future__ import annotations

from typing import Any

from django.utils import formats
from django.utils.translation import get_language_bidi

_SIZES = ("B", "KB", "MB", "GB", "TB")
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def size(count: float) -> str:
    """Format bytes as "870 B", "8.4 KB" or "118 KB", with units of 1024."""
    number, unit = in_unit(count)
    return f"{number:.15g} {unit}"


def in_unit(count: float) -> tuple[float, str]:
    """Return bytes as a number with two digits or more, and its unit."""
    power = 0
    while count >= 999.5 * 1024**power and power < len(_SIZES) - 1:
        power += 1
    return _rounded(count / 1024**power), _SIZES[power]


def span(seconds: float) -> str:
    """Format seconds as "40 s", "14 min", "3.5 h" or "12 d"; negative ones as 0."""
    seconds = max(seconds, 0.0)
    for length, unit in _SPANS:
        if seconds >= length:
            return f"{_rounded(seconds / length):.15g} {unit}"
    return f"{seconds * 1000:.0f} ms" if seconds else "0 s"


def _rounded(number: float) -> float:
    return round(number, 1) if number < 9.95 else round(number)


def size_text(size: float | None) -> str:
    """Format bytes in the active language, as "8.4 KB" or "118 KB"; None as a dash."""
    if size is None:
        return "–"
    number, unit = in_unit(size)
    digits = 0 if number == int(number) else 1
    return _with_unit(formats.number_format(number, digits, use_l10n=True), unit)


def percent_text(share: float) -> str:
    """Format a fraction as a number of percent; small ones keep a digit."""
    number = share * 100
    digits = 1 if 0 < number < 9.95 else 0
    return formats.number_format(round(number, digits), digits, use_l10n=True)


def number_text(value: Any) -> str:
    """Format an integer with the language's separators; None as a dash."""
    if value is None:
        return "–"
    return formats.number_format(value, 0, use_l10n=True, force_grouping=True)


def duration_text(seconds: float | None) -> str:
    """Format a short duration in the active language, as "4.2 ms", "120 ms" or "1.4 s".

    None as a dash.
    """
    if seconds is None:
        return "–"
    number, unit = (seconds * 1000, "ms") if seconds < 0.9995 else (seconds, "s")
    number = _rounded(number)
    digits = 0 if number == int(number) else 1
    return _with_unit(formats.number_format(number, digits, use_l10n=True), unit)


def rate_text(rate: float) -> str:
    """Format a rate in the active language; small ones keep a digit."""
    number = _rounded(rate)
    digits = 0 if number == int(number) else 1
    return formats.number_format(number, digits, use_l10n=True, force_grouping=True)


def _with_unit(number: str, unit: str) -> str:
    text = f"{number}\N{NO-BREAK SPACE}{unit}"
    if get_language_bidi():
        # Otherwise the unit, in Latin letters, would precede its number.
        text = f"\N{LEFT-TO-RIGHT ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"
    return text
