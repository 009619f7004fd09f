"""Sampling of what is measured: the share of processor time that each module has.

`BENCH_SHARES=1 python benchmarks/run.py NAME`. After each few milliseconds of it a
signal asks which module runs, outside of what a benchmark sets up. Code in C counts for
the Python code that calls it. A table of what has one per cent or more is printed at
the end.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

ON = "BENCH_SHARES" in os.environ
INTERVAL = 0.001
LEAST = 0.01
# Sent to a server by whoever measures it.
START, STOP = signal.SIGUSR1, signal.SIGUSR2
HERE = Path(__file__).resolve().parent
OURS = HERE.parent / "sessionstores"
PACKAGES = Path(sysconfig.get_path("purelib"))
LIBRARY = Path(sysconfig.get_path("stdlib"))


class Sampler:
    """Counts the modules that run, by the label of what is measured."""

    def __init__(self) -> None:
        self.label = ""
        self.counts: dict[str, Counter[str]] = {}
        self._names: dict[str, str] = {}

    def start(self, label: str) -> None:
        """Count for `label` from now on."""
        if not self.counts:
            signal.signal(signal.SIGPROF, self._take)
            atexit.register(self.show)
        self.label = label
        self.counts.setdefault(label, Counter())
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def stop(self) -> None:
        """Count no more until another start."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def show(self) -> None:
        """Print a table for each label."""
        for label, counts in self.counts.items():
            total = counts.total()
            print(f"-- where the time of {label} goes, {total:,} samples")
            for name, count in counts.most_common():
                if count >= LEAST * total:
                    print(f"   {count / total:5.0%}  {name}", flush=True)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if frame is not None:
            path = frame.f_code.co_filename
            name = self._names.get(path) or self._names.setdefault(path, named(path))
            self.counts[self.label][name] += 1


def named(path: str) -> str:
    """Return what a file is part of: a module of ours, another package, the library."""
    file = Path(path)
    for root, parts in ((OURS, 2), (PACKAGES, 1), (LIBRARY, 1)):
        if file.is_relative_to(root):
            found = file.relative_to(root).with_suffix("").parts[:parts]
            return "/".join(("sessionstores", *found) if root is OURS else found)
    return "the benchmark" if file.is_relative_to(HERE.parent) else "generated code"


sampler = Sampler()


@contextmanager
def sampled(label: str) -> Iterator[None]:
    """Count what runs in the block, if shares are wanted."""
    if ON:
        sampler.start(label)
    try:
        yield
    finally:
        if ON:
            sampler.stop()


def obey() -> None:
    """Have this server process count between two signals of whoever measures it."""
    if ON:
        app = next((name for name in sys.argv if ":" in name), sys.argv[0])
        signal.signal(START, lambda number, frame: sampler.start(app))
        signal.signal(STOP, lambda number, frame: sampler.stop())
        # After uvicorn has shut down: by default, nothing would be printed any more.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
