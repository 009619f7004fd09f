from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers

from sessionstores import broadcast as module
from sessionstores import events, signals
from sessionstores.backends import get_backend
from sessionstores.backends.base import Lease
from sessionstores.hub import MESSAGE_TYPE, Hub, counters, hubs
from sessionstores.keys import SESSION, StoreKey
from sessionstores.manager import stores
from tests.workshop.states import Board

from .sockets import CODE, Socket, until

ALICE = StoreKey(CODE, "alice")
FAR = "specific.far!x"


class Recorder(InMemoryChannelLayer):
    """The layer of Channels, which also keeps what it was given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        await super().send(channel, message)
        self.sent.append((channel, message))


@pytest.fixture(autouse=True)
async def layer() -> AsyncIterator[Recorder]:
    await get_backend(blocking=False).clear()
    layer = Recorder()
    channel_layers.set("default", layer)
    yield layer
    assert not hubs


@pytest.fixture
async def alice() -> AsyncIterator[Socket]:
    socket = await Socket().hello("alice")
    yield socket
    await socket.drop()


async def far_follower(*records: str) -> None:
    """Let another process follow records of the session."""
    lease = Lease("far", StoreKey(CODE, "far"), FAR, "c", frozenset(records))
    await get_backend(blocking=False).lease([lease])


async def note(text: str) -> None:
    await stores.get(Board, CODE, "alice").adispatch(Board.note, text)


async def test_no_layer_message_is_sent_when_no_other_process_follows(
    alice: Socket, layer: Recorder
) -> None:
    await note("x")
    await alice.expect("patch")
    await stores.get(Board, CODE, "bob").adispatch(Board.note, "nobody follows")
    await asyncio.sleep(0)
    assert layer.sent == []


async def test_a_commit_is_sent_to_the_processes_that_follow_as_one_string(
    alice: Socket, layer: Recorder
) -> None:
    await far_follower("alice")
    ack = await alice.act(1, "board.note", text="x")
    await until(lambda: layer.sent)
    ((channel, message),) = layer.sent
    assert channel == FAR
    assert message["type"] == MESSAGE_TYPE
    assert set(message) == {"type", "body"}
    body = json.loads(message["body"])
    assert (body["base"], body["rev"], body["ops"]) == (
        ack["base"],
        ack["rev"],
        ack["ops"],
    )


async def test_messages_stay_in_order_and_one_task_sends_them(
    alice: Socket, layer: Recorder
) -> None:
    await far_follower("alice")
    before = len(asyncio.all_tasks())
    for number in range(20):
        await note(str(number))
    assert len(asyncio.all_tasks()) <= before + 2
    await until(lambda: len(layer.sent) == 20)
    bodies = [json.loads(message["body"]) for _, message in layer.sent]
    assert [body["base"] for body in bodies[1:]] == [b["rev"] for b in bodies[:-1]]


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have our own process taken for another: its events come back by the layer."""
    monkeypatch.setattr(module, "hubs", {})


@pytest.mark.usefixtures("apart")
async def test_every_event_reaches_tabs_through_the_layer(alice: Socket) -> None:
    second = await Socket().hello("alice", client="c2")
    ack = await alice.act(1, "board.move", card="ace", pile="keep")
    patch = await second.expect("patch", doc="me")
    assert [patch[name] for name in ("base", "rev", "ops")] == [
        ack[name] for name in ("base", "rev", "ops")
    ]
    assert alice.silent, "the tab that acted knows from its ack"
    await stores.asend(CODE, {"all": True})
    for socket in (alice, second):
        await socket.expect("message", data={"all": True})
    await stores.get(Board, CODE, "alice").adelete()
    for socket in (alice, second):
        await socket.expect("snapshot", reset=True)
    await stores.arevoke(CODE, "alice")
    for socket in (alice, second):
        await socket.expect("error", code="invalid_token")
        await socket.closed()
    third = await Socket().hello("alice")
    await stores.acleanup_participant(CODE, "alice")
    await third.expect("end", reason="cleanup")
    await third.closed()


@pytest.mark.usefixtures("apart")
async def test_a_large_change_travels_without_its_operations(
    alice: Socket, layer: Recorder
) -> None:
    await note("x" * (events.MAX_OPERATIONS_BYTES + 1))
    frame = await alice.expect("snapshot", doc="me", reset=False)
    assert len(frame["states"]["board"]["notes"]) > events.MAX_OPERATIONS_BYTES
    assert len(layer.sent[-1][1]["body"]) < 1_000


async def test_a_commit_in_a_thread_goes_through_the_layer_too(
    alice: Socket, layer: Recorder
) -> None:
    await far_follower("alice")
    board = stores.get(Board, CODE, "alice")
    await asyncio.to_thread(board.dispatch, Board.note, "from a thread")
    assert [channel for channel, _ in layer.sent] == [FAR]
    await alice.expect("patch", doc="me")


async def test_events_of_one_loop_reach_tabs_of_another(alice: Socket) -> None:
    async def elsewhere() -> None:
        bob = await Socket().hello("bob")
        assert len(hubs) == 2
        await note("from another loop")
        await bob.drop()

    await asyncio.to_thread(asyncio.run, elsewhere())
    patch = await alice.expect("patch", doc="me")
    assert patch["ops"][0]["value"] == "from another loop"


async def test_a_full_channel_is_counted_and_the_commit_stands(
    alice: Socket, caplog: pytest.LogCaptureFixture
) -> None:
    channel_layers.set("default", InMemoryChannelLayer(capacity=1))
    await far_follower("alice")
    full, sent = counters.full, counters.sent
    await note("1")
    await note("2")
    await until(lambda: counters.full == full + 1)
    assert counters.sent == sent + 1
    assert "reads too slowly" in caplog.text


async def test_a_layer_that_breaks_is_counted_and_the_commit_stands(
    alice: Socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*args: Any) -> None:
        raise ConnectionError("down")

    monkeypatch.setattr(Recorder, "send", breaks)
    await far_follower("alice")
    failed = counters.failed
    await note("1")
    await until(lambda: counters.failed == failed + 1)
    board = stores.get(Board, CODE, "alice")
    await asyncio.to_thread(board.dispatch, Board.note, "2")
    assert counters.failed == failed + 2
    assert (await board.asnapshot()).state.notes == "2"


async def test_a_layer_that_hangs_holds_up_no_commit_for_long(
    alice: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*args: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Recorder, "send", hangs)
    monkeypatch.setattr(module, "LAYER_SECONDS", 0.01)
    await far_follower("alice")
    board = stores.get(Board, CODE, "alice")
    await asyncio.wait_for(asyncio.to_thread(board.dispatch, Board.note, "x"), 5)
    assert (await board.asnapshot()).state.notes == "x"


async def test_what_waits_for_a_stalled_layer_is_bounded(
    alice: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = asyncio.Event()

    async def waits(*args: Any) -> None:
        await free.wait()

    monkeypatch.setattr(Recorder, "send", waits)
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    await far_follower("alice")
    dropped, sent = counters.dropped, counters.sent
    for number in range(10):
        await note(str(number))
        await asyncio.sleep(0)
    assert counters.dropped == dropped + 6
    free.set()
    await until(lambda: counters.sent == sent + 4)


async def test_without_a_layer_other_processes_are_left_to_their_heartbeat(
    alice: Socket, settings: Any
) -> None:
    await far_follower("alice", SESSION)
    settings.CHANNEL_LAYERS = {}
    dropped = counters.dropped
    await note("x")
    assert counters.dropped == dropped + 1
    await alice.expect("patch")


@pytest.mark.parametrize(
    "event",
    [
        signals.Removal(ALICE, "idle"),
        signals.Message(StoreKey.of_session(CODE), {"a": ["ü", None, 1.5]}),
        signals.Revocation(ALICE),
    ],
)
def test_an_event_survives_the_journey(event: signals.Event) -> None:
    again: Any = events.decode(events.encode(event))
    assert type(again) is type(event)
    assert vars(again) == vars(event)


def test_a_change_survives_the_journey() -> None:
    change = signals.Change(
        ALICE,
        "7f3a.1-00000001",
        "7f3a.2-00000002",
        {"board": b'1:{"notes":""}'},
        {"board": b'1:{"notes":"x"}'},
        source="c",
    )
    again: Any = events.decode(events.encode(change))
    for name in ("key", "base", "rev", "operations", "source", "reset"):
        assert getattr(again, name) == getattr(change, name)


def test_a_reset_travels_without_operations() -> None:
    change = signals.Change(
        ALICE, "7f3a.1-00000001", "8f3a.1-00000002", {}, {"board": None}, reset=True
    )
    again: Any = events.decode(events.encode(change))
    assert again.reset
    assert again.operations is None


async def test_hubs_that_do_not_follow_are_not_told(alice: Socket) -> None:
    told: list[Any] = []

    class Other(Hub):
        def deliver(self, event: Any) -> None:
            told.append(event)

    other = Other(asyncio.get_running_loop())
    hubs[FAR] = other
    await note("x")
    assert told == []
    await far_follower("alice")
    await note("y")
    assert [event.key for event in told] == [ALICE]
    del hubs[FAR]
