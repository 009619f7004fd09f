"""Pipelined connection of one event loop, on which commands do not wait for replies.

redis-py opens it, so that addresses, TLS, credentials and sentinels are as it has
them. Writing and reading are done here: packing, reading and timing each command of a
pipeline takes redis-py several times as long as the rest of a dispatch.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from hiredis import Reader, pack_command
from redis.exceptions import (
    AskError,
    InvalidResponse,
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from ...concurrency.threads import mutex
from ..errors import NotSent
from .errors import is_demoted
from .location import REPLY_SECONDS

_INCOMPLETE = object()

# Error replies that are handled and not only reported, by their code.
_ERRORS = {"NOSCRIPT": NoScriptError, "MOVED": MovedError, "ASK": AskError}

# A packed command and the future of its reply.
Sent = tuple[bytes, "asyncio.Future[Any]"]


def _error_of(text: str) -> ResponseError:
    """Return the error of an error reply; of most kinds, its text keeps the code."""
    code, _, rest = text.partition(" ")
    kind = _ERRORS.get(code)
    return ResponseError(text) if kind is None else kind(rest)


def _fail(replies: Iterable[asyncio.Future[Any]], error: BaseException) -> None:
    for reply in replies:
        if not reply.done():
            reply.set_exception(error)


class ConnectionProtocol(asyncio.Protocol):
    """An open connection, taken over from redis-py; it does not open again."""

    def __init__(self, connection: Any, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        # Kept, since it would close the transport when it is collected.
        self._writer = connection._writer
        self._transport = self._writer.transport
        was_closed = connection._reader.at_eof()
        connection._reader = connection._writer = None
        self._reader = Reader(
            protocolError=InvalidResponse,
            replyError=_error_of,
            notEnoughData=_INCOMPLETE,
        )
        # Replies to come, each with its deadline by the loop's clock.
        self._pending: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._retired = False
        self._closed = self._loop.create_future()
        self._transport.set_protocol(self)
        if was_closed:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        """Whether commands may be written."""
        return not (self._retired or self._transport.is_closing())

    def write(self, commands: Sequence[Sent]) -> None:
        """Write commands in one go; each reply is set when it has arrived."""
        # From now, since the loop may have been kept busy before.
        deadline = self._loop.time() + self._seconds
        self._pending.extend([(reply, deadline) for _, reply in commands])
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._check)
        self._transport.write(b"".join([packed for packed, _ in commands]))

    def data_received(self, data: bytes) -> None:
        """Set the replies that are complete, in the order of the commands."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                future, _ = self._pending.popleft()
                if isinstance(reply, Exception):
                    # The next primary is elsewhere.
                    self._retired |= is_demoted(reply)
                    if not future.done():
                        future.set_exception(reply)
                elif not future.done():
                    future.set_result(reply)
        except (InvalidResponse, IndexError):
            self._abort(RedisConnectionError("The server sent an invalid reply."))
        if self._retired and not self._pending:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail all pending replies."""
        reason = "The connection to the server was lost"
        self._abort(RedisConnectionError(f"{reason}: {error}" if error else reason))
        if not self._closed.done():
            self._closed.set_result(None)

    def _check(self) -> None:
        """Abort if the oldest pending reply is overdue."""
        self._timer = None
        if not self._pending:
            return
        _, deadline = self._pending[0]
        if deadline > self._loop.time():
            self._timer = self._loop.call_at(deadline, self._check)
        else:
            # A late reply would be taken for the reply to another command.
            self._abort(TimeoutError("The server did not answer in time."))

    def _abort(self, error: BaseException) -> None:
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, deque()
        _fail([reply for reply, _ in pending], error)

    async def close(self) -> None:
        """Close at once; return when it is closed."""
        self._transport.abort()
        await asyncio.wait([self._closed], timeout=self._seconds)

    def shut_down(self) -> None:
        """Close without the loop."""
        _shut_down(self._writer)


class PipelinedConnection:
    """Writes at once the commands of one turn of the loop; opens when it is needed.

    `pool` is redis-py's, which makes connections; a reply may take `seconds`.
    """

    def __init__(self, pool: Any, seconds: float = REPLY_SECONDS) -> None:
        self._pool = pool
        self._seconds = seconds
        self._waiting: list[Sent] = []
        self._is_scheduled = False
        self._protocol: ConnectionProtocol | None = None
        self._opening: asyncio.Task[None] | None = None

    def send(self, *command: Any) -> asyncio.Future[Any]:
        """Return the future reply; it raises errors of redis-py and TimeoutError."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((pack_command(command), reply))
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._write)
        return reply

    def _write(self) -> None:
        self._is_scheduled = False
        if self._protocol is not None and self._protocol.is_open:
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._protocol.write(waiting)
        elif self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self._seconds):
                self._protocol = await self._opened()
        except (RedisError, OSError) as error:
            failure = error
        except BaseException as error:
            failure = RedisConnectionError(f"No connection was opened: {error!r}")
            raise
        finally:
            self._opening = None
            waiting, self._waiting = self._waiting, []
            if failure is not None:
                _fail([reply for _, reply in waiting], NotSent(failure))
            elif waiting and self._protocol is not None:
                self._protocol.write(waiting)

    async def _opened(self) -> ConnectionProtocol:
        connection = self._pool.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return ConnectionProtocol(connection, self._seconds)

    async def close(self) -> None:
        """Close the connection if there is one."""
        if self._opening is not None:
            self._opening.cancel()
        if self._protocol is not None:
            await self._protocol.close()

    def shut_down(self) -> None:
        """Close the connection of a loop that is closed."""
        if self._protocol is not None:
            self._protocol.shut_down()


class LoopConnection:
    """The pipelined connection of one event loop; it closes when the loop ends.

    `client` is redis-py's, which opens the connection and asks sentinels.
    """

    def __init__(self, client: Any, seconds: float = REPLY_SECONDS) -> None:
        self.client = client
        self._connection = PipelinedConnection(client.connection_pool, seconds)
        self.send = self._connection.send
        # A loop that ends closes its asynchronous generators, and the connection with
        # this one. It runs to its first `yield` without waiting for anything.
        self._keeper = self._keep()
        with suppress(StopIteration):
            anext(self._keeper).send(None)

    async def _keep(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.close()

    async def primaries(self) -> list[LoopConnection]:
        """Return the connection to each server: this one."""
        return [self]

    async def close(self) -> None:
        """Close all connections; they open again when they are needed."""
        await self._connection.close()
        for client in self._clients():
            with suppress(RedisError, OSError):
                await client.aclose()

    def _clients(self) -> list[Any]:
        """Return the client, and those with which it asks sentinels."""
        manager = getattr(self.client.connection_pool, "sentinel_manager", None)
        return [self.client, *getattr(manager, "sentinels", ())]

    def shut_down(self) -> None:
        """Close the connections of a loop that closed without ending its generators.

        Its transports can no longer do so, since they would schedule a callback on it.
        """
        self._connection.shut_down()
        pools = [each.connection_pool for each in self._clients()]
        kinds = "_available_connections", "_in_use_connections"
        for pool, kind in itertools.product(pools, kinds):
            for connection in getattr(pool, kind, ()):
                writer = getattr(connection, "_writer", None)
                if writer is not None:
                    _shut_down(writer)


class ShutsDown(Protocol):
    """Anything of one event loop that can be closed without the loop."""

    def shut_down(self) -> None:
        """Close without the loop."""


C = TypeVar("C", bound=ShutsDown)


class PerLoop(Generic[C]):
    """One connection for each event loop of the process, made at its first use."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, C] = (
            WeakKeyDictionary()
        )
        self._lock = mutex()

    def current(self) -> C:
        """Return that of the running loop."""
        loop = asyncio.get_running_loop()
        connection = self._made.get(loop)
        if connection is None:
            with self._lock:
                for other in [o for o in self._made if o.is_closed()]:
                    self._made.pop(other).shut_down()
                connection = self._made[loop] = self._make()
        return connection


def _shut_down(writer: Any) -> None:
    """Shut the socket of a writer whose loop can no longer close it."""
    with suppress(OSError):
        number = writer.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(number)) as stream:
            stream.shutdown(socket.SHUT_RDWR)
