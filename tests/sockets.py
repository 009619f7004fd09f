"""A tab's socket for tests of delivery: Channels' communicator, frames as dicts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from channels.testing import WebsocketCommunicator

from sessionstores.participants.participant import Participant
from sessionstores.realtime.consumers import StoreConsumer

CODE = "K7Q2ZD"
ORIGIN = (b"origin", b"http://testserver")
PATIENCE = 10.0

Frame = dict[str, Any]


def token(participant: str = "alice", role: str = "participant") -> str:
    """Return a token of the test session."""
    return Participant(CODE, participant, role).token()


async def until(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Let the loop run until `condition` holds; fail after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.001)


class Socket:
    """One connection. `headers` and `subprotocols` are what the browser would send."""

    def __init__(
        self,
        application: Any = None,
        headers: list[tuple[bytes, bytes]] | None = None,
        subprotocols: list[str] | None = None,
    ) -> None:
        self.communicator = WebsocketCommunicator(
            application or StoreConsumer.as_asgi(),
            "/ws/sessionstores/",
            headers=[ORIGIN] if headers is None else headers,
            subprotocols=["sessionstores.v1"] if subprotocols is None else subprotocols,
        )
        self.welcome: Frame = {}
        self.snapshots: dict[str, Frame] = {}
        # Who is present, as this tab has been told, and the frames that said so: they
        # come when they come, so that no test of other frames has to await them.
        self.present: dict[str, list[Frame]] = {}
        self.presence_frames: list[Frame] = []

    async def open(self) -> str | None:
        """Have the socket accepted; return the subprotocol."""
        accepted, subprotocol = await self.communicator.connect(PATIENCE)
        assert accepted
        assert not isinstance(subprotocol, int)
        return subprotocol

    async def hello(
        self,
        participant: str = "alice",
        *,
        role: str = "participant",
        client: str = "c1",
        have: dict[str, str] | None = None,
        runs: dict[str, str] | None = None,
        token: str | None = None,
        meta: Frame | None = None,
    ) -> Socket:
        """Open, say hello, and take the welcome and the first snapshots."""
        await self.open()
        token = token or Participant(CODE, participant, role).token()
        known: Frame = {"client": client, "have": have or {}, "meta": meta or {}}
        if runs is not None:
            known["runs"] = runs
        await self.say(type="hello", token=token, **known)
        self.welcome = await self.expect("welcome")
        for _ in range(2):
            frame = await self.expect("snapshot")
            self.snapshots[frame["doc"]] = frame
        return self

    async def say(self, **frame: Any) -> None:
        """Send a frame."""
        await self.say_text(json.dumps(frame))

    async def say_text(self, text: str) -> None:
        """Send any text."""
        await self.communicator.send_input({"type": "websocket.receive", "text": text})

    async def act(self, id: int, action: str, **args: Any) -> Frame:
        """Run an action, given as "state.name", and return its answer."""
        state, _, name = action.partition(".")
        await self.say(type="action", id=id, state=state, action=name, args=args)
        return await self.receive()

    async def receive(self) -> Frame:
        """Return the next frame, but for those of presence."""
        event = await self._event()
        assert event["type"] == "websocket.send", event
        frame: Frame = json.loads(event["text"])
        return frame

    async def _event(self) -> dict[str, Any]:
        while True:
            event: dict[str, Any] = await self.communicator.receive_output(PATIENCE)
            if not self._attend(event):
                return event

    def _attend(self, event: dict[str, Any]) -> bool:
        """Take in a frame of presence; False if it is something else."""
        text = event.get("text", "")
        if not text.startswith('{"type":"presence"'):
            return False
        frame = json.loads(text)
        self.presence_frames.append(frame)
        self.present |= frame["joined"]
        for id in frame["left"]:
            del self.present[id]
        return True

    def look(self) -> dict[str, list[Frame]]:
        """Return who is present, by all frames of presence that have come in.

        Only while no other frame waits to be received.
        """
        queue = self.communicator.output_queue
        while not queue.empty() and self._attend(queue._queue[0]):
            queue.get_nowait()
        return self.present

    async def expect(self, kind: str, **values: Any) -> Frame:
        """Return the next frame, which is of that type and has those values."""
        frame = await self.receive()
        assert frame["type"] == kind, frame
        assert {name: frame.get(name) for name in values} == values, frame
        return frame

    async def closed(self) -> int:
        """Return the code with which the server closes, as the next thing it does."""
        event = await self._event()
        assert event["type"] == "websocket.close", event
        await self.communicator.wait(PATIENCE)
        code: int = event["code"]
        return code

    @property
    def silent(self) -> bool:
        """Whether nothing but presence has been sent that was not received."""
        self.look()
        return bool(self.communicator.output_queue.empty())

    async def drop(self) -> None:
        """Lose the connection, if it is open."""
        if not self.communicator.future.done():
            await self.communicator.send_input(
                {"type": "websocket.disconnect", "code": 1006}
            )
        await self.communicator.wait(PATIENCE)


Opener = Callable[..., Awaitable[Socket]]


@asynccontextmanager
async def opening_tabs() -> AsyncIterator[Opener]:
    """Open tabs that have said hello; all are dropped at the end."""
    opened: list[Socket] = []

    async def open_tab(participant: str = "alice", **hello: Any) -> Socket:
        socket = Socket()
        opened.append(socket)
        return await socket.hello(participant, **hello)

    yield open_tab
    for socket in opened:
        await socket.drop()
