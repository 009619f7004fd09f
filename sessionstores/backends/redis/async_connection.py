"""One connection of an event loop, on which commands follow without waiting.

redis-py opens it, so that addresses, TLS, credentials and sentinels are as it has
them. What goes over it then is ours: packing, reading and timing each command of a
pipeline takes redis-py several times as long as all else that a dispatch does.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import (
    AskError,
    InvalidResponse,
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from .location import ANSWER_SECONDS
from .sync_pool import DEMOTED, word_of

try:
    from hiredis import Reader, pack_command
except ImportError:  # pragma: no cover - then redis-py's pipelines do it
    Reader = pack_command = None  # type: ignore[assignment, misc]

CAN_STREAM = Reader is not None

_INCOMPLETE = object()

# What answers lead to something else than an error.
_KINDS = {"NOSCRIPT": NoScriptError, "MOVED": MovedError, "ASK": AskError}

# A packed command and its answer to come.
Sent = tuple[bytes, "asyncio.Future[Any]"]


def _refusal(text: str) -> ResponseError:
    """Return the error that a server's answer is: its first word stays in others."""
    word, _, rest = text.partition(" ")
    kind = _KINDS.get(word)
    return ResponseError(text) if kind is None else kind(rest)


def _fail(answers: Iterable[asyncio.Future[Any]], error: BaseException) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)


class ConnectionProtocol(asyncio.Protocol):
    """An open connection, taken over from redis-py; it does not open again."""

    def __init__(self, connection: Any) -> None:
        self._loop = asyncio.get_running_loop()
        # Kept, since it would close the transport when it is collected.
        self._writer = connection._writer
        self._transport = self._writer.transport
        was_closed = connection._reader.at_eof()
        connection._reader = connection._writer = None
        self._reader = Reader(
            protocolError=InvalidResponse,
            replyError=_refusal,
            notEnoughData=_INCOMPLETE,
        )
        # Answers to come, each with its deadline by the loop's clock.
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
        """Write commands in one go; each answer is set when it is there."""
        # From now, since the loop may have been kept busy before.
        deadline = self._loop.time() + ANSWER_SECONDS
        self._pending.extend([(answer, deadline) for _, answer in commands])
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._check)
        self._transport.write(b"".join([packed for packed, _ in commands]))

    def data_received(self, data: bytes) -> None:
        """Set the answers that are complete, in the order of the commands."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                answer, _ = self._pending.popleft()
                if isinstance(reply, Exception):
                    # A primary that was demoted: the next one is elsewhere.
                    self._retired |= word_of(reply) == DEMOTED
                    if not answer.done():
                        answer.set_exception(reply)
                elif not answer.done():
                    answer.set_result(reply)
        except (InvalidResponse, IndexError):
            self._lose(RedisConnectionError("What the server says is no answer."))
        if self._retired and not self._pending:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell all who wait."""
        reason = "The connection to the server was lost"
        self._lose(RedisConnectionError(f"{reason}: {error}" if error else reason))
        if not self._closed.done():
            self._closed.set_result(None)

    def _check(self) -> None:
        """Give up if the longest waiting answer is overdue."""
        self._timer = None
        if not self._pending:
            return
        _, deadline = self._pending[0]
        if deadline > self._loop.time():
            self._timer = self._loop.call_at(deadline, self._check)
        else:
            # Whatever comes yet would be taken for the answer to something else.
            self._lose(TimeoutError("The server did not answer in time."))

    def _lose(self, error: BaseException) -> None:
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, deque()
        _fail([answer for answer, _ in pending], error)

    async def close(self) -> None:
        """Close at once; return when it is."""
        self._transport.abort()
        await asyncio.wait([self._closed], timeout=ANSWER_SECONDS)

    def shut(self) -> None:
        """Close without the loop."""
        shut(self._writer)


class PipelinedConnection:
    """Sends at once what coroutines ask for in one tick; opens when there is need."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._waiting: list[Sent] = []
        self._scheduled = False
        self._line: ConnectionProtocol | None = None
        self._opening: asyncio.Task[None] | None = None

    def send(self, *command: Any) -> asyncio.Future[Any]:
        """Return the answer to come; errors are those of redis-py and TimeoutError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((pack_command(command), answer))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._depart)
        return answer

    def _depart(self) -> None:
        self._scheduled = False
        if self._line is not None and self._line.is_open:
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._line.write(waiting)
        elif self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        failure: BaseException | None = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._line = await self._opened()
        except (RedisError, OSError) as error:
            failure = error
        except BaseException as error:
            failure = RedisConnectionError(f"No connection was opened: {error!r}")
            raise
        finally:
            self._opening = None
            waiting, self._waiting = self._waiting, []
            if failure is not None:
                _fail([answer for _, answer in waiting], failure)
            elif waiting and self._line is not None:
                self._line.write(waiting)

    async def _opened(self) -> ConnectionProtocol:
        connection = self._pool.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return ConnectionProtocol(connection)

    async def close(self) -> None:
        """Close the connection if there is one."""
        if self._opening is not None:
            self._opening.cancel()
        if self._line is not None:
            await self._line.close()

    def shut(self) -> None:
        """Close the connection of a loop that is closed."""
        if self._line is not None:
            self._line.shut()


def shut(writer: Any) -> None:
    """End the connection of a writer whose loop can no longer do it."""
    with suppress(OSError):
        number = writer.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(number)) as stream:
            stream.shutdown(socket.SHUT_RDWR)
