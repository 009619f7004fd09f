"""Each front end goes through the same script, with 300 ms of network."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from playwright.async_api import async_playwright, expect

from tests.browser.conftest import ARGUMENTS
from tests.browser.front_ends.pages import FRONT_ENDS, PATIENCE
from tests.browser.front_ends.script import NOT_BY_NATURE, STEPS, Play
from tests.browser.front_ends.site import serve
from tests.demo_process import ROOT
from tests.servers import Valkey

needs_libraries = pytest.mark.skipif(
    not ((ROOT / "node_modules").exists() or os.environ.get("CI") == "true"),
    reason="the front ends' libraries are not installed (npm install)",
)


@pytest.fixture(scope="module")
def ports(
    valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, int]]:
    """Two workers that serve all front ends."""
    built: Path = tmp_path_factory.mktemp("front-ends")
    with serve(valkey_server.database(0).url, built) as ports:
        yield ports


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, chromium: str, ports: tuple[int, int]
) -> dict[str, BaseException | None]:
    """How the script ended for each front end that is asked for."""
    names = [
        item.callspec.params["front_end"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.fixturenames.count("outcomes")
    ]
    return asyncio.run(play(names, ports, chromium))


async def play(
    names: list[str], ports: tuple[int, int], chromium: str
) -> dict[str, BaseException | None]:
    """Go through the script with some front ends, side by side."""
    expect.set_options(timeout=PATIENCE * 1_000)
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=ARGUMENTS
        )
        stack.push_async_callback(browser.close)
        api = await playwright.request.new_context()
        stack.push_async_callback(api.dispose)
        plays = [Play(name, ports, browser, api) for name in names]
        # Most of it is waiting for the line: side by side, they take little longer.
        ends = await asyncio.gather(
            *(each.run() for each in plays), return_exceptions=True
        )
    return dict(zip(names, ends, strict=True))


@needs_libraries
@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_two_participants_go_through_twenty_steps(
    front_end: str, outcomes: dict[str, BaseException | None]
) -> None:
    if error := outcomes[front_end]:
        raise error


def test_what_a_front_end_leaves_out_is_declared_with_its_reason() -> None:
    steps = [step.__name__ for step in STEPS]
    assert len(steps) == len(set(steps)) == 20
    left_out = {name: set(reasons) for name, reasons in NOT_BY_NATURE.items()}
    assert left_out.keys() <= FRONT_ENDS.keys()
    for names in left_out.values():
        assert names < set(steps)
    assert not left_out.keys() & {"react", "vue", "svelte"}
