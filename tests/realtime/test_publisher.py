from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers

from sessionstores import event_bus
from sessionstores.backends import get_backend
from sessionstores.backends.types import Lease
from sessionstores.keys import SESSION, StoreKey
from sessionstores.manager import stores
from sessionstores.realtime import publisher as module
from sessionstores.realtime import serializers
from sessionstores.realtime.channel_layer import MESSAGE_TYPE, counters
from sessionstores.realtime.hub import Hub, hubs
from tests.sockets import CODE, Socket, until
from tests.workshop.states import Board

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
    await note("x" * (serializers.MAX_OPERATIONS_BYTES + 1))
    frame = await alice.expect("snapshot", doc="me", reset=False)
    assert len(frame["states"]["board"]["notes"]) > serializers.MAX_OPERATIONS_BYTES
    assert len(layer.sent[-1][1]["body"]) < 1_000


async def test_a_thread_has_nobody_to_tell_by_a_layer_in_memory(
    alice: Socket, layer: Recorder
) -> None:
    await far_follower("alice")
    dropped = counters.dropped
    board = stores.get(Board, CODE, "alice")
    await asyncio.to_thread(board.dispatch, Board.note, "from a thread")
    assert counters.dropped == dropped + 1
    assert layer.sent == []
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


class Remote:
    """A layer as one beyond this process behaves: `how` it does, it can be told."""

    def __init__(self) -> None:
        self.how = "works"
        self.sent: list[dict[str, Any]] = []
        self.asked = 0

    async def new_channel(self) -> str:
        return "specific.remote"

    async def receive(self, channel: str) -> Any:
        await asyncio.Event().wait()

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self.asked += 1
        if self.how == "breaks":
            raise ConnectionError("down")
        await until(lambda: self.how != "hangs")
        self.sent.append(message)


@pytest.fixture
def remote() -> Remote:
    layer = Remote()
    channel_layers.set("default", layer)
    return layer


def noted(*texts: str) -> None:
    """Commit from code without an event loop."""
    for text in texts:
        stores.get(Board, CODE, "alice").dispatch(Board.note, text)


async def test_a_layer_that_breaks_is_counted_and_the_commit_stands(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    await far_follower("alice")
    remote.how = "breaks"
    failed, sent = counters.failed, counters.sent
    for text in ("1", "2"):
        await note(text)
    await until(lambda: counters.failed == failed + 2)
    await asyncio.to_thread(noted, "3", "4")
    await until(lambda: counters.failed == failed + 4)
    board = stores.get(Board, CODE, "alice")
    assert (await board.asnapshot()).state.notes == "4"
    told = [record for record in caplog.records if "takes no events" in record.message]
    assert len(told) == 1, "once for both loops"
    remote.how = "works"
    await asyncio.to_thread(noted, "5")
    await until(lambda: counters.sent == sent + 1)


async def test_a_layer_that_hangs_holds_up_a_caller_once_until_it_works_again(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    await far_follower("alice")
    remote.how = "hangs"
    failed = counters.failed
    with monkeypatch.context() as patience:
        patience.setattr(module, "LAYER_SECONDS", 0.05)
        await asyncio.to_thread(noted, "1")
        await until(lambda: counters.failed == failed + 1)
    assert module.publisher.is_cut_off
    # None of these waits, or it would take a thousand times as long as is allowed.
    monkeypatch.setattr(module, "LAYER_SECONDS", 3_600)
    await asyncio.wait_for(asyncio.to_thread(noted, *map(str, range(20))), 30)
    remote.how = "works"
    await until(lambda: len(remote.sent) == 20)
    # It waits again: when it returns, the layer has the event.
    await asyncio.to_thread(noted, "last")
    assert "last" in remote.sent[-1]["body"]
    assert not module.publisher.is_cut_off


async def test_an_event_for_many_processes_takes_no_longer_than_one(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        lease = Lease(f"{number}", ALICE, f"far{number}", "c", frozenset(["alice"]))
        await get_backend(blocking=False).lease([lease])
    remote.how = "hangs"
    monkeypatch.setattr(module, "LAYER_SECONDS", 0.01)
    failed = counters.failed
    await note("x")
    await until(lambda: counters.failed == failed + 5)
    assert remote.asked == 1


async def test_a_thread_waits_for_no_queue_that_is_full(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    await far_follower("alice")
    monkeypatch.setattr(module, "MAX_WAITING", 0)
    monkeypatch.setattr(module, "LAYER_SECONDS", 3_600)
    dropped = counters.dropped
    await asyncio.wait_for(asyncio.to_thread(noted, "x"), 30)
    assert counters.dropped == dropped + 1
    assert remote.asked == 0


def publishers() -> int:
    # Others' threads come and go: the sweep's, asgiref's.
    return [each.name for each in threading.enumerate()].count(
        "sessionstores-publisher"
    )


async def test_the_thread_ends_with_the_settings_that_its_connections_are_of(
    remote: Remote, settings: Any
) -> None:
    await far_follower("alice")
    await asyncio.to_thread(noted, "x")
    assert publishers() == 1
    settings.CACHES = {**settings.CACHES}
    assert publishers() == 0


async def test_what_cannot_be_encoded_is_logged_and_the_next_event_is_sent(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    for data in (object(), "x"):
        event = event_bus.Message(ALICE, data, frozenset([FAR]))
        await asyncio.to_thread(module.publisher.publish, event)
    assert [json.loads(message["body"])["data"] for message in remote.sent] == ["x"]
    assert "Delivery of Message failed" in caplog.text


async def test_a_change_that_waits_for_the_layer_is_sent_as_it_was_committed(
    remote: Remote,
) -> None:
    await far_follower("alice")
    board = stores.get(Board, CODE, "alice")

    def keep(state: Board) -> list[str]:
        kept = state.piles["keep"] = ["an ace of mine"]
        return kept

    kept = await board.adispatch(keep)
    kept.append("not in the state")
    await until(lambda: remote.sent)
    assert "not in the state" not in remote.sent[0]["body"]
    assert "an ace of mine" in remote.sent[0]["body"]


@pytest.mark.parametrize("how", ["breaks", "hangs"])
async def test_tabs_of_this_process_do_not_wait_for_the_layer(
    remote: Remote, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.how = how
    delivered: list[int] = []

    class Here:
        def deliver(self, event: event_bus.Hint) -> None:
            delivered.append(remote.asked)

    message = event_bus.Message(ALICE, "hello", frozenset(["here", FAR]))
    with monkeypatch.context() as serving:
        serving.setitem(hubs, "here", Here())
        await asyncio.to_thread(module.publisher.publish, message)
    remote.how = "works"
    assert delivered == [0]


async def test_what_waits_behind_others_keeps_no_states_in_memory(
    remote: Remote,
) -> None:
    await far_follower(SESSION, "alice")
    await stores.get(Board, CODE, "alice").asnapshot()
    remote.how = "hangs"
    for number in range(5):
        await stores.get(Board, CODE, "alice").adispatch(Board.note, f"{number}")
    await until(lambda: remote.asked)
    sender = module.publisher._senders[asyncio.get_running_loop()]
    assert [type(event) for event, *_ in sender._waiting] == [str] * 4
    remote.how = "works"
    await until(lambda: len(remote.sent) >= 5)


async def test_many_threads_share_one_publisher(remote: Remote) -> None:
    await far_follower("alice")
    module.publisher.close()

    def publish(number: int) -> None:
        module.publisher.publish(event_bus.Message(ALICE, number, frozenset([FAR])))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(100)))
    assert len(remote.sent) == 100
    assert publishers() == 1
    module.publisher.close()
    assert publishers() == 0


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


async def test_what_is_for_the_timeline_only_goes_to_no_tab_and_no_process(
    alice: Socket, layer: Recorder
) -> None:
    await far_follower("alice", SESSION)
    event_bus.bus.publish(event_bus.Note(ALICE, "joined"))
    await note("x")
    await alice.expect("patch")
    await until(lambda: layer.sent)
    assert [json.loads(message["body"])["kind"] for _, message in layer.sent] == [
        "change"
    ]


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
