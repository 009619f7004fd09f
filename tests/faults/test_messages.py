"""Messages between workers are lost, or come from another version of the code."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from sessionstores.backends import get_backend
from sessionstores.keys import StoreKey, generate_code
from sessionstores.realtime.channel_layer import MESSAGE_TYPE
from tests.servers import Valkey

from .counts import count
from .sites import on_redis
from .tabs import agree, eventually, open_tabs, progress, writing
from .workers import CORE, LOSSY, PUBSUB, Worker, running

TABS = count(200)
# Seconds: the workers' heartbeat, and a tab's patience with a gap, with room for the
# time that a busy machine takes.
STALENESS = 3.0
# As many messages as the core layer keeps for a process that does not read.
CAPACITY = 100

# What a process of another version, or of another app, may send.
UNKNOWN: list[dict[str, Any]] = [
    {"type": "sessionstores.novelty", "body": "{}"},
    {"type": MESSAGE_TYPE, "body": '{"kind":"novelty","session":"K7Q2ZD"}'},
    {"type": MESSAGE_TYPE, "body": '{"kind":"change","session":"K7Q2ZD"}'},
    {"type": MESSAGE_TYPE, "body": "novelty"},
    {"type": MESSAGE_TYPE, "body": 7},
    {"type": MESSAGE_TYPE},
    {"novelty": 1},
]

Tell = Callable[..., None]


@pytest.fixture(autouse=True)
def cache(valkey_server: Valkey, settings: Any) -> None:
    """Look at the records that the workers write."""
    settings.CACHES = on_redis(valkey_server.port)["CACHES"]


@pytest.fixture(scope="module", params=[PUBSUB, CORE], ids=["pubsub", "core"])
def layer(request: pytest.FixtureRequest) -> str:
    """A channel layer, by the path of its class."""
    path: str = request.param
    return path


@pytest.fixture(scope="module")
def workers(valkey_server: Valkey, layer: str) -> Iterator[list[Worker]]:
    """Two workers on that layer."""
    with running(2, valkey_server.port, layer) as both:
        yield both


@pytest.mark.parametrize("loss", [0.3, 1.0])
async def test_tabs_end_equal_whatever_messages_are_lost(
    loss: float, valkey_server: Valkey, rng: random.Random, tell: Tell
) -> None:
    with running(2, valkey_server.port, LOSSY, loss=loss) as workers:
        async with open_tabs(workers, TABS) as tabs:
            async with writing(tabs, rng):
                await progress(tabs)
                await progress(tabs)
            final = await agree(tabs, STALENESS)
            lost = sum(any(tab.missing(final).values()) for tab in tabs)
            doubled = sum(len(lines) - len(set(lines)) for lines in final.values())
            tell(f"{loss:.0%} of messages", "valkey", TABS, lost=lost, doubled=doubled)
            # Gaps there were, then.
            assert any(tab.snapshots for tab in tabs)
            assert not lost
            assert not doubled
            assert [tab.connections for tab in tabs] == [1] * TABS


async def test_a_change_reaches_the_tabs_at_the_other_worker(
    workers: list[Worker],
) -> None:
    before = [worker.figures() for worker in workers]
    code = generate_code()
    async with (
        open_tabs(workers[:1], 2, code=code) as near,
        open_tabs(workers[1:], 2, code=code) as far,
    ):
        near[0].add("session", "for all")
        await eventually(
            lambda: all("for all" in tab.seen["session"] for tab in far), "the line"
        )
        # By a patch through the layer: no head had to tell.
        assert not any(tab.snapshots for tab in far)
    after = [worker.figures() for worker in workers]
    assert after[0]["sent"] > before[0]["sent"]
    assert after[1]["received"] > before[1]["received"]


async def test_what_a_worker_that_reads_too_slowly_misses_is_made_up_for(
    workers: list[Worker], layer: str, tell: Tell
) -> None:
    code = generate_code()
    async with (
        open_tabs(workers[:1], 1, code=code) as (near,),
        open_tabs(workers[1:], 1, code=code) as (far,),
    ):
        before = workers[0].figures()["full"]
        refused = added = 0
        with workers[1].paused():
            # Only one of the layers has a capacity. Acks do not wait for it.
            while added < CAPACITY * 3 or (layer == CORE and not refused):
                assert added < CAPACITY * 30, "nothing was refused"
                for number in range(added, added + CAPACITY):
                    near.add("session", f"{number}")
                added += CAPACITY
                await eventually(lambda: not near.pending, "answers")
                refused = workers[0].figures()["full"] - before
        final = await agree([near, far])
        assert len(final[near.keys["session"]]) == added
    tell(f"messages refused, {layer.rsplit('.')[-1]}", "valkey", refused)
    assert bool(refused) == (layer == CORE)


async def test_messages_and_frames_of_another_version_harm_nobody(
    workers: list[Worker],
    valkey_server: Valkey,
    layer: str,
    rng: random.Random,
    settings: Any,
) -> None:
    config = {"hosts": [valkey_server.url]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": layer, "CONFIG": config}}
    before = [worker.figures() for worker in workers]
    async with open_tabs(workers, TABS) as tabs:
        async with writing(tabs, rng):
            await progress(tabs)
            wall = tabs[0].keys["session"]
            processes = await get_backend(blocking=False).followers(wall)
            assert len(processes) == len(workers)
            for process in processes:
                for message in [*UNKNOWN, *foreign(wall)]:
                    await get_channel_layer().send(process, message)
            for tab in tabs:
                tab.say({"type": "novelty", "id": 1})
            await eventually(
                lambda: all("unknown_type" in tab.errors for tab in tabs), "complaints"
            )
            await progress(tabs)
        await agree(tabs)
        assert [tab.connections for tab in tabs] == [1] * TABS
    for worker, then in zip(workers, before, strict=True):
        assert worker.figures()["unknown"] == then["unknown"] + len(UNKNOWN)


def foreign(key: StoreKey) -> Iterator[dict[str, str]]:
    """Return changes of a history that is not the record's, or of none at all."""
    for base, rev in (("ffff.7-00000000", "ffff.8-11111111"), ("seven", "eight")):
        body = {
            "kind": "change",
            "session": key.session,
            "participant": key.participant,
            "base": base,
            "rev": rev,
            "ops": [{"op": "novelty", "path": "/wall/lines/0"}],
            "source": None,
            "reset": False,
            "novelty": 1,
        }
        yield {"type": MESSAGE_TYPE, "body": json.dumps(body)}
