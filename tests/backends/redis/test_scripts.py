"""The script runner: scripts that a server does not have, and replies that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.redis.backend import RedisBackend
from sessionstores.backends.redis.location import Location
from sessionstores.backends.redis.scripts import ScriptRunner
from sessionstores.exceptions import StateCorrupt, StoreUnavailable
from sessionstores.keys import StoreKey
from tests.backends.driven import BOARD
from tests.backends.redis.clocked import CountingScripts
from tests.faults.proxy import Proxy
from tests.servers import Valkey


def test_scripts_that_the_server_forgot_run_for_all_sessions(
    backend: RedisBackend, scripts: CountingScripts
) -> None:
    codes = [f"S{number:05d}" for number in range(20)]
    for code in codes:
        run(backend.open(StoreKey(code, "alice"), BOARD))
    scripts.outside.script_flush()
    scripts.sent = 0
    assert [summary.code for summary in run(backend.summaries())] == codes
    assert scripts.sent <= 4


@pytest.fixture
def proxy(valkey: Valkey) -> Iterator[Proxy]:
    """A proxy before the shared Valkey, which can lose replies."""
    with Proxy(valkey.port) as between, valkey.client() as client:
        client.flushall()
        yield between


@pytest.fixture(params=["blocking", "async"])
def send(request: pytest.FixtureRequest, proxy: Proxy) -> Iterator[Callable[..., Any]]:
    """Send a command through the proxy, in either flavour."""
    blocking = request.param == "blocking"
    location = Location(f"redis://127.0.0.1:{proxy.port}/0")
    scripts = ScriptRunner(location, blocking=blocking)
    with asyncio.Runner() as runner:
        drive = run if blocking else runner.run
        yield lambda *command, **how: drive(scripts.send(*command, **how))


def test_a_command_whose_reply_is_soon_lost_is_sent_once_more(
    send: Callable[..., Any], proxy: Proxy
) -> None:
    send("PING")
    proxy.cut(replies=1)
    assert send("INCR", "n") == 2
    proxy.cut(replies=2)
    with pytest.raises(StoreUnavailable):
        send("INCR", "n")


def test_a_command_that_may_not_be_repeated_is_sent_once(
    send: Callable[..., Any], proxy: Proxy
) -> None:
    send("PING")
    proxy.cut(replies=1)
    with pytest.raises(StoreUnavailable):
        send("INCR", "n", retry=False)
    assert send("INCR", "n") == 2


def test_a_key_of_another_type_is_not_asked_for_again(
    send: Callable[..., Any], valkey: Valkey
) -> None:
    send("SET", "key", "value")

    def refused() -> int:
        with valkey.client() as client:
            stats = client.info("errorstats")
        count: int = stats.get("errorstat_WRONGTYPE", {"count": 0})["count"]
        return count

    before = refused()
    with pytest.raises(StateCorrupt, match="at key"):
        send("HGET", "key", "field")
    assert refused() == before + 1
