"""Clients of redis-py: the options that they take, TLS, Unix sockets and sentinels."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import SSLConnection as AsyncSSLConnection
from redis.connection import SSLConnection

from sessionstores.backends.redis import client as module
from sessionstores.backends.redis.client import (
    connect_loops,
    connect_threads,
    sync_client,
)
from sessionstores.backends.redis.location import REPLY_SECONDS, Location, node_of
from sessionstores.exceptions import StoreUnavailable
from tests.faults.progress import ProgressClock
from tests.servers import Server, Valkey, free_port


@pytest.fixture
def own() -> Iterator[Valkey]:
    """A Valkey of the test's own."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


# Options of the site


@pytest.mark.parametrize("cluster", [False, True])
def test_neither_options_nor_a_url_lift_the_limit_of_time(
    cluster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = (
        "redis://u:p@cache.example:7000/0?socket_timeout=30&decode_responses=true"
        "&client_name=site&socket_connect_timeout=9"
    )
    options = {"socket_timeout": 30, "decode_responses": True, "health": 1}
    location = Location("" if cluster else url, url if cluster else "", options=options)
    made: dict[str, Any] = {}

    class Fake:
        @classmethod
        def from_url(cls, address: str, **arguments: Any) -> None:
            made.update(arguments, address=address)

    monkeypatch.setattr(module, "BlockingConnectionPool", Fake)
    monkeypatch.setattr(module, "Redis", lambda **pool: None)
    if cluster:
        location = node_of(location, ("node.example", 7001))
        where = "node.example:7001"
    else:
        where = "cache.example:7000/0"
    sync_client(location)
    assert made["address"] == f"redis://u:p@{where}?client_name=site"
    assert made["socket_timeout"] == made["socket_connect_timeout"] == REPLY_SECONDS
    assert made["decode_responses"] is False
    assert made["health"] == 1


async def test_an_address_that_asks_for_tls_gets_it() -> None:
    location = Location("rediss://cache.example", options={"ssl_ca_certs": "/ca.pem"})
    pools = [
        (sync_client(location).connection_pool, SSLConnection),
        (connect_loops(location).current().client.connection_pool, AsyncSSLConnection),
    ]
    for pool, connection in pools:
        assert issubclass(pool.connection_class, connection)
        assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"


def test_a_unix_socket_is_reached(tmp_path: Path) -> None:
    path = tmp_path / "valkey.sock"
    server = Valkey(unixsocket=str(path))
    server.start()
    try:
        location = Location(f"unix://{path}?db=2")

        loops = connect_loops(location)

        async def ask() -> Any:
            return await loops.current().send("GET", "key")

        client = sync_client(location)
        client.set("key", b"value")
        client.close()
        assert asyncio.run(ask()) == b"value"
        with server.client() as outside:
            assert outside.info("keyspace").keys() == {"db2"}
    finally:
        server.stop()


# Sentinels


class Sentinel(Server):
    """A sentinel that watches one primary under the name `main`."""

    def __init__(self, primary: int) -> None:
        super().__init__(free_port())
        self.configuration = self.directory / "sentinel.conf"
        self.configuration.write_text(
            f"port {self.port}\n"
            "bind 127.0.0.1\n"
            f"sentinel monitor main 127.0.0.1 {primary} 1\n"
        )

    def command(self) -> list[str]:
        program = Valkey(self.port).command()[0]
        return [program, str(self.configuration), "--sentinel"]


@pytest.fixture
def sentinel(own: Valkey) -> Iterator[Sentinel]:
    running = Sentinel(own.port)
    running.start()
    yield running
    running.stop()


async def ask(loops: Any, *command: Any) -> Any:
    return await loops.current().send(*command)


def test_sentinels_say_where_the_primary_is(own: Valkey, sentinel: Sentinel) -> None:
    location = Location(
        sentinels=(("127.0.0.1", sentinel.port),), service="main", options={"db": 1}
    )
    client = sync_client(location)
    client.set("key", b"value")
    client.close()
    assert asyncio.run(ask(connect_loops(location), "GET", "key")) == b"value"
    assert connect_threads(location).send("GET", "key") == b"value"
    with own.client() as outside:
        assert outside.info("keyspace").keys() == {"db1"}


@pytest.mark.parametrize("how", ["silent", "away"])
def test_sentinels_that_do_not_answer_leave_time_for_the_next(
    how: str, sentinel: Sentinel
) -> None:
    with ExitStack() as open_sockets:
        dead = []
        for _ in range(2):
            hole = open_sockets.enter_context(socket.socket())
            hole.bind(("127.0.0.1", 0))
            if how == "silent":
                hole.listen()
            dead.append(hole.getsockname())
        location = Location(
            sentinels=(*dead, ("127.0.0.1", sentinel.port)),
            service="main",
            # Theirs is not longer than ours, whatever is said.
            sentinel_options={"socket_timeout": 30},
        )
        clock = open_sockets.enter_context(ProgressClock())
        for echo in (
            lambda: asyncio.run(ask(connect_loops(location), "ECHO", "a")),
            lambda: connect_threads(location).send("ECHO", "a"),
        ):
            started = clock.now()
            echoed = None
            while echoed is None:
                # A machine that stood still meanwhile has left no time for anybody.
                with suppress(StoreUnavailable):
                    echoed = echo()
                assert clock.now() - started < REPLY_SECONDS
            assert echoed == b"a"
