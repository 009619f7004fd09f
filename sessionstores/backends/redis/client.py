"""Clients of redis-py, and the connections that are built on them.

Never Django's own, which opens a pool for each WebSocket. Nothing is retried in here:
only the sender of a command knows whether it may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import BlockingConnectionPool, Redis, Sentinel
from redis import asyncio as aio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from .async_connection import LoopConnection, PerLoop
from .cluster import LoopCluster, SlotTable, SyncCluster
from .location import Address, Location, node_of, seed_of
from .sync_pool import POOL_SECONDS, SyncPool

# Connections of one process for its threads, to each server.
MAX_CONNECTIONS = 32

# Arguments that the query of a URL may not set, though it prevails over ours; the last
# is of redis-py's blocking pool, in which none of ours waits.
_RESERVED = ("decode_responses", "socket_timeout", "socket_connect_timeout", "timeout")


def connect_threads(location: Location) -> SyncPool | SyncCluster:
    """Return the connections of a process's threads; opens none yet."""
    if location.cluster:
        return SyncCluster(
            _slot_table(location),
            lambda node: sync_pool(node_of(location, node)),
            location.reply_seconds,
        )
    return sync_pool(location)


def connect_loops(location: Location) -> PerLoop[LoopConnection | LoopCluster]:
    """Return the connections of a process's event loops; opens none yet."""

    def connect() -> LoopConnection | LoopCluster:
        if location.cluster:
            return LoopCluster(
                _slot_table(location),
                lambda node: loop_connection(node_of(location, node)),
                location.reply_seconds,
            )
        return loop_connection(location)

    return PerLoop(connect)


def sync_pool(location: Location) -> SyncPool:
    """Return a pool of connections to one server."""
    limit = location.options.get("max_connections", MAX_CONNECTIONS)
    return SyncPool(lambda: sync_client(location), limit)


def loop_connection(location: Location) -> LoopConnection:
    """Return the connection of the running loop to one server."""
    return LoopConnection(async_client(location), location.reply_seconds)


def sync_client(location: Location) -> Any:
    """Return redis-py's client of one server."""
    arguments = _arguments(location, Retry(NoBackoff(), 0))
    limit = arguments.pop("max_connections", MAX_CONNECTIONS)
    if location.sentinels:
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            list(location.sentinels),
            location.min_other_sentinels,
            sentinel_kwargs=_sentinel_arguments(location, arguments),
        )
        return sentinel.master_for(location.service, max_connections=limit, **arguments)
    pool = BlockingConnectionPool.from_url(
        _address(location.url),
        max_connections=limit,
        timeout=POOL_SECONDS,
        **arguments,
    )
    return Redis(connection_pool=pool)


def async_client(location: Location) -> Any:
    """Return redis-py's asynchronous client of one server."""
    arguments = _arguments(location, AsyncRetry(NoBackoff(), 0))
    # One connection serves all coroutines of a loop.
    arguments.pop("max_connections", None)
    if location.sentinels:
        sentinel: Any = aio.Sentinel(  # type: ignore[no-untyped-call]
            list(location.sentinels),
            location.min_other_sentinels,
            sentinel_kwargs=_sentinel_arguments(location, arguments),
        )
        return sentinel.master_for(location.service, **arguments)
    pool = aio.ConnectionPool.from_url(_address(location.url), **arguments)
    return aio.Redis.from_pool(pool)


def _arguments(location: Location, retry: Any) -> dict[str, Any]:
    given = {n: v for n, v in location.options.items() if n != "timeout"}
    return {
        # The site may choose, except that replies are bytes and come in time.
        "protocol": 2,
        **given,
        "decode_responses": False,
        "socket_timeout": location.reply_seconds,
        "socket_connect_timeout": location.reply_seconds,
        "retry": retry,
        "retry_on_error": [],
    }


def _address(url: str) -> str:
    """Return the URL without the arguments that are reserved."""
    base, mark, query = url.partition("?")
    kept = [
        part for part in query.split("&") if part.partition("=")[0] not in _RESERVED
    ]
    return base + mark + "&".join(kept)


def _sentinel_arguments(
    location: Location, arguments: dict[str, Any]
) -> dict[str, Any]:
    # All of them and the primary share the time that a command has for its reply.
    share = location.reply_seconds / (len(location.sentinels) + 1)
    return {
        **location.sentinel_options,
        "socket_timeout": share,
        "socket_connect_timeout": share,
        "retry": arguments["retry"],
        "retry_on_error": [],
    }


def _slot_table(location: Location) -> SlotTable:
    remap: Callable[[Address], Address] = location.options.get("address_remap") or _same
    return SlotTable(seed_of(location), remap)


def _same(address: Address) -> Address:
    return address
