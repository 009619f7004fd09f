"""A running demo, and people in front of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from tests.browser.workshops import Workshop
from tests.demo_process import PATIENCE, DemoProcess

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]

# Before it was asked, instead of an answer, and in the middle of one.
GONE = ("CONNECTION_REFUSED", "EMPTY_RESPONSE", "CONNECTION_RESET")
# A page that closes or is left while its socket connects; on a busy machine, any may.
LEFT = "WebSocket is closed before the connection is established"

# Pages are waited for as long as everything else, on a busy machine.
expect.set_options(timeout=PATIENCE * 1_000)

Open = Callable[..., Page]


class BriskDemo(DemoProcess):
    settings = "tests.settings_brisk"


# Playwright's sync API keeps an event loop running in this thread: it must be gone
# before the async tests of other modules.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def demo(shared: DemoProcess) -> Workshop:
    """A workshop that the test has to itself, in a demo that it must not end."""
    return Workshop(shared)


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[DemoProcess]:
    """A demo that the test has to itself."""
    process = BriskDemo("--port", "0", temporary=tmp_path)
    yield process
    code = process.stop()
    sys.stdout.write(process.output)
    assert "Traceback" not in process.output
    assert code == 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoProcess]:
    """A demo for all tests of a module, who change nothing of its own workshop."""
    process = BriskDemo("--port", "0", temporary=tmp_path_factory.mktemp("demo"))
    yield process
    assert process.stop() == 0
    assert "Traceback" not in process.output


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open an address as somebody else: `open_page(url, **context_options)`."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # What a browser says of a server that a test has ended is no complaint.
        gone = any(f"net::ERR_{how}" in message.text for how in GONE)
        gone = gone or LEFT in message.text
        # A site may have no icon, for which browsers ask unasked.
        gone = gone or message.location["url"].endswith("/favicon.ico")
        if message.type in ("error", "warning") and not gone:
            complaints.append(message.text)

    def open_page(url: str, *, beside: Page | None = None, **options: Any) -> Page:
        if beside is None:
            context = browser.new_context(**{"locale": "en-GB", **options})
            context.set_default_timeout(PATIENCE * 1_000)
            contexts.append(context)
        else:
            context = beside.context
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", note)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
