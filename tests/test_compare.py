"""Comparison of two checkouts' benchmarks: reads their tables and judges rows."""

from __future__ import annotations

import sys

import pytest

from benchmarks import _rows as rows
from benchmarks import compare


def test_tables_are_read_as_they_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sys.stdout.write("== redis\n")
    rows.show(
        rows.Row("dispatch", "EVALSHA 49 µs", "87 µs", "1.79", "≤ 1.4", ok=False),
        rows.Row("many", "pool 2,844/s", "3393/s", "1.2 times", "≥ 3", ok=False),
        rows.Row("access", "the origin's 5 ms", "0.3 ms", "0.06", "≤ 2 ms", ok=True),
        rows.Row("diff", "jsonpatch 292 µs", "9 µs", "32", "≤ 10 µs, ≥ 30", ok=True),
        rows.Row("held the server", "", "123", "", "0", ok=False),
        rows.Row("ahead", "Socket.IO 812/s", "900/s", "1.11", "> 1", ok=True),
    )
    assert compare.parse(capsys.readouterr().out) == {
        "dispatch | EVALSHA µs": (1.79, "87 µs", "lower"),
        "many | pool /s": (1.2, "3393/s", "higher"),
        "access | the origin's ms": (0.3, "0.3 ms", "lower"),
        "diff | jsonpatch µs": (32, "9 µs", "higher"),
        "held the server | ": (123, "123", "lower"),
        "ahead | Socket.IO /s": (1.11, "900/s", "higher"),
    }


@pytest.mark.parametrize(
    ("base", "new", "better", "worse"),
    [
        ([1.0, 1.1, 1.2], [1.3, 1.4, 1.5], "lower", True),
        ([1.0, 1.1, 1.2], [1.3, 1.4, 1.5], "higher", False),
        ([1.3, 1.4, 1.5], [1.0, 1.1, 1.2], "higher", True),
        # A figure that does not vary, but for its last digit.
        ([4.62, 4.62], [4.63, 4.63], "lower", False),
        # One slow run of the base: its spread reaches the new median.
        ([1.0, 1.1, 1.45], [1.3, 1.4, 1.5], "lower", False),
        # One fast run of the new tree.
        ([1.0, 1.1, 1.2], [1.05, 1.4, 1.5], "lower", False),
    ],
)
def test_only_what_is_beyond_both_spreads_is_worse(
    base: list[float], new: list[float], better: str, worse: bool
) -> None:
    runs = [compare.Compared(values, "") for values in (base, new)]
    assert compare.is_worse(*runs, better) is worse
