"""A tab that floods, over real sockets: it waits for its own frames, others do not."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_in_thread

from sessionstores.participants.participant import Participant
from sessionstores.realtime import frame_throttle, lobby, protocol
from sessionstores.realtime.connection import Connection
from sessionstores.realtime.protocol import Close
from tests.serving import serving
from tests.sockets import PATIENCE, until

OPTIONS: dict[str, Any] = {
    "origin": "http://testserver",
    "subprotocols": [protocol.SUBPROTOCOL],
    "compression": None,
    "proxy": None,
}
WAITING = 0.5


def hello(code: str, participant: str = "alice") -> str:
    token = Participant(code, participant).token()
    return json.dumps({"type": "hello", "token": token, "client": "c1"})


class Flood:
    """A tab in a thread of its own that sends one frame over and over."""

    def __init__(self, url: str, text: str) -> None:
        self.url = url
        self.text = text
        self.code: int | None = None
        self.error: dict[str, Any] = {}
        self.sent = 0
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
                    self.sent += 1
            except ConnectionClosed:
                reading.join(PATIENCE)

    def _read(self, socket: Any) -> None:
        try:
            for text in socket:
                frame = json.loads(text)
                if frame["type"] == "error":
                    self.error = frame
        except ConnectionClosed:
            pass
        self.code = socket.close_code

    @property
    def goes_on(self) -> bool:
        """Whether the server still lets it send."""
        return self.code is None


class Calm:
    """A tab that acts once after the other, and awaits each answer.

    Past its own rate it is refused, which is an answer too.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.acted = 0

    async def act(self) -> None:
        """Run an action, and return when it is answered."""
        self.acted += 1
        args = {"text": str(self.acted)}
        frame = {"type": "action", "id": self.acted, "state": "board", "args": args}
        await self.socket.send(json.dumps({**frame, "action": "note"}))
        while True:
            async with asyncio.timeout(PATIENCE):
                frame = json.loads(await self.socket.recv())
            assert frame["type"] != "error", frame
            if frame.get("id") == self.acted:
                assert frame["type"] == "ack" or frame["code"] == "limit_reached"
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
    counts = {"frames": 0, "reads": 0}
    parse, sync = protocol.parse, Connection.sync

    def counted_parse(text: Any, limit: int) -> Any:
        counts["frames"] += "flood" in (text or "")
        return parse(text, limit)

    async def counted_sync(self: Connection, name: str, have: str | None) -> bool:
        counts["reads"] += 1
        return await sync(self, name, have)

    monkeypatch.setattr(protocol, "parse", counted_parse)
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
        while flood.goes_on:
            await other.act()
            answered += flood.goes_on
            passed = time.monotonic() - flood.begun
            rate = frame_throttle.FRAMES_PER_SECOND + 20
            burst = frame_throttle.FRAME_BURST + 40
            assert handled["frames"] <= burst + rate * passed + 1
            reads = frame_throttle.READ_BURST + frame_throttle.READS_PER_SECOND * passed
            assert handled["reads"] <= reads + 1
        assert answered > 0
        assert flood.code == Close.TOO_MANY_FRAMES
        assert flood.error["code"] == "limit_reached"
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
