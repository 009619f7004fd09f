"""The pipelined connection of one event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from sessionstores.backends.redis.async_connection import ConnectionProtocol
from sessionstores.backends.redis.client import connect_loops
from sessionstores.backends.redis.location import REPLY_SECONDS, Location
from tests.demo_process import until
from tests.servers import Valkey, free_port


@pytest.fixture
def own() -> Iterator[Valkey]:
    """A Valkey that the test may take away."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of commands in each write, as they go out."""
    sizes: list[int] = []
    write = ConnectionProtocol.write

    def counted(self: ConnectionProtocol, commands: Sequence[Any]) -> None:
        sizes.append(len(commands))
        write(self, commands)

    monkeypatch.setattr(ConnectionProtocol, "write", counted)
    return sizes


def connected(server: Valkey) -> int:
    """Return how many connections the server has, without the one that asks."""
    with server.client() as client:
        count: int = client.info("clients")["connected_clients"]
        return count - 1


def connection_to(server: Valkey) -> Any:
    """Return the running loop's connection."""
    return connect_loops(Location(server.url)).current()


def blocked(server: Valkey) -> int:
    """Return how many clients wait for something on the server."""
    with server.client() as client:
        count: int = client.info("clients")["blocked_clients"]
        return count


async def test_what_one_tick_asks_for_goes_out_in_one_write(
    valkey: Valkey, writes: list[int]
) -> None:
    client = connection_to(valkey)
    for _ in range(2):
        answers = await asyncio.gather(*(client.send("ECHO", n) for n in range(100)))
        assert answers == [str(n).encode() for n in range(100)]
    assert writes == [100, 100]


async def test_what_comes_while_the_connection_opens_goes_out_with_the_first(
    valkey: Valkey, writes: list[int]
) -> None:
    client = connection_to(valkey)
    sent = []
    for n in range(3):
        sent.append(client.send("ECHO", n))
        # The next tick of the loop, before any connection can be there.
        await asyncio.sleep(0)
    assert await asyncio.gather(*sent) == [b"0", b"1", b"2"]
    assert writes == [3]


async def test_an_answer_in_pieces_is_one(valkey: Valkey) -> None:
    client = connection_to(valkey)
    long = b"x" * 3_000_000
    answers = await asyncio.gather(*(client.send("ECHO", long) for _ in range(3)))
    assert answers == [long] * 3


async def test_a_connection_that_was_lost_is_opened_again(own: Valkey) -> None:
    client = connection_to(own)
    await client.send("PING")
    asking = client.send("BLPOP", "nothing", 0)
    await asyncio.to_thread(until, lambda: blocked(own) == 1, "the server to wait")
    with own.client() as outside:
        outside.client_kill_filter(_type="normal")
    with pytest.raises(RedisConnectionError, match="lost"):
        await asking
    assert await client.send("ECHO", "again") == b"again"


async def test_all_commands_to_a_silent_server_time_out_at_once(
    own: Valkey,
) -> None:
    client = connection_to(own)
    await client.send("PING")
    with own.paused():
        started = time.monotonic()
        answers = await asyncio.gather(
            *(client.send("PING") for _ in range(300)), return_exceptions=True
        )
        spent = time.monotonic() - started
    assert {type(answer) for answer in answers} == {TimeoutError}
    assert spent >= REPLY_SECONDS
    assert await client.send("ECHO", "awake") == b"awake"


async def test_a_loop_that_was_kept_busy_times_nothing_out(own: Valkey) -> None:
    client = connection_to(own)
    await client.send("PING")
    asking = client.send("ECHO", "patient")
    # Before the command can go out.
    time.sleep(1.1 * REPLY_SECONDS)  # noqa: ASYNC251
    assert await asking == b"patient"


async def test_an_error_is_that_of_its_caller_alone(
    valkey: Valkey,
) -> None:
    client = connection_to(valkey)
    answers = await asyncio.gather(
        *(client.send("ECHO" if n % 2 else "NOVELTY", n) for n in range(6)),
        return_exceptions=True,
    )
    assert answers[1::2] == [b"1", b"3", b"5"]
    assert {type(answer) for answer in answers[::2]} == {ResponseError}
    with pytest.raises(ResponseError):
        await client.send("NOVELTY")


async def test_a_caller_that_is_cancelled_takes_nobody_along(
    valkey: Valkey,
) -> None:
    client = connection_to(valkey)

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
    valkey: Valkey,
) -> None:
    client = connection_to(valkey)
    assert await client.send("SET", "key", "value") == b"OK"
    assert (await client.send("INFO", "server")).startswith(b"# Server")
    assert isinstance((await client.send("SCAN", 0, "COUNT", 1))[0], bytes)
    assert await asyncio.gather(*(client.send("PING") for _ in range(2))) == [
        b"PONG",
        b"PONG",
    ]


async def test_a_primary_that_was_demoted_is_left(
    own: Valkey,
) -> None:
    client = connection_to(own)
    number = await client.send("CLIENT", "ID")
    with own.client() as outside:
        outside.replicaof("127.0.0.1", str(free_port()))
        with pytest.raises(ResponseError):
            await client.send("SET", "key", "value")
        outside.replicaof("NO", "ONE")
    assert await client.send("SET", "key", "value") == b"OK"
    assert await client.send("CLIENT", "ID") != number


async def test_all_coroutines_of_a_loop_share_one_connection(
    own: Valkey,
) -> None:
    client = connection_to(own)

    async def ask(number: int) -> None:
        for _ in range(5):
            assert await client.send("ECHO", number) == str(number).encode()

    await asyncio.gather(*(ask(n) for n in range(500)))
    assert connected(own) == 1


def test_each_loop_has_a_client_that_ends_with_it(own: Valkey) -> None:
    clients = connect_loops(Location(own.url))
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
    clients = connect_loops(Location(own.url))

    async def ask() -> None:
        await clients.current().send("PING")

    loops = [asyncio.new_event_loop() for _ in range(3)]
    for loop in loops:
        loop.run_until_complete(ask())
        # Unlike `asyncio.run`, this ends nothing that still runs in it.
        loop.close()
    assert connected(own) > 0
    asyncio.run(ask())
    until(lambda: connected(own) == 0, "the connections to be closed")
    # Here, where it may warn of what it finds.
    del loop, loops
    gc.collect()
