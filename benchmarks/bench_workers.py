"""Actions and delivery with Redis behind the servers, as several workers have it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import statistics
import time
from contextlib import AbstractContextManager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import django
import redis.asyncio

from benchmarks._rows import Row, show
from benchmarks.contest import Contest, compare
from benchmarks.servers import Server, serving, serving_peer, valkey

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.test import override_settings  # noqa: E402

from benchmarks.commits import noting_commits  # noqa: E402
from benchmarks.states import Board  # noqa: E402
from sessionstores import Participant, stores  # noqa: E402
from sessionstores.state.declaration import registry  # noqa: E402
from tests.integration.tab import Tab  # noqa: E402
from tests.servers import Valkey  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
ACTIONS = (50, 500)
CONTENDERS = {
    "channels_echo": "echo",
    "naive": "naive",
    "sessionstores": "action",
    "socketio": "socketio",
}
PACED_CONNECTIONS = 500
PACED_RATE = 100
PACED_SECONDS = 2.0
TURNS = 300
CODE, CHANNEL = "K7Q2ZD", "benchmark"
FRAME = (
    '{"type":"patch","doc":"me","base":"7f3a.44-9f3ac21b","rev":"7f3a.45-51d0aa37",'
    '"ops":[{"op":"move","from":"/board/piles/keep/3","path":"/board/piles/drop/0"}]}'
)


def start(store: Valkey, name: str) -> AbstractContextManager[Server]:
    """Start a contender's server, which keeps its data on `store`."""
    return (serving_peer if name == "socketio" else serving)(name, store)


def actions(store: Valkey, connections: int) -> list[Row]:
    """Measure an action that changes a board of 1 KB, answered by its ack."""
    contenders = dict(CONTENDERS)
    if shutil.which("npm") is None:
        print("npm is not installed: Socket.IO is not measured")
        del contenders["socketio"]
    got = compare(contenders, connections, rounds=ROUNDS, start=partial(start, store))
    what = f"action→ack, Redis, {connections} connections"
    ours = got.median("sessionstores")
    share = got.ratio("sessionstores", "channels_echo")
    times = got.ratio("naive", "sessionstores")
    rows = [
        Row(
            what,
            f"Channels echo {got.median('channels_echo')}",
            ours,
            f"{share:.2f} of the CPU",
            "≤ 0.8",
            share <= 0.8,
        ),
        Row(
            what,
            f"the naive way {got.median('naive')}",
            ours,
            f"{times:.1f} times as many",
            "≥ 10",
            times >= 10,
        ),
    ]
    return rows + [beside_socketio(got, what, connections)] * ("socketio" in contenders)


def beside_socketio(got: Contest, what: str, connections: int) -> Row:
    """Compare rates: ahead of Socket.IO with few connections, level with many."""
    times = got.ratio("sessionstores", "socketio", "rate")
    aim, least = ("> 1", 1.0) if connections == min(ACTIONS) else ("≥ 0.9", 0.9)
    return Row(
        what,
        f"Socket.IO {got.median('socketio')}",
        got.median("sessionstores"),
        f"{times:.2f} of the rate",
        aim,
        times >= least,
    )


def paced(store: Valkey) -> Row:
    """Measure the time of an answer at a fixed, low rate of actions."""
    got = compare(
        {name: CONTENDERS[name] for name in ("channels_echo", "sessionstores")},
        PACED_CONNECTIONS,
        rounds=ROUNDS,
        start=partial(start, store),
        seconds=PACED_SECONDS,
        rate=PACED_RATE,
    )
    ratio = got.ratio("sessionstores", "channels_echo", "p50")
    return Row(
        f"action→ack, Redis, {PACED_RATE}/s, p50",
        f"Channels echo {got.p50('channels_echo')}",
        got.p50("sessionstores"),
        f"{ratio:.2f}",
        "≤ 1.5",
        ratio <= 1.5,
    )


def over_redis(url: str) -> override_settings:
    """Return the settings of a site with several workers."""
    cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
    layer = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [url]},
    }
    return override_settings(
        CACHES={"default": cache}, CHANNEL_LAYERS={"default": layer}
    )


def subscribe(pipe: Connection, url: str) -> None:
    """The floor's process: report when each message arrives."""

    async def listen() -> None:
        async with (
            redis.asyncio.Redis.from_url(url) as client,
            client.pubsub() as subscriber,
        ):
            await subscriber.subscribe(CHANNEL)
            async for message in subscriber.listen():
                # The first one confirms the subscription.
                pipe.send(time.perf_counter())
                if message["data"] == b"":
                    return

    asyncio.run(listen())


def watch(pipe: Connection, url: str) -> None:
    """Our process: report when the tab's socket is given each patch."""

    def heard(message: dict[str, Any]) -> None:
        arrived = time.perf_counter()
        if message["text"].startswith('{"type":"patch"'):
            pipe.send(arrived)

    async def follow() -> None:
        tab = Tab(Participant(CODE, "alice").token())
        await tab.connect()
        tab.heard = heard
        pipe.send(time.perf_counter())
        await asyncio.to_thread(pipe.recv)
        await tab.drop()

    with over_redis(url), registry.isolated(Board):
        asyncio.run(follow())


async def publish(pipe: Connection, url: str) -> float:
    """Seconds from publishing a frame to its arrival in the other process."""
    spent = 0.0
    async with redis.asyncio.Redis.from_url(url) as client:
        for _ in range(TURNS):
            sent = time.perf_counter()
            await client.publish(CHANNEL, FRAME)
            spent += await asyncio.to_thread(pipe.recv) - sent
        await client.publish(CHANNEL, "")
    return spent / TURNS


async def commit(pipe: Connection, url: str) -> float:
    """Seconds from a commit to the frame that a tab in the other process is given.

    Without the making of the patch, which has a figure of its own, and without the
    first one: for the first message of a new channel, the layer looks every 0.1 s.
    """
    times: list[float] = []
    with over_redis(url), registry.isolated(Board), noting_commits() as last:
        board = stores.get(Board, CODE, "alice")
        for turn in range(TURNS):
            await board.adispatch(Board.move, "card-03", "drop" if turn % 2 else "keep")
            times.append(await asyncio.to_thread(pipe.recv) - last.at)
    pipe.send("enough")
    return statistics.mean(times[1:])


def elsewhere(listener: Any, sender: Any, url: str) -> float:
    """Run `listener` in a process of its own and measure what `sender` gets there."""
    pipe, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=listener, args=(theirs, url))
    process.start()
    pipe.recv()
    spent: float = asyncio.run(sender(pipe, url))
    process.join()
    return spent


def delivery(store: Valkey) -> Row:
    """Measure delivery to a tab of another process."""
    floors, ours = [], []
    for _ in range(ROUNDS):
        floors.append(elsewhere(subscribe, publish, store.url) * 1e6)
        ours.append(elsewhere(watch, commit, store.url) * 1e6)
    floor, figure = statistics.median(floors), statistics.median(ours)
    return Row(
        "other tabs, other process",
        f"raw PUBLISH {floor:.0f} µs",
        f"{figure:.0f} µs",
        f"{figure / floor:.1f}",
        "≤ 2",
        figure / floor <= 2,
    )


def main() -> None:
    """Print the rows."""
    with valkey() as store:
        show(
            *(row for many in ACTIONS for row in actions(store, many)),
            paced(store),
            delivery(store),
        )


if __name__ == "__main__":
    main()
