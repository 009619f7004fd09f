"""A page on a slow machine stays responsive while its state changes at full speed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright

from sessionstores import stores
from sessionstores.participants.participant import Participant
from tests.browser.conftest import ARGUMENTS
from tests.demo_process import PATIENCE, ROOT
from tests.serving import serving
from tests.sockets import CODE
from tests.workshop.states import Board

SCRIPTS = ROOT / "sessionstores" / "static" / "sessionstores"
CHANGES = 3_000
PILES = ("keep", "drop")
SLOWDOWN = 4
# Milliseconds from which a browser calls a task long.
LONG = 50
PAGE = """<!doctype html><html lang=en><title>Board</title>
<div id=keep></div>
<script id=sessionstores type=application/json>{config}</script>
<script type=module>
  import {{ connect }} from "/sessionstores/client.js";
  window.session = connect("#sessionstores", {{ storage: null }});
  const board = session.store("board");
  const draw = (cards = []) => {{
    keep.replaceChildren(...cards.map((card) => new Option(card)));
  }};
  board.subscribe((state) => state.piles.keep, draw, {{ fireImmediately: true }});
  window.seen = 0;
  board.subscribe(() => (window.seen += 1));
</script>"""
# What a trace says of tasks, with the processor time that each took.
CATEGORIES = ["toplevel", "disabled-by-default-devtools.timeline"]


@pytest.fixture
async def chrome(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=ARGUMENTS
        )
        yield browser
        await browser.close()


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a web server has: the scripts, and soon a page."""
    (tmp_path / "sessionstores").symlink_to(SCRIPTS)
    return tmp_path


@pytest.fixture
def site(folder: Path) -> Iterator[str]:
    """The address of a web server with that folder."""
    files = partial(QuietFiles, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


LIVE = """async () => {
    while (session.status !== "live") await new Promise(requestAnimationFrame);
}"""


def tasks(trace: bytes) -> list[float]:
    """Return the milliseconds of the processor that each task of a page took.

    What other processes take of a busy machine is no part of it.
    """
    events: list[dict[str, Any]] = json.loads(trace)["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        event["tdur"] / 1_000
        for event in events
        if event["name"] == "RunTask"
        and "tdur" in event
        and (event["pid"], event["tid"]) in mains
    ]


async def test_thousands_of_changes_at_full_speed_are_no_long_task(
    chrome: Browser, folder: Path, site: str
) -> None:
    store = stores.get(Board, CODE, "alice")
    await store.adispatch(Board.note, "." * 900)
    async with serving() as url:
        config = await Participant(CODE, "alice").aconfig() | {"url": url}
        (folder / "index.html").write_text(PAGE.format(config=json.dumps(config)))
        page = await chrome.new_page()
        page.set_default_timeout(PATIENCE * 1_000)
        await page.goto(site)
        await page.evaluate(LIVE)
        # It has then what the driver needs in the page, which is no task of ours.
        await page.locator("#keep").wait_for(state="attached")
        slow = await page.context.new_cdp_session(page)
        await slow.send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})
        await chrome.start_tracing(page=page, categories=CATEGORIES)
        for number in range(CHANGES):
            await store.adispatch(Board.move, "ace", pile=PILES[number % 2])
            # As if by somebody else, so that the tab is sent each for itself.
            await asyncio.sleep(0)
        await store.adispatch(Board.move, "king", pile="keep")
        await page.locator("#keep", has_text="king").wait_for()
        took = tasks(await chrome.stop_tracing())
        seen = await page.evaluate("window.seen")
        await page.close()
    assert seen > CHANGES / 10
    assert max(took) < LONG
