"""The connection of one event loop, on which commands follow without waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from sessionstores.backends.redis.async_connection import ConnectionProtocol
from sessionstores.backends.redis.client import LoopClients
from sessionstores.backends.redis.location import ANSWER_SECONDS, Location
from tests.demo_process import until
from tests.servers import Valkey


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


def blocked(server: Valkey) -> int:
    """Return how many clients wait for something on the server."""
    with server.client() as client:
        count: int = client.info("clients")["blocked_clients"]
        return count


async def test_what_one_tick_asks_for_goes_out_in_one_write(
    valkey: Valkey, writes: list[int]
) -> None:
    client = LoopClients(Location(valkey.url)).current()
    for _ in range(2):
        answers = await asyncio.gather(*(client.send("ECHO", n) for n in range(100)))
        assert answers == [str(n).encode() for n in range(100)]
    assert writes == [100, 100]


async def test_what_comes_while_the_connection_opens_goes_out_with_the_first(
    valkey: Valkey, writes: list[int]
) -> None:
    client = LoopClients(Location(valkey.url)).current()
    sent = []
    for n in range(3):
        sent.append(client.send("ECHO", n))
        # The next tick of the loop, before any connection can be there.
        await asyncio.sleep(0)
    assert await asyncio.gather(*sent) == [b"0", b"1", b"2"]
    assert writes == [3]


async def test_an_answer_in_pieces_is_one(valkey: Valkey) -> None:
    client = LoopClients(Location(valkey.url)).current()
    long = b"x" * 3_000_000
    answers = await asyncio.gather(*(client.send("ECHO", long) for _ in range(3)))
    assert answers == [long] * 3


async def test_a_connection_that_was_lost_is_opened_again(own: Valkey) -> None:
    client = LoopClients(Location(own.url)).current()
    await client.send("PING")
    asking = client.send("BLPOP", "nothing", 0)
    await asyncio.to_thread(until, lambda: blocked(own) == 1, "the server to wait")
    with own.client() as outside:
        outside.client_kill_filter(_type="normal")
    with pytest.raises(RedisConnectionError, match="lost"):
        await asking
    assert await client.send("ECHO", "again") == b"again"


async def test_a_server_that_says_nothing_is_given_up_by_all_at_once(
    own: Valkey,
) -> None:
    client = LoopClients(Location(own.url)).current()
    await client.send("PING")
    with own.paused():
        started = time.monotonic()
        answers = await asyncio.gather(
            *(client.send("PING") for _ in range(300)), return_exceptions=True
        )
        spent = time.monotonic() - started
    assert {type(answer) for answer in answers} == {TimeoutError}
    assert spent >= ANSWER_SECONDS
    assert await client.send("ECHO", "awake") == b"awake"


async def test_a_loop_that_was_kept_busy_gives_nobody_up(own: Valkey) -> None:
    client = LoopClients(Location(own.url)).current()
    await client.send("PING")
    asking = client.send("ECHO", "patient")
    # Before the command can go out.
    time.sleep(1.1 * ANSWER_SECONDS)  # noqa: ASYNC251
    assert await asking == b"patient"
