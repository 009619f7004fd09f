"""Clients of one Redis or Valkey server: one per process, and one per event loop.

Never Django's own, which opens a pool for each WebSocket. Nothing is tried again in
here: whoever sends a command knows whether it may be repeated.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from redis import BlockingConnectionPool, Redis, Sentinel
from redis import asyncio as aio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from .async_connection import CAN_STREAM, PipelinedConnection, shut
from .batches import Batches
from .cluster import Cluster, LoopCluster, Slots
from .location import ANSWER_SECONDS, Address, Location, node_of, seed_of
from .sync_pool import POOL_SECONDS, SyncPool

# Connections of one process for synchronous callers; of one loop for what its
# coroutines do not send through the one that they share.
BLOCKING_CONNECTIONS = 32
LOOP_CONNECTIONS = 8

# What an address may not change, though its query counts more than arguments do.
OURS = ("decode_responses", "socket_timeout", "socket_connect_timeout")


def _arguments(place: Location, retry: Any) -> dict[str, Any]:
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


def blocking_client(place: Location) -> Any:
    """Return a client for synchronous callers, of one server."""
    arguments = _arguments(place, Retry(NoBackoff(), 0))
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


def _loop_client(place: Location) -> Any:
    client = _made_client(place)
    # Answers are the server's own, whoever reads them.
    client.response_callbacks.clear()
    return client


def _made_client(place: Location) -> Any:
    arguments = _arguments(place, AsyncRetry(NoBackoff(), 0))
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


def _of_sentinel(place: Location, arguments: dict[str, Any]) -> dict[str, Any]:
    # All of them and the primary share the time that a command has for its answer.
    share = ANSWER_SECONDS / (len(place.sentinels) + 1)
    return {
        **place.sentinel_options,
        "socket_timeout": share,
        "socket_connect_timeout": share,
        "retry": arguments["retry"],
        "retry_on_error": [],
    }


def sender(place: Location) -> SyncPool | Cluster:
    """Return what sends for synchronous callers: in threads, and across a fork."""
    if place.cluster:
        return Cluster(slots_of(place), lambda node: sender_to(node_of(place, node)))
    return sender_to(place)


def sender_to(place: Location) -> SyncPool:
    """Return what sends to one server."""
    limit = place.options.get("max_connections", BLOCKING_CONNECTIONS)
    return SyncPool(lambda: blocking_client(place), limit)


def slots_of(place: Location) -> Slots:
    """Return who serves what in a cluster, of which nobody has been asked yet."""
    remap: Callable[[Address], Address] = place.options.get("address_remap") or same
    return Slots(seed_of(place), remap)


def same(address: Address) -> Address:
    """Return the address."""
    return address


class LoopClient:
    """The client of one event loop. What coroutines send in one tick goes out at once.

    `send` returns the answer to come of one command; `client` is redis-py's, which
    opens connections. It closes when its loop ends.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        pool = getattr(client, "connection_pool", None)
        streams = CAN_STREAM and pool is not None
        self._sender = PipelinedConnection(pool) if streams else Batches(client)
        self.send = self._sender.send
        # A loop that ends closes its asynchronous generators, and the client with
        # this one. It runs to its first `yield` without waiting for anything.
        self._keeper = self._keep()
        with suppress(StopIteration):
            anext(self._keeper).send(None)

    async def _keep(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.close()

    async def nodes(self) -> list[LoopClient]:
        """Return the clients of all servers that there are: this."""
        return [self]

    async def close(self) -> None:
        """Close all connections; they open again when they are needed."""
        await self._sender.close()
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
        self._sender.shut()
        pools = [getattr(each, "connection_pool", None) for each in self._clients()]
        kinds = "_available_connections", "_in_use_connections"
        for pool, kind in itertools.product(pools, kinds):
            for connection in getattr(pool, kind, ()):
                writer = getattr(connection, "_writer", None)
                if writer is not None:
                    shut(writer)


class LoopClients:
    """The clients of all event loops of this process, each made at its first use."""

    def __init__(self, place: Location) -> None:
        self._place = place
        self._clients: WeakKeyDictionary[
            asyncio.AbstractEventLoop, LoopClient | LoopCluster
        ] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def current(self) -> LoopClient | LoopCluster:
        """Return the client of the running loop."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            with self._lock:
                for other in [o for o in self._clients if o.is_closed()]:
                    self._clients.pop(other).abandon()
                client = self._clients[loop] = self._made()
        return client

    def _made(self) -> LoopClient | LoopCluster:
        place = self._place
        if not place.cluster:
            return LoopClient(_loop_client(place))
        return LoopCluster(
            slots_of(place), lambda node: LoopClient(_loop_client(node_of(place, node)))
        )
