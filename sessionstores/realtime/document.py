"""Document: a record as one tab sees it, and which rev of it the tab has."""

from __future__ import annotations

from django.utils import translation
from msgspec import Raw

from ..backends.types import Record
from ..keys import StoreKey
from ..participants.messages import RESTARTED
from ..state import codec
from ..state.declaration import states_in
from ..state.revisions import Rev
from ..state.watch_view import WatchView
from . import protocol
from .broadcast import Broadcast

# Commits past a gap that are remembered of each document; a tab holds fewer.
MAX_AHEAD = 64


class Document:
    """A record under its name in one tab, and the revs that the tab has or is sent."""

    __slots__ = (
        "ahead",
        "firm",
        "forked",
        "full",
        "have",
        "key",
        "missed",
        "missing",
        "name",
        "numbering",
        "owed",
        "restarted",
        "rev",
        "run",
        "shown",
        "states",
        "view",
    )

    def __init__(
        self,
        name: str,
        key: StoreKey,
        have: Rev | None,
        run: str | None = None,
        view: WatchView | None = None,
    ) -> None:
        self.name = name
        self.key = key
        # What the tab may see of it, if it is another participant's; and the states
        # that the tab has of that.
        self.view = view
        self.states: frozenset[str] = frozenset()
        # Prefix of the client ids under which the record counts actions.
        self.numbering = ""
        # What the tab has, as far as is known; `full` if it needs all states anyway.
        self.have = have
        self.full = have is None
        # The record had been shown, and was missing when its head was read.
        self.missing = False
        # The newest rev on its way to the tab, and the newest that it has or gets
        # without a gap: while it waits for what is missing, it shows this one.
        self.rev: Rev | None = have
        self.firm: Rev | None = have
        # Commits that it holds meanwhile, by base: a late one leads it on to these.
        self.ahead: dict[str, Rev] = {}
        # The rev of the last snapshot: older changes are in it already.
        self.shown: Rev | None = None
        # Changes that arrive while a snapshot is read; None at other times.
        self.missed: list[Broadcast] | None = []
        # A snapshot is owed to the tab: the cache could not be reached.
        self.owed = False
        # The server has another commit in the place of one that the tab has.
        self.forked = False
        # The site has had it started afresh, which the next snapshot tells the tab.
        self.restarted = False
        # The run of the server that the last snapshot is from, as far as is known.
        self.run = run

    @property
    def seen(self) -> set[Rev]:
        """The revs that the tab may show: the one it named, and what it was sent."""
        return {rev for rev in (self.have, self.firm) if rev is not None}

    def states_in(self, record: Record) -> dict[str, Raw]:
        """Return the states that the tab gets of a record, by name, JSON each."""
        if self.view is not None:
            return self.view.states(record.states)
        classes = states_in("session" if record.key.is_session else "participant")
        names = [cls.__sessionstores__.name for cls in classes]
        return {name: codec.raw(record.states[name]) for name in names}

    def continues(self, previous: Rev, rev: Rev) -> bool:
        """Note a commit right on top of all that the tab has; False: it is another."""
        if previous != self.firm or previous != self.rev or self.ahead:
            return False
        if previous[0] != rev[0] or previous[1] >= rev[1]:
            return False
        self.rev = self.firm = rev
        return True

    def forks(self, base: str, rev: Rev) -> bool:
        """Note and return whether a commit or its base contradicts what the tab has.

        If it has another rev at that counter, the server has forgotten that one. This
        is noted at once: the record's history is short.
        """
        for ours in (self.rev, self.firm):
            if ours is None or base == str(ours) or rev == ours:
                return False
            if ours[:2] in (rev[:2], Rev.parse(base)[:2]):
                self.forked = True
                return True
        return False

    def advance(self, base: str, rev: Rev) -> bool:
        """Note that an ack leads the tab on; return whether a snapshot must follow.

        It must if the ack's commit forks from what the tab has.
        """
        forked = self.forks(base, rev)
        if forked:
            self.expect_snapshot()
        self.reach(base, rev)
        return forked

    def expect_snapshot(self) -> None:
        """Note that the tab is to get a snapshot with all states."""
        self.have = self.firm
        self.full = True

    def reach(self, base: str, rev: Rev) -> None:
        """Note that a commit is on its way to the tab; a late one does not move it."""
        ours, firm = self.rev, self.firm
        if firm is None or base == str(firm):
            self._follow(rev)
        elif base != str(rev) and not _precedes(rev, firm):
            self.ahead[base] = rev
            if len(self.ahead) > MAX_AHEAD:
                del self.ahead[next(iter(self.ahead))]
        if ours is None or ours[0] != rev[0] or ours[1] < rev[1]:
            self.rev = rev

    def show(self, rev: Rev | None, *, reset: bool) -> None:
        """Note that a snapshot is on its way to the tab, which may be past it."""
        self.rev = self.shown = self.have = rev
        if reset or rev is None:
            self.ahead.clear()
            self.firm = rev
        elif self.firm is None or not _precedes(rev, self.firm):
            self._follow(rev)

    def snapshot(
        self,
        run: str,
        rev: Rev | None,
        states: dict[str, Raw] | None,
        done: dict[str, int] | None = None,
        *,
        reset: bool = False,
        lang: str | None = None,
    ) -> str:
        """Return the frame of a snapshot, and note that it is on its way.

        As `protocol.snapshot`; `lang` is the language of what is told of a reset.
        """
        message = ""
        self.show(rev, reset=reset)
        self.full = True
        self.forked = False
        self.run = run
        if self.view is not None:
            run += self.view.digest
        if reset and self.restarted and self.view is None:
            self.restarted = False
            with translation.override(lang):
                message = str(RESTARTED)
        return protocol.snapshot(
            self.name,
            str(rev),
            states,
            done=done,
            run=run,
            reset=reset,
            message=message,
        )

    def _follow(self, rev: Rev) -> None:
        self.firm = rev
        while self.ahead and (after := self.ahead.pop(str(self.firm), None)):
            self.firm = after


def _precedes(rev: Rev, other: Rev) -> bool:
    return rev[0] == other[0] and rev[1] < other[1]
