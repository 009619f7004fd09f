"""Charts as SVG."""

from __future__ import annotations

import re

from sessionstores.admin.components.chart import (
    HEIGHT,
    WIDTH,
    Point,
    Span,
    bar,
    chart,
    line,
    scale,
    scale_of_bytes,
    scale_of_seconds,
    sparkline,
)
from sessionstores.humanize import duration_text, number_text, size_text

HOUR = Span(end=3600, seconds=3600, gap=100)


def test_a_sparkline_has_a_bar_for_each_minute_in_which_something_happened() -> None:
    svg = sparkline([0, 1, 500, 0, 250], "751 <changes>")
    (path,) = re.findall(r' d="([^"]*)"', svg)
    assert path.count("M") == 3
    # However small beside the largest, it can be seen.
    assert "M4 16h3v2h-3z" in path
    assert "M8 0h3v18h-3z" in path
    assert "<title>751 &lt;changes&gt;</title>" in svg
    assert 'role="img"' in svg


def test_a_sparkline_of_nothing_is_its_ground() -> None:
    assert 'd=""' in sparkline([0] * 30, "none")
    assert "<svg" in sparkline([], "none")


def test_a_bar_says_when_it_is_near_or_over_its_limit() -> None:
    for value, kind, width in ((10, "good", "10.0"), (85, "near", "85.0")):
        svg = bar(value, 100, "label")
        assert f"ss-bar-{kind}" in svg
        assert f'width="{width}"' in svg
    assert "ss-bar-over" in bar(250, 100, "label")
    assert 'width="100.0"' in bar(250, 100, "label")
    assert 'width="1.0"' in bar(1, 10_000, "label")
    assert 'width="0.0"' in bar(0, 0, "label")


def strokes(svg: str) -> list[str]:
    path = re.search(r'class="ss-stroke" d="([^"]*)"', svg)
    assert path
    return path[1].split("M")[1:]


def test_a_line_is_broken_where_nothing_was_measured() -> None:
    points = [Point(at, 4) for at in (0, 30, 60, 300, 330)]
    runs = strokes(line(points, HOUR, scale(99, number_text)))
    assert [run.count("L") for run in runs] == [2, 1]


def test_a_line_stays_within_its_frame() -> None:
    points = [Point(at, at % 97) for at in range(-600, 4_000, 30)]
    svg = line(points, HOUR, scale(99, number_text))
    for run in strokes(svg):
        for step in run.split("L"):
            x, y = map(float, step.split())
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


def test_a_lone_point_can_be_seen_and_none_is_an_empty_frame() -> None:
    (run,) = strokes(line([Point(1800, 1)], HOUR, scale(1, number_text)))
    assert run.startswith("296 ")
    assert "L300 " in run
    assert strokes(line([], HOUR, scale(0, number_text))) == []
    (zero,) = strokes(line([Point(9, 0), Point(40, 0)], HOUR, scale(0, number_text)))
    assert zero.count(f" {HEIGHT}") == 2


def test_an_axis_has_round_values_at_its_top_and_its_middle() -> None:
    tops = [scale(peak, number_text).top for peak in (0, 2, 3, 7, 12, 144, 1_001)]
    assert tops == [2, 2, 4, 10, 20, 200, 2_000]
    assert scale(144, number_text).labels == ("200", "100", "0")
    # Whole numbers alone: half a person is no mark.
    assert scale(1, number_text).labels == ("2", "1", "0")


def test_axes_of_sizes_and_durations_change_their_units() -> None:
    def texts(labels: tuple[str, ...]) -> list[str]:
        return [each.replace("\N{NO-BREAK SPACE}", " ") for each in labels]

    assert texts(scale_of_bytes(900, size_text).labels) == ["1 KB", "500 B", "0 B"]
    assert texts(scale_of_bytes(130_000, size_text).labels) == [
        "200 KB",
        "100 KB",
        "0 B",
    ]
    assert texts(scale_of_seconds(0.012, duration_text).labels) == [
        "20 ms",
        "10 ms",
        "0 ms",
    ]
    assert texts(scale_of_seconds(1.4, duration_text).labels) == ["2 s", "1 s", "0 ms"]


def test_a_chart_says_what_is_now_and_when_the_peak_was() -> None:
    points = [Point(at, at // 300) for at in range(0, 3_600, 30)]
    falling = chart("Online", points, HOUR, number_text, now=4)
    assert (falling.now, falling.peak, falling.low) == ("4", "11", "0")
    assert falling.peak_at == 3_300
    rising = chart("Online", points, HOUR, number_text, now=12)
    assert (rising.now, rising.peak, rising.peak_at) == ("12", "12", 0)
    assert "<span>20</span><span>10</span><span>0</span>" in rising.drawing


def test_the_last_point_counts_as_now_while_it_is_recent() -> None:
    recent = chart("p95", [Point(3_570, 7)], HOUR, number_text)
    assert (recent.now, recent.peak_at) == ("7", 0)
    old = chart("p95", [Point(900, 7)], HOUR, number_text)
    assert (old.now, old.peak, old.peak_at) == ("–", "7", 900)
    outside = chart("p95", [Point(-20, 7)], HOUR, number_text)
    assert (outside.drawing, outside.peak) == ("", "")
