"""Time callables in turn, and print figures beside their floors and aims."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.shares import sampled


class Row(NamedTuple):
    """One figure beside its floor or peer, their ratio, the aim, and whether met."""

    what: str
    floor: str
    figure: str
    ratio: str
    aim: str
    ok: bool


def show(*rows: Row) -> None:
    """Print the rows as one aligned table."""
    lines = [
        ("what", "floor or peer", "figure", "ratio", "aim", ""),
        *((*row[:5], "ok" if row.ok else "MISSED") for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def interleaved(rounds: int, **callables: Callable[[], object]) -> dict[str, float]:
    """Return the median seconds of each callable over rounds, shuffled within each.

    What slows the machine for a while slows all of them; one round more warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in callables}
    order = list(callables)
    for number in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            call = callables[name]
            with sampled(f"{name}, {call.__qualname__.partition('.')[0]}"):
                started = time.perf_counter()
                call()
                spent = time.perf_counter() - started
            if number:
                seconds[name].append(spent)
    return {name: statistics.median(times) for name, times in seconds.items()}
