"""One record as a tab sees it: its name there, and how far the tab has come."""

from __future__ import annotations

from ..event_bus import Change
from ..keys import StoreKey
from ..state.revisions import Rev
from .serializers import RemoteChange


class Document:
    """A record as the tab sees it: its name there, and where the tab is."""

    __slots__ = (
        "firm",
        "forked",
        "full",
        "gone",
        "have",
        "key",
        "missed",
        "name",
        "owed",
        "rev",
        "run",
        "shown",
    )

    def __init__(
        self, name: str, key: StoreKey, have: Rev | None, run: str | None = None
    ) -> None:
        self.name = name
        self.key = key
        # What the tab has, as far as is known; `full` if it needs all states anyway.
        self.have = have
        self.full = have is None
        # The record had been shown, and was not there when it was looked for.
        self.gone = False
        # The newest rev on its way to the tab, and the newest that it has or gets
        # without a gap: while it waits for what is missing, it shows this one.
        self.rev: Rev | None = have
        self.firm: Rev | None = have
        # The rev of the last snapshot: older changes come too late.
        self.shown: Rev | None = None
        # Changes that come in while a snapshot is read; None at other times.
        self.missed: list[Change | RemoteChange] | None = []
        # The cache could not be reached when the tab was to get a snapshot.
        self.owed = False
        # Another commit has taken the place of one that the tab has: it was undone.
        self.forked = False
        # The run of the server that the last snapshot is from, as far as is known.
        self.run = run

    def forks(self, base: str, rev: Rev) -> bool:
        """Note if a commit or its base stands where the tab has another; tell so.

        Then the server has forgotten that one. Known as soon as it happens: by the
        time that the tab asks for a snapshot, the record's ring may have let go of it.
        """
        ours = self.rev
        if ours is None or base == str(ours) or rev == ours:
            return False
        if ours[:2] not in (rev[:2], Rev.parse(base)[:2]):
            return False
        self.forked = True
        return True

    def reach(self, base: str, rev: Rev) -> None:
        """Note that a commit is on its way to the tab; a late one does not move it."""
        ours = self.rev
        if self.firm is None or base == str(self.firm):
            self.firm = rev
        if ours is None or ours[0] != rev[0] or ours[1] < rev[1]:
            self.rev = rev
