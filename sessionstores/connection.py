"""One tab as this process knows it: whom it speaks for, and what it has been sent."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from . import codec, protocol
from .backends.base import MAX_META_BYTES, Backend, Lease, Record
from .events import RemoteChange
from .exceptions import SessionStoresError, StateCorrupt, StoreUnavailable
from .keys import StoreKey
from .outbox import Outbox
from .protocol import BadFrame, Close
from .records import open_document
from .revs import Rev
from .roster import NOBODY, View
from .signals import Change
from .state import states_in
from .tokens import Claims

logger = logging.getLogger("sessionstores.delivery")

# Commits past a gap that are remembered of each document; a tab holds fewer.
MAX_AHEAD = 64


def public(error: SessionStoresError) -> tuple[str, str]:
    """Return the code and the message with which a tab is told of an error."""
    if isinstance(error, StoreUnavailable | StateCorrupt):
        # What these say is for the site's people: it may name hosts and data.
        logger.warning("A tab is told of %s: %s", error.code, error)
        return error.code, "The server cannot use this state now; try again later."
    return error.code, str(error)


class Document:
    """A record as the tab sees it: its name there, and where the tab is."""

    __slots__ = (
        "ahead",
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
        # What it holds meanwhile, by base: a late commit leads it on to there.
        self.ahead: dict[str, Rev] = {}
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

    @property
    def seen(self) -> set[Rev]:
        """What the tab may show: what it said that it has, and what it was sent."""
        return {rev for rev in (self.have, self.firm) if rev is not None}

    def forks(self, base: str, rev: Rev) -> bool:
        """Note if a commit or its base stands where the tab has another; tell so.

        Then the server has forgotten that one. Known as soon as it happens: by the
        time that the tab asks for a snapshot, the record's ring may have let go of it.
        """
        for ours in (self.rev, self.firm):
            if ours is None or base == str(ours) or rev == ours:
                return False
            if ours[:2] in (rev[:2], Rev.parse(base)[:2]):
                self.forked = True
                return True
        return False

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

    def _follow(self, rev: Rev) -> None:
        self.firm = rev
        while self.ahead and (after := self.ahead.pop(str(self.firm), None)):
            self.firm = after


def _precedes(rev: Rev, other: Rev) -> bool:
    return rev[0] == other[0] and rev[1] < other[1]


class Connection:
    """A tab that has said hello. Lives in one event loop, in the task that reads it."""

    __slots__ = (
        "_known",
        "_reader",
        "_view",
        "backend",
        "busy",
        "claims",
        "client",
        "closing",
        "documents",
        "farewell",
        "grace",
        "id",
        "joined",
        "key",
        "meta",
        "names",
        "outbox",
        "resumed",
        "run",
    )

    def __init__(
        self,
        backend: Backend,
        claims: Claims,
        hello: protocol.Hello,
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self.id = secrets.token_hex(8)
        self.backend = backend
        self.claims = claims
        self.key = claims.key
        self.client = hello.client
        # What the tab shows of itself; `show` takes it in.
        self.meta = b""
        # Whether its participant joined by it, which nobody has been told yet.
        self.joined = False
        # Whether it takes the place of one that was lost just now, as after a reload.
        self.resumed = False
        # The present run of the server, as the hub knows it.
        self.run = ""
        # How many seconds its participant has to come back once it is gone.
        self.grace = 0.0
        # The newest view of who is present, and the last that the tab was sent.
        self._view = self._known = NOBODY
        self.names: dict[str, Document] = {}
        self.documents: dict[StoreKey, Document] = {}
        for name, key in (
            ("me", self.key),
            ("session", StoreKey.of_session(claims.session)),
        ):
            have = hello.have.get(name)
            document = Document(
                name, key, Rev.parse(have) if have else None, hello.runs.get(name)
            )
            self.names[name] = self.documents[key] = document
        self.outbox = Outbox(send, self.read, self._attendance, self._lost)
        self._reader = asyncio.current_task()
        # True while the reader must not be interrupted: its work would be half done.
        self.busy = True
        self.closing: Close | None = None
        self.farewell: str | None = None

    def lease(self, process: str, keys: set[StoreKey] | None = None) -> Lease:
        """Return the lease on all that the tab follows, or on `keys` of it."""
        followed = self.documents if keys is None else keys
        follows = frozenset(key.participant for key in followed)
        return Lease(self.id, self.key, process, self.client, follows, self.meta)

    def show(self, data: Mapping[str, Any]) -> bool:
        """Take in what the tab shows of itself; False if it is nothing new.

        Raises `BadFrame` past `MAX_META_BYTES`.
        """
        meta = msgspec.json.encode(data) if data else b""
        if len(meta) > MAX_META_BYTES:
            raise BadFrame(
                "bad_meta",
                f"What a tab shows of itself has at most {MAX_META_BYTES} bytes, not "
                f"{len(meta)}.",
            )
        changed, self.meta = meta != self.meta, meta
        return changed

    def attend(self, view: View) -> None:
        """Show who is present, when the tab can take it.

        The first view that a tab is shown has its own participant in it.
        """
        if self._view is NOBODY and self.key.participant not in view.metas:
            return
        if view is not self._view:
            self._view = view
            self.outbox.presence()

    def revs(self) -> dict[str, Rev | None]:
        """Return the newest rev on its way to the tab, of each document."""
        return {name: document.rev for name, document in self.names.items()}

    def change(self, change: Change | RemoteChange) -> None:
        """Send a commit on; it waits while a snapshot of the document is read."""
        document = self.documents[change.key]
        if document.missed is not None:
            document.missed.append(change)
            return
        rev, shown = Rev.parse(change.rev), document.shown
        if document.forks(change.base, rev):
            self.refresh(document)
            return
        if shown and shown[0] == rev[0] and shown[1] >= rev[1]:
            return
        operations = None if change.reset else change.operations
        if operations is None:
            self.refresh(document)
        else:
            document.reach(change.base, rev)
            self.outbox.patch(document.name, change.base, change.rev, operations)

    def refresh(self, document: Document) -> None:
        """Send a snapshot with all states, when the tab can take it."""
        document.have = document.firm
        document.full = True
        self.outbox.refresh(document.name)

    async def sync(self, name: str, have: str | None) -> bool:
        """Send a snapshot to a tab at `have`; False if it has no such document."""
        document = self.names.get(name)
        if document is None:
            return False
        document.have = Rev.parse(have) if have else None
        document.full = have is None
        if have and document.have == document.rev:
            await self.outbox.show(name)
        else:
            # Long, maybe: it must not keep the reader from pongs.
            self.outbox.refresh(name)
        return True

    async def open(self, document: Document) -> str:
        """Read a document; return its snapshot frame, after which patches follow.

        Raises what `open_document` raises.
        """
        document.missed = document.missed or []
        # All as of before it is read: a reply that is sent meanwhile may be newer than
        # what is read, and the server another one.
        run, full, have, seen = self.run, document.full, document.have, document.seen
        try:
            if seen == {have} and await self._is_current(document):
                return self._show(document, run, have, None)
            lost, document.gone = document.gone, False
            record = await open_document(self.backend, document.key, lost=lost)
            places = {record.history.place(rev) for rev in seen}
            if "unknown" in places and document.run is not None:
                # It may not be undone, but so many commits after a restart there is no
                # telling.
                run = self.run = await self.backend.run_name()
                document.forked = document.forked or run != document.run
            states = None if places == {"head"} and not full else _states(record)
            reset = document.forked or "foreign" in places
            return self._show(document, run, record.rev, states, reset=reset)
        finally:
            missed, document.missed = document.missed, None
            for change in missed:
                self.change(change)

    async def read(self, name: str) -> str:
        """Return the snapshot frame of a document, or the error that stands for it.

        A tab asks only once: what an outage kept from it follows with the heartbeat.
        """
        document = self.names[name]
        document.owed = False
        try:
            return await self.open(document)
        except SessionStoresError as error:
            document.owed = isinstance(error, StoreUnavailable)
            return protocol.error(*public(error))
        except Exception:
            logger.exception("%s: a snapshot of %r failed", self.key, name)
            return protocol.error("internal", "The server failed to read this.")

    def _attendance(self) -> str:
        known, self._known = self._known, self._view
        return self._view.frame(known)

    def close(self, code: Close, farewell: str | None = None) -> None:
        """Have the reader say `farewell` and close, at once unless it is busy."""
        if self.closing is not None:
            return
        self.closing = code
        self.farewell = farewell
        if self._reader is None or self.busy:
            return
        if asyncio.current_task() is not self._reader:
            self._reader.cancel()

    def _lost(self) -> None:
        self.close(Close.SLOW, protocol.error("slow", "This tab takes too little."))

    async def _is_current(self, document: Document) -> bool:
        """Tell at the price of a head whether the tab has all that there is."""
        # Which states are missing or outdated is settled before a first snapshot, and
        # then no commit brings such ones: they need not be looked at again.
        if document.full or document.shown is None:
            return False
        heads = await self.backend.heads([document.key])
        return heads[document.key] == document.have

    def _show(
        self,
        document: Document,
        run: str,
        rev: Rev | None,
        states: dict[str, Raw] | None,
        *,
        reset: bool = False,
    ) -> str:
        document.show(rev, reset=reset)
        document.full = True
        document.forked = False
        document.run = run
        return protocol.snapshot(document.name, str(rev), states, run=run, reset=reset)


def _states(record: Record) -> dict[str, Raw]:
    """Return all that a tab is shown of a record, by the states' names."""
    classes = states_in("session" if record.key.is_session else "participant")
    names = [cls.__sessionstores__.name for cls in classes]
    return {name: codec.raw(record.states[name]) for name in names}
