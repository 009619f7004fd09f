"""Revs: a record's position in its history, and the ring of its latest revs."""

from __future__ import annotations

import random
import re
import secrets
from typing import Literal, NamedTuple

RING_LENGTH = 32
_TAIL_BYTES = 4

# Each rev has one spelling: what compares texts of revs compares revs.
REV_PATTERN = r"([0-9a-f]{4})\.(0|[1-9][0-9]{0,14})-([0-9a-f]{8})"
_REV = re.compile(REV_PATTERN, re.ASCII)


class Rev(NamedTuple):
    """`7f3a.45-9f3ac21b`: incarnation, counter, and random bits of the writer.

    A counter alone takes a rolled-back or recreated record for its own history.
    """

    incarnation: str
    counter: int
    tail: str

    def __str__(self) -> str:
        return f"{self.incarnation}.{self.counter}-{self.tail}"

    @classmethod
    def parse(cls, text: str) -> Rev:
        """Parse a rev's text; raise ValueError for any other form."""
        match = _REV.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is not a rev like '7f3a.45-9f3ac21b'.")
        return cls(match[1], int(match[2]), match[3])

    @classmethod
    def first(cls) -> Rev:
        """Return the rev of a record at its creation: a new incarnation, counter 1."""
        return cls(secrets.token_hex(2), 1, secrets.token_hex(_TAIL_BYTES))

    def next(self) -> Rev:
        """Draw the rev of a commit on top of this one."""
        # The tail distinguishes writers and guards nothing, so the fast generator
        # will do; Python seeds it anew in a forked process.
        tail = random.getrandbits(8 * _TAIL_BYTES)
        return Rev(self.incarnation, self.counter + 1, f"{tail:08x}")

    def reincarnated(self) -> Rev:
        """Draw the first rev of an incarnation that replaces this one."""
        while (rev := Rev.first()).incarnation == self.incarnation:
            pass
        return rev


def is_rev(text: object) -> bool:
    """Return whether `text` has the form of a rev."""
    return isinstance(text, str) and _REV.fullmatch(text) is not None


class History(NamedTuple):
    """A record's rev with the tails of its last `RING_LENGTH` revs, newest last."""

    rev: Rev
    ring: bytes

    @classmethod
    def start(cls, rev: Rev) -> History:
        """Return the history of a record that begins at `rev`."""
        return cls(rev, bytes.fromhex(rev.tail))

    def extend(self, rev: Rev) -> History:
        """Return the history after a commit to `rev`; a new incarnation starts over."""
        if rev.incarnation != self.rev.incarnation:
            return History.start(rev)
        ring = self.ring + bytes.fromhex(rev.tail)
        return History(rev, ring[-RING_LENGTH * _TAIL_BYTES :])

    def place(self, rev: Rev) -> Literal["head", "past", "unknown", "foreign"]:
        """Return the place of `rev` in this history.

        "head": the newest; "past": one that led here; "unknown": older than the ring
        reaches; "foreign": never a rev of this record as it is now (another
        incarnation, a counter not reached yet, or another writer's tail).
        """
        if rev == self.rev:
            return "head"
        age = self.rev.counter - rev.counter
        if rev.incarnation != self.rev.incarnation or age <= 0 or rev.counter < 1:
            return "foreign"
        end = len(self.ring) - age * _TAIL_BYTES
        if end <= 0:
            return "unknown"
        known = self.ring[end - _TAIL_BYTES : end].hex()
        return "past" if known == rev.tail else "foreign"
