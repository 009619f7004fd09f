"""A TCP proxy in a thread, which loses what it is told to lose."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self


class Proxy:
    """Listens at a `port` of its own for what goes to the server at `target`.

    Use it as a context manager. It passes everything on until told otherwise; what it
    passes on arrives `delay` seconds later, each way.
    """

    port: int

    def __init__(self, target: int, *, delay: float = 0) -> None:
        self.target = target
        self.delay = delay
        # How many connections were cut so far, and how many are still to be.
        self.cuts = 0
        self._left = {"replies": 0, "requests": 0}
        self._swallowing = False
        self._down = False
        # Set unless what goes that way is held.
        self._open = {"replies": asyncio.Event(), "requests": asyncio.Event()}
        for gate in self._open.values():
            gate.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        opening = asyncio.start_server(self._serve, "127.0.0.1", 0)
        future = asyncio.run_coroutine_threadsafe(opening, self._loop)
        self._server = future.result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, *, replies: int = 0, requests: int = 0) -> None:
        """Close the connection instead of passing on the next ones, as they come.

        A server acts on a request whose reply is cut, and never sees a cut request.
        Said again, it replaces what was said before.
        """
        self._left = {"replies": replies, "requests": requests}

    def hold(self, *, replies: bool = False, requests: bool = False) -> None:
        """Keep back what goes that way; what is no longer held arrives at once."""

        def set_gates() -> None:
            for kind, held in (("replies", replies), ("requests", requests)):
                (self._open[kind].clear if held else self._open[kind].set)()

        self._loop.call_soon_threadsafe(set_gates)

    def abort(self) -> None:
        """Break all connections; what is held is lost."""
        asyncio.run_coroutine_threadsafe(self._abort(), self._loop).result()

    @contextlib.contextmanager
    def swallowing(self) -> Iterator[None]:
        """Take everything and pass nothing on; connections seem to be well.

        What is swallowed is gone, and the connections are closed in the end.
        """
        self._swallowing = True
        try:
            yield
        finally:
            self._swallowing = False
            self.abort()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Break all connections, and those that are tried meanwhile."""
        self._down = True
        self.abort()
        try:
            yield
        finally:
            self._down = False

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._down:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            beyond, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(to_server)
        ends = (writer, to_server)
        await asyncio.gather(
            self._pass("requests", reader, to_server, ends),
            self._pass("replies", beyond, writer, ends),
        )
        self._writers.difference_update(ends)

    async def _pass(
        self,
        kind: str,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        ends: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        due = 0.0
        try:
            while data := await source.read(65_536):
                await self._open[kind].wait()
                if self._swallowing:
                    continue
                if self._left[kind]:
                    self._left[kind] -= 1
                    self.cuts += 1
                    break
                if not self.delay:
                    sink.write(data)
                    await sink.drain()
                    continue
                # Never at one moment: their order would be open.
                due = max(self._loop.time() + self.delay, math.nextafter(due, math.inf))
                self._loop.call_at(due, sink.write, data)
            else:
                if self.delay:
                    await asyncio.sleep(self.delay)
                sink.close()
                return
        except OSError:
            # The other side of it went away.
            pass
        for end in ends:
            end.transport.abort()

    async def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        for gate in self._open.values():
            gate.set()
        await self._abort()
        # Each ends on its own, now that its connections are gone.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others)
