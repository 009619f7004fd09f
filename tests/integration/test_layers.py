"""Delivery between processes over the layers of channels_redis, on a real server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from channels.layers import channel_layers, get_channel_layer

from sessionstores import event_bus
from sessionstores.backends import get_backend
from sessionstores.backends.types import Lease
from sessionstores.concurrency.backoff import Backoff
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.realtime import channel_layer, heartbeat, serializers
from sessionstores.realtime.channel_layer import MESSAGE_TYPE, counters
from sessionstores.realtime.hub import current_hub, hubs
from sessionstores.realtime.publisher import publisher
from tests.logs import records_of_ours
from tests.servers import Valkey
from tests.sockets import CODE, Socket, opening_tabs, until
from tests.workshop.states import Board

ALICE = StoreKey(CODE, "alice")
ROOT = Path(__file__).resolve().parents[2]
CORE = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"

both = pytest.mark.parametrize("kind", [CORE, PUBSUB], ids=["core", "pubsub"])


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no tab be closed that the test does not read for a while."""
    monkeypatch.setattr(heartbeat, "PATIENCE", 10_000)


@pytest.fixture(autouse=True)
def no_hub_is_left() -> Iterator[None]:
    yield
    assert not hubs


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey that the test may kill."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


def layers(kind: str, port: int, **host: Any) -> dict[str, Any]:
    """Return CHANNEL_LAYERS."""
    address = f"redis://127.0.0.1:{port}/0"
    hosts = [{"address": address, **host}]
    return {"default": {"BACKEND": kind, "CONFIG": {"hosts": hosts}}}


def clients(server: Valkey, flags: str = "") -> set[str]:
    """Return the ids of the connections that the server has, without ours.

    With `flags`, of those that have one of them: "P" follows channels, "b" waits.
    """
    with server.client() as client:
        own = str(client.client_id())
        return {
            entry["id"]
            for entry in client.client_list()
            if not flags or {*flags} & {*entry["flags"]}
        } - {own}


async def follow(process: str) -> None:
    """Let `process` hold a connection that follows alice's record."""
    lease = Lease("far", StoreKey(CODE, "far"), process, "c", frozenset(["alice"]))
    await get_backend(blocking=False).lease([lease])


def noted(*texts: str) -> None:
    """Commit from code without an event loop."""
    for text in texts:
        stores.get(Board, CODE, "alice").dispatch(Board.note, text)


async def body_of(layer: Any, name: str) -> dict[str, Any]:
    """Return what the next message on a channel says."""
    message = await asyncio.wait_for(layer.receive(name), 10)
    body: dict[str, Any] = json.loads(message["body"])
    return body


@asynccontextmanager
async def following() -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
    """Take a channel as another process's hub would; what yields reads it."""
    layer = get_channel_layer()
    assert layer is not None
    name = await layer.new_channel()
    await follow(name)
    yield lambda: body_of(layer, name)


# Publishing from code without an event loop


@both
async def test_fifty_publications_from_a_thread_share_a_connection_and_stay_in_order(
    kind: str, valkey: Valkey, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = layers(kind, valkey.port)
    texts = [str(number) for number in range(50)]
    async with following() as read:
        await asyncio.to_thread(noted, "first")
        await read()
        opened = clients(valkey)
        sent = counters.sent
        await asyncio.to_thread(noted, *texts)
        # Each call came back when the layer had the event.
        assert counters.sent == sent + 50
        assert clients(valkey) <= opened
        shown = [(await read())["ops"][0]["value"] for _ in texts]
    assert shown == texts


@both
async def test_the_first_publication_opens_at_most_two_connections(
    kind: str, valkey: Valkey, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = layers(kind, valkey.port)
    async with following() as read:
        before = clients(valkey)
        await asyncio.to_thread(noted, *map(str, range(50)))
        opened = clients(valkey) - before
        assert 1 <= len(opened) <= 2
        await read()
    publisher.close()
    await until(lambda: not clients(valkey) & opened, "its connections to be closed")


SCRIPT = """
import logging, os, sys, time
import django
from django.conf import settings
django.setup()
# Not of callbacks that took long, as they do on a busy machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)
from sessionstores import event_bus
from sessionstores.keys import StoreKey

def publish(data):
    key = StoreKey("K7Q2ZD", "alice")
    event_bus.bus.publish(event_bus.Message(key, data, frozenset([sys.argv[1]])))

"""


def script(body: str, name: str, settings: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code as another process that complains of whatever it leaves open."""
    text = json.dumps(settings.CHANNEL_LAYERS)
    code = f"import tests.settings as s; s.CHANNEL_LAYERS = {text}\n{SCRIPT}{body}"
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, name],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@both
async def test_a_command_that_exits_right_after_has_published(
    kind: str, valkey: Valkey, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = layers(kind, valkey.port)
    async with following() as read:
        name = await the_follower()
        ended = await asyncio.to_thread(
            script, "publish(1); publish(2)", name, settings
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert [(await read())["data"] for _ in range(2)] == [1, 2]


async def the_follower() -> str:
    (name,) = await get_backend(blocking=False).followers(ALICE)
    return name


FORK = """
publish("before")
child = os.fork()
publish("child" if child == 0 else "parent")
if child == 0:
    sys.exit()
_, status = os.waitpid(child, 0)
publish("after")
sys.exit(status)
"""


@both
async def test_a_forked_child_publishes_over_connections_of_its_own(
    kind: str, valkey: Valkey, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = layers(kind, valkey.port)
    async with following() as read:
        name = await the_follower()
        ended = await asyncio.to_thread(script, FORK, name, settings)
        assert (ended.returncode, ended.stderr) == (0, "")
        first, *middle, last = [(await read())["data"] for _ in range(4)]
    assert (first, set(middle), last) == ("before", {"child", "parent"}, "after")


@both
async def test_a_command_whose_layer_hangs_ends_all_the_same(
    kind: str, own_valkey: Valkey, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = layers(kind, own_valkey.port)
    body = """
publish("reaches nobody")
from sessionstores.realtime.channel_layer import counters
for number in range(200):
    publish(number)
assert counters.sent == 0, counters
print("ended")
"""
    with own_valkey.paused():
        ended = await asyncio.to_thread(script, body, "specific.x!y", settings)
    told = [line for line in ended.stderr.splitlines() if line]
    assert (ended.returncode, ended.stdout, len(told)) == (0, "ended\n", 1), told
    assert "takes no events" in told[0]


# The hub's channel


@pytest.fixture
def tabs(settings: Any) -> Callable[[str, int], AbstractAsyncContextManager[Socket]]:
    """Open a tab of alice's on a layer, in a process with short heartbeats."""

    @asynccontextmanager
    async def open_tabs(kind: str, port: int, **host: Any) -> AsyncIterator[Socket]:
        settings.CHANNEL_LAYERS = layers(kind, port, **host)
        async with opening_tabs() as tab:
            alice = await tab("alice")
            await until(lambda: "local" not in current_hub().process)
            yield alice

    return open_tabs


async def heard(alice: Socket, data: str) -> None:
    """Have another process send messages until one arrives at the tab."""
    far: Any = channel_layers.make_backend("default")
    message = serializers.encode(event_bus.Message(ALICE, data))

    async def send() -> None:
        while True:
            for process in await get_backend(blocking=False).followers(ALICE):
                try:
                    async with asyncio.timeout(1):
                        await far.send(process, {"type": MESSAGE_TYPE, "body": message})
                except Exception:  # noqa: BLE001 - the server may be away
                    pass
            await asyncio.sleep(0.02)

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(20):
            while (await alice.receive()).get("data") != data:
                await alice.say(type="pong", visible=True)
    finally:
        # A client whose connection is being killed may swallow the cancellation.
        await channel_layer.end([sending])


@both
async def test_a_message_of_another_process_arrives(
    kind: str, valkey: Valkey, tabs: Any
) -> None:
    async with tabs(kind, valkey.port) as alice:
        received = counters.received
        await heard(alice, "hello")
        assert counters.received > received


@both
async def test_killed_connections_come_back_by_themselves(
    kind: str, own_valkey: Valkey, tabs: Any, settings: Any
) -> None:
    settings.SESSIONSTORES = {"HEARTBEAT": 0.5}
    async with tabs(kind, own_valkey.port) as alice:
        await heard(alice, "before")
        for number in range(2):
            killed = clients(own_valkey)
            with own_valkey.client() as client:
                for id in killed:
                    client.client_kill_filter(_id=id)
            await heard(alice, f"after {number}")


@both
async def test_a_server_that_restarts_is_found_again(
    kind: str, own_valkey: Valkey, tabs: Any, settings: Any
) -> None:
    settings.SESSIONSTORES = {"HEARTBEAT": 0.5}
    async with tabs(kind, own_valkey.port) as alice:
        await heard(alice, "before")
        failed = counters.failed
        own_valkey.kill()
        await until(lambda: counters.failed > failed)
        await asyncio.to_thread(own_valkey.start)
        await heard(alice, "after")


@both
async def test_the_last_tab_leaves_though_the_server_is_away(
    kind: str, own_valkey: Valkey, tabs: Any
) -> None:
    async with tabs(kind, own_valkey.port) as alice:
        own_valkey.kill()
        await alice.drop()
        assert not hubs


class Wire:
    """A TCP relay in the test's loop, whose open connections can be made deaf.

    A deaf one stays open and passes nothing on, as when a firewall forgets it.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.deaf: set[asyncio.StreamWriter] = set()
        self.open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Wire:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port: int = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self.server.close()
        for writer in self.open:
            writer.transport.abort()
        await until(lambda: not self.open)

    def deafen(self) -> None:
        """Make every connection deaf that is open now."""
        self.deaf |= self.open

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        beyond, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        ends = {writer, to_server}
        self.open |= ends
        await asyncio.gather(
            self.relay(reader, to_server, ends), self.relay(beyond, writer, ends)
        )
        self.open -= ends

    async def relay(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        ends: set[asyncio.StreamWriter],
    ) -> None:
        try:
            while data := await source.read(65_536):
                if sink not in self.deaf:
                    sink.write(data)
        except OSError:
            pass
        for end in ends:
            end.transport.abort()


@both
async def test_a_connection_that_falls_silent_is_replaced(
    kind: str, valkey: Valkey, tabs: Any, settings: Any, caplog: Any
) -> None:
    settings.SESSIONSTORES = {"HEARTBEAT": 0.5}
    async with (
        Wire(valkey.port) as wire,
        # Without a limit, a read on a dead connection waits for good.
        tabs(kind, wire.port, socket_timeout=None) as alice,
    ):
        await heard(alice, "before")
        silent, name = counters.silent, current_hub().process
        wire.deafen()
        async with asyncio.timeout(20):
            while current_hub().process == name:
                await alice.say(type="pong", visible=True)
                await asyncio.sleep(0.05)
        await heard(alice, "after")
        assert counters.silent > silent
        assert "has fallen silent" in caplog.text
        # Found by its new name, and the new one stays.
        found = await get_backend(blocking=False).followers(ALICE)
        assert current_hub().process in found


@both
async def test_channels_that_fall_silent_leave_no_connections_behind(
    kind: str, valkey: Valkey, tabs: Any
) -> None:
    async with tabs(kind, valkey.port) as alice:
        await heard(alice, "before")
        hub = current_hub()
        # Everybody's layer connects for sending with the first that is sent, which may
        # be the news of who is present, whenever that comes.
        layer: Any = get_channel_layer()
        probe = {"type": MESSAGE_TYPE, "body": serializers.PROBE}
        await layer.send("specific.nobody!x", probe)
        opened, tasks = [], []
        for _ in range(8):
            hub._channel._unheard = True
            await hub._channel.probe()
            await until(lambda: not hub._channel._unheard)
            opened.append(len(clients(valkey)))
            tasks.append(len(asyncio.all_tasks()))
        # One receives. Those that send wait in a pool for the next that is sent: there
        # are as many as have ever sent at once, however many channels fell silent.
        await until(lambda: len(clients(valkey, "Pb")) == 1, "one that receives")
        most = opened[0] + 2
        await until(lambda: len(clients(valkey)) <= most, f"fewer than {opened}")
        await until(lambda: len(asyncio.all_tasks()) <= tasks[0], f"no more: {tasks}")
    await until(lambda: len(clients(valkey)) < opened[0], "fewer without a hub")


async def test_a_layer_that_somebody_flushed_is_noticed(
    valkey: Valkey, tabs: Any, settings: Any
) -> None:
    settings.SESSIONSTORES = {"HEARTBEAT": 0.5}
    async with tabs(PUBSUB, valkey.port) as alice:
        await heard(alice, "before")
        layer: Any = get_channel_layer()
        await layer.flush()
        await heard(alice, "after")


async def test_probes_that_come_back_leave_the_channel_as_it_is(
    valkey: Valkey, tabs: Any
) -> None:
    async with tabs(PUBSUB, valkey.port):
        hub = current_hub()
        name, silent, received = hub.process, counters.silent, counters.received
        for _ in range(5):
            await hub._channel.probe()
            await until(lambda: not hub._channel._unheard)
        assert (hub.process, counters.silent) == (name, silent)
        assert counters.received == received


async def test_idle_reads_that_time_out_are_no_failures(
    valkey: Valkey, tabs: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    # As redis-py 8 does after five seconds, with shorter times.
    monkeypatch.setattr(channel_layer, "LAYER_SECONDS", 0.05)
    monkeypatch.setattr(channel_layer, "RECONNECT", Backoff(0.01, 0.01))
    caplog.set_level("INFO", "sessionstores.delivery")
    failed = counters.failed
    async with tabs(CORE, valkey.port, socket_timeout=0.2) as alice:
        name = current_hub().process
        await until(
            lambda: caplog.text.count("Reading the channel layer was interrupted") > 3
        )
        assert {record.levelname for record in records_of_ours(caplog)} == {"INFO"}
        assert (current_hub().process, counters.failed) == (name, failed)
        await heard(alice, "still here")


# Counters


async def test_what_a_full_channel_refuses_is_counted(
    valkey: Valkey, settings: Any, caplog: Any
) -> None:
    settings.CHANNEL_LAYERS = layers(CORE, valkey.port)
    settings.CHANNEL_LAYERS["default"]["CONFIG"]["capacity"] = 5
    layer: Any = get_channel_layer()
    name = await layer.new_channel()
    await follow(name)
    sent, full = counters.sent, counters.full
    await asyncio.to_thread(noted, *map(str, range(8)))
    assert (counters.sent - sent, counters.full - full) == (5, 3)
    assert "reads too slowly" in caplog.text


@both
async def test_what_cannot_be_sent_or_read_is_counted(
    kind: str, own_valkey: Valkey, tabs: Any
) -> None:
    async with tabs(kind, own_valkey.port) as alice:
        unknown, failed = counters.unknown, counters.failed
        layer: Any = get_channel_layer()
        odd = {"type": MESSAGE_TYPE, "body": '{"kind":"later"}'}
        await layer.send(current_hub().process, odd)
        await until(lambda: counters.unknown == unknown + 1)
        await follow("specific.far!x")
        own_valkey.kill()
        await asyncio.to_thread(noted, "lost")
        assert counters.failed > failed
        await alice.expect("patch", doc="me")
