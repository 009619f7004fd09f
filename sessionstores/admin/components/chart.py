"""Charts as SVG, without scripts and inline styles, with a text alternative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.utils.html import format_html
from django.utils.safestring import SafeString

BAR, GAP = 3, 1
SPARK_HEIGHT = 18

WIDTH, HEIGHT = 600, 96
# Room above the peak.
HEADROOM = 1.08
# A point without neighbours is drawn as a line of this width.
MIN_RUN = 4


def sparkline(values: Sequence[int], label: str) -> SafeString:
    """Draw `values` as bars, the newest last; `label` is the text alternative."""
    top = max(values, default=0)
    width = len(values) * (BAR + GAP) - GAP
    bars = []
    for place, value in enumerate(values):
        # At least 2 pixels: a value above 0 is visible beside any peak.
        height = max(round(value / top * SPARK_HEIGHT), 2) if value else 0
        if height:
            x, y = place * (BAR + GAP), SPARK_HEIGHT - height
            bars.append(f"M{x} {y}h{BAR}v{height}h-{BAR}z")
    return format_html(
        '<svg class="ss-spark" role="img" aria-label="{}" viewBox="0 0 {} {}" '
        'width="{}" height="{}"><title>{}</title>'
        '<path class="ss-ground" d="M0 {}h{}v1h-{}z"></path><path d="{}"></path></svg>',
        label,
        width,
        SPARK_HEIGHT + 1,
        width,
        SPARK_HEIGHT + 1,
        label,
        SPARK_HEIGHT,
        width,
        width,
        "".join(bars),
    )


def bar(value: float, limit: float, label: str) -> SafeString:
    """Draw the share of `value` in `limit`, at most all of it."""
    share = min(max(value / limit, 0), 1) if limit else 0
    kind = "over" if share >= 1 else "near" if share >= 0.8 else "good"
    return format_html(
        '<svg class="ss-bar ss-bar-{}" role="img" aria-label="{}" viewBox="0 0 100 4" '
        'preserveAspectRatio="none"><title>{}</title>'
        '<rect class="ss-ground" width="100" height="4" rx="1"></rect>'
        '<rect width="{}" height="4" rx="1"></rect></svg>',
        kind,
        label,
        label,
        f"{max(share * 100, 1 if value else 0):.1f}",
    )


class Point(NamedTuple):
    """A value at a time, in seconds since the epoch."""

    at: float
    value: float


def line(
    points: Sequence[Point], *, begin: float, end: float, gap: float
) -> SafeString:
    """Draw `points` between two times, and a gap where there is none for `gap` seconds.

    Decorative: the page has the same figures as text.
    """
    top = max((point.value for point in points), default=0) * HEADROOM or 1
    runs: list[list[tuple[float, float]]] = []
    last = None
    for point in points:
        x = (point.at - begin) / (end - begin) * WIDTH
        if not 0 <= x <= WIDTH:
            continue
        if last is None or point.at - last > gap:
            runs.append([])
        runs[-1].append((x, HEIGHT - point.value / top * HEIGHT))
        last = point.at
    strokes, areas = [], []
    for run in runs:
        steps = run
        if run[-1][0] - run[0][0] < MIN_RUN:
            # One or two points alone would not be visible.
            steps = [(run[-1][0] - MIN_RUN, run[0][1]), *run]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in steps)
        strokes.append(f"M{path}")
        areas.append(f"M{path}L{steps[-1][0]:.1f} {HEIGHT}L{steps[0][0]:.1f} {HEIGHT}z")
    grid = "".join(f"M0 {y}h{WIDTH}" for y in (0.5, HEIGHT / 2, HEIGHT - 0.5))
    return format_html(
        '<svg class="ss-line-chart" aria-hidden="true" focusable="false" '
        'viewBox="0 0 {} {}" preserveAspectRatio="none">'
        '<path class="ss-grid" d="{}"></path><path class="ss-area" d="{}"></path>'
        '<path class="ss-stroke" d="{}"></path></svg>',
        WIDTH,
        HEIGHT,
        grid,
        "".join(areas),
        "".join(strokes),
    )
