from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers

from sessionstores import event_bus
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.exceptions import StoreUnavailable
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.realtime import hub as module
from sessionstores.realtime.hub import Hub, current_hub, hubs
from tests.logs import records_of_ours
from tests.realtime.layers import message
from tests.sockets import CODE, Opener, Socket, until
from tests.workshop.states import Agenda, Board

ALICE = StoreKey(CODE, "alice")


@pytest.fixture(autouse=True)
async def empty() -> AsyncIterator[None]:
    await get_backend(blocking=False).clear()
    channel_layers.set("default", InMemoryChannelLayer())
    yield
    assert not hubs


async def fails(*args: Any, **kwargs: Any) -> Any:
    raise StoreUnavailable("no answer")


async def test_a_hub_runs_while_it_has_connections(tab: Opener) -> None:
    before = asyncio.all_tasks()
    alice, bob = await tab("alice"), await tab("bob")
    hub = current_hub()
    assert hubs == {hub.process: hub}
    own = {alice.communicator.future, bob.communicator.future}
    assert len(asyncio.all_tasks() - before - own) == 2
    await alice.drop()
    assert hubs
    await bob.drop()
    # They may come back within `LEAVE_GRACE`; that is waited for.
    left = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}
    assert left == {"Roster._reap"}
    assert not hubs
    assert await get_backend(blocking=False).followers(ALICE) == frozenset()
    await tab("alice")
    assert hubs == {current_hub().process: current_hub()}


async def test_tabs_that_come_and_go_at_once_leave_one_hub_running(
    tab: Opener,
) -> None:
    for _ in range(20):
        old = [Socket() for _ in range(3)]
        await asyncio.gather(*(socket.hello(f"p{n}") for n, socket in enumerate(old)))
        (new, *_) = await asyncio.gather(
            tab("alice", client="c9"), *(socket.drop() for socket in old)
        )
        assert list(hubs) == [current_hub().process]
        ack = await new.act(1, "board.note", text="x")
        assert ack["type"] == "ack"
        await new.drop()


# Events


async def test_a_message_reaches_whom_it_is_for(tab: Opener) -> None:
    first, second = await tab(client="c1"), await tab(client="c2")
    bob = await tab("bob")
    await stores.asend(CODE, {"for": "alice"}, "alice")
    await stores.asend(CODE, {"for": "all"})
    for socket in (first, second):
        await socket.expect("message", data={"for": "alice"})
        await socket.expect("message", data={"for": "all"})
    await bob.expect("message", data={"for": "all"})


async def test_a_lost_record_costs_a_snapshot_and_no_end(tab: Opener) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    await get_backend(blocking=False).delete(ALICE)
    current_hub().deliver(event_bus.Removal(ALICE, "lost"))
    await alice.expect("snapshot", doc="me", reset=True)
    current_hub().deliver(event_bus.Removal(StoreKey.of_session(CODE), "lost"))
    await alice.expect("snapshot", doc="session", reset=False)
    await bob.expect("snapshot", doc="session", reset=False)


async def test_an_event_from_another_thread_is_delivered_in_the_loop(
    tab: Opener,
) -> None:
    alice = await tab("alice")
    hub = current_hub()
    event = event_bus.Message(ALICE, "hi")
    thread = threading.Thread(target=hub.deliver, args=(event,))
    thread.start()
    await alice.expect("message", data="hi")
    thread.join()


def test_a_hub_whose_loop_was_closed_is_forgotten() -> None:
    loop = asyncio.new_event_loop()
    hub = Hub(loop)
    hub.process = "specific.gone!x"
    hubs[hub.process] = hub
    loop.close()
    hub.deliver(event_bus.Message(ALICE, "hi"))
    assert hub.process not in hubs


async def test_a_delivery_that_breaks_does_not_stop_the_listener(
    tab: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alice = await tab("alice")
    hub = current_hub()
    layer: Any = channel_layers["default"]
    with monkeypatch.context() as fault:
        fault.setattr(hub, "following", None)
        await layer.send(hub.process, message(event_bus.Message(ALICE, 1)))
        await until(lambda: "Delivery of Message failed" in caplog.text)
    await layer.send(hub.process, message(event_bus.Message(ALICE, 2)))
    await alice.expect("message", data=2)


async def test_who_comes_while_a_lease_is_released_stays_followed(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await tab(client="c1")
    backend = get_backend(blocking=False)
    release = type(backend).release
    new: list[Socket] = []

    async def slow(self: Any, lease: Any, *, grace: float = 0) -> bool:
        if not new:
            new.append(Socket())
            await new[0].hello("alice", client="c2")
        last: bool = await release(self, lease, grace=grace)
        return last

    monkeypatch.setattr(type(backend), "release", slow)
    await first.drop()
    assert await backend.followers(ALICE) == {current_hub().process}
    await stores.get(Board, CODE, "alice").adispatch(Board.note, "x")
    await new[0].expect("patch", doc="me")
    await new[0].drop()


async def test_nothing_of_one_participant_reaches_another(tab: Opener) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    await alice.act(1, "board.note", text="a secret of alice")
    await stores.asend(CODE, "a secret of alice", "alice")
    await stores.get(Board, CODE, "alice").adispatch(Board.note, "a secret of alice 2")
    await current_hub().heartbeat.pulse()
    ping = await bob.expect("ping")
    assert "secret" not in json.dumps([ping, bob.snapshots, bob.welcome])
    assert bob.silent


async def test_a_session_document_is_followed_by_all(tab: Opener) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    await stores.get(Agenda, CODE).adispatch(lambda agenda: agenda.votes.update(x=1))
    one = await alice.expect("patch", doc="session")
    assert await bob.expect("patch") == one


@pytest.mark.parametrize("error", [asyncio.CancelledError, ZeroDivisionError])
async def test_a_leave_that_breaks_off_stops_the_hub_all_the_same(
    tab: Opener, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    await tab("alice")
    hub = current_hub()
    (connection,) = hub.connections.values()

    async def breaks(*args: Any, **kwargs: Any) -> bool:
        raise error

    monkeypatch.setattr(type(get_backend(blocking=False)), "release", breaks)
    with suppress(asyncio.CancelledError):
        await hub.leave(connection)
    assert not hubs


async def test_leaving_twice_releases_once(tab: Opener) -> None:
    await tab("alice", client="c1")
    hub = current_hub()
    (connection,) = hub.connections.values()
    await hub.leave(connection, for_good=True)
    await hub.leave(connection)
    assert await get_backend(blocking=False).connections(ALICE) == []


async def test_a_hub_that_is_cancelled_while_it_starts_still_listens(
    tab: Opener,
) -> None:
    class Slow(InMemoryChannelLayer):
        async def new_channel(self, *args: Any) -> str:
            if not starting.done():
                starting.set_result(None)
                await asyncio.Event().wait()
            name: str = await super().new_channel(*args)
            return name

    starting = asyncio.get_running_loop().create_future()
    layer = Slow()
    channel_layers.set("default", layer)
    first = asyncio.create_task(Socket().hello("bob"))
    await starting
    second = asyncio.create_task(tab("alice"))
    await asyncio.sleep(0)
    first.cancel()
    alice = await second
    await until(lambda: current_hub().process.startswith("specific."))
    name = current_hub().process
    await layer.send(name, message(event_bus.Message(ALICE, "heard")))
    await alice.expect("message", data="heard")


def test_a_loop_that_ends_under_its_tabs_leaves_nothing_undone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def visit() -> Socket:
        return await Socket().hello("alice")

    gc.collect()  # What other tests left behind is not meant.
    caplog.clear()
    asyncio.run(visit())
    gc.collect()
    assert records_of_ours(caplog) == []
    (lease,) = run(get_backend(blocking=True).connections(ALICE))
    assert lease.leaving


def test_hubs_keep_no_loop_that_is_over() -> None:
    async def visit() -> None:
        await (await Socket().hello("alice")).drop()

    before = len(module._by_loop)
    asyncio.run(visit())
    assert len(module._by_loop) <= before


async def test_what_a_tab_called_itself_is_known_after_it_has_gone() -> None:
    backend = get_backend(blocking=False)

    async def shown() -> dict[str, str]:
        found = await backend.participants(CODE)
        return {each.id: each.shown_name for each in found}

    zoe = await Socket().hello("alice", meta={"name": " Zoë ", "step": 2})
    bob = await Socket().hello("bob", meta={"name": ["Bob"]})
    named = await Socket().hello("carol", meta={"name": "Nick"})
    await stores.aset_name(CODE, "carol", "Carol")
    await until(
        lambda: all(
            each.profile.name == "Carol"
            for hub in hubs.values()
            for each in hub.connections.values()
            if each.key.participant == "carol"
        ),
        "the name",
    )
    for socket in (zoe, bob, named):
        await socket.drop()
    assert await shown() == {"alice": "Zoë", "bob": "", "carol": ""}
