"""The browser's client on a bad link: each promise it resolves is an applied action."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright._impl._driver import compute_driver_executable

from sessionstores import Participant
from sessionstores.backends import get_backend
from sessionstores.keys import StoreKey
from sessionstores.state.json_rules import MAX_DEPTH
from tests.servers import Valkey

from .counts import count
from .proxy import Proxy
from .sites import on_redis
from .tabs import eventually, lines_of
from .workers import running

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "sessionstores" / "static" / "sessionstores" / "client.js"
# Playwright brings the Node.js that runs it.
NODE = compute_driver_executable()[0]
# Actions a second, and at once. A bunch is more than that, and more refusals than a
# connection remembers.
RATE = (80.0, 40.0)
BUNCH = 260

# More levels than a frame may have.
DEEP = json.loads("[" * 2 * MAX_DEPTH + "]" * 2 * MAX_DEPTH)

Action = tuple[str, str, dict[str, Any]]


class Page:
    """A page in a process of its own; see `page.mjs`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.sent = 0
        self.pending: int | None = None
        # "resolved", the code of the refusal, or None, of each action in turn.
        self.outcomes: list[str | None] = []
        self.actions: list[Action] = []

    async def listen(self) -> None:
        """Take in what the page says, until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            told = json.loads(line)
            self.sent, self.outcomes = told["sent"], told["outcomes"]

    def dispatch(self, *actions: Action) -> None:
        """Have the page dispatch actions."""
        assert self.process.stdin is not None
        self.actions += actions
        self.process.stdin.write(f"{json.dumps(actions)}\n".encode())

    @property
    def settled(self) -> bool:
        """Whether all actions have been answered."""
        return len(self.outcomes) == len(self.actions) and None not in self.outcomes


@asynccontextmanager
async def page(port: int, alice: Participant) -> AsyncIterator[Page]:
    """Open a page of alice's whose worker is behind `port`."""
    config = {
        "url": f"http://127.0.0.1:{port}/ws/sessionstores/",
        "token": alice.token(),
        "session": alice.session,
        "participant": alice.id,
        "role": alice.role,
        "states": {"log": "me", "wall": "session"},
    }
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(Path(__file__).with_name("page.mjs")),
        CLIENT.as_uri(),
        json.dumps(config),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    opened = Page(process)
    listening = asyncio.create_task(opened.listen())
    try:
        yield opened
    finally:
        process.kill()
        await process.wait()
        await listening


async def applied(alice: Participant) -> list[str]:
    """Return the lines of alice's log and of the wall."""
    backend = get_backend(blocking=False)
    lines: list[str] = []
    for key in (alice.key, StoreKey.of_session(alice.session)):
        record = await backend.read(key, touch=False)
        if record is not None:
            lines += lines_of(record)
    return lines


def bunch_of(rng: random.Random, start: int, refused: float) -> list[Action]:
    """Return actions that add a line to one of the states, but for a share of them."""
    state, method = rng.choice([("log", "write"), ("wall", "shout")])
    bunch: list[Action] = []
    for number in range(start, start + BUNCH):
        action = "decline" if rng.random() < refused else method
        arguments: dict[str, Any] = {"line": f"{number}"}
        if number - start in (7, 77):
            # The server cannot read this one. So few leave the connection open.
            arguments["line too"] = DEEP
        bunch.append((state, action, arguments))
    return bunch


async def lose_answers(
    proxy: Proxy, tab: Page, alice: Participant, bunch: list[Action]
) -> None:
    """Deliver a bunch at once, have another action committed, and lose all answers."""
    proxy.hold(replies=True, requests=True)
    goal = tab.sent + len(bunch)
    tab.dispatch(*bunch)
    await eventually(lambda: tab.sent >= goal, "the bunch to be sent")
    proxy.hold(replies=True)
    # Those in the bunch may have taken up what the rate allows.
    more: set[Any] = set()
    deadline = time.monotonic() + 15
    while more.isdisjoint(await applied(alice)):
        assert time.monotonic() < deadline, "no later action was committed"
        line = f"more {len(tab.actions)}"
        more.add(line)
        tab.dispatch(("wall", "shout", {"line": line}))
        await asyncio.sleep(0.1)
    proxy.abort()
    proxy.hold()


@pytest.mark.parametrize("rate", [RATE, None], ids=["paced", "unlimited"])
async def test_as_many_promises_are_resolved_as_actions_are_applied(
    valkey: Valkey,
    settings: Any,
    code: str,
    rng: random.Random,
    tell: Callable[..., None],
    rate: tuple[float, float] | None,
) -> None:
    settings.CACHES = on_redis(valkey.port)["CACHES"]
    alice = Participant(code, "alice")
    with ExitStack() as stack:
        # No silence is so long that the page takes the link for dead.
        (worker,) = stack.enter_context(
            running(1, valkey.port, rate=rate, heartbeat=20, lease=60)
        )
        proxy = stack.enter_context(Proxy(worker.port))
        async with page(proxy.port, alice) as tab:
            tab.dispatch(("log", "write", {"line": "first"}))
            await eventually(lambda: tab.settled, "the first answer")
            rounds = count(10 if rate else 20)
            for number in range(rounds):
                bunch = bunch_of(rng, BUNCH * number, 0.1 if rate else 0.9)
                also: Action = ("log", "write", {"line": f"also {number}"})
                tab.dispatch(also)
                await lose_answers(proxy, tab, alice, bunch)
                await eventually(lambda: tab.settled, "the answers", within=30)
        found = await applied(alice)
    outcomes = dict(zip((a[2]["line"] for a in tab.actions), tab.outcomes, strict=True))
    resolved = {line for line, outcome in outcomes.items() if outcome == "resolved"}
    tell(
        f"bunches whose answers are lost, {'paced' if rate else 'unlimited'}",
        "valkey",
        rounds,
        lost=len(resolved - set(found)),
        doubled=len(found) - len(set(found)),
        unknown=sum(outcome == "outcome_unknown" for outcome in outcomes.values()),
    )
    assert resolved == set(found)
    assert len(found) == len(set(found))
    assert set(outcomes.values()) <= {
        "resolved",
        "rejected",
        "limit_reached",
        "declined",
        "too_deep",
    }
