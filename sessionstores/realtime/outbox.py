"""Outbox: the bounded queue of frames to one tab; patches join while they wait.

A tab that stalls must not fill this process's memory: while it cannot be written to,
patches of a document join; past `JOIN_BYTES` a snapshot replaces them, which is read
when its turn comes. That of somebody else's document comes when nothing else waits:
there may be a thousand.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from . import protocol
from .outbox_items import (
    WaitingItem,
    WaitingPatch,
    WaitingPing,
    WaitingPresence,
    WaitingSnapshot,
)

# Of all patches that wait: above that, those that come become snapshots.
MAX_JOINED = 262_144
# Snapshots that come later, in a row, before other tasks have their turn.
STRIDE = 16
# Sent but not confirmed by a pong: above that, documents wait, since not every
# server's `send` waits for a slow network.
WINDOW_BYTES = 262_144
# Text that waits, or was sent past the window: above that, the tab is closed.
MAX_BYTES = 1_048_576


def _begun(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Return a task of the coroutine, which has run until it first waits.

    Before Python 3.12, it runs in the next turn of the loop.
    """
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    else:  # noqa: RET505 - for the type checker, which knows one version
        return loop.create_task(coroutine)


class Outbox:
    """Writes to a tab through the ASGI `send`; one task at a time does.

    `read` returns the snapshot frame of a document, "" if there is nothing to write;
    `presence_frame` a presence frame;
    `give_up` is called once, when the tab cannot be written to or reads too little.
    Nothing is written before `begin`. Belongs to one event loop.
    """

    __slots__ = (
        "_confirmed",
        "_documents",
        "_excess",
        "_flushed",
        "_joined",
        "_later",
        "_marks",
        "_on_give_up",
        "_ping",
        "_presence",
        "_presence_frame",
        "_queue",
        "_read",
        "_send",
        "_sent",
        "_stopped",
        "_task",
        "_texts",
        "_waiting",
        "_writing",
        "asked",
    )

    def __init__(
        self,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        read: Callable[[str], Awaitable[str]],
        presence_frame: Callable[[], str],
        give_up: Callable[[], None],
    ) -> None:
        self._send = send
        self._read = read
        self._presence_frame = presence_frame
        self._on_give_up = give_up
        # When the oldest unanswered ping was queued, in the loop's time.
        self.asked: float | None = None
        self._queue: deque[WaitingItem] = deque()
        # What waits until nothing else does.
        self._later: dict[str, WaitingSnapshot] = {}
        self._documents: dict[str, WaitingPatch | WaitingSnapshot] = {}
        # Bytes of the patches that wait.
        self._joined = 0
        self._ping: WaitingPing | None = None
        self._presence: WaitingPresence | None = None
        self._texts = self._waiting = 0
        self._sent = self._confirmed = self._excess = 0
        self._marks: list[int] = []
        self._writing = True
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._flushed: asyncio.Future[None] | None = None

    async def begin(self, *texts: str) -> None:
        """Write `texts`, then what was queued meanwhile."""
        try:
            for text in texts:
                await self._write(text)
        finally:
            self._writing = False
            self._start()

    async def reply(self, text: str, doc: str | None = None) -> None:
        """Write `text` after what is queued, and return when it has been written.

        Replies never wait for a pong: the task that waits here is the one that reads
        it. No later patch joins one of `doc` that waits before the reply.
        """
        if not (self._writing or self._queue or self._stopped):
            self._writing = True
            try:
                await self._write(text)
            finally:
                self._writing = False
                self._start()
            return
        if doc is not None and isinstance(self._documents.get(doc), WaitingPatch):
            del self._documents[doc]
        self.post(text)
        await self.flush()

    async def flush(self) -> None:
        """Return when all texts that were queued have been written."""
        while self._texts and not self._stopped:
            self._flushed = asyncio.get_running_loop().create_future()
            await self._flushed

    def post(self, text: str) -> None:
        """Queue `text`, and return at once."""
        if self._stopped:
            return
        if self._waiting > MAX_BYTES:
            self._give_up()
            return
        self._queue.append(text)
        self._texts += 1
        self._waiting += len(text)
        self._start()

    def patch(self, doc: str, base: str, rev: str, ops: bytes, text: str = "") -> None:
        """Queue a patch, or join it to one that waits; `text` is its frame, if made."""
        if text and not (
            self._writing or self._queue or self._stopped or self._is_full
        ):
            # Mostly the server takes it at once.
            self._writing = True
            task = _begun(self._write_alone(text))
            if not task.done():
                self._task = task
            return
        pending = self._documents.get(doc)
        if pending is None:
            if self._joined > MAX_JOINED:
                self.refresh(doc)
                return
            self._joined += len(ops)
            self._put(WaitingPatch(doc, base, rev, ops, text))
        elif isinstance(pending, WaitingPatch):
            before = pending.size
            fits = pending.join(base, rev, ops)
            self._joined += pending.size - before
            if not fits or self._joined > MAX_JOINED:
                self.refresh(doc)

    def refresh(self, doc: str, *, later: bool = False) -> None:
        """Queue a snapshot, in place of a patch that waits; it is read later.

        With `later`, all that is queued by then comes first, unless a patch waits.
        """
        pending = self._documents.get(doc)
        if pending is None and later and not self._stopped:
            self._documents[doc] = self._later[doc] = WaitingSnapshot(doc)
            self._start()
        elif pending is None:
            self._put(WaitingSnapshot(doc))
        elif isinstance(pending, WaitingPatch):
            self._joined -= pending.size
            snapshot = self._documents[doc] = WaitingSnapshot(doc)
            self._queue[self._queue.index(pending)] = snapshot

    def drop(self, doc: str) -> None:
        """Forget what waits of a document."""
        pending = self._documents.pop(doc, None)
        if isinstance(pending, WaitingPatch):
            self._joined -= pending.size
        if pending is not None and self._later.pop(doc, None) is None:
            self._queue.remove(pending)

    async def show(self, doc: str) -> None:
        """Write a snapshot, without a task if nothing waits; else `refresh`.

        For short ones: it returns when the snapshot has been written.
        """
        if self._writing or self._queue or self._stopped or self._is_full:
            self.refresh(doc)
            return
        self._writing = True
        try:
            await self._write(await self._read(doc))
        finally:
            self._writing = False
            self._start()

    def ping(self, text: str) -> None:
        """Queue a ping; it replaces one that still waits."""
        if self.asked is None:
            self.asked = asyncio.get_running_loop().time()
        if self._ping is not None:
            self._ping.text = text
        elif not self._stopped:
            self._ping = WaitingPing(text)
            self._queue.append(self._ping)
            self._start()

    def ask(self, heads: dict[str, str] | None) -> None:
        """Ping, with the heads of the tab's documents; None: they are not known."""
        self.ping(protocol.ping(heads))

    def presence(self) -> None:
        """Queue a presence frame, unless one waits; it is made when its turn comes."""
        if self._presence is None and not self._stopped:
            self._presence = WaitingPresence()
            self._queue.append(self._presence)
            self._start()

    def pong(self) -> bool:
        """Note that all that was sent before the oldest open ping has arrived.

        False if no ping is open.
        """
        if not self._marks:
            return False
        self._confirmed = self._marks.pop(0)
        self._excess = 0
        unanswered = self._marks or self._ping
        self.asked = asyncio.get_running_loop().time() if unanswered else None
        self._start()
        return True

    def stop(self) -> None:
        """Drop what waits, and write nothing from here on."""
        self._stopped = True
        self._queue.clear()
        self._later.clear()
        self._documents.clear()
        if self._task is not None:
            self._task.cancel()
        self._wake()

    @property
    def _is_full(self) -> bool:
        return self._sent - self._confirmed > WINDOW_BYTES

    def _put(self, item: WaitingPatch | WaitingSnapshot) -> None:
        if not self._stopped:
            self._documents[item.doc] = item
            self._queue.append(item)
            self._start()

    def _start(self) -> None:
        if (self._queue or self._later) and not self._writing and not self._stopped:
            self._writing = True
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _write_alone(self, text: str) -> None:
        try:
            await self._write(text)
        finally:
            self._writing = False
            self._task = None
            self._start()

    async def _drain(self) -> None:
        reads = 0
        try:
            while (item := self._next()) is not None:
                if isinstance(item, str):
                    await self._write(item)
                    self._texts -= 1
                    self._waiting -= len(item)
                    if not self._texts:
                        self._wake()
                elif isinstance(item, WaitingPing):
                    self._ping = None
                    self._marks.append(self._sent)
                    await self._write(item.text)
                elif isinstance(item, WaitingPresence):
                    self._presence = None
                    await self._write(self._presence_frame())
                else:
                    await self._write_document(item)
                    reads += 1
                    if not reads % STRIDE:
                        await asyncio.sleep(0)
        finally:
            self._writing = False
            self._task = None

    async def _write_document(self, item: WaitingPatch | WaitingSnapshot) -> None:
        # From now on it cannot be joined.
        if self._documents.get(item.doc) is item:
            del self._documents[item.doc]
        if isinstance(item, WaitingPatch):
            self._joined -= item.size
            await self._write(item.frame())
        else:
            await self._write(await self._read(item.doc))

    def _next(self) -> WaitingItem | None:
        if not self._is_full:
            if self._queue:
                return self._queue.popleft()
            for doc in self._later:
                return self._later.pop(doc)
            return None
        if not (self._queue or self._later):
            return None
        if not self._marks and self._ping is None:
            self.ping(protocol.ping({}))
        for place, item in enumerate(self._queue):
            if isinstance(item, str | WaitingPing):
                del self._queue[place]
                return item
        return None

    async def _write(self, text: str) -> None:
        if not text:
            return
        if self._is_full:
            if self._excess > MAX_BYTES:
                self._give_up()
            self._excess += len(text)
        if self._stopped:
            return
        self._sent += len(text)
        try:
            await self._send({"type": "websocket.send", "text": text})
        except Exception:  # noqa: BLE001
            # Servers differ in what they raise for a closed connection, if anything.
            self._give_up()

    def _give_up(self) -> None:
        if not self._stopped:
            self.stop()
            self._on_give_up()

    def _wake(self) -> None:
        if self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)
