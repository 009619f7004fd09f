"""Clients of a Redis or Valkey: few connections, few writes, nothing left open."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import SSLConnection as AsyncSSLConnection
from redis.connection import SSLConnection
from redis.exceptions import ResponseError

from sessionstores.backends.redis import client as module
from sessionstores.backends.redis.batches import BATCH, FLYING, Batches
from sessionstores.backends.redis.client import (
    LOOP_CONNECTIONS,
    LoopClient,
    LoopClients,
    blocking_client,
    sender_to,
)
from sessionstores.backends.redis.location import ANSWER_SECONDS, Location, node_of
from tests.demo_process import until
from tests.servers import Server, Valkey, free_port


@pytest.fixture
def own() -> Iterator[Valkey]:
    """A Valkey whose connections are those of the test, and one that counts them."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


def connected(server: Valkey) -> int:
    """Return how many connections the server has, without the one that asks."""
    with server.client() as client:
        count: int = client.info("clients")["connected_clients"]
        return count - 1


@pytest.fixture(params=["stream", "batches"])
def client_of(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Valkey], LoopClient]:
    """Make the running loop's client: with hiredis, and without."""
    monkeypatch.setattr(module, "CAN_STREAM", request.param == "stream")
    return lambda server: LoopClients(Location(server.url)).current()


# One write for many


async def test_more_than_a_batch_goes_out_in_several(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    original = Batches._exchange

    async def counted(self: Batches, commands: list[Any]) -> list[Any]:
        sizes.append(len(commands))
        return await original(self, commands)

    monkeypatch.setattr(Batches, "_exchange", counted)
    monkeypatch.setattr(module, "CAN_STREAM", False)
    client = LoopClients(Location(valkey.url)).current()
    await asyncio.gather(*(client.send("PING") for _ in range(FLYING * BATCH + 1)))
    assert sizes == [BATCH] * FLYING + [1]


async def test_an_error_is_that_of_its_caller_alone(
    valkey: Valkey, client_of: Callable[[Valkey], LoopClient]
) -> None:
    client = client_of(valkey)
    answers = await asyncio.gather(
        *(client.send("ECHO" if n % 2 else "NOVELTY", n) for n in range(6)),
        return_exceptions=True,
    )
    assert answers[1::2] == [b"1", b"3", b"5"]
    assert {type(answer) for answer in answers[::2]} == {ResponseError}
    with pytest.raises(ResponseError):
        await client.send("NOVELTY")


async def test_a_caller_that_is_cancelled_takes_nobody_along(
    valkey: Valkey, client_of: Callable[[Valkey], LoopClient]
) -> None:
    client = client_of(valkey)

    async def echo(number: int) -> Any:
        return await client.send("ECHO", number)

    tasks = [asyncio.create_task(echo(n)) for n in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[1::2] == [b"1", b"3", b"5", b"7", b"9"]
    assert all(isinstance(a, asyncio.CancelledError) for a in answers[::2])
    assert await client.send("ECHO", "next") == b"next"


async def test_answers_are_the_servers_own(
    valkey: Valkey, client_of: Callable[[Valkey], LoopClient]
) -> None:
    client = client_of(valkey)
    assert await client.send("SET", "key", "value") == b"OK"
    assert (await client.send("INFO", "server")).startswith(b"# Server")
    assert isinstance((await client.send("SCAN", 0, "COUNT", 1))[0], bytes)
    assert await asyncio.gather(*(client.send("PING") for _ in range(2))) == [
        b"PONG",
        b"PONG",
    ]


async def test_a_primary_that_was_demoted_is_left(
    own: Valkey, client_of: Callable[[Valkey], LoopClient]
) -> None:
    client = client_of(own)
    number = await client.send("CLIENT", "ID")
    with own.client() as outside:
        outside.replicaof("127.0.0.1", str(free_port()))
        with pytest.raises(ResponseError):
            await client.send("SET", "key", "value")
        outside.replicaof("NO", "ONE")
    assert await client.send("SET", "key", "value") == b"OK"
    assert await client.send("CLIENT", "ID") != number


# Few connections


async def test_many_coroutines_share_the_few_connections_of_their_loop(
    own: Valkey, client_of: Callable[[Valkey], LoopClient]
) -> None:
    client = client_of(own)

    async def ask(number: int) -> None:
        for _ in range(5):
            assert await client.send("ECHO", number) == str(number).encode()

    await asyncio.gather(*(ask(n) for n in range(500)))
    assert 1 <= connected(own) <= min(FLYING, LOOP_CONNECTIONS)


def test_each_loop_has_a_client_that_ends_with_it(own: Valkey) -> None:
    clients = LoopClients(Location(own.url))
    seen = []

    async def ask() -> None:
        client = clients.current()
        assert clients.current() is client
        assert await client.send("PING") in (b"PONG", True)
        seen.append(client)

    threads = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 5
    until(lambda: connected(own) == 0, "the connections to be closed")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_was_closed_at_once_is_cleared_away_by_the_next(
    own: Valkey,
) -> None:
    clients = LoopClients(Location(own.url))

    async def ask() -> None:
        await clients.current().send("PING")

    loops = [asyncio.new_event_loop() for _ in range(3)]
    for loop in loops:
        loop.run_until_complete(ask())
        # Not as `asyncio.run` does it: nothing in it is told of the end.
        loop.close()
    assert connected(own) > 0
    asyncio.run(ask())
    until(lambda: connected(own) == 0, "the connections to be closed")
    # Here, where it may warn of what it finds.
    del loop, loops
    gc.collect()


# What the site may say, and what it may not


@pytest.mark.parametrize("cluster", [False, True])
def test_neither_options_nor_a_url_lift_the_limit_of_time(
    cluster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = (
        "redis://u:p@cache.example:7000/0?socket_timeout=30&decode_responses=true"
        "&client_name=site&socket_connect_timeout=9"
    )
    options = {"socket_timeout": 30, "decode_responses": True, "health": 1}
    place = Location("" if cluster else url, url if cluster else "", options=options)
    made: dict[str, Any] = {}

    class Fake:
        @classmethod
        def from_url(cls, address: str, **arguments: Any) -> None:
            made.update(arguments, address=address)

    monkeypatch.setattr(module, "BlockingConnectionPool", Fake)
    monkeypatch.setattr(module, "Redis", lambda **pool: None)
    if cluster:
        place = node_of(place, ("node.example", 7001))
        where = "node.example:7001"
    else:
        where = "cache.example:7000/0"
    blocking_client(place)
    assert made["address"] == f"redis://u:p@{where}?client_name=site"
    assert made["socket_timeout"] == made["socket_connect_timeout"] == ANSWER_SECONDS
    assert made["decode_responses"] is False
    assert made["health"] == 1


async def test_an_address_that_asks_for_tls_gets_it() -> None:
    place = Location("rediss://cache.example", options={"ssl_ca_certs": "/ca.pem"})
    pools = [
        (blocking_client(place).connection_pool, SSLConnection),
        (LoopClients(place).current().client.connection_pool, AsyncSSLConnection),
    ]
    for pool, connection in pools:
        assert issubclass(pool.connection_class, connection)
        assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"


def test_a_unix_socket_is_reached(tmp_path: Path) -> None:
    path = tmp_path / "valkey.sock"
    server = Valkey(unixsocket=str(path))
    server.start()
    try:
        place = Location(f"unix://{path}?db=2")

        clients = LoopClients(place)

        async def ask() -> Any:
            return await clients.current().send("GET", "key")

        client = blocking_client(place)
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


async def ask(clients: LoopClients, *command: Any) -> Any:
    return await clients.current().send(*command)


def test_sentinels_say_where_the_primary_is(own: Valkey, sentinel: Sentinel) -> None:
    place = Location(
        sentinels=(("127.0.0.1", sentinel.port),), service="main", options={"db": 1}
    )
    client = blocking_client(place)
    client.set("key", b"value")
    client.close()
    assert asyncio.run(ask(LoopClients(place), "GET", "key")) == b"value"
    assert sender_to(place).send("GET", "key") == b"value"
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
        place = Location(
            sentinels=(*dead, ("127.0.0.1", sentinel.port)),
            service="main",
            # Theirs is not longer than ours, whatever is said.
            sentinel_options={"socket_timeout": 30},
        )
        started = time.monotonic()
        assert asyncio.run(ask(LoopClients(place), "ECHO", "a")) == b"a"
        assert sender_to(place).send("ECHO", "b") == b"b"
        assert time.monotonic() - started < 2 * ANSWER_SECONDS
