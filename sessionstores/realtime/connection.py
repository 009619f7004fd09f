"""One tab as this process knows it: whom it speaks for, and what it has been sent."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ..backends.base import MAX_META_BYTES, Backend, Lease, Record
from ..event_bus import Change
from ..exceptions import SessionStoresError, StateCorrupt, StoreUnavailable
from ..keys import StoreKey
from ..participants.tokens import Claims
from ..state import codec
from ..state.declaration import states_in
from ..state.revisions import Rev
from ..store.records import open_document
from . import protocol
from .document import Document
from .outbox import Outbox
from .protocol import BadFrame, Close
from .roster import NOBODY, RosterView
from .serializers import RemoteChange

logger = logging.getLogger("sessionstores.delivery")


def public_error(error: SessionStoresError) -> tuple[str, str]:
    """Return the code and the message with which a tab is told of an error."""
    if isinstance(error, StoreUnavailable | StateCorrupt):
        # What these say is for the site's people: it may name hosts and data.
        logger.warning("A tab is told of %s: %s", error.code, error)
        return error.code, "The server cannot use this state now; try again later."
    return error.code, str(error)


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
        hello: protocol.HelloFrame,
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
            if key.is_session:
                # All write to the session's record: nobody may use up others' ids.
                document.numbering = f"{claims.participant}/"
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

    def attend(self, view: RosterView) -> None:
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
        document.expect_snapshot()
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
            lost, document.missing = document.missing, False
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
            return protocol.error(*public_error(error))
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
