"""Connections of pages that htmx draws: they are sent HTML instead of frames.

In the hub they are connections as any other: leases, presence, heartbeats, removals
and revocations are the same. Only the outbox writes something else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any

from ..backends.base import Backend
from ..backends.types import Profile
from ..exceptions import Kicked, SessionEnded, SessionStoresError, StoreUnavailable
from ..participants.participant import Participant
from ..participants.tokens import Claims
from ..state import codec
from ..state.declaration import State
from . import protocol
from .broadcast import Broadcast
from .connection import Connection
from .document import Document
from .error_frames import count_error
from .outbox import Outbox
from .protocol import Close

logger = logging.getLogger("sessionstores.delivery")

# Between two renderings for one page: not every server's `send` waits for a slow one.
PACE_SECONDS = 0.05
# How both extensions are asked to come back ("try again later"); see `close_code`.
TRY_AGAIN_LATER = 1013

# Makes the fragments of a page, for a participant, from their states by name.
Draw = Callable[[Participant, Mapping[str, State]], Awaitable[str]]


def close_code(close: Close) -> int:
    """Return the code by which htmx comes back if it is to, and else does not.

    htmx 2 reconnects on 1006 and 1011 to 1013, htmx 4 on 1001, 1005, 1006 and 1011 to
    1014, and neither on a code of ours.
    """
    return TRY_AGAIN_LATER if close >= Close.HELLO_TIMEOUT else int(close)


class FragmentOutbox(Outbox):
    """Outbox of HTML: all documents are one, the page, which `read` renders.

    Renderings join as snapshots do. There are no pongs: what the server has taken
    counts as arrived. `look` is called with the heads of a beat.
    """

    __slots__ = ("_look",)

    def __init__(
        self,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        read: Callable[[str], Awaitable[str]],
        give_up: Callable[[], None],
        look: Callable[[Mapping[str, str]], None],
    ) -> None:
        super().__init__(send, read, str, give_up)
        self._look = look

    def refresh(self, doc: str = "", *, later: bool = False) -> None:
        """Queue a rendering, unless one waits."""
        super().refresh("")

    def ask(self, heads: dict[str, str] | None) -> None:
        """Compare heads; a page that has not taken the last text yet is waited for."""
        if self._writing and self.asked is None:
            self.asked = asyncio.get_running_loop().time()
        self._look(heads or {})

    async def reply(self, text: str, doc: str | None = None) -> None:
        """Write HTML after what is queued, and return when it has been written."""
        super().post(text)
        await self.flush()

    def post(self, text: str) -> None:
        """Drop a frame of our protocol, which htmx does not speak."""

    def presence(self) -> None:
        """Do nothing, as for other frames."""

    async def _write(self, text: str) -> None:
        await super()._write(text)
        self._confirmed = self._sent
        self.asked = None


class FragmentConnection(Connection):
    """A page that htmx draws. `draw` renders the states of `classes`."""

    __slots__ = ("_classes", "_draw", "_drawn", "_due", "_used")

    def __init__(
        self,
        backend: Backend,
        claims: Claims,
        hello: protocol.HelloFrame,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        profile: Profile,
        *,
        classes: tuple[type[State], ...],
        draw: Draw,
    ) -> None:
        super().__init__(backend, claims, hello, send, profile)
        self.outbox: FragmentOutbox = FragmentOutbox(
            send, self.read, self.give_up, self._compare
        )
        self._classes = classes
        self._draw = draw
        # Of what was rendered last, to tell whether something else has changed.
        self._drawn = b""
        self._due = 0.0
        scopes = {cls.__sessionstores__.scope for cls in classes}
        self._used = {
            document.name: document
            for document in self.names.values()
            if ("session" if document.key.is_session else "participant") in scopes
        }

    def know(self, profile: Profile) -> None:
        """Take in what the record says; render anew if the name or role is new."""
        before = self.actor
        super().know(profile)
        if self.actor != before:
            self.redraw()

    def change(self, commit: Broadcast, document: Document) -> None:
        """Queue a rendering, if the document is part of it."""
        document.reach(commit.base, commit.rev)
        if document.name in self._used:
            self.outbox.refresh()

    def refresh(self, document: Document) -> None:
        """Queue a rendering of what is in the cache now."""
        self.redraw()

    def redraw(self) -> None:
        """Queue a rendering, even if no state has changed."""
        self._drawn = b""
        self.outbox.refresh()

    async def begin(self) -> str:
        """Open both documents; return the first rendering, or raise what fails."""
        for document in self.names.values():
            await self._take(document)
        return await self._render()

    async def read(self, name: str) -> str:
        """Return a rendering, "" if nothing in it has changed.

        What cannot be read or rendered leaves the page as it is; after an outage it is
        rendered with a heartbeat.
        """
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._due - loop.time())
        self._due = loop.time() + PACE_SECONDS
        for document in self.names.values():
            document.owed = False
        try:
            return await self._render()
        except Kicked:
            self.kick()
        except SessionEnded:
            self.end(Close.ENDED, "ended")
        except SessionStoresError as error:
            count_error(error)
            for document in self._used.values():
                document.owed = isinstance(error, StoreUnavailable)
        except Exception:
            logger.exception("%s: its fragments could not be rendered", self.key)
        return ""

    async def _render(self) -> str:
        actor = self.actor
        stored: dict[str, bytes] = {}
        for document in self.names.values():
            if document.name in self._used or document.missing:
                stored |= await self._take(document)
        names = [cls.__sessionstores__.name for cls in self._classes]
        mark = blake2b(repr((actor, [stored[name] for name in names])).encode())
        if mark.digest() == self._drawn:
            return ""
        states = {
            name: codec.decode(cls, stored[name])
            for name, cls in zip(names, self._classes, strict=True)
        }
        text = await self._draw(actor, states)
        self._drawn = mark.digest()
        return text

    async def _take(self, document: Document) -> Mapping[str, bytes]:
        """Read a document's record, and note which rev of it the page has."""
        record = await self._record(document)
        if record is None:
            return {}
        document.missed = None
        document.show(record.rev, reset=True)
        return record.states

    def _compare(self, heads: Mapping[str, str]) -> None:
        """Queue a rendering if a head is not what the page has."""
        for name, head in heads.items():
            document = self._used.get(name)
            if document is not None and head != str(document.rev):
                self.outbox.refresh()
