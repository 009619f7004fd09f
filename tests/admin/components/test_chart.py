"""Charts as SVG."""

from __future__ import annotations

import re

from sessionstores.admin.components.chart import (
    HEIGHT,
    WIDTH,
    Point,
    bar,
    line,
    sparkline,
)


def test_a_sparkline_has_a_bar_for_each_minute_in_which_something_happened() -> None:
    svg = sparkline([0, 1, 500, 0, 250], "751 <changes>")
    path = re.findall(r' d="([^"]*)"', svg)[1]
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
    runs = strokes(line(points, begin=0, end=3600, gap=100))
    assert [run.count("L") for run in runs] == [2, 1]


def test_a_line_stays_within_its_frame() -> None:
    points = [Point(at, at % 97) for at in range(-600, 4_000, 30)]
    svg = line(points, begin=0, end=3600, gap=100)
    for run in strokes(svg):
        for step in run.split("L"):
            x, y = map(float, step.split())
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


def test_a_lone_point_can_be_seen_and_none_is_an_empty_frame() -> None:
    (run,) = strokes(line([Point(1800, 1)], begin=0, end=3600, gap=100))
    assert run.startswith("296.0 ")
    assert "L300.0 " in run
    assert strokes(line([], begin=0, end=3600, gap=100)) == []
    (zero,) = strokes(line([Point(9, 0), Point(40, 0)], begin=0, end=3600, gap=100))
    assert zero.count(f"{HEIGHT}.0") == 2
