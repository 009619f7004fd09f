"""Pool of connections for the threads of one process.

redis-py opens the connections, so that addresses, TLS, credentials and sentinels are
as it has them, and reads the replies. Its own pool, and what it does around each
command, take as long again as the exchange with a server nearby.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakMethod

from hiredis import pack_command
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..errors import NotSent
from .errors import is_demoted

# A free connection is waited for this long, and again while others get replies, up to
# the longer time in all.
POOL_SECONDS = 0.3
MAX_POOL_SECONDS = 1.0
# A connection that was used so recently is taken to be open still.
FRESH_SECONDS = 0.05

Command = tuple[Any, ...]


class SyncPool:
    """Sends commands and waits for the replies; safe in threads and across a fork.

    `make_client` returns a client of redis-py's, whose connections are used; at most
    `limit` of them are open.
    """

    def __init__(self, make_client: Callable[[], Any], limit: int) -> None:
        self._make_client = make_client
        self._limit = limit
        self.reset()
        if hasattr(os, "register_at_fork"):
            reset = WeakMethod(self.reset)
            os.register_at_fork(after_in_child=lambda: (alive := reset()) and alive())

    def reset(self) -> None:
        """Start afresh, without the present connections: they are another process's."""
        self._client = self._make_client()
        # Each with the time of its last use; one that was closed opens again.
        self._idle: list[tuple[Any, float]] = []
        # Where errors refer to the pool, its sockets may be collected before what would
        # close them.
        weakref.finalize(self, _disconnect, self._idle).atexit = False
        # When a connection was last found to be closed, and when a reply last came.
        self._failed_at = self._replied_at = 0.0
        self._permits: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._limit):
            self._permits.put(None)

    def send(self, *command: Any) -> Any:
        """Return the reply to one command; raises the errors of redis-py."""
        reply = self.send_all([command])[0]
        if not isinstance(reply, ResponseError):
            return reply
        try:
            raise reply
        finally:
            # Else the error would refer to this frame, and the frame to it.
            del reply

    def send_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands that go out in one write, errors included."""
        waited = self._acquire()
        try:
            connection, used = self._idle.pop()
        except IndexError:
            connection, used = None, 0.0
        try:
            if connection is None:
                connection = self._client.connection_pool.make_connection()
            if used < max(self._failed_at, time.monotonic() - FRESH_SECONDS):
                _make_ready(connection)
            replies = _exchange(connection, commands, waited)
            used = self._replied_at = time.monotonic()
            errors = [each for each in replies if isinstance(each, ResponseError)]
            if errors and any(map(is_demoted, errors)):
                # The next primary is elsewhere, for every connection.
                connection.disconnect()
                used = 0.0
                self._close_idle()
            return replies
        except BaseException:
            # If one was closed, all may be.
            self._failed_at, used = time.monotonic(), 0.0
            if connection is not None:
                # A late reply would be taken for the reply to another command.
                connection.disconnect()
            raise
        finally:
            if connection is not None:
                self._idle.append((connection, used))
            self._permits.put(None)

    def _acquire(self) -> float:
        """Wait until one more connection may be used; return for how many seconds.

        Gives up early if no caller has got a reply meanwhile: the server is silent.
        While others get replies, the machine is only busy.
        """
        with suppress(Empty):
            self._permits.get_nowait()
            return 0.0
        started = time.monotonic()
        deadline = started + MAX_POOL_SECONDS
        while (since := time.monotonic()) < deadline:
            try:
                self._permits.get(timeout=min(POOL_SECONDS, deadline - since))
            except Empty:
                if self._replied_at < since:
                    break
            else:
                return time.monotonic() - started
        busy = f"All {self._limit} connections to the server are in use."
        raise NotSent(RedisConnectionError(busy))

    def primaries(self) -> list[SyncPool]:
        """Return the pool of each server: this one."""
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


def _disconnect(idle: list[tuple[Any, float]]) -> None:
    for connection, _ in idle:
        connection.disconnect()


def _exchange(connection: Any, commands: Sequence[Command], waited: float) -> list[Any]:
    """Send commands and return the replies; `waited` is off the time for the first."""
    packed = [b"".join(map(pack_command, commands))]
    connection.send_packed_command(packed, check_health=False)
    if waited:
        left = max(connection.socket_timeout - waited, POOL_SECONDS)
        if not connection.can_read(left):
            raise RedisTimeoutError("no reply in time")
    replies = []
    for _ in commands:
        try:
            replies.append(connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


def _make_ready(connection: Any) -> None:
    """Open a connection, again if the server has closed it; raises `NotSent`."""
    try:
        connection.connect()
        try:
            # There is nothing to read but its end.
            is_usable = not connection.can_read()
        except (RedisError, OSError):
            is_usable = False
        if not is_usable:
            connection.disconnect()
            connection.connect()
    except (RedisError, OSError) as error:
        raise NotSent(error) from error
