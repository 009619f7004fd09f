"""A tab that floods, over real sockets: it waits for its own frames, others do not."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_in_thread

from sessionstores.participants.participant import Participant
from sessionstores.realtime import consumers, frame_throttle, lobby, protocol
from sessionstores.realtime.connection import Connection
from sessionstores.realtime.consumers import MAX_BAD_FRAMES
from sessionstores.realtime.frame_throttle import TooManyFrames
from sessionstores.realtime.protocol import Close
from tests.serving import serving
from tests.sockets import PATIENCE, until

OPTIONS: dict[str, Any] = {
    "origin": "http://testserver",
    "subprotocols": [protocol.SUBPROTOCOL],
    "compression": None,
    "proxy": None,
}
CLOSES = {Close.TOO_MANY_FRAMES, Close.TOO_MANY_BAD_FRAMES}
WAITING = 0.5
# Seconds between two actions of a calm tab.
PACE = 0.06


def hello(code: str, participant: str = "alice") -> str:
    token = Participant(code, participant).token()
    return json.dumps({"type": "hello", "token": token, "client": "c1"})


class Flood:
    """A tab in a thread of its own that sends one frame over and over."""

    def __init__(self, url: str, text: str) -> None:
        self.url = url
        self.text = text
        self.ended = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.begun = time.monotonic()
        self.thread.start()

    def _run(self) -> None:
        with connect_in_thread(self.url, **OPTIONS) as socket:
            socket.send(hello("FL22DD"))
            reading = threading.Thread(target=self._read, args=(socket,), daemon=True)
            reading.start()
            try:
                while True:
                    socket.send(self.text)
            except ConnectionClosed:
                # Mostly without a code: it would take the code after its last frame.
                assert socket.close_code in {1006, *CLOSES}
            finally:
                self.ended = True

    def _read(self, socket: Any) -> None:
        with suppress(ConnectionClosed):
            for _ in socket:
                pass


class Calm:
    """A tab that acts once after the other, within its rate, and awaits each answer."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.acted = 0

    async def act(self) -> None:
        """Run an action, and return when it is acknowledged."""
        self.acted += 1
        args = {"text": str(self.acted)}
        frame = {"type": "action", "id": self.acted, "state": "board", "args": args}
        await self.socket.send(json.dumps({**frame, "action": "note"}))
        while True:
            async with asyncio.timeout(PATIENCE):
                frame = json.loads(await self.socket.recv())
            assert frame["type"] not in ("error", "reject"), frame
            if frame["type"] == "ack":
                assert frame["id"] == self.acted
                await asyncio.sleep(PACE)
                return


@asynccontextmanager
async def calm(url: str) -> AsyncIterator[Calm]:
    """Open a tab of another session."""
    async with connect(url, **OPTIONS) as socket:
        await socket.send(hello("CA22MM", "bob"))
        yield Calm(socket)


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the frames of floods that the server reads, and the snapshots for them."""
    counts = {"frames": 0, "reads": 0, "given up": 0}
    parse, sync, error = protocol.parse, Connection.sync, protocol.error

    def counted_parse(text: Any, limit: int) -> Any:
        counts["frames"] += "flood" in (text or "")
        return parse(text, limit)

    async def counted_sync(self: Connection, name: str, have: str | None) -> bool:
        counts["reads"] += 1
        return await sync(self, name, have)

    def counted_error(code: str, message: str, *head: Any) -> str:
        reason = message == TooManyFrames.message or code == "too_many_bad_frames"
        counts["given up"] += reason
        return error(code, message, *head)

    monkeypatch.setattr(protocol, "parse", counted_parse)
    monkeypatch.setattr(protocol, "error", counted_error)
    monkeypatch.setattr(Connection, "sync", counted_sync)
    monkeypatch.setattr(frame_throttle, "MAX_WAITING", WAITING)
    return counts


FLOODS = {
    "pong": {"type": "pong", "flood": 1},
    "sync": {"type": "sync", "doc": "me", "flood": 1},
    "meta": {"type": "meta", "data": {"flood": 1}},
    "token": {"type": "token", "token": Participant("FL22DD", "alice"), "flood": 1},
    "action": {"type": "action", "id": 1, "state": "board", "action": "flood"},
    "large": {"type": "pong", "flood": "x" * 60_000},
    # These are too many at once before they are too fast.
    "unknown": {"type": "flood"},
    "too large": {"type": "flood", "padding": "x" * 70_000},
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_is_slowed_down_and_closed_while_others_are_answered(
    kind: str, handled: dict[str, int]
) -> None:
    frame = {
        name: value.token() if isinstance(value, Participant) else value
        for name, value in FLOODS[kind].items()
    }
    async with serving() as url, calm(url) as other:
        await other.act()
        flood = Flood(url, json.dumps(frame))
        await until(lambda: handled["frames"] > 1, "the flood")
        answered = 0
        while not flood.ended:
            await other.act()
            answered += not flood.ended
            passed = time.monotonic() - flood.begun
            rate = frame_throttle.FRAMES_PER_SECOND + 20
            burst = frame_throttle.FRAME_BURST + 40 + consumers.PAID_AT_ONCE
            assert handled["frames"] <= burst + rate * passed + 1
            reads = frame_throttle.READ_BURST + frame_throttle.READS_PER_SECOND * passed
            assert handled["reads"] <= reads + 1
        assert handled["given up"] == 1
        if kind in ("unknown", "too large"):
            assert handled["frames"] == MAX_BAD_FRAMES + 1
        else:
            assert answered > 0
        await until(lambda: not flood.thread.is_alive(), "the flood's end")
        await other.act()


async def test_silent_sockets_give_way_and_whoever_says_hello_comes_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lobby, "MAX_OF_NETWORK", 20)
    async with serving() as url, AsyncExitStack() as stack:
        silent = [
            await stack.enter_async_context(connect(url, **OPTIONS)) for _ in range(30)
        ]
        for socket in silent[:10]:
            assert json.loads(await socket.recv())["code"] == "hello_timeout"
            await socket.wait_closed()
            assert socket.close_code == Close.HELLO_TIMEOUT
        assert len(lobby.current_lobby()) == 20
        async with calm(url) as other:
            await other.act()
        for socket in silent[11:]:
            await socket.send(hello("CA22MM", f"p{silent.index(socket)}"))
            assert json.loads(await socket.recv())["type"] == "welcome"


async def test_a_crowd_behind_one_address_comes_in_at_once() -> None:
    async def come(url: str, number: int) -> str:
        async with connect(url, **OPTIONS) as socket:
            await socket.send(hello("CA22MM", f"p{number}"))
            kind: str = json.loads(await socket.recv())["type"]
            return kind

    async with serving() as url:
        kinds = await asyncio.gather(*(come(url, number) for number in range(200)))
    assert kinds == ["welcome"] * 200


async def test_a_tab_that_is_merely_broken_is_told_why_it_is_closed() -> None:
    async with serving() as url, connect(url, **OPTIONS) as socket:
        for _ in range(MAX_BAD_FRAMES):
            await socket.send('{"type":"dance"}')
            assert json.loads(await socket.recv())["of"] == "dance"
        await socket.send('{"type":"dance"}')
        error = json.loads(await socket.recv())
        assert (error["code"], error["of"]) == ("too_many_bad_frames", "dance")
        await socket.wait_closed()
        assert socket.close_code == Close.TOO_MANY_BAD_FRAMES
