"""Answers that are lost with their socket, and asked for again on another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from sessionstores.backends import get_backend
from sessionstores.participants.participant import Participant
from sessionstores.realtime.protocol import SUBPROTOCOL
from tests.servers import Valkey

from .sites import on_redis
from .tabs import lines_of
from .workers import Worker, running

# So many at once are run, and one a second: few enough that a slow machine refuses
# most of the others too, soon enough that one of those sent later is run.
ALLOWED = 40
RATE = (1.0, ALLOWED)
BURST = 2 * ALLOWED + 1

Frame = dict[str, Any]


@asynccontextmanager
async def tab(worker: Worker, alice: Participant) -> AsyncIterator[ClientConnection]:
    """Open a socket as the same tab of alice's each time; it is welcome."""
    async with connect(
        f"ws://{worker.address}/ws/sessionstores/",
        origin=f"http://{worker.address}",  # type: ignore[arg-type]
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
        ping_interval=None,
        proxy=None,
    ) as socket:
        hello = {"type": "hello", "token": alice.token(), "client": "c1"}
        await socket.send(json.dumps(hello))
        assert json.loads(await socket.recv())["type"] == "welcome"
        yield socket


async def lines(alice: Participant) -> list[int]:
    """Return the numbers of the lines in alice's log."""
    record = await get_backend(blocking=False).read(alice.key, touch=False)
    return [int(line) for line in lines_of(record)]


async def write(socket: ClientConnection, number: int, **origin: str) -> None:
    """Have a line added by the action with that number."""
    action = {"state": "log", "action": "write", "args": {"line": f"{number}"}}
    await socket.send(json.dumps({"type": "action", "id": number, **action, **origin}))


async def answer(socket: ClientConnection, number: int) -> Frame:
    """Return the answer to the action with that number, past all other frames."""
    async with asyncio.timeout(15):
        while True:
            frame: Frame = json.loads(await socket.recv())
            if frame["type"] in ("ack", "reject"):
                assert frame["id"] == number
                return frame


async def test_an_action_refused_for_the_rate_is_never_said_to_have_been_run(
    valkey: Valkey, settings: Any, code: str, tell: Callable[..., None]
) -> None:
    settings.CACHES = on_redis(valkey.port)["CACHES"]
    alice = Participant(code, "alice")
    with ExitStack() as stack:
        (hasty,) = stack.enter_context(running(1, valkey.port, rate=RATE))
        (other,) = stack.enter_context(running(1, valkey.port))
        async with tab(hasty, alice) as socket:
            for number in range(1, BURST + 1):
                await write(socket, number)
            # The commit of a later one is what lets the record forget its place.
            while (last := max(await lines(alice), default=0)) <= BURST:
                number += 1
                await write(socket, number)
                await asyncio.sleep(0.2)
            socket.transport.abort()
        answers = []
        async with tab(other, alice) as socket:
            for again in range(1, number + 1):
                await write(socket, again, client="c1")
                answers.append(await answer(socket, again))
    found = await lines(alice)
    acked = [each["id"] for each in answers if each["type"] == "ack"]
    refused = [each for each in answers if each["type"] == "reject"]
    tell(
        "answers lost of a burst past the rate",
        "valkey",
        number,
        lost=len(set(acked) - set(found)),
        doubled=len(found) - len(set(found)),
    )
    assert acked == found
    assert {each["code"] for each in refused} <= {"limit_reached", "outcome_unknown"}
    # Those that came after the last commit are run now: these were refused twice.
    assert any(each["id"] < last for each in refused)
