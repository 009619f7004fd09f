"""Health of a site of two processes: summed, and right after one of them is killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from sessionstores import Participant, Stats, stores
from tests.servers import PATIENCE, Valkey

from .sites import on_redis
from .test_answers import tab
from .workers import Worker, running

SECRET = "what nobody else may read"


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey without the figures that the workers of other tests leave."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


class Acting:
    """A tab that answers pings, and acts."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self._number = 0

    async def read(self) -> None:
        """Read frames until the socket closes."""
        async for text in self._socket:
            kind = json.loads(text)["type"]
            if kind == "ping":
                await self._socket.send('{"type":"pong"}')
            elif kind in ("ack", "reject"):
                self._answers.put_nowait(kind)

    async def act(self, action: str) -> str:
        """Run an action, given as "state.name"; return its answer's type."""
        self._number += 1
        state, _, name = action.partition(".")
        frame = {"type": "action", "id": self._number, "state": state, "action": name}
        await self._socket.send(json.dumps({**frame, "args": {"line": SECRET}}))
        async with asyncio.timeout(PATIENCE):
            return await self._answers.get()


@asynccontextmanager
async def acting(worker: Worker, participant: Participant) -> AsyncIterator[Acting]:
    """Keep a tab open at a worker."""
    async with tab(worker, participant) as socket:
        one = Acting(socket)
        reading = asyncio.create_task(one.read())
        yield one
        reading.cancel()


async def figures(is_seen: Callable[[Stats], bool]) -> Stats:
    """Return the figures once they are as described."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await stores.astats()
            if is_seen(found):
                return found
            await asyncio.sleep(0.1)


def pid(worker: Worker) -> int:
    """Return the id of a worker's process."""
    assert worker.process is not None
    return worker.process.pid


async def test_two_processes_are_summed_and_a_killed_one_leaves_the_list(
    own_valkey: Valkey, settings: Any, code: str
) -> None:
    settings.CACHES = on_redis(own_valkey.port)["CACHES"]
    settings.SESSIONSTORES = {"PRESENCE_LEASE": 4}
    with running(2, own_valkey.port, heartbeat=0.5, lease=4) as (first, second):
        async with (
            acting(first, Participant(code, "al")) as one,
            acting(second, Participant(code, "bo")) as two,
        ):
            for each in (one, two):
                assert await each.act("log.write") == "ack"
                assert await each.act("log.decline") == "reject"
                assert await each.act("wall.stumble") == "reject"
            both = sorted([pid(first), pid(second)])
            found = await figures(
                lambda stats: (
                    stats.health.actions == 6
                    and sorted(worker.pid for worker in stats.workers) == both
                )
            )
            assert found.health.refused == {"declined": 2}
            assert found.health.errors == 2
            assert found.health.sockets == 2
            assert found.health.p50 is not None
            assert [worker.tabs for worker in found.workers] == [1, 1]
            (error,) = found.errors
            assert (error.type, error.action) == ("RuntimeError", "wall.stumble")
            assert error.count == 2
            assert error.place.startswith("tests/faults/site/states.py:")
            assert SECRET not in repr(found.errors)
            left = pid(second)
            assert first.process is not None
            first.process.kill()
            found = await figures(
                lambda stats: [worker.pid for worker in stats.workers] == [left]
            )
            # What it had done is not forgotten.
            assert (found.health.actions, found.health.errors) == (6, 2)
            assert found.health.sockets == 1
