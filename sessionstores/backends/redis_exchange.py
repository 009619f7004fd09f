"""Connections of one process, for synchronous callers.

redis-py opens them, so that addresses, TLS, credentials and sentinels are as it has
them, and reads their answers. Its pool and what it does around each command take as
long again as the exchange with a server nearby.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakSet

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

try:
    from hiredis import pack_command
except ImportError:  # pragma: no cover - then redis-py's own client does it
    pack_command = None  # type: ignore[assignment]

# A free connection has this long to be found.
POOL_SECONDS = 0.3
# One that was used so lately is taken to be there still.
FRESH_SECONDS = 0.05


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
        # When one was last found to be lost.
        self._lost = 0.0
        self._permits: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._limit):
            self._permits.put(None)

    def send(self, *command: Any) -> Any:
        """Return the answer to one command; raises the errors of redis-py."""
        (answer,) = self.send_all([command])
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def send_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the answers to commands that go out in one write, errors included."""
        packed = b"".join([pack_command(tuple(command)) for command in commands])
        try:
            self._permits.get(timeout=POOL_SECONDS)
        except Empty:
            raise RedisConnectionError(
                f"All {self._limit} connections to the server are in use."
            ) from None
        try:
            connection, used = self._idle.pop()
        except IndexError:
            connection, used = None, 0.0
        try:
            if connection is None:
                connection = self._client.connection_pool.make_connection()
            if used < max(self._lost, time.monotonic() - FRESH_SECONDS):
                _make_ready(connection)
            connection.send_packed_command([packed], check_health=False)
            answers = [_answer(connection) for _ in commands]
            used = time.monotonic()
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
