"""Everybody acts on one record in one instant, over real sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from sessionstores.backends.types import Record
from sessionstores.state.declaration import registry
from tests.caches import cache_on
from tests.servers import Valkey
from tests.serving import serving

from .counts import FULL, count
from .history import ACK, Contradictions, contradictions
from .proxy import Proxy
from .sites import Site, on_redis
from .tabs import (
    Address,
    LiveTab,
    agree,
    eventually,
    lines_of,
    open_tabs,
    stored,
)
from .workers import Worker, running

with registry.isolated():
    # Of the site that the workers run, and not of the one of other tests here.
    from .site.states import Log, Wall

Tell = Callable[..., None]

TABS = 100
CROWD = 300 if FULL else TABS
HALL = count(1_000)
WORKERS = 2
# A killed worker's share of the session counts until it runs out.
LEASE = 3.0
# How many seconds the tabs of a crowd take to act, one after the other.
INSTANT, SPREAD = 0.0, 2.0
# On which cache, by how many workers, and in what time.
CASES = [
    (kind, workers, spread)
    for kind in ("valkey", "memcached", "postgres")
    for workers in (1, WORKERS)
    for spread in (INSTANT, SPREAD)
]
if not FULL:
    CASES = [each for each in CASES if each[1:] == (WORKERS, INSTANT)]
    CASES.append(("valkey", WORKERS, SPREAD))
CASES += [("locmem", 1, INSTANT), ("locmem", 1, SPREAD)][: 2 if FULL else 1]


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


@dataclass
class Here:
    """This process, which serves too."""

    address: str


@pytest.fixture
def cache(kind: str, request: pytest.FixtureRequest, settings: Any) -> Iterator[Site]:
    """Keep this process's records in a cache of that kind."""
    settings.SESSIONSTORES = {"AUTO_SWEEP": False, "RATE_LIMIT": None}
    with cache_on(kind, request, settings) as site:
        yield site


@asynccontextmanager
async def serve(
    kind: str, count: int, server: Valkey, cache: Site
) -> AsyncIterator[Sequence[Address]]:
    """Serve the site by so many workers, with its records in that cache."""
    if kind == "locmem":
        with registry.isolated(Log, Wall):
            async with serving() as url:
                yield [Here(urlsplit(url).netloc)]
        return
    with running(count, server.port, cache=cache) as workers:
        yield workers


async def commits(tabs: list[LiveTab]) -> int:
    """Return how often the session's record has been committed."""
    record = (await stored(tabs))[tabs[0].keys["session"]]
    assert isinstance(record, Record)
    return record.rev.counter


async def act(tabs: Sequence[LiveTab], spread: float) -> None:
    """Let each tab add a line to the wall, within so many seconds."""
    for number, tab in enumerate(tabs):
        tab.add("session", f"line {number}")
        if spread:
            await asyncio.sleep(spread / len(tabs))


def judged(tabs: Sequence[LiveTab], final: dict[Any, list[str]]) -> Contradictions:
    """Hold what all of the tabs did, were told and saw against the final lines."""
    seen: dict[Any, set[str]] = {key: set() for key in final}
    for tab in tabs:
        for doc, key in tab.keys.items():
            seen[key] |= tab.seen[doc]
    operations = (each for tab in tabs for each in tab.operations)
    return contradictions(operations, final, seen)


@pytest.mark.parametrize(("kind", "processes", "spread"), CASES)
async def test_everybody_at_once_is_served_and_nobody_is_refused(
    kind: str,
    processes: int,
    spread: float,
    server: Valkey,
    cache: Site,
    tell: Tell,
) -> None:
    async with (
        serve(kind, processes, server, cache) as workers,
        open_tabs(workers, CROWD, each=1) as tabs,
    ):
        before = await commits(tabs)
        await act(tabs, spread)
        final = await agree(tabs, within=30.0)
        made = await commits(tabs) - before
    lines = final[tabs[0].keys["session"]]
    found = judged(tabs, final)
    tell(
        f"{CROWD} tabs, {processes} workers, {spread:g} s: {made} commits",
        kind,
        CROWD,
        lost=len(found.lost),
        doubled=len(found.doubled),
        conflicts=sum(len(tab.refused) for tab in tabs),
    )
    assert found == ([], [], [], [])
    assert not any(tab.refused for tab in tabs)
    assert sorted(lines) == sorted(f"line {number}" for number in range(CROWD))
    # Each worker has one on its way at a time, which carries all that have come.
    assert made <= (CROWD if spread else CROWD / 2)


@pytest.mark.parametrize("spread", [INSTANT, SPREAD] if FULL else [INSTANT])
async def test_who_of_a_full_hall_is_not_served_is_told_so_truthfully(
    workers: list[Worker], tell: Tell, spread: float
) -> None:
    async with open_tabs(workers, HALL, each=1) as tabs:
        await act(tabs, spread)
        final = await agree(tabs, within=60.0)
    found = judged(tabs, final)
    refused = [each for tab in tabs for each in tab.refused]
    tell(
        f"{HALL} tabs, {WORKERS} workers, {spread:g} s",
        "valkey",
        HALL,
        lost=len(found.lost),
        doubled=len(found.doubled),
        conflicts=len(refused),
    )
    assert found == ([], [], [], [])
    assert len(final[tabs[0].keys["session"]]) + len(refused) >= HALL


async def test_a_crowd_that_stays_is_served_in_order(
    workers: list[Worker], tell: Tell
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


# What a tab may do to the wall with a line, and the code of its refusal, if any.
ACTIONS: list[tuple[str, str | None]] = [
    *[("shout", None)] * 6,
    ("decline", "declined"),
    ("stumble", "internal"),
    ("overflow", "state_too_large"),
]


class Mixture:
    """Many tabs that act at once, each in a way of its own, some of which break off.

    One in ten breaks off as it acts, and one in ten when its actions are done: it has
    not heard the answers.
    """

    def __init__(self, tabs: Sequence[LiveTab], rng: random.Random) -> None:
        self.alive = list(tabs)
        self.rng = rng
        self.asked = 0

    def burst(self) -> None:
        """Let each act once."""
        for tab in self.rng.sample(self.alive, len(self.alive) // 10):
            tab.deaf = tab.welcomed
        for tab in self.alive:
            self.asked += 1
            line = f"line {self.asked}"
            if self.rng.random() < 0.1:
                # No text: it is refused before it is run.
                tab.ask("session", "shout", self.asked, "invalid_arguments")
            elif self.rng.random() < 0.1:
                tab.add("me", line)
            else:
                action, refusal = self.rng.choice(ACTIONS)
                tab.ask("session", action, line, refusal)
        for tab in self.rng.sample(self.alive, len(self.alive) // 10):
            tab.hang_up()

    def lose_one(self) -> None:
        """Let one tab act and vanish, unless only half of them are left."""
        tab = self.rng.choice(self.alive)
        self.asked += 1
        tab.ask("session", "shout", f"line {self.asked}")
        self.alive.remove(tab)
        tab.vanish()

    async def quiet(self) -> None:
        """Wait until no more than half of them have something under way.

        Those who have not heard the answers ask for them then.
        """
        await eventually(
            lambda: sum(bool(tab.pending) for tab in self.alive) <= len(self.alive) / 2,
            "half of the answers",
            within=30.0,
        )
        for tab in self.alive:
            if tab.deaf:
                tab.hang_up()


async def test_mixed_groups_are_answered_truly_through_kills_and_cut_replies(
    server: Valkey, settings: Any, rng: random.Random, tell: Tell
) -> None:
    settings.CACHES = on_redis(server.port)["CACHES"]
    faults, people = count(60), 60 if FULL else 30
    with (
        Proxy(server.port) as proxy,
        running(
            WORKERS, server.port, lease=LEASE, cache=on_redis(proxy.port)
        ) as workers,
    ):
        async with open_tabs(workers, people, each=2) as tabs:
            mixture = Mixture(tabs, rng)
            for number in range(faults):
                mixture.burst()
                if number % 3 == 0:
                    proxy.cut(replies=rng.randint(1, 3))
                elif number % 3 == 1:
                    worker = rng.choice(workers)
                    await asyncio.to_thread(worker.kill)
                    await asyncio.to_thread(worker.start)
                elif len(mixture.alive) > people / 2:
                    mixture.lose_one()
                mixture.burst()
                await mixture.quiet()
                proxy.cut()
            await agree(mixture.alive, within=60.0)
            # Of those who have vanished, too.
            found_in = await stored(tabs)
            final = {key: lines_of(record) for key, record in found_in.items()}
    found = judged(tabs, final)
    operations = [each for tab in tabs for each in tab.operations]
    answers = [each.answer for each in operations]
    tell(
        f"mixed groups of {people} tabs, kills and {proxy.cuts} cuts",
        "valkey",
        len(operations),
        lost=len(found.lost),
        doubled=len(found.doubled),
        unknown=answers.count("outcome_unknown") + answers.count(None),
        conflicts=answers.count("conflict"),
    )
    assert found == ([], [], [], [])
    # Each kind was answered, and those who stayed have an answer to everything.
    assert {ACK, "declined", "internal", "state_too_large", "invalid_arguments"} <= {
        *answers
    }
    assert all(each.answer for tab in mixture.alive for each in tab.operations)
