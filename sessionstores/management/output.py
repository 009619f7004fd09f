"""Output of sweeps: a summary, a listing by session, and a progress bar."""

from __future__ import annotations

import time
from collections import Counter

from django.core.management.base import OutputWrapper

from ..humanize import size, span
from ..keys import StoreKey
from ..monitoring.sweeps import Sweep

# The word for a record in the listing, by the field of `Sweep` that counts it.
_LISTED = {
    "participants": "idle",
    "sessions": "empty",
    "lost": "lost",
    "readmitted": "readmitted",
    "left": "left",
}


def summary(done: Sweep) -> str:
    """Return one line about what a sweep did."""
    removed = [
        counted(count, word)
        for count, word in (
            (done.participants, "participant"),
            (done.sessions, "session"),
        )
        if count
    ]
    verb = "Would remove" if done.dry_run else "Removed"
    parts = [f"{verb} {' and '.join(removed)} ({size(done.bytes)})" if removed else ""]
    if done.lost:
        parts.append(f"{counted(done.lost, 'record')} had been lost")
    if done.readmitted:
        parts.append(f"{counted(done.readmitted, 'record')} entered in the index again")
    if done.left:
        parts.append(f"{counted(done.left, 'participant')} had left unnoticed")
    if done.failed:
        parts.append(f"{counted(done.failed, 'session')} could not be swept")
    if not done.finished:
        parts.append(f"stopped after {done.visited} of {counted(done.due, 'session')}")
    text = "; ".join(filter(None, parts)) or "There was nothing to remove"
    return f"{text}. It took {span(done.seconds)}."


def counted(count: int, word: str) -> str:
    """Return a number and its noun, in the plural where needed."""
    return f"{count:,} {word}{'s' * (count != 1)}"


class SweepListing:
    """Prints a line for each session at verbosity 2, and for each record at 3."""

    def __init__(self, out: OutputWrapper, verbosity: int) -> None:
        self._out = out
        self._verbosity = verbosity
        self._session = ""
        self._counts: Counter[str] = Counter()
        self._bytes = 0

    def add(self, key: StoreKey, name: str, freed: int) -> None:
        """Count a record under `name`, a field of `Sweep`, with its bytes."""
        if key.session != self._session:
            self.flush()
            self._session = key.session
        if self._verbosity >= 3:
            self._out.write(f"{key}  {_LISTED[name]}  {size(freed)}")
        self._counts[_LISTED[name]] += 1
        self._bytes += freed

    def flush(self) -> None:
        """Print the line of the last session."""
        if self._verbosity >= 2 and self._counts:
            counts = (f"{count} {name}" for name, count in self._counts.items())
            text = ", ".join((*counts, size(self._bytes)))
            self._out.write(f"{self._session}  {text}")
        self._counts.clear()
        self._bytes = 0


class ProgressBar:
    """Shows on a terminal the progress of a sweep of more than a second."""

    WIDTH = 20

    def __init__(self, out: OutputWrapper, verbosity: int) -> None:
        self._out = out
        self._next = time.monotonic() + 1 if verbosity and out.isatty() else None
        self._shown = False

    def show(self, done: Sweep) -> None:
        """Draw it, at most ten times a second."""
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
        """Clear its line."""
        if self._shown:
            self._out.write("\r\x1b[K", ending="")
            self._out.flush()
