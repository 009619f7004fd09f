"""Tabs over the network: the client's rules, on real sockets that break and return."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

from sessionstores.backends import get_backend
from sessionstores.backends.types import Record, Unchanged
from sessionstores.keys import StoreKey, generate_code
from sessionstores.participants.participant import Participant
from sessionstores.realtime.protocol import SUBPROTOCOL
from sessionstores.state import codec
from sessionstores.testing.documents import is_past
from tests.integration.tab import Tab

from .history import ACK, Operation

# As in client.js, in seconds.
GAP_PATIENCE = 0.3
HEAD_PATIENCE = 2.0
WELCOME_WITHIN = 10.0
BACKOFF_BASE = 0.25
BACKOFF_CAP = 3.0
SILENT_BEATS = 2.5


class Address(Protocol):
    """Where a server listens."""

    @property
    def address(self) -> str:
        """Host and port."""


class LiveTab(Tab):
    """A tab that stays connected to any of the workers, as a browser's would.

    `seen` is every line that it has ever shown, `resets` how often it was told that
    something of it is gone; both by document.
    """

    def __init__(
        self,
        participant: Participant,
        workers: Sequence[Address],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(participant.token())
        self.clock = clock
        self.participant = participant
        self.workers = workers
        self.worker: Address | None = None
        self.seen: dict[str, set[str]] = {"me": set(), "session": set()}
        self.resets = {"me": 0, "session": 0}
        # Pings in a row without heads: what is shown may be out of date.
        self.doubts = 0
        # Whether all that it is sent is lost, until it connects again.
        self.deaf = False
        # The codes of errors that it was told of.
        self.errors: list[str] = []
        # Codes with which the server closed; None where the connection just broke.
        self.closes: list[int | None] = []
        # How long the server took from the opening of a socket to the last snapshot,
        # by `clock`.
        self.waits: list[float] = []
        # What it was told to do, by the ids of actions without an answer and in all,
        # and the lines that were acknowledged and refused.
        self.sent: dict[int, Operation] = {}
        self.operations: list[Operation] = []
        self.added: list[tuple[StoreKey, str]] = []
        self.refused: list[tuple[StoreKey, str]] = []
        self._moved: dict[str, float] = {}
        # How many lines of each document it has looked at.
        self._looked = {"me": 0, "session": 0}
        self._gap: asyncio.TimerHandle | None = None
        self._socket: ClientConnection | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def keys(self) -> dict[str, StoreKey]:
        """The records that it follows, by document."""
        code = self.participant.session
        return {
            "me": StoreKey(code, self.participant.id),
            "session": StoreKey.of_session(code),
        }

    def start(self, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        """Run in a task of its own, until `vanish`; return the task."""
        self._running = group.create_task(self.run())
        return self._running

    def hang_up(self) -> None:
        """Break the connection, if there is one, with all that is on its way."""
        if self._socket is not None:
            self._socket.transport.abort()

    def vanish(self) -> None:
        """Break the connection, and never come back."""
        self.hang_up()
        if self._running is not None:
            self._running.cancel()

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost; never return."""
        attempts = 0
        while True:
            live_at = time.monotonic()
            code = await self._serve()
            self.closes.append(code)
            assert code is None or code >= 4200 or code < 4000, f"sent away: {code}"
            if time.monotonic() - live_at > BACKOFF_CAP:
                attempts = 0
            ceiling = min(BACKOFF_CAP, BACKOFF_BASE * 2**attempts)
            attempts += 1
            await asyncio.sleep(random.uniform(0, ceiling))

    async def _serve(self) -> int | None:
        """Serve one connection to its end; return the code that the server gave."""
        self.worker = random.choice(self.workers)
        started = self.clock()
        queue = self._start()
        try:
            async with connect(
                f"ws://{self.worker.address}/ws/sessionstores/",
                origin=f"http://{self.worker.address}",  # type: ignore[arg-type]
                subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
                compression=None,
                open_timeout=WELCOME_WITHIN,
                close_timeout=1,
                ping_interval=None,
                proxy=None,
            ) as socket:
                self._socket = socket
                self._hello()
                writing = asyncio.create_task(_write(socket, queue))
                try:
                    await self._listen(socket, started)
                finally:
                    writing.cancel()
        except ConnectionClosed as closed:
            return None if closed.rcvd is None else closed.rcvd.code
        except (OSError, TimeoutError, InvalidMessage):
            return None
        finally:
            self._socket = None
            self.deaf = False
            self._to_server = None
            self.welcomed = False
            self._settle()

    async def _listen(self, socket: ClientConnection, started: float) -> None:
        silence = WELCOME_WITHIN
        waiting = True
        while True:
            async with asyncio.timeout(silence):
                text = await socket.recv()
            if self.deaf:
                continue
            self.inbox.append(json.loads(text))
            frame = self.read()
            if frame["type"] == "welcome":
                silence = SILENT_BEATS * frame["ping"]
            if waiting and self.caught_up:
                waiting = False
                self.waits.append(self.clock() - started)

    def read(self) -> dict[str, Any]:
        """Read the oldest unread frame, and start the wait for what is missing."""
        before = dict(self.revs)
        frame = super().read()
        # They would grow without end.
        self.received.clear()
        if frame["type"] == "error":
            self.errors.append(frame["code"])
        elif frame["type"] == "ping":
            self.doubts = 0 if "heads" in frame else self.doubts + 1
        if self.revs != before:
            self._settle()
        for doc, rev in self.revs.items():
            if rev != before.get(doc):
                self._moved[doc] = time.monotonic()
                self._look(doc, whole=frame["type"] == "snapshot")
        if self._gap is None and any(self.held.values()):
            loop = asyncio.get_running_loop()
            self._gap = loop.call_later(GAP_PATIENCE, self._repair)
        return frame

    def _settle(self) -> None:
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None

    def _repair(self) -> None:
        self._gap = None
        self.repair()

    def _take_snapshot(self, frame: dict[str, Any]) -> None:
        self.resets[frame["doc"]] += frame["reset"]
        super()._take_snapshot(frame)

    def _compare(self, doc: str, head: str) -> None:
        # A head behind ours means that the server was rolled back, unless we passed it
        # just now.
        waited = time.monotonic() - self._moved[doc] > HEAD_PATIENCE
        if head != self.revs[doc] and (waited or not is_past(self.revs[doc], head)):
            super()._compare(doc, head)

    def add(self, doc: str, line: str) -> None:
        """Add a line to a document, as soon as there is a connection."""
        self.ask(doc, {"me": "write", "session": "shout"}[doc], line)

    def ask(
        self, doc: str, action: str, line: object, refusal: str | None = None
    ) -> None:
        """Do an action with a line; `refusal` is the code that it must get, if any."""
        state = {"me": "log", "session": "wall"}[doc]
        operation = Operation(self.keys[doc], str(line), refusal)
        self.operations.append(operation)
        self.sent[self.act(state, action, {"line": line})] = operation

    def shows(self, found: Mapping[StoreKey, Record | None]) -> bool:
        """Whether it is connected and shows these records, no more and no less."""
        if not self.caught_up:
            return False
        for doc, key in self.keys.items():
            record = found[key]
            if record is None or str(record.rev) != self.revs[doc]:
                return False
            # At one rev, there is one content.
            (state,) = self.docs[doc].values()
            assert state["lines"] == lines_of(record), f"{key} at {record.rev}"
        return True

    def forget(self) -> None:
        """Forget what it has seen, but for what it shows now, and that it was told."""
        self.resets = {"me": 0, "session": 0}
        self.seen = {"me": set(), "session": set()}
        for doc in self.docs:
            self._look(doc)

    def missing(self, final: Mapping[StoreKey, Sequence[str]]) -> dict[str, set[str]]:
        """Return the lines that it has seen, but the cache no longer has."""
        return {doc: self.seen[doc] - set(final[key]) for doc, key in self.keys.items()}

    def _look(self, doc: str, *, whole: bool = True) -> None:
        (state,) = self.docs[doc].values()
        lines = state["lines"]
        # A patch adds some at the end; to look at all of them each time takes longer
        # than all else that many tabs do.
        self.seen[doc].update(lines if whole else lines[self._looked[doc] :])
        self._looked[doc] = len(lines)

    def _answer(self, frame: dict[str, Any]) -> None:
        super()._answer(frame)
        operation = self.sent.pop(frame["id"])
        operation.answer = ACK if frame["type"] == "ack" else frame["code"]
        answered = self.added if operation.answer == ACK else self.refused
        answered.append((operation.key, operation.line))


async def _write(
    socket: ClientConnection, queue: asyncio.Queue[dict[str, Any]]
) -> None:
    while True:
        event = await queue.get()
        await socket.send(event["text"])


@asynccontextmanager
async def open_tabs(
    workers: Sequence[Address],
    count: int,
    *,
    each: int = 2,
    code: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[list[LiveTab]]:
    """Open `count` tabs, `each` of them per participant; close them in the end.

    Without a `code` they have a session of their own.
    """
    code = code or generate_code()
    tabs = [
        LiveTab(Participant(code, f"p{number // each}"), workers, clock)
        for number in range(count)
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [tab.start(group) for tab in tabs]
        await eventually(lambda: all(tab.caught_up for tab in tabs), "all tabs")
        yield tabs
        for task in tasks:
            task.cancel()


# No line is ever written twice, so that two of them are one that was doubled.
_numbers = itertools.count()


@asynccontextmanager
async def writing(
    tabs: Sequence[LiveTab], rng: random.Random, pause: float = 0.02
) -> AsyncIterator[None]:
    """Meanwhile, have any of the tabs add a line every `pause` seconds."""

    async def write() -> None:
        for number in _numbers:
            rng.choice(tabs).add(rng.choice(("me", "session")), f"{number}")
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(write())
        yield
        task.cancel()


async def eventually(
    condition: Callable[[], bool], what: str, within: float = 15.0
) -> None:
    """Wait for a condition; fail after so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"{within:g} s were too short for {what}"
        await asyncio.sleep(0.01)


async def progress(tabs: Sequence[LiveTab], within: float = 15.0) -> None:
    """Wait until about each of the tabs has added another line."""

    def added() -> int:
        return sum(len(tab.added) for tab in tabs)

    goal = added() + len(tabs)
    await eventually(lambda: added() >= goal, "lines to be added", within)


async def stored(tabs: Iterable[LiveTab]) -> dict[StoreKey, Record | None]:
    """Return what the cache holds of the records that the tabs follow."""
    backend = get_backend(blocking=False)
    found = {}
    for key in {key for tab in tabs for key in tab.keys.values()}:
        record = await backend.read(key, touch=False)
        assert not isinstance(record, Unchanged)
        found[key] = record
    return found


def lines_of(record: Record | None) -> list[str]:
    """Return the lines of a log or a wall."""
    assert record is not None
    (state,) = record.states.values()
    lines: list[str] = json.loads(bytes(codec.raw(state)))["lines"]
    return lines


async def agree(
    tabs: Sequence[LiveTab], within: float = 15.0
) -> dict[StoreKey, list[str]]:
    """Wait until all actions are answered and every tab shows what the cache holds.

    Returns the lines of each record.
    """
    deadline = time.monotonic() + within
    while True:
        found = await stored(tabs)
        differing = [tab for tab in tabs if tab.pending or not tab.shows(found)]
        if not differing:
            return {key: lines_of(record) for key, record in found.items()}
        assert time.monotonic() < deadline, (
            f"after {within:g} s, {len(differing)} of {len(tabs)} tabs differ: "
            f"{differing[0].revs} {differing[0].pending} {found}"[:2000]
        )
        await asyncio.sleep(0.05)
