"""Workers are killed, and all of their tabs come back at once."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.servers import Valkey

from .counts import FULL, count
from .progress import ProgressClock
from .sites import on_redis
from .tabs import agree, eventually, open_tabs, progress, writing
from .workers import Worker, running

STORM = count(500)
TABS = 50 if FULL else 20
KILLS = count(20)
# Three heartbeats, as by default: what a killed worker held counts until it runs out.
LEASE = 3.0
# Seconds in which all but one in a hundred are served.
SERVED = 5.0
WORKERS = 2
# Connections of a worker to the store, whose tabs share that of their loop.
STORE_CONNECTIONS = 8
# Connections of a worker's channel layer: one to publish, one to listen.
LAYER_CONNECTIONS = 2

Tell = Callable[..., None]


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    """A Valkey whose connections are those of the workers, and one that counts them."""
    valkey = Valkey()
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture
def workers(server: Valkey, settings: Any) -> Iterator[list[Worker]]:
    """Workers that a test may kill."""
    settings.CACHES = on_redis(server.port)["CACHES"]
    with running(WORKERS, server.port, lease=LEASE) as several:
        yield several


def replace(workers: list[Worker]) -> None:
    """Kill workers at once, and start them again at the same addresses."""
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.start()


class Census:
    """Counts the connections of a server while it is entered; `most` there were."""

    def __init__(self, server: Valkey) -> None:
        self.server = server
        self.most = 0

    async def __aenter__(self) -> Census:
        self._task = asyncio.create_task(self._count())
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._task.cancel()

    async def _count(self) -> None:
        with self.server.client() as client:
            while True:
                found = await asyncio.to_thread(client.info, "clients")
                self.most = max(self.most, found["connected_clients"])
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("killed", [1, WORKERS], ids=["one", "all"])
async def test_all_tabs_are_served_when_they_come_back_at_once(
    killed: int, workers: list[Worker], server: Valkey, tell: Tell
) -> None:
    with ProgressClock() as clock:
        async with (
            Census(server) as census,
            open_tabs(workers, STORM, each=1, clock=clock.now) as tabs,
        ):
            hit = [tab for tab in tabs if tab.worker in workers[:killed]]
            await asyncio.to_thread(replace, workers[:killed])
            await eventually(
                lambda: all(len(tab.waits) > 1 and tab.caught_up for tab in hit),
                "the tabs to come back",
                within=60.0,
            )
            waits = [tab.waits[-1] for tab in hit]
            p99 = statistics.quantiles(waits, n=100, method="inclusive")[-1]
            await agree(tabs)
    bound = WORKERS * (STORE_CONNECTIONS + LAYER_CONNECTIONS) + 1
    tell(
        f"{len(hit)} of {STORM} tabs come back: p99 {p99:.2f} s, "
        f"{census.most} connections (bound {bound})",
        "valkey",
        killed,
    )
    assert p99 < SERVED
    assert census.most <= bound


async def test_no_action_is_lost_or_doubled_when_workers_are_killed(
    workers: list[Worker], rng: random.Random, tell: Tell
) -> None:
    async with open_tabs(workers, TABS) as tabs:
        async with writing(tabs, rng):
            for number in range(KILLS):
                await progress(tabs)
                await asyncio.to_thread(replace, [workers[number % WORKERS]])
            await progress(tabs)
        final = await agree(tabs)
        added = {each for tab in tabs for each in tab.added}
        lost = sum(line not in final[key] for key, line in added)
        doubled = sum(len(lines) - len(set(lines)) for lines in final.values())
        tell("worker killed under tabs", "valkey", KILLS, lost=lost, doubled=doubled)
        assert any(tab.connections > 1 for tab in tabs)
        assert not any(tab.resets["me"] or tab.resets["session"] for tab in tabs)
        assert not any(tab.refused for tab in tabs)
        assert not lost
        assert not doubled
