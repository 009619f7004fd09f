"""What a sweep did, in words: a line for each session or record, and one for all."""

from __future__ import annotations

from collections import Counter

from django.core.management.base import OutputWrapper

from ..keys import StoreKey
from ..lastsweep import Sweep
from ..units import size, span

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


class Listing:
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
