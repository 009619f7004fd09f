"""Under open tabs, a server forgets, goes back in time, or falls silent."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.servers import Valkey

from .counts import FULL, count
from .proxy import Proxy
from .sites import on_redis
from .tabs import agree, eventually, open_tabs, progress, writing
from .workers import Worker, running

# How often it happens is what counts here; every line goes to all tabs of one process.
TABS = 50 if FULL else 20
TIMES = count(10)
# Seconds from a fault to the time when all tabs show what the server holds.
CURED = 15.0
HEALED = 5.0

Fault = Callable[[], None]
Tell = Callable[..., None]


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """The address that the workers know."""
    with Proxy(0) as between:
        yield between


@pytest.fixture
def server(proxy: Proxy, settings: Any) -> Iterator[Valkey]:
    """A Valkey that a test may stop, behind the proxy."""
    valkey = Valkey(repl_diskless_sync_delay="0")
    valkey.start()
    proxy.target = valkey.port
    settings.CACHES = on_redis(proxy.port)["CACHES"]
    yield valkey
    valkey.stop()


@pytest.fixture(scope="module")
def workers(proxy: Proxy) -> Iterator[list[Worker]]:
    """Two workers; what happens to the server must not end them."""
    with running(2, proxy.port) as both:
        yield both


@pytest.fixture(scope="module")
def unhurried(proxy: Proxy) -> Iterator[list[Worker]]:
    """Two workers whose tabs wait for pings that a second of outage delays."""
    with running(2, proxy.port, heartbeat=2.0) as both:
        yield both


async def suffer(
    workers: Sequence[Worker],
    rng: random.Random,
    tell: Tell,
    what: str,
    prepare: Fault,
    strike: Fault,
) -> None:
    """Strike while tabs write; all must learn what they have lost, and go on.

    What they added since `prepare` may be lost by the server. No tab may go on showing
    it, nor lose it without being told.
    """
    async with open_tabs(workers, TABS) as tabs:
        gone = untold = doubled = 0
        for _ in range(TIMES):
            async with writing(tabs, rng):
                await progress(tabs)
                await asyncio.to_thread(prepare)
                await progress(tabs)
                for tab in tabs:
                    tab.forget()
                await asyncio.to_thread(strike)
                struck = time.monotonic()
                await progress(tabs)
            final = await agree(tabs, CURED - (time.monotonic() - struck))
            for tab in tabs:
                for doc, lost in tab.missing(final).items():
                    gone += bool(lost)
                    untold += bool(lost) and not tab.resets[doc]
            doubled = sum(len(lines) - len(set(lines)) for lines in final.values())
    tell(what, "valkey", TIMES, lost=untold, doubled=doubled)
    assert gone
    assert not untold
    assert not doubled


async def test_tabs_of_a_server_that_restarts_empty_are_told(
    workers: list[Worker], server: Valkey, rng: random.Random, tell: Tell
) -> None:
    def restart() -> None:
        server.kill()
        server.start()

    await suffer(workers, rng, tell, "restarted empty", lambda: None, restart)


async def test_tabs_of_a_server_that_restarts_from_an_older_dump_are_told(
    workers: list[Worker], server: Valkey, rng: random.Random, tell: Tell
) -> None:
    def restart() -> None:
        server.kill()
        server.start()

    await suffer(workers, rng, tell, "restarted from a dump", server.save_dump, restart)


async def test_tabs_of_a_server_that_is_flushed_are_told(
    workers: list[Worker], server: Valkey, rng: random.Random, tell: Tell
) -> None:
    def flush() -> None:
        with server.client() as client:
            client.flushall()

    await suffer(workers, rng, tell, "FLUSHALL", lambda: None, flush)


async def test_tabs_are_told_of_a_failover_to_a_replica_that_lagged_behind(
    workers: list[Worker], server: Valkey, proxy: Proxy, rng: random.Random, tell: Tell
) -> None:
    primaries = [server]

    def cut_off() -> None:
        """Give the primary a replica, and let go of it once it has everything."""
        replica = Valkey(replicaof=f"127.0.0.1 {primaries[-1].port}", **server.options)
        replica.start()
        with replica.client() as client:
            while client.info("replication")["master_link_status"] != "up":
                time.sleep(0.01)
            client.replicaof("NO", "ONE")
        primaries.append(replica)

    def fail_over() -> None:
        old, new = primaries[-2:]
        proxy.target = new.port
        old.kill()

    try:
        await suffer(workers, rng, tell, "failover with lag", cut_off, fail_over)
    finally:
        for replica in primaries[1:]:
            replica.stop()


@pytest.mark.parametrize("how", ["stopped", "swallowed"])
async def test_tabs_of_a_silent_server_stay_and_know_it_and_heal(
    how: str,
    unhurried: list[Worker],
    server: Valkey,
    proxy: Proxy,
    rng: random.Random,
    tell: Tell,
) -> None:
    silence = {"stopped": server.paused, "swallowed": proxy.swallowing}[how]
    async with open_tabs(unhurried, TABS) as tabs:
        for _ in range(TIMES):
            async with writing(tabs, rng):
                await progress(tabs)
                with silence():
                    await eventually(
                        lambda: all(tab.doubts >= 2 for tab in tabs), "stale tabs"
                    )
                back = time.monotonic()
                await progress(tabs, HEALED)
            final = await agree(tabs, HEALED - (time.monotonic() - back))
            await eventually(
                lambda: not any(tab.doubts for tab in tabs),
                "tabs to know it",
                HEALED - (time.monotonic() - back),
            )
        lost = sum(any(tab.missing(final).values()) for tab in tabs)
        doubled = sum(len(lines) - len(set(lines)) for lines in final.values())
        tell(f"server {how}", "valkey", TIMES, lost=lost, doubled=doubled)
        assert [tab.connections for tab in tabs] == [1] * TABS
        assert not any(tab.resets["me"] or tab.resets["session"] for tab in tabs)
        assert not lost
        assert not doubled
