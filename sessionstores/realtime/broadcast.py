"""Broadcast: a commit on its way to the tabs of a process, and what all need of it."""

from __future__ import annotations

import msgspec

from ..state.revisions import Rev
from . import protocol


class Broadcast(msgspec.Struct):
    """A commit, with the revs parsed and the frames made once for all tabs.

    It leads from `previous`, written `base`, to `rev`. `operations` is the JSON array
    of its operations; None if tabs need a snapshot.
    """

    base: str
    previous: Rev
    rev_text: str
    rev: Rev
    operations: bytes | None
    # By the document's name.
    frames: dict[str, str] = msgspec.field(default_factory=dict[str, str])

    def frame(self, name: str, operations: bytes) -> str:
        """Return the patch frame for tabs that know the document by that name."""
        text = self.frames.get(name)
        if text is None:
            text = protocol.patch(name, self.base, self.rev_text, operations)
            self.frames[name] = text
        return text
