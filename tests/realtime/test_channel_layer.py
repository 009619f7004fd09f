"""The channel of a process: acquired, read, and replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers

from sessionstores import event_bus
from sessionstores.backends import get_backend
from sessionstores.concurrency.backoff import Backoff
from sessionstores.keys import StoreKey
from sessionstores.realtime import channel_layer
from sessionstores.realtime.channel_layer import MESSAGE_TYPE, counters
from sessionstores.realtime.hub import current_hub, hubs
from tests.realtime.layers import message
from tests.sockets import CODE, Opener, until

ALICE = StoreKey(CODE, "alice")


@pytest.fixture(autouse=True)
async def empty() -> AsyncIterator[None]:
    await get_backend(blocking=False).clear()
    channel_layers.set("default", InMemoryChannelLayer())
    yield
    assert not hubs


async def test_a_process_is_named_by_its_channel(tab: Opener) -> None:
    await tab("alice")
    name = current_hub().process
    assert name.startswith("specific.")
    assert "!" in name
    backend = get_backend(blocking=False)
    assert await backend.followers(ALICE) == {name}
    assert await backend.followers(StoreKey.of_session(CODE)) == {name}


async def test_without_a_channel_layer_a_process_names_itself(
    tab: Opener, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {}
    first, second = await tab(client="c1"), await tab(client="c2")
    assert current_hub().process.startswith("sessionstores.local!")
    ack = await first.act(1, "board.note", text="x")
    await second.expect("patch", rev=ack["rev"])


class Broken(InMemoryChannelLayer):
    """A layer that is down until it is told otherwise."""

    down = True

    async def new_channel(self, *args: Any) -> str:
        if self.down:
            raise ConnectionError("down")
        name: str = await super().new_channel(*args)
        return name

    async def receive(self, channel: str) -> Any:
        if self.down:
            raise ConnectionError("down")
        return await super().receive(channel)


async def test_a_layer_that_is_down_is_tried_again_until_it_works(
    tab: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(channel_layer, "RECONNECT", Backoff(0.001, 0.001))
    layer = Broken()
    channel_layers.set("default", layer)
    alice = await tab("alice")
    hub = current_hub()
    failed = counters.failed
    assert hub.process.startswith("sessionstores.local!")
    await until(lambda: counters.failed > failed + 2)
    assert (await alice.act(1, "board.note", text="x"))["type"] == "ack"
    layer.down = False
    await until(lambda: hub.process.startswith("specific."))
    await hub.heartbeat.pulse()
    followers = await get_backend(blocking=False).followers(ALICE)
    assert hub.process in followers
    await layer.send(hub.process, message(event_bus.Message(ALICE, "back")))
    await alice.expect("ping")
    await alice.expect("message", data="back")


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "sessionstores.later", "body": "{}"},
        {"type": MESSAGE_TYPE, "body": '{"kind":"later"}'},
        {"type": MESSAGE_TYPE, "body": "not json"},
        {"type": MESSAGE_TYPE, "body": None},
        {"type": MESSAGE_TYPE},
        {"type": MESSAGE_TYPE, "body": '{"kind":"removal"}'},
        {
            "type": MESSAGE_TYPE,
            "body": '{"kind":"removal","session":"x","participant":"y","reason":"z"}',
        },
        {},
    ],
)
async def test_a_layer_message_of_another_version_is_counted_and_ignored(
    tab: Opener, odd: dict[str, Any]
) -> None:
    alice = await tab("alice")
    layer: Any = channel_layers["default"]
    unknown = counters.unknown
    await layer.send(current_hub().process, odd)
    await layer.send(current_hub().process, message(event_bus.Message(ALICE, 1)))
    await alice.expect("message", data=1)
    assert counters.unknown == unknown + 1
