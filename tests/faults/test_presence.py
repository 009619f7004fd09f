"""Who is present as tabs of two workers see it, one of which is killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sessionstores.keys import generate_code
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from tests.servers import Valkey

from .counts import count
from .sites import on_redis
from .tabs import LiveTab, eventually
from .workers import LOSSY, PUBSUB, Worker, running

TABS = count(100)
# Seconds; a worker's heartbeat is one.
LEASE = 4.0
BEAT = 1.0
BEATS = 2 * BEAT

Tell = Callable[..., None]


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    """A Valkey of these tests' own."""
    valkey = Valkey()
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture
def workers(server: Valkey, settings: Any) -> Iterator[list[Worker]]:
    """Two workers that a test may kill."""
    settings.CACHES = on_redis(server.port)["CACHES"]
    with running(2, server.port, PUBSUB, lease=LEASE) as several:
        yield several


@asynccontextmanager
async def tabs_at(
    workers: list[Worker], code: str, *participants: str
) -> AsyncIterator[list[LiveTab]]:
    """Open a tab for each participant, at any of the workers; cut them in the end."""
    tabs = [LiveTab(Participant(code, id), workers) for id in participants]
    tasks = [asyncio.create_task(tab.run()) for tab in tabs]
    try:
        await eventually(lambda: all(tab.caught_up for tab in tabs), "all tabs")
        yield tabs
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def sees(tab: LiveTab, *participants: str, within: float = 15.0) -> None:
    """Wait until a tab is shown these participants, each with one connection."""
    wanted: dict[str, Any] = {id: [{}] for id in participants}
    await eventually(lambda: tab.present == wanted, f"{wanted}", within)


async def test_the_ghosts_of_a_killed_worker_are_gone_a_beat_after_the_lease(
    workers: list[Worker], tell: Tell
) -> None:
    doomed, other = workers
    code, ids = generate_code(), [f"p{number}" for number in range(TABS)]
    async with tabs_at([other], code, "watcher") as (watcher,):
        async with tabs_at([doomed], code, *ids):
            await sees(watcher, "watcher", *ids)
            assert len(await stores.apresence(code)) == 1 + TABS
            doomed.kill()
        assert set(watcher.present) == {"watcher", *ids}
        await sees(watcher, "watcher", within=LEASE + BEAT)
        assert set(await stores.apresence(code)) == {"watcher"}
        # Each was told of once.
        assert sorted(watcher.left) == sorted(ids)
    tell(f"worker killed with {TABS} tabs, which stay away", "valkey", 1)


async def test_nobody_leaves_whose_tab_comes_back_from_a_killed_worker(
    workers: list[Worker], tell: Tell
) -> None:
    doomed, other = workers
    code, ids = generate_code(), [f"p{number}" for number in range(TABS)]
    async with (
        tabs_at([other], code, "watcher") as (watcher,),
        tabs_at([doomed], code, *ids) as tabs,
    ):
        await sees(watcher, "watcher", *ids)
        for tab in tabs:
            tab.workers = [other]
        doomed.kill()
        await eventually(
            lambda: all(tab.worker is other and tab.caught_up for tab in tabs),
            "the tabs to come back",
        )
        # They take the places of their old connections, which are seen no longer.
        await sees(watcher, "watcher", *ids, within=BEATS)
        for tab in tabs:
            await sees(tab, "watcher", *ids)
        assert watcher.left == []
    tell(f"worker killed with {TABS} tabs, which come back", "valkey", 1)


async def test_all_tabs_of_one_person_come_back_from_a_killed_worker(
    workers: list[Worker],
) -> None:
    doomed, other = workers
    code = generate_code()
    # As many as `MAX_CONNECTIONS` allows: what they leave behind takes no room.
    async with (
        tabs_at([other], code, "watcher") as (watcher,),
        tabs_at([doomed], code, *["ada"] * 8) as tabs,
    ):
        both = {"watcher": [{}], "ada": [{}] * 8}
        await eventually(lambda: watcher.present == both, "all tabs")
        for tab in tabs:
            tab.workers = [other]
        doomed.kill()
        await eventually(
            lambda: all(tab.worker is other and tab.caught_up for tab in tabs),
            "the tabs to come back",
        )
        await eventually(lambda: watcher.present == both, "no ghosts", BEATS)
        assert watcher.left == []


@pytest.mark.parametrize("loss", [0.0, 1.0], ids=["delivered", "lost"])
async def test_joins_metas_and_goodbyes_reach_the_other_worker(
    loss: float, server: Valkey, settings: Any
) -> None:
    settings.CACHES = on_redis(server.port)["CACHES"]
    code = generate_code()
    with running(2, server.port, LOSSY, loss=loss) as (one, two):
        async with tabs_at([one], code, "alice") as (alice,):
            await sees(alice, "alice")
            bob = LiveTab(Participant(code, "bob"), [two])
            serving = asyncio.create_task(bob._serve())
            try:
                await eventually(lambda: bob.caught_up, "bob")
                await sees(alice, "alice", "bob")
                await sees(bob, "alice", "bob")
                bob.say({"type": "meta", "data": {"typing": True}})
                await eventually(
                    lambda: alice.present.get("bob") == [{"typing": True}], "the meta"
                )
                bob.say({"type": "bye"})
                assert await serving == 1000
            finally:
                serving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await serving
            assert set(await stores.apresence(code)) == {"alice"}
            await sees(alice, "alice")
            assert alice.left == ["bob"]
