"""Everybody acts on one record in one instant, over real sockets and two workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from sessionstores.backends.types import Record
from tests.servers import Valkey

from .sites import on_redis
from .tabs import LiveTab, agree, open_tabs, stored
from .workers import Worker, running

TABS = 100
WORKERS = 2


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    """A Valkey for the workers."""
    valkey = Valkey()
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture
def workers(server: Valkey, settings: Any) -> Iterator[list[Worker]]:
    """Two workers on it."""
    settings.CACHES = on_redis(server.port)["CACHES"]
    with running(WORKERS, server.port) as several:
        yield several


async def commits(tabs: list[LiveTab]) -> int:
    """Return how often the session's record has been committed."""
    record = (await stored(tabs))[tabs[0].keys["session"]]
    assert isinstance(record, Record)
    return record.rev.counter


@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["instant", "spread"])
async def test_everybody_at_once_is_served_and_nobody_is_refused(
    workers: list[Worker], tell: Any, spread: float
) -> None:
    async with open_tabs(workers, TABS, each=1) as tabs:
        before = await commits(tabs)
        for number, tab in enumerate(tabs):
            tab.add("session", f"line {number}")
            if spread:
                await asyncio.sleep(spread / TABS)
        final = await agree(tabs, within=30.0)
        made = await commits(tabs) - before
    refused = [each for tab in tabs for each in tab.refused]
    tell(f"{TABS} tabs act in {spread:g} s: {made} commits", "valkey", TABS)
    assert refused == []
    lines = final[tabs[0].keys["session"]]
    assert sorted(lines) == sorted(f"line {number}" for number in range(TABS))
    assert {len(tab.added) for tab in tabs} == {1}
    # Each worker has one on its way at a time, which carries all that have come.
    assert made <= TABS
    if not spread:
        assert made <= TABS / 2


async def test_a_crowd_that_stays_is_served_in_order(
    workers: list[Worker], tell: Any
) -> None:
    rounds = 5
    async with open_tabs(workers, TABS, each=1) as tabs:
        before = await commits(tabs)
        for turn in range(rounds):
            for number, tab in enumerate(tabs):
                tab.add("session", f"{number} {turn}")
        final = await agree(tabs, within=60.0)
        made = await commits(tabs) - before
    tell(f"{TABS} tabs act {rounds} times: {made} commits", "valkey", TABS * rounds)
    lines = final[tabs[0].keys["session"]]
    assert len(lines) == len({*lines}) == TABS * rounds
    assert not any(tab.refused for tab in tabs)
    for number in range(TABS):
        ours = [line for line in lines if line.startswith(f"{number} ")]
        assert ours == [f"{number} {turn}" for turn in range(rounds)]
    assert made <= TABS * rounds / 2
