"""Clients of one Redis or Valkey server: one per process, and one per event loop.

Never Django's own, which opens a pool for each WebSocket. Nothing is tried again in
here: whoever sends a command knows whether it may be repeated.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from redis import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis import asyncio as aio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from .redis_places import Place

# A command has this long for its answer, and a free connection this long to be found.
ANSWER_SECONDS = 1.0
POOL_SECONDS = 0.3
# Connections of one process for synchronous callers; of one loop for all coroutines.
BLOCKING_CONNECTIONS = 32
LOOP_CONNECTIONS = 8
# Commands that go out in one write, and writes that wait for their answers at a time.
BATCH = 256
FLYING = 2

# What an address may not change, though its query counts more than arguments do.
OURS = ("decode_responses", "socket_timeout", "socket_connect_timeout")

Command = tuple[Any, ...]


def _arguments(place: Place, retry: Any) -> dict[str, Any]:
    return {
        # Ours may be overridden, except that an answer is bytes and given up in time.
        "protocol": 2,
        **place.options,
        "decode_responses": False,
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": ANSWER_SECONDS,
        "retry": retry,
        "retry_on_error": [],
    }


def _address(url: str) -> str:
    """Return the URL without what is ours to say."""
    base, mark, query = url.partition("?")
    kept = [part for part in query.split("&") if part.partition("=")[0] not in OURS]
    return base + mark + "&".join(kept)


def blocking_client(place: Place) -> Any:
    """Return a client for synchronous callers: safe in threads and across a fork."""
    arguments = _arguments(place, Retry(NoBackoff(), 0))
    if place.cluster:
        return RedisCluster.from_url(_address(place.cluster), **arguments)
    limit = arguments.pop("max_connections", BLOCKING_CONNECTIONS)
    if place.sentinels:
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            list(place.sentinels), sentinel_kwargs=_of_sentinel(place, arguments)
        )
        return sentinel.master_for(place.service, max_connections=limit, **arguments)
    pool = BlockingConnectionPool.from_url(
        _address(place.url), max_connections=limit, timeout=POOL_SECONDS, **arguments
    )
    return Redis(connection_pool=pool)


def _loop_client(place: Place) -> Any:
    arguments = _arguments(place, AsyncRetry(NoBackoff(), 0))
    if place.cluster:
        return aio.RedisCluster.from_url(_address(place.cluster), **arguments)
    arguments.pop("max_connections", None)
    if place.sentinels:
        sentinel: Any = aio.Sentinel(  # type: ignore[no-untyped-call]
            list(place.sentinels), sentinel_kwargs=_of_sentinel(place, arguments)
        )
        return sentinel.master_for(
            place.service, max_connections=LOOP_CONNECTIONS, **arguments
        )
    pool = aio.BlockingConnectionPool.from_url(
        _address(place.url),
        max_connections=LOOP_CONNECTIONS,
        timeout=POOL_SECONDS,
        **arguments,
    )
    return aio.Redis.from_pool(pool)


def _of_sentinel(place: Place, arguments: dict[str, Any]) -> dict[str, Any]:
    times = ("socket_timeout", "socket_connect_timeout")
    return {**{name: arguments[name] for name in times}, **place.sentinel_options}


class LoopClient:
    """The client of one event loop. What coroutines send in one tick goes out at once.

    While `FLYING` writes wait for their answers, the next one gathers, so that the
    busier it gets the less each command costs. It closes when its loop ends.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._waiting: list[tuple[Command, asyncio.Future[Any]]] = []
        self._flying = 0
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        # A loop that ends closes its asynchronous generators, and the client with
        # this one. It runs to its first `yield` without waiting for anything.
        self._keeper = self._keep()
        with suppress(StopIteration):
            anext(self._keeper).send(None)

    def send(self, *command: Any) -> asyncio.Future[Any]:
        """Return the answer to come; errors are those of redis-py and TimeoutError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, answer))
        if not self._scheduled and self._flying < FLYING:
            self._scheduled = True
            loop.call_soon(self._take_off)
        return answer

    def _take_off(self) -> None:
        self._scheduled = False
        if not self._waiting or self._flying >= FLYING:
            return
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        self._flying += 1
        task = asyncio.get_running_loop().create_task(self._fly(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._waiting:
            self._take_off()

    async def _fly(self, batch: list[tuple[Command, asyncio.Future[Any]]]) -> None:
        failure: BaseException | None = None
        answers: list[Any] = []
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answers = await self._exchange([command for command, _ in batch])
        except (RedisError, OSError) as error:
            failure = error
        except asyncio.CancelledError:
            failure = RedisConnectionError("The event loop ends.")
            raise
        finally:
            self._flying -= 1
            if isinstance(failure, TimeoutError):
                # Who waits behind it would only find out as much a second later.
                batch, self._waiting = batch + self._waiting, []
            self._land(batch, answers, failure)
            self._take_off()

    def _land(
        self,
        batch: list[tuple[Command, asyncio.Future[Any]]],
        answers: list[Any],
        failure: BaseException | None,
    ) -> None:
        for number, (_, future) in enumerate(batch):
            answer = failure or answers[number]
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def _exchange(self, commands: list[Command]) -> list[Any]:
        if len(commands) == 1:
            try:
                return [await self.client.execute_command(*commands[0])]
            except RedisError as error:
                return [error]
        pipeline = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    async def _keep(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for client in self._clients():
                with suppress(RedisError, OSError):
                    await client.aclose()

    def _clients(self) -> list[Any]:
        """Return the client, and those with which it asks sentinels."""
        pool = getattr(self.client, "connection_pool", None)
        manager = getattr(pool, "sentinel_manager", None)
        return [self.client, *getattr(manager, "sentinels", ())]

    def abandon(self) -> None:
        """End the connections of a loop that was closed without ending its generators.

        Its transports can no longer do so, since they would ask it for a turn.
        """
        pools = [getattr(each, "connection_pool", None) for each in self._clients()]
        kinds = "_available_connections", "_in_use_connections"
        for pool, kind in itertools.product(pools, kinds):
            for connection in getattr(pool, kind, ()):
                writer = getattr(connection, "_writer", None)
                if writer is None:
                    continue
                with suppress(OSError):
                    number = writer.get_extra_info("socket").fileno()
                    with socket.socket(fileno=os.dup(number)) as stream:
                        stream.shutdown(socket.SHUT_RDWR)


class LoopClients:
    """The clients of all event loops of this process, each made at its first use."""

    def __init__(self, place: Place) -> None:
        self._make: Callable[[], Any] = lambda: _loop_client(place)
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopClient] = (
            WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    def current(self) -> LoopClient:
        """Return the client of the running loop."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            with self._lock:
                for other in [o for o in self._clients if o.is_closed()]:
                    self._clients.pop(other).abandon()
                client = self._clients[loop] = LoopClient(self._make())
        return client
