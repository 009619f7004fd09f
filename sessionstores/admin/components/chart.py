"""Charts as SVG, without scripts and inline styles, with a text alternative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

BAR, GAP = 3, 1
SPARK_HEIGHT = 18

WIDTH, HEIGHT = 600, 96
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
        '<svg class="ss-spark" role="img" viewBox="0 0 {} {}"><title>{}</title>'
        '<path d="{}"></path></svg>',
        width,
        SPARK_HEIGHT,
        label,
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


class Scale(NamedTuple):
    """The value axis of a chart: its top, and the texts at top, middle and bottom."""

    top: float
    labels: tuple[str, str, str]


def scale(peak: float, shown: Callable[[float], str], *, least: float = 1) -> Scale:
    """Return the axis for values up to `peak`, with round values at its marks.

    `shown` formats a value; the middle is at least `least`, the smallest step that
    `shown` tells apart.
    """
    half = least
    # 1, 2, 5, 10, 20, 50 …
    for factor in cycle((2, 2.5, 2)):
        if 2 * half >= peak:
            break
        half *= factor
    return Scale(2 * half, (shown(2 * half), shown(half), shown(0)))


def scale_of_seconds(peak: float, shown: Callable[[float], str]) -> Scale:
    """Return the axis for durations up to `peak` seconds, in ms below a second."""
    unit = 1e-3 if peak < 1 else 1.0
    top, labels = scale(peak / unit, lambda value: shown(value * unit))
    return Scale(top * unit, labels)


def scale_of_bytes(peak: float, shown: Callable[[float], str]) -> Scale:
    """Return the axis for sizes up to `peak` bytes, whose units are powers of 1024."""
    unit = 1
    while peak >= 1000 * unit:
        unit *= 1024
    top, labels = scale(peak / unit, lambda value: shown(value * unit))
    return Scale(top * unit, labels)


class Chart(NamedTuple):
    """A line chart with its figures in words.

    `drawing` is empty if nothing was measured; `peak_at` is 0 if the peak is now.
    """

    title: str
    drawing: SafeString
    now: str
    peak: str
    low: str
    peak_at: float


class Span(NamedTuple):
    """The time axis: it ends at `end`; points further apart than `gap` are a gap."""

    end: float
    seconds: float
    gap: float


def chart(
    title: str,
    points: Sequence[Point],
    span: Span,
    shown: Callable[[float], str],
    *,
    now: float | None = None,
    axis: Callable[[float, Callable[[float], str]], Scale] = scale,
) -> Chart:
    """Draw `points`, with the value of `now` at the right edge.

    Without one, the last point counts as now unless it is older than `span.gap`.
    """
    points = [point for point in points if point.at > span.end - span.seconds]
    if not points:
        return Chart(title, SafeString(), "", "", "", 0)
    peak = max(points, key=lambda point: point.value)
    if now is not None:
        points.append(Point(span.end, now))
    elif span.end - points[-1].at <= span.gap:
        now = points[-1].value
    values = [point.value for point in points]
    top = max(values)
    return Chart(
        title,
        line(points, span, axis(top, shown)),
        "–" if now is None else shown(now),
        shown(top),
        shown(min(values)),
        peak.at if now is None or peak.value > now else 0,
    )


def line(points: Sequence[Point], span: Span, axis: Scale) -> SafeString:
    """Draw `points`, and a gap where there is none for `span.gap` seconds.

    Decorative: the page has the same figures as text.
    """
    runs: list[list[tuple[float, float]]] = []
    last = None
    for point in points:
        x = (point.at - span.end + span.seconds) / span.seconds * WIDTH
        if not 0 <= x <= WIDTH:
            continue
        if last is None or point.at - last > span.gap:
            runs.append([])
        runs[-1].append((x, HEIGHT - min(point.value / axis.top, 1) * HEIGHT))
        last = point.at
    strokes, areas = [], []
    for run in runs:
        steps = run
        if run[-1][0] - run[0][0] < MIN_RUN:
            # One or two points alone would not be visible.
            steps = [(run[-1][0] - MIN_RUN, run[0][1]), *run]
        path = "L".join(f"{x:.0f} {y:.0f}" for x, y in steps)
        strokes.append(f"M{path}")
        areas.append(f"M{path}V{HEIGHT}H{steps[0][0]:.0f}z")
    grid = "".join(f"M0 {y}h{WIDTH}" for y in (0.5, HEIGHT / 2, HEIGHT - 0.5))
    svg = format_html(
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
    # Beside the drawing, which is stretched to the width that there is.
    marks = format_html_join("", "<span>{}</span>", zip(axis.labels))
    return format_html(
        '<div class="ss-plot">{}<p class="ss-scale" aria-hidden="true">{}</p></div>',
        svg,
        marks,
    )
