"""TCP relay in front of several workers, which thereby share one address.

The head of a connection's first request chooses the worker. With a seat in its URL
(`?seat=1`), it is the worker of that number, so that neighbours use different ones;
otherwise the workers take turns. A worker that refuses connections is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

SEAT = re.compile(rb"\A\S+ \S*[?&]seat=(\d{1,4})[& ]")
CHUNK = 65_536
# All workers may still start, or have been killed at once: retry this often, for this
# long.
RETRY_SECONDS = 0.05
MAX_WAIT_SECONDS = 30.0


class Upstream(Protocol):
    """The port of a worker; it refuses connections while the worker is down."""

    port: int


class Relay:
    """Relays connections to `workers` until one side ends them."""

    def __init__(self, workers: Sequence[Upstream]) -> None:
        self.workers = workers
        self._turns = itertools.count()
        self._connections: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Relay the connections of a listening socket; at the end, close them all."""
        server = await asyncio.start_server(self._accept, sock=listener)
        try:
            yield
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = asyncio.create_task(self._relay(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # Connections that either side closes early are not errors.
        closed = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        with contextlib.closing(writer), contextlib.suppress(*closed):
            head = await reader.readuntil(b"\r\n\r\n")
            above, below = await self._connect(head)
            with contextlib.closing(below):
                below.write(head)
                pumps = [
                    asyncio.create_task(pump(reader, below)),
                    asyncio.create_task(pump(above, writer)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in pumps:
                        task.cancel()

    async def _connect(
        self, head: bytes
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        seat = SEAT.match(head)
        turn = int(seat[1]) if seat else next(self._turns)
        first = turn % len(self.workers)
        async with asyncio.timeout(MAX_WAIT_SECONDS):
            while True:
                for worker in (*self.workers[first:], *self.workers[:first]):
                    with contextlib.suppress(ConnectionError):
                        return await asyncio.open_connection("127.0.0.1", worker.port)
                await asyncio.sleep(RETRY_SECONDS)


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy bytes from one side to the other until either ends."""
    with contextlib.suppress(OSError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
