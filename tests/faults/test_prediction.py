"""A page that shows actions before they are answered, where the answers are lost."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright._impl._driver import compute_driver_executable

from sessionstores import Participant, stores
from tests.serving import serving
from tests.sockets import CODE
from tests.workshop.states import Board, new_deck

from .proxy import Proxy
from .tabs import eventually

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "sessionstores/static/sessionstores/client.js"
# Playwright brings the Node.js that runs it.
NODE = compute_driver_executable()[0]


class Page:
    """A page in a process of its own; see `foretelling.mjs`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: dict[str, Any] = {"connections": 0}

    async def listen(self) -> None:
        """Take in what the page says, until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.told = json.loads(line)

    def move(self, card: str) -> None:
        """Have the page move a card."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{card}\n".encode())

    def is_settled(self, connections: int) -> bool:
        """Whether it is live for the so-manieth time, and all is answered."""
        told = self.told
        return bool(told["connections"] >= connections and told["pending"] == 0)


async def test_a_move_whose_answer_is_lost_is_never_shown_twice_nor_missing() -> None:
    async with serving() as url:
        config = await Participant(CODE, "alice").aconfig()
        port = urlsplit(url).port
        assert port is not None
        with Proxy(port) as proxy:
            config["url"] = url.replace(str(port), str(proxy.port))
            process = await asyncio.create_subprocess_exec(
                NODE,
                str(HERE / "foretelling.mjs"),
                CLIENT.as_uri(),
                json.dumps(config),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            page = Page(process)
            listening = asyncio.create_task(page.listen())
            try:
                await lose_answers(proxy, page)
            finally:
                process.kill()
                await process.wait()
                await listening
    assert page.told["wrong"] == []
    # Each move was told once: what came with a snapshot was what was shown.
    assert page.told["told"] == len(new_deck())
    final = await stores.get(Board, CODE, "alice").asnapshot()
    assert final.state.piles == {"keep": list(reversed(new_deck()))}


async def lose_answers(proxy: Proxy, page: Page) -> None:
    """Move each card; of each, lose the answer once it has taken effect."""
    board = stores.get(Board, CODE, "alice")
    for number, card in enumerate(new_deck(), 1):
        await eventually(partial(page.is_settled, number), "the connection")
        proxy.hold(replies=True)
        page.move(card)
        while card in (await board.asnapshot()).state.deck:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        proxy.abort()
        proxy.hold()
    await eventually(lambda: page.is_settled(len(new_deck()) + 1), "the last answer")
