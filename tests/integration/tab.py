"""A browser tab as the protocol sees it: the client's rules, over a raw ASGI socket.

Frames that the server sent lie in `inbox` until the test lets the tab read them, so
that a test decides what overtakes what, and what is lost with a connection.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sessionstores.realtime.consumers import StoreConsumer
from sessionstores.state.apply_patch import apply
from sessionstores.testing.documents import is_past
from tests.sockets import ORIGIN, PATIENCE, until


@dataclass
class Pending:
    """An action that has no answer yet, with the client id it was first sent under."""

    id: int
    frame: dict[str, Any]
    client: str | None = None


@dataclass
class Tab:
    """One tab of one participant."""

    token: str
    client: str = field(default_factory=lambda: secrets.token_hex(4))
    docs: dict[str, Any] = field(default_factory=dict)
    revs: dict[str, str] = field(default_factory=dict)
    # By document, what the last snapshot said of the run of the server.
    runs: dict[str, str] = field(default_factory=dict)
    held: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    pending: dict[int, Pending] = field(default_factory=dict)
    answers: dict[int, dict[str, Any]] = field(default_factory=dict)
    received: list[dict[str, Any]] = field(default_factory=list)
    inbox: deque[dict[str, Any]] = field(default_factory=deque)
    syncing: set[str] = field(default_factory=set)
    present: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    # Who has left, by the frames that said so.
    left: list[str] = field(default_factory=list)
    snapshots: int = 0
    connections: int = 0
    next_id: int = 1
    welcomed: bool = False
    accepted: bool = False
    closed: int | None = None
    _roll: bool = False
    heard: Callable[[dict[str, Any]], None] | None = None
    _to_server: asyncio.Queue[dict[str, Any]] | None = None
    _task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Open a socket, say hello, and read up to the first snapshots."""
        await self.open()
        await until(lambda: len(self.inbox) >= 3 or self.closed, "a welcome")
        while self.inbox and not self.caught_up:
            self.read()

    async def open(self) -> None:
        """Open a socket and say hello; read nothing."""
        queue = self._start()
        inbox = self.inbox

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "websocket.accept":
                self.accepted = True
            elif message["type"] == "websocket.send":
                if self.heard is not None:
                    self.heard(message)
                inbox.append(json.loads(message["text"]))
            elif self._to_server is queue:
                self.closed = message.get("code", 1000)

        scope = {
            "type": "websocket",
            "path": "/ws/sessionstores/",
            "headers": [ORIGIN, (b"host", b"testserver")],
            "subprotocols": ["sessionstores.v1"],
            "query_string": b"",
        }
        queue.put_nowait({"type": "websocket.connect"})
        app: Any = StoreConsumer.as_asgi()
        self._task = asyncio.ensure_future(app(scope, queue.get, send))
        self._hello()

    def _start(self) -> asyncio.Queue[dict[str, Any]]:
        """Forget the last connection; return the queue of what the next one sends."""
        self.inbox = deque()
        self.held.clear()
        self.syncing.clear()
        self.welcomed, self.accepted, self.closed = False, False, None
        self.connections += 1
        self._awaited = {"me", "session"}
        self._to_server = asyncio.Queue()
        return self._to_server

    def _hello(self) -> None:
        self.say(
            {
                "type": "hello",
                "token": self.token,
                "client": self.client,
                "have": dict(self.revs),
                "runs": dict(self.runs),
            }
        )

    async def drop(self) -> None:
        """Lose the connection: what the server sent and was not read is gone."""
        if self._to_server is None or self._task is None:
            return
        self._to_server.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.inbox.clear()
        self.welcomed = False
        self._to_server = None
        await asyncio.wait_for(asyncio.gather(self._task, return_exceptions=True), 5)
        self._task = None

    @property
    def dropped(self) -> bool:
        """Whether there is no socket."""
        return self._task is None

    @property
    def connected(self) -> bool:
        """Whether a socket is open and has been welcomed."""
        return self._to_server is not None and self.welcomed

    @property
    def caught_up(self) -> bool:
        """Whether the first snapshots of this connection have been read."""
        return self.welcomed and not self._awaited

    def say(self, frame: dict[str, Any] | str) -> None:
        """Send a frame."""
        assert self._to_server is not None
        text = frame if isinstance(frame, str) else json.dumps(frame)
        self._to_server.put_nowait({"type": "websocket.receive", "text": text})

    def act(self, state: str, action: str, args: dict[str, Any]) -> int:
        """Send an action, or queue it while there is no welcome; return its id."""
        number = self.next_id
        self.next_id += 1
        frame = {"type": "action", "state": state, "action": action, "args": args}
        self.pending[number] = Pending(number, frame)
        if self.connected:
            self._send_action(self.pending[number])
        return number

    def _send_action(self, pending: Pending) -> None:
        frame = {**pending.frame, "id": pending.id}
        if pending.client is None:
            pending.client = self.client
        else:
            frame["client"] = pending.client
        self.say(frame)

    def read(self) -> dict[str, Any]:
        """Read the oldest unread frame."""
        frame = self.inbox.popleft()
        self.received.append(frame)
        match frame["type"]:
            case "welcome":
                self.client = frame["client"]
                self.welcomed = True
                for pending in sorted(self.pending.values(), key=lambda p: p.id):
                    self._send_action(pending)
                self._roll = True
            case "presence":
                self._take_presence(frame)
            case "snapshot":
                self._take_snapshot(frame)
            case "patch":
                self._take_patch(frame)
            case "ack":
                self._take_ack(frame)
            case "reject":
                self._answer(frame)
            case "ping":
                for doc, rev in frame.get("heads", {}).items():
                    self._compare(doc, rev)
                self.say({"type": "pong", "visible": True})
        return frame

    def _answer(self, frame: dict[str, Any]) -> None:
        assert frame["id"] not in self.answers, f"answered twice: {frame}"
        assert frame["id"] in self.pending, f"answered, but not asked: {frame}"
        del self.pending[frame["id"]]
        self.answers[frame["id"]] = frame

    def _take_ack(self, frame: dict[str, Any]) -> None:
        self._answer(frame)
        if "ops" in frame and frame["base"] != frame["rev"]:
            self._take_patch(frame)
        elif frame["rev"] != self.revs.get(frame["doc"]):
            self._compare(frame["doc"], frame["rev"])

    def _take_presence(self, frame: dict[str, Any]) -> None:
        if self._roll:
            # The first one names everybody.
            self._roll = False
            self.present = {}
        self.present |= frame["joined"]
        for id in frame["left"]:
            del self.present[id]
        self.left += frame["left"]

    def _take_snapshot(self, frame: dict[str, Any]) -> None:
        doc = frame["doc"]
        first = doc in self._awaited
        self._awaited.discard(doc)
        self.syncing.discard(doc)
        if not first:
            self.snapshots += 1
        if "run" in frame:
            self.runs[doc] = frame["run"]
        if "states" in frame:
            ours = self.revs.get(doc)
            overtaken = ours not in (None, frame["rev"]) and is_past(ours, frame["rev"])
            if overtaken and not frame["reset"]:
                return
            self.docs[doc] = frame["states"]
            self.revs[doc] = frame["rev"]
        else:
            assert self.revs[doc] == frame["rev"], "current, but elsewhere"
        self._release(doc)

    def _take_patch(self, frame: dict[str, Any]) -> None:
        doc = frame["doc"]
        ours = self.revs.get(doc)
        if ours is None or is_past(ours, frame["rev"]):
            return
        if frame["base"] != ours:
            self.held.setdefault(doc, {})[frame["base"]] = frame
            return
        self.docs[doc] = apply(self.docs[doc], frame["ops"])
        self.revs[doc] = frame["rev"]
        self._release(doc)

    def _release(self, doc: str) -> None:
        held = self.held.get(doc, {})
        while (frame := held.pop(self.revs[doc], None)) is not None:
            self.docs[doc] = apply(self.docs[doc], frame["ops"])
            self.revs[doc] = frame["rev"]
        self.held[doc] = {
            base: frame
            for base, frame in held.items()
            if not is_past(self.revs[doc], frame["rev"])
        }

    def _compare(self, doc: str, head: str) -> None:
        if head != self.revs.get(doc):
            self.held.setdefault(doc, {}).setdefault("?", {"rev": head})

    def repair(self) -> bool:
        """Do what the client does after 300 ms: sync what is stuck. True if any was."""
        stuck = [doc for doc, held in self.held.items() if held]
        for doc in stuck:
            self.held[doc].clear()
            if doc not in self.syncing:
                self.syncing.add(doc)
                self.say({"type": "sync", "doc": doc, "rev": self.revs[doc]})
        return bool(stuck)


async def settle(*tabs: Tab) -> None:
    """Let every tab read all there is until all actions are answered and none is stuck.

    Frames are read in turn; a stuck document is repaired when nothing else comes.
    """
    deadline = time.monotonic() + PATIENCE
    quiet = 0
    # In memory, whatever one turn of the loop leaves over is done within a few more.
    while quiet < 20:
        assert time.monotonic() < deadline, "the tabs did not come to rest"
        await asyncio.sleep(0 if quiet else 0.0005)
        busy = False
        for tab in tabs:
            while tab.inbox:
                tab.read()
                busy = True
            busy = busy or bool(tab.pending) or bool(tab.syncing)
        if not busy:
            repaired = [tab.repair() for tab in tabs]
            busy = any(repaired)
        quiet = 0 if busy else quiet + 1
