"""Output of the commands: a sweep in words, a list by session, a progress bar."""

from __future__ import annotations

import time
from collections import Counter

from django.core.management.base import OutputWrapper

from ..humanize import size, span
from ..keys import StoreKey
from ..monitoring.sweeps import Sweep

# What a record is listed as, by the figure that it counts in.
_LISTED = {
    "participants": "idle",
    "sessions": "empty",
    "lost": "lost",
    "readmitted": "readmitted",
    "left": "left",
}


def in_words(done: Sweep) -> str:
    """Return what a sweep did as one line."""
    removed = [
        counted(count, word)
        for count, word in (
            (done.participants, "participant"),
            (done.sessions, "session"),
        )
        if count
    ]
    verb = "Would remove" if done.dry_run else "Removed"
    told = [f"{verb} {' and '.join(removed)} ({size(done.bytes)})" if removed else ""]
    if done.lost:
        told.append(f"{counted(done.lost, 'record')} had been lost")
    if done.readmitted:
        told.append(f"{counted(done.readmitted, 'record')} entered in the index again")
    if done.left:
        told.append(f"{counted(done.left, 'participant')} had left unnoticed")
    if done.failed:
        told.append(f"{counted(done.failed, 'session')} could not be swept")
    if not done.finished:
        told.append(f"stopped after {done.visited} of {counted(done.due, 'session')}")
    text = "; ".join(filter(None, told)) or "There was nothing to remove"
    return f"{text}. It took {span(done.seconds)}."


def counted(count: int, word: str) -> str:
    """Return a number with what it counts."""
    return f"{count:,} {word}{'s' * (count != 1)}"


class SweepListing:
    """Prints a line for each session from verbosity 2 on, for each key from 3 on."""

    def __init__(self, out: OutputWrapper, verbosity: int) -> None:
        self._out = out
        self._verbosity = verbosity
        self._session = ""
        self._counts: Counter[str] = Counter()
        self._taken = 0

    def add(self, key: StoreKey, name: str, taken: int) -> None:
        """Take what was done to a record, as its figure in `Sweep`, and its bytes."""
        if key.session != self._session:
            self.flush()
            self._session = key.session
        if self._verbosity >= 3:
            self._out.write(f"{key}  {_LISTED[name]}  {size(taken)}")
        self._counts[_LISTED[name]] += 1
        self._taken += taken

    def flush(self) -> None:
        """Print what there is of the last session."""
        if self._verbosity >= 2 and self._counts:
            told = ", ".join(f"{count} {name}" for name, count in self._counts.items())
            self._out.write(f"{self._session}  {told}, {size(self._taken)}")
        self._counts.clear()
        self._taken = 0


class Bar:
    """Shows on a terminal how far a pass is that takes longer than a second."""

    WIDTH = 20

    def __init__(self, out: OutputWrapper, verbosity: int) -> None:
        self._out = out
        self._next = time.monotonic() + 1 if verbosity and out.isatty() else None
        self._shown = False

    def show(self, done: Sweep) -> None:
        """Draw it anew, ten times a second at most."""
        now = time.monotonic()
        if self._next is None or now < self._next or done.finished:
            return
        self._next, self._shown = now + 0.1, True
        share = done.visited / done.due if done.due else 0
        filled = "#" * round(share * self.WIDTH)
        text = f"[{filled:{self.WIDTH}}] {share:4.0%}, {done.participants:,} removed"
        self._out.write(f"\r{text}", ending="")
        self._out.flush()

    def clear(self) -> None:
        """Leave the line empty."""
        if self._shown:
            self._out.write("\r\x1b[K", ending="")
            self._out.flush()
