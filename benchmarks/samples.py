"""Samples of memory over a long run: kept in a file, judged by regression, drawn."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sessionstores.humanize import size

# What is kept for ten minutes or an hour has to come in first.
WARM_UP = 0.4
# How far the line through the rest may rise from its start to its end: a share of where
# it starts, and what comes and goes by chance.
LEVEL = {
    "resident memory": (0.02, 2**20),
    "live objects": (0.005, 500),
    "cache": (0.05, 2**16),
}


class Sample(NamedTuple):
    """Memory when everybody had left and been swept; `at` in seconds."""

    at: float
    rss: int
    objects: int
    cache: int


def read(path: Path) -> list[Sample]:
    """Return the samples in a CSV file with a line of headings."""
    with path.open(newline="") as file:
        return [
            Sample(float(at), *map(int, figures))
            for at, *figures in list(csv.reader(file))[1:]
        ]


def columns(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Return each figure over time."""
    return {
        "resident memory": [each.rss for each in samples],
        "live objects": [each.objects for each in samples],
        "cache": [each.cache for each in samples],
    }


def judge(samples: Sequence[Sample]) -> bool:
    """Print the course of each figure; return True if all are level.

    By linear regression, without what comes before while the process warms up.
    """
    level = True
    steady = samples[int(len(samples) * WARM_UP) :]
    times = [each.at for each in steady]
    for name, values in columns(steady).items():
        line = statistics.linear_regression(times, values)
        first = line.intercept + line.slope * times[0]
        rise = line.slope * (times[-1] - times[0])
        share, chance = LEVEL[name]
        limit = first * share + chance
        ok = rise <= limit
        level = level and ok
        print(
            f"  {name:16} {first:13,.0f}, rises by {rise:11,.0f}; aim ≤ "
            f"{limit:11,.0f}  {'ok' if ok else 'MISSED'}"
        )
    return level


def draw(samples: Sequence[Sample], title: str) -> str:
    """Return an SVG with a curve for each figure, from 0 up."""
    width, height, left, gap = 720, 110, 125, 50
    span_of = max(samples[-1].at, 1e-9)
    # Not much more than one a pixel, and the last.
    samples = [*samples[: -1 : len(samples) // width or 1], samples[-1]]
    parts = []
    for number, (name, values) in enumerate(columns(samples).items()):
        top = 40 + number * (height + gap)
        highest = max(values) * 1.1 or 1
        points = " ".join(
            f"{left + each.at / span_of * width:.1f},"
            f"{top + height - value / highest * height:.1f}"
            for each, value in zip(samples, values, strict=True)
        )
        shown = [f"{v:,}" if name == "live objects" else size(v) for v in values]
        parts += [
            f'<line x1="{left}" y1="{top + height}" x2="{left + width}" '
            f'y2="{top + height}" stroke="#999"/>',
            f'<polyline points="{points}" fill="none" stroke="#0b6e99" '
            'stroke-width="1.5"/>',
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{name}</text>',
            f'<text x="{left - 8}" y="{top + height}" text-anchor="end">0</text>',
            f'<text x="{left + width}" y="{top - 4}" text-anchor="end">'
            f"{shown[-1]} at the end, {shown[0]} at first</text>",
        ]
    bottom = 40 + 3 * (height + gap)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 20}" '
        f'height="{bottom}" font-family="sans-serif" font-size="12">'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{left}" y="18" font-size="14">{title}</text>'
        f"{''.join(parts)}</svg>\n"
    )
