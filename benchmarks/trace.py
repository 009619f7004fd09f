"""Two walks through the package's code, recorded while it runs on a real Valkey.

`dispatch` is a synchronous `Store.dispatch` that changes a number of a state, from the
call to its return: to the socket and back. A tab in another process follows the
record, so the commit also goes out through the channel layer. `frame` is an action
frame of a connected tab, whose action moves a card and is given the session's state:
from the frame's arrival at the ASGI application in `sessionstores.routing` to the ack
on its way out. It makes two round trips, and the other process follows here, too.

Counted are the `call` events of `sys.setprofile` in the thread that walks (the thread
that publishes to the layer is waited for, and not walked through): each function,
comprehension or property of this package that is entered, and each coroutine or
generator that is entered again after it was suspended. A file is entered if a call
event is in it; a change of file is a call event in another file than the one before.
Returns count for neither. Python 3.12 inlines comprehensions, so there are fewer calls
from there on. The leaves that are left out of the second columns are modules that
everything calls for a value or a name.

Each walk is taken after others that fill caches and open connections, and several
times: what most of them agree on is printed, so that no heartbeat gets in between.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import django
from asgiref.testing import ApplicationCommunicator
from django.conf import settings

from tests.servers import Valkey, free_port

# The process that follows inherits the address.
URL = os.environ.setdefault("TRACE_VALKEY", f"redis://127.0.0.1:{free_port()}/0")

settings.configure(
    SECRET_KEY="trace",
    ALLOWED_HOSTS=["localhost"],
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "channels",
        "sessionstores",
    ],
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": URL,
        }
    },
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [URL]},
        }
    },
    # More walks than a tab may act at once, by default.
    SESSIONSTORES={"AUTO_SWEEP": False, "RATE_LIMIT": (1_000, 1_000)},
    USE_TZ=True,
)
django.setup()

from channels.routing import URLRouter  # noqa: E402

import sessionstores  # noqa: E402
from sessionstores import Participant, State, Store, action, field, stores  # noqa: E402
from sessionstores.routing import websocket_urlpatterns  # noqa: E402

# It has no types.
communicator: Any = ApplicationCommunicator

PACKAGE = str(Path(sessionstores.__file__).parent) + os.sep
# By their places before and after the modules moved into packages.
LEAVES = {
    "conf.py",
    "keys.py",
    "revs.py",
    "state/revisions.py",
    "backends/values.py",
    "backends/types.py",
}
PARTICIPANT = "alice"
PATIENCE = 20.0
WARM_UP = 20
WALKS = 15

# Measured by this script, without leaves, on the tree before its modules moved into
# packages; with them it was 244 calls, 32 files and 119 changes.
FRAME_CHANGES_BEFORE = 85
AIMS = {
    "dispatch": {"files": 20, "changes": 22},
    "frame": {"files": 25, "changes": FRAME_CHANGES_BEFORE * 2 // 3},
}


class Agenda(State, scope="session"):
    """The state that is injected."""

    step: int = 1


class Board(State):
    """The state that is walked to."""

    turns: int = 0
    deck: list[str] = field(default_factory=lambda: ["ace", "king", "queen"])
    piles: dict[str, list[str]] = field(
        default_factory=lambda: {"keep": ["jack"], "drop": ["ten"]}
    )

    @action
    def turn(self) -> None:
        """Count a turn."""
        self.turns += 1

    @action
    def move(self, card: str, pile: str, *, agenda: Agenda) -> None:
        """Take a card from where it lies and put it on top of a pile."""
        assert agenda.step == 1
        for place in (self.deck, *self.piles.values()):
            if card in place:
                place.remove(card)
        self.piles[pile].insert(0, card)


class Call(NamedTuple):
    """A call event: the file, from the package down, and the function in it."""

    file: str
    function: str
    depth: int


Walk = tuple[Call, ...]


class Recorder:
    """Records the call events of its thread between `start` and `stop`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._depth = 0

    def start(self) -> None:
        """Forget what was recorded and begin anew."""
        self.calls, self._depth = [], 0
        sys.setprofile(self._take)

    def stop(self) -> None:
        """Record no more; safe to repeat."""
        sys.setprofile(None)

    @property
    def walk(self) -> Walk:
        """What has been recorded."""
        return tuple(self.calls)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what the block does."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def _take(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return
        if event == "call":
            file = Path(code.co_filename.removeprefix(PACKAGE)).as_posix()
            self.calls.append(Call(file, code.co_qualname, self._depth))
            self._depth += 1
        elif event == "return":
            # What was entered before the start may return after it.
            self._depth = max(0, self._depth - 1)


class Tab:
    """A tab that is connected to the ASGI application, in this process."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._application: Any = URLRouter(websocket_urlpatterns)
        self._communicator = communicator(
            self._run,
            {
                "type": "websocket",
                "path": "/ws/sessionstores/",
                "headers": [],
                "subprotocols": ["sessionstores.v1"],
                "query_string": b"",
            },
        )
        self._actions = 0

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        async def watched(message: dict[str, Any]) -> None:
            if message.get("text", "").startswith('{"type":"ack"'):
                self._recorder.stop()
            await send(message)

        await self._application(scope, receive, watched)

    async def connect(self, code: str) -> None:
        """Say hello, and wait for the snapshots of both documents."""
        await self._communicator.send_input({"type": "websocket.connect"})
        accepted = await self._communicator.receive_output(PATIENCE)
        assert accepted["type"] == "websocket.accept", accepted
        token = Participant(code, PARTICIPANT).token()
        await self._say(
            {"type": "hello", "token": token, "client": f"tab-{os.getpid()}"}
        )
        for _ in range(2):
            await self.hear("snapshot")

    async def drop(self) -> None:
        """Close the tab's side."""
        await self._communicator.send_input(
            {"type": "websocket.disconnect", "code": 1000}
        )
        await self._communicator.wait(PATIENCE)

    async def move(self, pile: str, *, recorded: bool = False) -> None:
        """Have the card moved, and wait for the ack."""
        self._actions += 1
        if recorded:
            self._recorder.start()
        await self._say(
            {
                "type": "action",
                "id": self._actions,
                "state": "board",
                "action": "move",
                "args": {"card": "ace", "pile": pile},
            }
        )
        await self.hear("ack")

    async def hear(self, kind: str) -> None:
        """Wait for a frame of that type, past others that arrive in between."""
        while True:
            event = await self._communicator.receive_output(PATIENCE)
            assert event["type"] == "websocket.send", event
            frame = json.loads(event["text"])
            if frame["type"] == kind:
                return
            assert frame["type"] not in {"reject", "error"}, frame

    async def _say(self, frame: dict[str, Any]) -> None:
        await self._communicator.send_input(
            {"type": "websocket.receive", "text": json.dumps(frame)}
        )


@asynccontextmanager
async def connected(code: str, recorder: Recorder) -> AsyncIterator[Tab]:
    """Keep a tab connected until the block ends."""
    tab = Tab(recorder)
    await tab.connect(code)
    yield tab
    await tab.drop()


async def follow(code: str) -> None:
    """Run the other process: print when its tab is connected and has seen a change."""
    async with connected(code, Recorder()) as tab:
        print("connected", flush=True)
        await tab.hear("patch")
        print("patched", flush=True)
        await asyncio.to_thread(sys.stdin.read)


@contextmanager
def followed(code: str) -> Iterator[Callable[[], None]]:
    """Have another process follow until the block ends.

    What is returned waits until that has been reached by a change.
    """
    with subprocess.Popen(
        [sys.executable, __file__, "--follow", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        output = process.stdout
        assert output is not None

        def expect(line: str) -> None:
            if output.readline().strip() != line:
                raise RuntimeError(f"the other process was not {line}")

        try:
            expect("connected")
            yield lambda: expect("patched")
        finally:
            process.stdin.close()


def dispatches(board: Store[Board]) -> list[Walk]:
    """Walk several times through a dispatch."""
    recorder = Recorder()
    for _ in range(WARM_UP):
        board.dispatch(Board.turn)
    walks = []
    for _ in range(WALKS):
        with recorder.recording():
            board.dispatch(Board.turn)
        walks.append(recorder.walk)
    return walks


async def frames(code: str) -> list[Walk]:
    """Walk several times from an action frame to its ack."""
    recorder = Recorder()
    async with connected(code, recorder) as tab:
        for _ in range(WARM_UP // 2):
            await tab.move("drop")
            await tab.move("keep")
        at_rest = asyncio.all_tasks()
        walks = []
        for _ in range(WALKS):
            # Tasks that the frame before has left running are not part of this walk.
            if left := asyncio.all_tasks() - at_rest:
                await asyncio.wait(left, timeout=PATIENCE)
            await tab.move("drop", recorded=True)
            walks.append(recorder.walk)
            await tab.move("keep")
    return walks


def usual(walks: list[Walk]) -> Walk:
    """Return the walk that most of them are equal to."""
    ((walk, times),) = Counter(walks).most_common(1)
    if times <= len(walks) / 2:
        raise RuntimeError(f"Of {len(walks)} walks, only {times} were alike.")
    return walk


class Figures(NamedTuple):
    """Counts of a walk."""

    calls: int
    files: int
    changes: int

    @classmethod
    def of(cls, walk: Walk, *, leaves: bool) -> Figures:
        """Count a walk, with the leaves or without."""
        files = [call.file for call in walk if leaves or call.file not in LEAVES]
        changes = sum(one != other for one, other in pairwise(files))
        return cls(len(files), len(set(files)), changes)


def show_figures(walks: dict[str, Walk]) -> None:
    """Print a line for each walk."""
    print(f"{'':10}{'all modules':^24}   without conf, keys, revisions, types")
    heads = "".join(f"{name:>8}" for name in Figures._fields)
    print(f"{'':10}{heads}   {heads}")
    for name, walk in walks.items():
        both = [Figures.of(walk, leaves=leaves) for leaves in (True, False)]
        cells = ["".join(f"{count:8}" for count in figures) for figures in both]
        print(f"{name:10}{'   '.join(cells)}")


def missed(walks: dict[str, Walk]) -> bool:
    """Print the aims beside the figures; True if one is missed."""
    some = False
    for name, aims in AIMS.items():
        figures = Figures.of(walks[name], leaves=False)._asdict()
        parts = []
        for what, most in aims.items():
            met = figures[what] <= most
            some = some or not met
            parts.append(
                f"{what} {figures[what]} ≤ {most} {'met' if met else 'MISSED'}"
            )
        print(f"aims, {name}: {', '.join(parts)}")
    return some


def show_walk(name: str, walk: Walk) -> None:
    """Print a walk's files and its calls, in order and indented by depth."""
    print(f"\n{name}: files, with the calls in each")
    for file, calls in sorted(Counter(call.file for call in walk).items()):
        print(f"  {calls:4} {file}{' (leaf)' if file in LEAVES else ''}")
    print(f"\n{name}: calls")
    for call in walk:
        print(f"  {'  ' * call.depth}{call.file} {call.function}")


def measure() -> dict[str, Walk]:
    """Walk on a Valkey that runs meanwhile."""
    store = Valkey(urlsplit(URL).port)
    try:
        store.start()
        code = stores.create_session()
        board = stores.get(Board, code, PARTICIPANT)
        with followed(code) as reached:
            dispatched = dispatches(board)
            reached()
            return {
                "dispatch": usual(dispatched),
                "frame": usual(asyncio.run(frames(code))),
            }
    finally:
        store.stop()


def main() -> int:
    """Print the figures; return 1 if an aim is missed, with `--check`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--verbose", action="store_true", help="print the walks, too")
    parser.add_argument("--check", action="store_true", help="fail if an aim is missed")
    parser.add_argument("--follow", metavar="CODE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        asyncio.run(follow(options.follow))
        return 0
    walks = measure()
    show_figures(walks)
    failed = missed(walks)
    if options.verbose:
        for name, walk in walks.items():
            show_walk(name, walk)
    return int(failed and options.check)


if __name__ == "__main__":
    sys.exit(main())
