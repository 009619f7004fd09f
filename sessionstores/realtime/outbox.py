"""Outbox: the bounded queue of frames to one tab; patches join while they wait.

A tab that stalls must not fill this process's memory: while it cannot be written to,
patches of a document join; past `JOIN_BYTES` a snapshot replaces them, which is read
when its turn comes.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from . import protocol

JOIN_BYTES = 16_384
# Sent but not confirmed by a pong: above that, documents wait, since not every
# server's `send` waits for a slow network.
WINDOW_BYTES = 262_144
# Text that waits, or was sent past the window: above that, the tab is closed.
MAX_BYTES = 1_048_576


class _Patch:
    __slots__ = ("base", "doc", "parts", "rev", "size", "text")

    def __init__(self, doc: str, base: str, rev: str, ops: bytes, text: str) -> None:
        self.doc = doc
        # Its frame, as long as no other has joined it; "" if that is not made yet.
        self.text = text
        self.base = base
        self.rev = rev
        self.parts = [ops]
        self.size = len(ops)

    def join(self, base: str, rev: str, ops: bytes) -> bool:
        if base == self.rev:
            self.parts.append(ops)
            self.rev = rev
        elif rev == self.base:
            # Two threads may publish their commits in reverse order.
            self.parts.insert(0, ops)
            self.base = base
        else:
            return False
        self.size += len(ops)
        return self.size <= JOIN_BYTES

    def frame(self) -> str:
        if len(self.parts) == 1:
            return self.text or protocol.patch(
                self.doc, self.base, self.rev, self.parts[0]
            )
        inner = (part[1:-1] for part in self.parts)
        ops = b"[" + b",".join(part for part in inner if part) + b"]"
        return protocol.patch(self.doc, self.base, self.rev, ops)


class _Refresh:
    __slots__ = ("doc",)

    def __init__(self, doc: str) -> None:
        self.doc = doc


class _Ping:
    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _Presence:
    __slots__ = ()


_Item = str | _Ping | _Presence | _Patch | _Refresh


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

    `read` returns the snapshot frame of a document, `presence_frame` a presence frame;
    `give_up` is called once, when the tab cannot be written to or reads too little.
    Nothing is written before `begin`. Belongs to one event loop.
    """

    __slots__ = (
        "_confirmed",
        "_documents",
        "_excess",
        "_flushed",
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
        self._queue: deque[_Item] = deque()
        self._documents: dict[str, _Patch | _Refresh] = {}
        self._ping: _Ping | None = None
        self._presence: _Presence | None = None
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
        if doc is not None and isinstance(self._documents.get(doc), _Patch):
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
            self._put(_Patch(doc, base, rev, ops, text))
        elif isinstance(pending, _Patch) and not pending.join(base, rev, ops):
            self.refresh(doc)

    def refresh(self, doc: str) -> None:
        """Queue a snapshot, in place of a patch that waits; it is read later."""
        pending = self._documents.get(doc)
        if pending is None:
            self._put(_Refresh(doc))
        elif isinstance(pending, _Patch):
            snapshot = self._documents[doc] = _Refresh(doc)
            self._queue[self._queue.index(pending)] = snapshot

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
            self._ping = _Ping(text)
            self._queue.append(self._ping)
            self._start()

    def presence(self) -> None:
        """Queue a presence frame, unless one waits; it is made when its turn comes."""
        if self._presence is None and not self._stopped:
            self._presence = _Presence()
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
        self._documents.clear()
        if self._task is not None:
            self._task.cancel()
        self._wake()

    @property
    def _is_full(self) -> bool:
        return self._sent - self._confirmed > WINDOW_BYTES

    def _put(self, item: _Patch | _Refresh) -> None:
        if not self._stopped:
            self._documents[item.doc] = item
            self._queue.append(item)
            self._start()

    def _start(self) -> None:
        if self._queue and not self._writing and not self._stopped:
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
        try:
            while (item := self._next()) is not None:
                if isinstance(item, str):
                    await self._write(item)
                    self._texts -= 1
                    self._waiting -= len(item)
                    if not self._texts:
                        self._wake()
                elif isinstance(item, _Ping):
                    self._ping = None
                    self._marks.append(self._sent)
                    await self._write(item.text)
                elif isinstance(item, _Presence):
                    self._presence = None
                    await self._write(self._presence_frame())
                else:
                    # From now on it cannot be joined.
                    if self._documents.get(item.doc) is item:
                        del self._documents[item.doc]
                    if isinstance(item, _Patch):
                        await self._write(item.frame())
                    else:
                        await self._write(await self._read(item.doc))
        finally:
            self._writing = False
            self._task = None

    def _next(self) -> _Item | None:
        if not self._queue:
            return None
        if not self._is_full:
            return self._queue.popleft()
        if not self._marks and self._ping is None:
            self.ping(protocol.ping({}))
        for place, item in enumerate(self._queue):
            if isinstance(item, str | _Ping):
                del self._queue[place]
                return item
        return None

    async def _write(self, text: str) -> None:
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
