"""Compare the benchmarks of two checkouts, run in turn on one machine.

`python benchmarks/compare.py --base PATH [--rounds 5] [NAME ...]` runs the named
benchmarks, or all, of the checkout at PATH (A) and of this one (B): A, B, A, B and so
on, each with its own benchmarks and package. Compared is what the row's aim bounds,
which also says which way is better: the ratio to the floor or peer, which a busy
machine disturbs least, or the figure where the aim has a unit. B is worse in a row if
its median lies outside of all that A has shown and A's median outside of all that B
has shown, and they differ by more than the printed digits; with fewer than five rounds
that says little. Exits with 1 if a row is worse.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.run import HERE, NAMES

HEAD = ("what", "floor or peer", "figure", "ratio", "aim")
# Figures are printed with about three digits.
ROUNDING = 0.01
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_BOUND = re.compile(r"([≤≥<>]) [\d.,]+ ?(ms|µs|KB|MB)?")


class Measured(NamedTuple):
    """What one run printed in a row; `better` is "lower" or "higher"."""

    value: float
    figure: str
    better: str


class Compared(NamedTuple):
    """What the runs of one checkout printed in a row."""

    values: list[float]
    figure: str

    @property
    def median(self) -> float:
        """The median value."""
        return statistics.median(self.values)

    def encloses(self, value: float) -> bool:
        """Tell whether a value lies within what the runs have shown."""
        return min(self.values) <= value <= max(self.values)

    def __str__(self) -> str:
        spread = f"{min(self.values):.3g} to {max(self.values):.3g}"
        return f"{self.median:.3g} ({spread})"


def parse(output: str) -> dict[str, Measured]:
    """Return the rows of all tables in an output, by what and beside what."""
    rows = {}
    starts: list[int] | None = None
    for line in output.splitlines():
        if line.startswith("what ") and all(name in line for name in HEAD):
            starts = [line.index(name) for name in HEAD]
        elif starts is None or not line.endswith(("  ok", "  MISSED")):
            starts = None
        else:
            ends = [*starts[1:], len(line)]
            cells = (line[at:end] for at, end in zip(starts, ends, strict=True))
            what, floor, figure, ratio, aim = map(str.strip, cells)
            beside = " ".join(_NUMBER.sub("", floor).split())
            rows[f"{what} | {beside}"] = measured(figure, ratio, aim)
    return rows


def measured(figure: str, ratio: str, aim: str) -> Measured:
    """Take out of a row what its aim bounds."""
    # An aim without a sign is a count that should be reached from above: 0.
    sign, unit = (_BOUND.findall(aim) or [("≤", "count")])[-1]
    number = _NUMBER.search(figure if unit else ratio)
    assert number is not None, (figure, ratio, aim)
    better = "higher" if sign in "≥>" else "lower"
    return Measured(float(number[0].replace(",", "")), figure, better)


def is_worse(base: Compared, new: Compared, better: str) -> bool:
    """Tell whether the new runs are worse beyond the spread of both."""
    lower = new.median < base.median
    apart = not base.encloses(new.median) and not new.encloses(base.median)
    rounded = abs(new.median - base.median) <= ROUNDING * base.median
    return apart and not rounded and lower == (better == "higher")


def run(checkout: Path, name: str) -> dict[str, Measured]:
    """Run one benchmark of a checkout, and return its rows."""
    environment = {"BENCH_ROUNDS": "1", **os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, str(checkout / "benchmarks" / "run.py"), name],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
    )
    rows = parse(done.stdout)
    if done.returncode or not rows:
        print(done.stdout, done.stderr)
        raise SystemExit(f"{checkout}: {name} failed")
    return rows


def collect(runs: Iterable[Mapping[str, Measured]]) -> dict[str, Compared]:
    """Return the rows of several runs of one checkout."""
    rows: dict[str, list[Measured]] = {}
    for each in runs:
        for name, measured in each.items():
            rows.setdefault(name, []).append(measured)
    return {
        name: Compared([each.value for each in measured], measured[-1].figure)
        for name, measured in rows.items()
    }


def compare(name: str, base: Path, rounds: int) -> bool:
    """Run one benchmark of both in turn and print its rows; True if one is worse."""
    checkouts = (base, HERE.parent)
    runs: list[list[dict[str, Measured]]] = [[], []]
    for number in range(rounds):
        for checkout, done in zip(checkouts, runs, strict=True):
            done.append(run(checkout, name))
        load = os.getloadavg()[0]
        print(f"== {name}: round {number + 1} of {rounds}, load {load:.1f}", flush=True)
    better = {row: each.better for run in runs[1] for row, each in run.items()}
    old, new = map(collect, runs)
    worse = False
    for row in dict.fromkeys([*old, *new]):
        if row not in old or row not in new:
            print(f"{row}\n    only in {'A' if row in old else 'B'}")
            continue
        verdict = is_worse(old[row], new[row], better[row])
        worse = worse or verdict
        print(f"{row}  [{better[row]} is better]")
        for letter, shown in (("A", old[row]), ("B", new[row])):
            print(f"    {letter} {shown}, last figure {shown.figure}")
        print(f"    B is {'WORSE beyond their spread' if verdict else 'not worse'}")
    return worse


def main() -> int:
    """Compare what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="the checkout A")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    options = parser.parse_args()
    base = options.base.resolve()
    worse = [
        name for name in options.names or NAMES if compare(name, base, options.rounds)
    ]
    print(f"Worse: {', '.join(worse)}" if worse else "No row is worse.")
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
