"""One tab as this process knows it: whom it speaks for, and what it has been sent."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Raw

from . import codec, protocol
from .backends.base import Backend, Lease, Record
from .events import RemoteChange
from .exceptions import SessionStoresError, StateCorrupt, StoreUnavailable
from .keys import StoreKey
from .outbox import Outbox
from .protocol import Close
from .records import open_document
from .revs import Rev
from .signals import Change
from .state import states_in
from .tokens import Claims

logger = logging.getLogger("sessionstores.delivery")


def public(error: SessionStoresError) -> tuple[str, str]:
    """Return the code and the message with which a tab is told of an error."""
    if isinstance(error, StoreUnavailable | StateCorrupt):
        # What these say is for the site's people: it may name hosts and data.
        logger.warning("A tab is told of %s: %s", error.code, error)
        return error.code, "The server cannot use this state now; try again later."
    return error.code, str(error)


class Document:
    """A record as the tab sees it: its name there, and where the tab is."""

    __slots__ = ("full", "have", "key", "missed", "name", "rev", "shown")

    def __init__(self, name: str, key: StoreKey, have: Rev | None) -> None:
        self.name = name
        self.key = key
        # What the tab has, as far as is known; `full` if it needs all states anyway.
        self.have = have
        self.full = have is None
        # The newest rev on its way to the tab.
        self.rev: Rev | None = have
        # The rev of the last snapshot: older changes come too late.
        self.shown: Rev | None = None
        # Changes that come in while a snapshot is read; None at other times.
        self.missed: list[Change | RemoteChange] | None = []


class Connection:
    """A tab that has said hello. Lives in one event loop, in the task that reads it."""

    __slots__ = (
        "_reader",
        "backend",
        "busy",
        "claims",
        "client",
        "closing",
        "documents",
        "farewell",
        "id",
        "key",
        "names",
        "outbox",
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
        self.names: dict[str, Document] = {}
        self.documents: dict[StoreKey, Document] = {}
        for name, key in (
            ("me", self.key),
            ("session", StoreKey.of_session(claims.session)),
        ):
            have = hello.have.get(name)
            document = Document(name, key, Rev.parse(have) if have else None)
            self.names[name] = self.documents[key] = document
        self.outbox = Outbox(send, self.read, self._lost)
        self._reader = asyncio.current_task()
        # True while the reader must not be interrupted: its work would be half done.
        self.busy = True
        self.closing: Close | None = None
        self.farewell: str | None = None

    def lease(self, process: str, keys: set[StoreKey] | None = None) -> Lease:
        """Return the lease on all that the tab follows, or on `keys` of it."""
        followed = self.documents if keys is None else keys
        follows = frozenset(key.participant for key in followed)
        return Lease(self.id, self.key, process, self.client, follows)

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
        if shown and shown[0] == rev[0] and shown[1] >= rev[1]:
            return
        operations = None if change.reset else change.operations
        if operations is None:
            self.refresh(document)
        else:
            document.rev = rev
            self.outbox.patch(document.name, change.base, change.rev, operations)

    def refresh(self, document: Document) -> None:
        """Send a snapshot with all states, when the tab can take it."""
        document.have = document.rev
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
        try:
            if await self._is_current(document):
                return self._show(document, document.have, None)
            record = await open_document(self.backend, document.key)
            return self._snapshot(document, record)
        finally:
            missed, document.missed = document.missed, None
            for change in missed:
                self.change(change)

    async def read(self, name: str) -> str:
        """Return the snapshot frame of a document, or the error that stands for it."""
        try:
            return await self.open(self.names[name])
        except SessionStoresError as error:
            return protocol.error(*public(error))
        except Exception:
            logger.exception("%s: a snapshot of %r failed", self.key, name)
            return protocol.error("internal", "The server failed to read this.")

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

    def _snapshot(self, document: Document, record: Record) -> str:
        place = record.history.place(document.have) if document.have else "unknown"
        states = None
        if document.full or place != "head":
            classes = states_in("session" if document.key.is_session else "participant")
            names = [cls.__sessionstores__.name for cls in classes]
            states = {name: codec.raw(record.states[name]) for name in names}
        return self._show(document, record.rev, states, reset=place == "foreign")

    def _show(
        self,
        document: Document,
        rev: Rev | None,
        states: dict[str, Raw] | None,
        *,
        reset: bool = False,
    ) -> str:
        document.rev = document.shown = rev
        document.full = True
        return protocol.snapshot(document.name, str(rev), states, reset=reset)
