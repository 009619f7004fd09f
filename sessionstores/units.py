"""Bytes and seconds in words, for logs and terminals."""

from __future__ import annotations

_SIZES = ("KB", "MB", "GB", "TB")
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def size(count: float) -> str:
    """Return bytes as "870 B", "8.4 KB" or "118 KB", 1024 to the next unit."""
    if count < 1_000:
        return f"{count:.0f} B"
    power = 1
    while count >= 999.5 * 1024**power and power < len(_SIZES):
        power += 1
    return _short(count / 1024**power, _SIZES[power - 1])


def span(seconds: float) -> str:
    """Return seconds as "40 s", "14 min", "3.5 h" or "12 d"; 0 if it is negative."""
    seconds = max(seconds, 0.0)
    for length, unit in _SPANS:
        if seconds >= length:
            return _short(seconds / length, unit)
    return f"{seconds * 1000:.0f} ms" if seconds else "0 s"


def _short(count: float, unit: str) -> str:
    text = f"{count:.1f}" if count < 9.95 else f"{count:.0f}"
    return f"{text.removesuffix('.0')} {unit}"
