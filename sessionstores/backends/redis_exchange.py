"""Connections of one process, for synchronous callers.

redis-py opens them, so that addresses, TLS, credentials and sentinels are as it has
them, and reads their answers. Its pool and what it does around each command take as
long again as the exchange with a server nearby.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple
from weakref import WeakSet

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .redis_places import ANSWER_SECONDS, Address

try:
    from hiredis import pack_command
except ImportError:  # pragma: no cover - then redis-py packs them
    pack_command = None  # type: ignore[assignment]

CAN_PACK = pack_command is not None

# What says that a server did not answer, and what says that it answered no.
LOST = (RedisConnectionError, RedisTimeoutError, OSError)
REFUSALS = (ResponseError,)

# redis-py makes the first word of these answers a class.
_WORDS: dict[type[Exception], str] = {
    OutOfMemoryError: "OOM",
    NoPermissionError: "NOPERM",
    AuthenticationError: "NOAUTH",
    ReadOnlyError: "READONLY",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
    BusyLoadingError: "LOADING",
    TryAgainError: "TRYAGAIN",
    MovedError: "MOVED",
    AskError: "ASK",
}

# What a primary answers that has become a replica.
DEMOTED = "READONLY"

_IN_SCRIPT = re.compile(r"^(?:ERR )?Error running script.*?: -([A-Z]+) ")

# A free connection has this long to be found, and again after each answer.
POOL_SECONDS = 0.3
# One that was used so lately is taken to be there still.
FRESH_SECONDS = 0.05


class Redirect(NamedTuple):
    """Where a node of a cluster sends on to: this once if `asking`, else for good."""

    asking: bool
    slot: int
    host: str
    port: int


def redirect_of(answer: Any) -> Redirect | None:
    """Return where an answer sends on to; None if it is another answer."""
    if not isinstance(answer, AskError):
        return None
    asking = not isinstance(answer, MovedError)
    return Redirect(asking, answer.slot_id, answer.host, answer.port)


def not_in_a_cluster(node: Address) -> ResponseError:
    """Return the error for a node that knows nobody who serves anything."""
    return ResponseError(f"CLUSTERDOWN {node[0]}:{node[1]} is in no cluster")


def word_of(error: Exception) -> str:
    """Return the first word of the answer that an error is, such as OOM."""
    if word := _WORDS.get(type(error)):
        return word
    text = str(error)
    # Redis 6 says first that it is a script's.
    inner = _IN_SCRIPT.search(text)
    return inner[1] if inner else text.split(" ", 1)[0]


def or_raise(answer: Any) -> Any:
    """Return an answer; raise one that is an error."""
    if not isinstance(answer, ResponseError):
        return answer
    try:
        raise answer
    finally:
        # Else it would hold on to this frame, and the frame to it.
        del answer


class Exchange:
    """Sends commands and waits for their answers; safe in threads and across a fork.

    `make` returns a client of redis-py's, which opens up to `limit` connections.
    """

    def __init__(self, make: Callable[[], Any], limit: int) -> None:
        self._make = make
        self._limit = limit
        self.forget()
        _exchanges.add(self)

    def forget(self) -> None:
        """Start afresh: the connections at hand are another process's."""
        self._client = self._make()
        # Each with the time when it was last used. Those that were closed open again.
        self._idle: list[tuple[Any, float]] = []
        # When one was last found to be lost, and when an answer last came.
        self._lost = self._answered = 0.0
        self._permits: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._limit):
            self._permits.put(None)

    def send(self, *command: Any) -> Any:
        """Return the answer to one command; raises the errors of redis-py."""
        (answer,) = self.send_all([command])
        return or_raise(answer)

    def send_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the answers to commands that go out in one write, errors included."""
        self._queue()
        try:
            connection, used = self._idle.pop()
        except IndexError:
            connection, used = None, 0.0
        try:
            if connection is None:
                connection = self._client.connection_pool.make_connection()
            if used < max(self._lost, time.monotonic() - FRESH_SECONDS):
                _make_ready(connection)
            packed = _packed(connection, commands)
            connection.send_packed_command(packed, check_health=False)
            answers = [_answer(connection) for _ in commands]
            used = self._answered = time.monotonic()
            for answer in answers:
                if isinstance(answer, ResponseError) and word_of(answer) == DEMOTED:
                    # The next primary is elsewhere, for every connection.
                    connection.disconnect()
                    used = 0.0
                    self._close_idle()
            return answers
        except BaseException:
            # All may be lost if one is.
            self._lost, used = time.monotonic(), 0.0
            if connection is not None:
                # What comes yet would be taken for the answer to something else.
                connection.disconnect()
            raise
        finally:
            if connection is not None:
                self._idle.append((connection, used))
            self._permits.put(None)

    def _queue(self) -> None:
        """Wait until a connection is free: while others get answers, up to a second.

        Where they get none, more callers than connections would wait in vain.
        """
        until = time.monotonic() + ANSWER_SECONDS
        while (asked := time.monotonic()) < until:
            try:
                return self._permits.get(timeout=min(POOL_SECONDS, until - asked))
            except Empty:
                if self._answered < asked:
                    break
        raise RedisConnectionError(
            f"All {self._limit} connections to the server are in use."
        )

    def nodes(self) -> list[Exchange]:
        """Return what sends to each server that there is: this."""
        return [self]

    def _close_idle(self) -> None:
        closed = []
        while self._idle:
            # Another thread may take the last.
            with suppress(IndexError):
                closed.append(self._idle.pop()[0])
        for connection in closed:
            connection.disconnect()
        self._idle += [(connection, 0.0) for connection in closed]


def _packed(connection: Any, commands: Sequence[Sequence[Any]]) -> list[bytes]:
    if CAN_PACK:
        return [b"".join([pack_command(tuple(command)) for command in commands])]
    return list(connection.pack_commands(commands))


def _make_ready(connection: Any) -> None:
    """Open a connection, again if the server has closed it."""
    connection.connect()
    try:
        # There is nothing to read, but the end of it.
        usable = not connection.can_read()
    except (RedisError, OSError):
        usable = False
    if not usable:
        connection.disconnect()
        connection.connect()


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


_exchanges: WeakSet[Exchange] = WeakSet()


def _forget_all() -> None:
    for exchange in list(_exchanges):
        exchange.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
