"""Broadcast: a commit on its way to the tabs of a process, and what all need of it."""

from __future__ import annotations

from ..event_bus import Change
from ..state.revisions import Rev
from . import protocol
from .serializers import RemoteChange


class Broadcast:
    """A commit with its revs parsed and its frames made, once for all tabs.

    `operations` is the JSON array of its operations; None if tabs need a snapshot.
    """

    __slots__ = ("_frames", "base", "operations", "previous", "rev", "rev_text")

    def __init__(self, change: Change | RemoteChange) -> None:
        self.base = change.base
        self.previous = Rev.parse(change.base)
        self.rev_text = change.rev
        self.rev = Rev.parse(change.rev)
        self.operations = None if change.reset else change.operations
        self._frames: dict[str, str] = {}

    def frame(self, name: str, operations: bytes) -> str:
        """Return the patch frame for tabs that know the document by that name."""
        text = self._frames.get(name)
        if text is None:
            text = protocol.patch(name, self.base, self.rev_text, operations)
            self._frames[name] = text
        return text
