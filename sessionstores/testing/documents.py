"""Documents as a tab has them: chains of revs, and patches that came too early."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..state.apply_patch import InvalidPatch, apply
from ..state.revisions import Rev

# As in client.js, in seconds: until what is missing is asked for, and in which a ping
# may report a head that has been passed already.
GAP_PATIENCE = 0.3
HEAD_PATIENCE = 2.0
MAX_HELD = 32

Frame = Mapping[str, Any]


def is_past(ours: str | None, rev: str | None) -> bool:
    """Return whether who is at `ours` has nothing to learn from `rev`."""
    if ours == rev or ours is None or rev is None:
        return ours == rev
    one, other = Rev.parse(ours), Rev.parse(rev)
    return one.incarnation == other.incarnation and other.counter < one.counter


class TabDocument:
    """A tab's copy of one document; it changes by frames, as in client.js.

    `states` are by name, None before the first snapshot. `asked`: a snapshot is on its
    way.
    """

    def __init__(self) -> None:
        self.rev: str | None = None
        self.run: str | None = None
        self.states: dict[str, Any] | None = None
        self.asked = False
        # Patches by the rev that they lead from, and the furthest rev known of.
        self._held: dict[str, Frame] = {}
        self._expected: str | None = None
        self._moved_at = 0.0
        # It has what the server has not: that was rolled back.
        self._is_off = False

    @property
    def lacks(self) -> bool:
        """Whether something is missing that a snapshot would bring."""
        if self.asked or self.rev is None:
            return False
        behind = self._expected is not None and not is_past(self.rev, self._expected)
        return behind or self._is_off

    def take_patch(self, frame: Frame) -> None:
        """Apply a patch, or what an ack carries, or hold it until its base is here."""
        if "ops" not in frame or frame.get("base") == frame["rev"]:
            self._expect(frame["rev"])
        elif frame["base"] == self.rev:
            self._advance(frame)
        elif not is_past(self.rev, frame["rev"]):
            if len(self._held) < MAX_HELD:
                self._held[frame["base"]] = frame
            self._expect(frame["rev"])

    def take_snapshot(self, frame: Frame) -> bool:
        """Take a snapshot; return False for one that later patches have overtaken."""
        reset, rev = frame["reset"], frame["rev"]
        overtaken = not reset and rev != self.rev and is_past(self.rev, rev)
        self.asked = self._is_off = False
        self.run = frame.get("run", self.run)
        if "states" in frame and not overtaken:
            if reset:
                self.forget()
            self.states, self.rev = frame["states"], rev
            self._settle()
        else:
            self._expect(rev)
        return not overtaken

    def take_head(self, head: str) -> None:
        """Compare with the head that a ping reports."""
        self._expect(head)
        waited = time.monotonic() - self._moved_at > HEAD_PATIENCE
        if head != self.rev and is_past(self.rev, head) and waited:
            self._is_off = True

    def forget(self) -> None:
        """Forget what is missing, and what waits for it: a snapshot will be newer."""
        self._held.clear()
        self._expected = None
        self.asked = self._is_off = False

    def _expect(self, rev: str) -> None:
        if not is_past(self.rev, rev) and not is_past(self._expected, rev):
            self._expected = rev

    def _advance(self, frame: Frame) -> None:
        try:
            self.states = apply(self.states, frame["ops"])
        except InvalidPatch:
            self._is_off = True
            return
        self.rev = frame["rev"]
        self._settle()

    def _settle(self) -> None:
        self._moved_at = time.monotonic()
        self._held = {
            base: held
            for base, held in self._held.items()
            if not is_past(self.rev, held["rev"])
        }
        if (following := self._held.pop(self.rev or "", None)) is not None:
            self._advance(following)
