"""Bytes and seconds in words, for logs and terminals."""

from __future__ import annotations

_SIZES = ("B", "KB", "MB", "GB", "TB")
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def size(count: float) -> str:
    """Return bytes as "870 B", "8.4 KB" or "118 KB", 1024 to the next unit."""
    number, unit = in_unit(count)
    return f"{number:.15g} {unit}"


def in_unit(count: float) -> tuple[float, str]:
    """Return bytes as a number with two digits or more, and what it counts."""
    power = 0
    while count >= 999.5 * 1024**power and power < len(_SIZES) - 1:
        power += 1
    return _rounded(count / 1024**power), _SIZES[power]


def span(seconds: float) -> str:
    """Return seconds as "40 s", "14 min", "3.5 h" or "12 d"; 0 if it is negative."""
    seconds = max(seconds, 0.0)
    for length, unit in _SPANS:
        if seconds >= length:
            return f"{_rounded(seconds / length):.15g} {unit}"
    return f"{seconds * 1000:.0f} ms" if seconds else "0 s"


def _rounded(number: float) -> float:
    return round(number, 1) if number < 9.95 else round(number)
