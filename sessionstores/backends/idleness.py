"""Idleness: the seconds without use that count, as exactly as last uses are kept."""

from __future__ import annotations

from .. import conf


def seconds_idle(idle_for: float) -> float:
    """Return the seconds without use after which `idle_for` counts as reached.

    Uses other than commits are kept to a tenth of `IDLE_TIMEOUT`, so anything between
    0 and that counts as a tenth: who was there a moment ago is not idle.
    """
    if idle_for <= 0:
        return idle_for
    return max(idle_for, conf.get().idle_timeout / 10)
