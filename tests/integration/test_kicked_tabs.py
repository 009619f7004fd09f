"""Who is kicked is told so by the real client, on a real server, and stays away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright._impl._driver import compute_driver_executable

from sessionstores import Participant, stores
from sessionstores.exceptions import MESSAGES
from tests.serving import serving
from tests.sockets import CODE, PATIENCE
from tests.workshop.states import Board

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "sessionstores/static/sessionstores/client.js"
# Playwright brings the Node.js that runs it.
NODE = compute_driver_executable()[0]


@asynccontextmanager
async def page(config: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
    """Run a tab with that config in Node.js; yield what it writes."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(HERE / "kicked_tab.mjs"),
        CLIENT.as_uri(),
        json.dumps(config),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line(written: asyncio.StreamReader) -> Any:
    """Return what the tab says next."""
    async with asyncio.timeout(PATIENCE):
        return json.loads(await written.readline())


async def test_a_page_ends_when_its_participant_is_kicked_and_so_does_its_reload() -> (
    None
):
    async with serving() as url:
        config = {**await Participant(CODE, "alice").aconfig(), "url": url}
        async with page(config) as written:
            assert (await line(written)) == {"live": True}
            assert await stores.akick(CODE, "alice") is True
            told = await line(written)
        message = str(MESSAGES["kicked"])
        assert told["ends"] == [{"reason": "kicked", "message": message}]
        assert (told["status"], told["pending"]) == ("ended", 0)
        assert (told["opened"], told["code"]) in [(1, 4007), (1, None)]
        # The last that it tried, and the one after the end.
        assert told["outcomes"]["session_ended"] in (1, 2)
        assert told["outcomes"].keys() <= {"done", "session_ended"}
        # As from the back/forward cache: the page is old, its token was good.
        async with page(config) as written:
            told = await line(written)
        assert told["ends"] == [{"reason": "kicked", "message": message}]
        assert told["opened"] == 1
        assert told["outcomes"] == {"session_ended": 2}
        assert await stores.get(Board, CODE, "alice").apeek() is None
