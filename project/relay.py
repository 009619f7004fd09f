"""A TCP relay: the one address of several workers.

The head of a connection's first request decides where it goes. One that names a seat in
its address (`?seat=1`) goes to the worker of that seat, so that neighbours sit at
different ones; others go to all in turn. A worker that refuses is passed over.
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
# For a connection that no worker takes: all may have been killed at once.
RETRY_SECONDS = 0.05
PATIENCE = 10.0


class Upstream(Protocol):
    """Where a worker listens at present; it refuses while it is down."""

    port: int


class Relay:
    """Connections to `workers`, each relayed until one of its sides ends it."""

    def __init__(self, workers: Sequence[Upstream]) -> None:
        self.workers = workers
        self._turns = itertools.count()
        self._connections: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Relay what arrives at a listening socket; afterwards, cut all connections."""
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
        # What a visitor or a worker ends, or never begins, is no error here.
        gone = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        with contextlib.closing(writer), contextlib.suppress(*gone):
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
        async with asyncio.timeout(PATIENCE):
            while True:
                for worker in (*self.workers[first:], *self.workers[:first]):
                    with contextlib.suppress(ConnectionError):
                        return await asyncio.open_connection("127.0.0.1", worker.port)
                await asyncio.sleep(RETRY_SECONDS)


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry bytes from one side to the other until either of them ends."""
    with contextlib.suppress(OSError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
