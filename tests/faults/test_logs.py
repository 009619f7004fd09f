"""Logs of outages and overloads: a line for each kind and beat, not for each commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import channel_layers

from sessionstores import signals
from sessionstores.backends import get_backend
from sessionstores.backends.types import Lease
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.monitoring import alerts
from sessionstores.realtime.channel_layer import close_layer
from tests.logs import records_of_ours
from tests.servers import Valkey
from tests.sockets import CODE, Opener, Socket, opening_tabs, until
from tests.workshop.states import Board

from .refusals import REFUSALS

HEARTBEAT = 1.0
BEATS = 3
COMMITS = 60
# Taken by the events, probes, reading, a silent channel, none to replace it, and what
# the layer itself writes.
KINDS = 6


@pytest.fixture
async def tab() -> AsyncIterator[Opener]:
    """Opens tabs that have said hello; all are dropped after the test."""
    async with opening_tabs() as open_tab:
        yield open_tab


@pytest.fixture
def server() -> Any:
    """A Valkey that a test may break."""
    valkey = Valkey()
    valkey.start()
    yield valkey
    valkey.stop()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what a log file would have, line by line."""
    written = logging.Formatter("%(levelname)s %(message)s")
    ours = [each for each in caplog.records if not each.name.startswith("asyncio")]
    return [line for each in ours for line in written.format(each).splitlines()]


def dispatch(text: str) -> None:
    stores.get(Board, CODE, "alice").dispatch(Board.note, text)


@pytest.mark.parametrize(
    "layer", ["pubsub.RedisPubSubChannelLayer", "core.RedisChannelLayer"]
)
async def test_a_layer_that_is_down_has_a_line_for_each_kind_and_beat(
    layer: str,
    server: Valkey,
    tab: Opener,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.SESSIONSTORES = {
        "HEARTBEAT": HEARTBEAT,
        "PRESENCE_LEASE": 30,
        "RATE_LIMIT": (10_000, 10_000),
    }
    config = {"BACKEND": f"channels_redis.{layer}", "CONFIG": {"hosts": [server.url]}}
    settings.CHANNEL_LAYERS = {"default": config}
    alice = await tab("alice")
    elsewhere = Lease("far", StoreKey(CODE, "far"), "far!1", "c", frozenset({"alice"}))
    await get_backend(blocking=False).lease([elsewhere])
    caplog.clear()
    server.kill()
    commits, struck = 0, time.monotonic()
    while commits < COMMITS or time.monotonic() - struck < BEATS * HEARTBEAT:
        commits += 2
        await alice.say(
            type="action",
            id=commits,
            state="board",
            action="note",
            args={"text": str(commits)},
        )
        while (frame := await alice.receive())["type"] != "ack":
            assert frame["type"] != "reject"
            if frame["type"] == "ping":
                await alice.say(type="pong", visible=True)
        await asyncio.to_thread(dispatch, f"{commits} from a thread")
    told = lines(caplog)
    # A line for each beat that has begun, of events, probes, reading and the rest.
    beats = (time.monotonic() - struck) / HEARTBEAT
    assert 2 <= len(told) <= KINDS * (beats + 1), "\n".join(told)
    assert any("takes no events" in line for line in told)
    assert any("more like it" in line for line in told)
    server.start()
    # The channel layer of this loop and that of the background thread.
    await close_layer(channel_layers["default"])


async def test_an_overload_has_a_line_for_each_beat_and_a_signal_for_each_participant(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SESSIONSTORES = {"SLOW_OPERATION_MS": 1}
    warned: list[str] = []

    def listen(*, key: str, **kwargs: Any) -> None:
        warned.append(key)

    signals.store_warning.connect(listen)
    try:
        backend = get_backend(blocking=False)
        for number in range(300):
            key = StoreKey(CODE, f"p{number}")
            await alerts.warn_slow(backend, "dispatch of Board.note", key, 0.2)
    finally:
        signals.store_warning.disconnect(listen)
    assert len(warned) == 300
    slow = [each for each in records_of_ours(caplog) if "slow" in each.getMessage()]
    assert len(slow) == 1


async def test_a_full_server_has_a_line_for_all_its_tabs(
    server: Valkey, tab: Opener, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": server.url,
        }
    }
    tabs: list[Socket] = [await tab(f"p{number}") for number in range(20)]
    caplog.clear()
    with REFUSALS["valkey", "OOM"](server):
        for each in tabs:
            await each.say(
                type="action", id=1, state="board", action="note", args={"text": "x"}
            )
        for each in tabs:
            await each.expect("reject", code="store_unavailable")
    about = [each for each in lines(caplog) if "A tab gets the error" in each]
    assert len(about) == 1
    await until(lambda: all(each.silent for each in tabs))
