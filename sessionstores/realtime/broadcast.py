"""Broadcast: a commit on its way to the tabs of a process, and what all need of it."""

from __future__ import annotations

import msgspec

from ..state.revisions import Rev
from ..state.watch_view import WatchView
from . import protocol


class Broadcast(msgspec.Struct):
    """A commit, with the revs parsed and the frames made once for all tabs.

    It leads from `previous`, written `base`, to `rev`. `operations` is the JSON array
    of its operations; None if tabs need a snapshot. `restarted` as in `Change`.
    """

    base: str
    previous: Rev
    rev_text: str
    rev: Rev
    operations: bytes | None
    restarted: bool = False
    # By the document's name.
    frames: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    # The same commit as those see it who watch, by what they may see and have.
    watched: dict[tuple[str, frozenset[str]], Broadcast] = msgspec.field(
        default_factory=dict[tuple[str, frozenset[str]], "Broadcast"]
    )

    def frame(self, name: str, operations: bytes) -> str:
        """Return the patch frame for tabs that know the document by that name."""
        text = self.frames.get(name)
        if text is None:
            text = protocol.patch(name, self.base, self.rev_text, operations)
            self.frames[name] = text
        return text

    def seen_by(self, view: WatchView, states: frozenset[str]) -> Broadcast:
        """Return the commit as a role sees it whose tab has those states."""
        place = view.digest, states
        seen = self.watched.get(place)
        if seen is None:
            operations = self.operations
            if operations is not None:
                operations = view.operations(operations, states)
            seen = msgspec.structs.replace(
                self, operations=operations, frames={}, watched={}
            )
            self.watched[place] = seen
        return seen
