"""The relay of `make demo-redis`: the worker that a connection is relayed to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from project.relay import Relay
from tests.sockets import until


class Echo:
    """A worker that answers each request with its name and the request.

    `asked` is how often somebody wanted to know where it listens.
    """

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.asked = 0
        self._port = 0

    @property
    def port(self) -> int:
        self.asked += 1
        return self._port

    async def start(self) -> None:
        self.server = await asyncio.start_server(
            self.serve, "127.0.0.1", self._port, reuse_address=True
        )
        self._port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.server.close()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while line := await reader.readuntil(b"\r\n\r\n"):
                writer.write(self.name + b" " + line)
        except asyncio.IncompleteReadError:
            writer.close()


Address = tuple[str, int]


@asynccontextmanager
async def two_workers() -> AsyncIterator[tuple[Address, list[Echo]]]:
    """Run a relay in front of two workers; yield its address and them."""
    workers = [Echo(b"one"), Echo(b"two")]
    for worker in workers:
        await worker.start()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        async with Relay(workers).serving(listener):
            yield listener.getsockname(), workers
    for worker in workers:
        await worker.stop()


async def answer(address: Address, path: str = "/") -> str:
    """Send one request over a connection of its own; return who answered."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    name = await asyncio.wait_for(reader.readuntil(b" "), 10)
    writer.close()
    return name.decode().strip()


async def test_connections_go_to_the_workers_in_turn() -> None:
    async with two_workers() as (address, _):
        assert [await answer(address) for _ in range(4)] == ["one", "two", "one", "two"]


@pytest.mark.parametrize(
    "path", ["/ws/?seat={}", "/ws/?other=7&seat={}", "/ws/?seat={}&other=7"]
)
async def test_a_seat_is_at_the_same_worker_each_time(path: str) -> None:
    async with two_workers() as (address, _):
        for seat, name in [(0, "one"), (1, "two"), (2, "one"), (1, "two")]:
            assert await answer(address, path.format(seat)) == name


async def test_a_seat_in_a_header_or_a_body_is_none() -> None:
    async with two_workers() as (address, _):
        names = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"POST / HTTP/1.1\r\nreferer: /?seat=1 \r\n\r\n")
            names.append(await asyncio.wait_for(reader.readuntil(b" "), 10))
            writer.close()
        assert names == [b"one ", b"two "]


async def test_a_worker_that_is_down_is_passed_over() -> None:
    async with two_workers() as (address, workers):
        await workers[0].stop()
        assert {await answer(address, "/?seat=0") for _ in range(3)} == {"two"}
        await workers[0].start()
        assert await answer(address, "/?seat=0") == "one"


async def test_a_connection_waits_while_all_workers_are_down() -> None:
    async with two_workers() as (address, workers):
        for worker in workers:
            await worker.stop()
        waiting = asyncio.create_task(answer(address))
        await until(lambda: workers[1].asked > 2, "some tries")
        assert not waiting.done()
        await workers[1].start()
        assert await waiting == "two"


async def test_both_ways_are_carried_until_one_side_ends_it() -> None:
    async with two_workers() as (address, _):
        reader, writer = await asyncio.open_connection(*address)
        for number in range(3):
            request = f"GET /{number} HTTP/1.1\r\n\r\n".encode()
            writer.write(request)
            got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert got == b"one " + request
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_an_incomplete_request_disturbs_no_other_connection() -> None:
    async with two_workers() as (address, _):
        for text in (b"", b"GET / HTTP", b"x" * 200_000):
            _, writer = await asyncio.open_connection(*address)
            writer.write(text)
            writer.close()
        assert await answer(address) == "one"


async def test_its_end_cuts_the_connections() -> None:
    async with two_workers() as (address, _):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
