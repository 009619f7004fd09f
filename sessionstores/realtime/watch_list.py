"""Watch list: whom one tab watches, what it may see of them, and their documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..backends.types import EVERYONE
from ..keys import StoreKey
from ..state.revisions import Rev
from ..state.watch_view import DIGEST_LENGTH, WatchView, watch_view
from .document import Document
from .people_frames import gone_frame

# In the place of an id: everybody in the session, whoever comes later too.
EVERYBODY = "*"
PREFIX = "p:"
# Why there is nothing to be seen, beside the reasons of removals: there is no record,
# and nobody has said why; or it cannot be read.
ABSENT = "absent"
UNREADABLE = "unreadable"
# Named participants of whom a tab's process is entered as a follower one by one; with
# more of them it follows everybody, in one entry.
MAX_NAMED = 16


class WatchList:
    """Whom a tab watches; holds no connection. `have` and `runs` are the hello's."""

    __slots__ = (
        "_have",
        "_runs",
        "absent",
        "code",
        "documents",
        "everybody",
        "named",
        "people",
        "view",
    )

    def __init__(
        self, code: str, have: Mapping[str, str], runs: Mapping[str, str]
    ) -> None:
        self.code = code
        self._have = {doc: have[doc] for doc in have if doc.startswith(PREFIX)}
        self._runs = {doc: runs[doc] for doc in self._have if doc in runs}
        self.view = WatchView(())
        # Those asked for by name, and whether everybody was.
        self.named: set[str] = set()
        self.everybody = False
        # By participant. Whoever is watched has one, with a record or without.
        self.documents: dict[str, Document] = {}
        # Those of whom the tab has been told that there is no record.
        self.absent: set[str] = set()
        # Name and role of everybody, as far as the tab has been told.
        self.people: dict[str, tuple[str | None, str]] = {}

    @property
    def follows(self) -> frozenset[str]:
        """What the tab's lease is to follow for it; see `Lease.follows`."""
        if self.everybody or len(self.named) > MAX_NAMED:
            return frozenset({EVERYONE})
        return frozenset(self.named)

    @property
    def asked(self) -> Iterator[str]:
        """Whom the tab has asked for: ids, and `EVERYBODY`."""
        yield from sorted(self.named)
        if self.everybody:
            yield EVERYBODY

    def watches(self, id: str) -> bool:
        """Whether the tab has asked for a participant."""
        return self.everybody or id in self.named

    def look(self, role: str) -> bool:
        """Take in what a role may watch now; return whether that is something else."""
        view = watch_view(role)
        changed = view.digest != self.view.digest
        self.view = view
        return changed

    def find(self, name: str) -> Document | None:
        """Return the document of that name, None if there is none."""
        if not name.startswith(PREFIX):
            return None
        return self.documents.get(name.removeprefix(PREFIX))

    def open(self, id: str) -> Document:
        """Return a new document for a participant, with what the tab had of it.

        What it had under another view is not what it is to see now.
        """
        name = PREFIX + id
        have, known = self._have.pop(name, None), self._runs.pop(name, "")
        run, digest = known[:-DIGEST_LENGTH], known[-DIGEST_LENGTH:]
        document = Document(
            name,
            StoreKey.stored(self.code, id),
            Rev.parse(have) if have else None,
            run,
            self.view,
        )
        # It collects nothing before it is read: that may be long after.
        document.missed = None
        if digest == self.view.digest:
            document.states = frozenset(self.view.names)
        else:
            document.full = True
        self.documents[id] = document
        return document

    def reopen(self, id: str) -> Document:
        """Replace a document by one that shows the present view."""
        before = self.documents[id]
        document = Document(before.name, before.key, before.firm, before.run, self.view)
        document.missed = None
        document.full = True
        document.forked = before.forked
        self.documents[id] = document
        return document

    def lose(self, id: str, reason: str) -> str:
        """Note that a record is gone; return the frame, "" if the tab knows of none.

        If there is one again, its document begins anew.
        """
        self.people.pop(id, None)
        before = self.documents[id]
        known = id not in self.absent and (id in self.named or before.rev is not None)
        self.open(id)
        if not known:
            self.absent.add(id)
            return ""
        self.absent.add(id)
        return gone_frame(id, reason)

    def close(self, id: str) -> None:
        """Forget a document."""
        self.documents.pop(id, None)
        self.absent.discard(id)

    def clear(self) -> None:
        """Watch nobody."""
        self.named.clear()
        self.everybody = False
        self.documents.clear()
        self.absent.clear()
        self.people.clear()
