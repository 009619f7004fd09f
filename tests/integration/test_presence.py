"""Presence from the backend's leases to the tabs: who is shown to whom, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sessionstores import event_bus, signals
from sessionstores.backends import get_backend
from sessionstores.backends.types import MAX_META_BYTES, Lease
from sessionstores.exceptions import SessionLocked, StoreUnavailable
from sessionstores.keys import SESSION, StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.realtime.channel_layer import counters
from sessionstores.realtime.hub import current_hub, hubs
from sessionstores.realtime.protocol import Close
from tests.faults.sites import on_redis
from tests.servers import Valkey
from tests.sockets import CODE, Opener, Socket, opening_tabs, token, until

ALICE, BOB = StoreKey(CODE, "alice"), StoreKey(CODE, "bob")


@pytest.fixture(autouse=True, params=["locmem", "valkey"])
def cache(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    """The caches on which presence is tried."""
    if request.param == "valkey":
        valkey: Valkey = request.getfixturevalue("valkey")
        settings.CACHES = on_redis(valkey.port, valkey.number)["CACHES"]
    yield
    assert not hubs


@pytest.fixture
async def tab() -> AsyncIterator[Opener]:
    async with opening_tabs() as open_tab:
        yield open_tab


@pytest.fixture
def received() -> Iterator[list[tuple[str, str]]]:
    """The signals of presence, in the order of their sending."""
    calls: list[tuple[str, str]] = []

    def join(sender: Any, participant: str, **named: Any) -> None:
        calls.append(("joined", participant))

    def leave(sender: Any, participant: str, **named: Any) -> None:
        calls.append(("left", participant))

    signals.participant_joined.connect(join)
    signals.participant_left.connect(leave)
    yield calls
    signals.participant_joined.disconnect(join)
    signals.participant_left.disconnect(leave)


async def shows(socket: Socket, **present: Any) -> None:
    """Wait until a tab shows who is present; a number stands for so many bare tabs."""
    wanted = {
        id: [{}] * metas if isinstance(metas, int) else metas
        for id, metas in present.items()
    }
    try:
        await until(lambda: socket.look() == wanted, f"{wanted}")
    except AssertionError as error:
        waiting = list(socket.communicator.output_queue._queue)
        error.add_note(f"It is {socket.present}; what was not received: {waiting}.")
        raise


def left(socket: Socket) -> list[str]:
    """Return who has left, as a tab was told."""
    socket.look()
    return [id for frame in socket.presence_frames for id in frame["left"]]


# Coming and going


async def test_the_first_frame_names_everybody_and_follows_the_snapshots(
    tab: Opener,
) -> None:
    alice = await tab("alice")
    await shows(alice, alice=1)
    bob = await tab("bob")
    await shows(bob, alice=1, bob=1)
    (first, *_) = bob.presence_frames
    assert first["joined"] == {"alice": [{}], "bob": [{}]}
    assert first["left"] == []


async def test_joins_and_leaves_reach_all_tabs_of_the_session_and_no_other(
    tab: Opener, settings: Any, received: list[tuple[str, str]]
) -> None:
    settings.SESSIONSTORES = {"LEAVE_GRACE": 0.05}
    one, two, bob = (
        await tab("alice"),
        await tab("alice", client="c2"),
        await tab("bob"),
    )
    for socket in (one, two, bob):
        await shows(socket, alice=2, bob=1)
    await bob.drop()
    for socket in (one, two):
        await shows(socket, alice=2)
    await two.drop()
    await shows(one, alice=1)
    assert received == [("joined", "alice"), ("joined", "bob"), ("left", "bob")]
    assert "alice" not in left(one)


async def test_a_hundred_reloads_announce_no_leave_and_no_join(
    tab: Opener, received: list[tuple[str, str]]
) -> None:
    bob = await tab("bob")
    page = await tab("alice")
    await shows(bob, alice=1, bob=1)
    frames = len(bob.presence_frames)
    for number in range(100):
        await page.drop()
        page = await tab("alice", client=f"c{number}")
    await until(lambda: not current_hub()._roster._looking)
    await shows(bob, alice=1, bob=1)
    assert received == [("joined", "bob"), ("joined", "alice")]
    assert len(bob.presence_frames) == frames
    (attendee,) = [
        a for a in (await stores.apresence(CODE)).values() if a.id == "alice"
    ]
    assert (attendee.connections, attendee.leaving) == (1, False)


async def test_who_says_goodbye_has_left_at_once(
    tab: Opener, settings: Any, received: list[tuple[str, str]]
) -> None:
    settings.SESSIONSTORES = {"LEAVE_GRACE": 600}
    alice, bob = await tab("alice"), await tab("bob")
    await shows(bob, alice=1, bob=1)
    await alice.say(type="bye")
    assert await alice.closed() == Close.NORMAL
    assert received[-1] == ("left", "alice")
    await shows(bob, bob=1)
    await bob.say(type="bye")
    await bob.closed()
    assert received[-1] == ("left", "bob")
    assert await stores.apresence(CODE) == {}


async def test_within_the_grace_a_participant_is_leaving_and_still_shown(
    tab: Opener, settings: Any, received: list[tuple[str, str]]
) -> None:
    settings.SESSIONSTORES = {"LEAVE_GRACE": 600}
    bob = await tab("bob")
    alice = await tab("alice", meta={"name": "Al"})
    await shows(bob, alice=[{"name": "Al"}], bob=1)
    await alice.drop()
    await current_hub().heartbeat.pulse()
    await bob.expect("ping")
    attendee = (await stores.apresence(CODE))["alice"]
    assert (attendee.connections, attendee.leaving) == (0, True)
    assert attendee.metas == ({"name": "Al"},)
    assert bob.look()["alice"] == [{"name": "Al"}]
    assert ("left", "alice") not in received


@pytest.mark.parametrize("way", ["cleanup", "ended", "disconnected"])
async def test_who_is_removed_or_sent_away_has_left_at_once(
    tab: Opener, settings: Any, way: str, received: list[tuple[str, str]]
) -> None:
    settings.SESSIONSTORES = {"LEAVE_GRACE": 600}
    alice, bob = await tab("alice"), await tab("bob")
    await shows(bob, alice=1, bob=1)
    if way == "cleanup":
        await stores.acleanup_participant(CODE, "alice")
    elif way == "ended":
        await stores.aend_session(CODE)
    else:
        followers = await get_backend(blocking=False).followers(ALICE)
        event_bus.bus.publish(event_bus.Disconnection(ALICE, followers))
    await alice.expect("end", reason=way, retry=False)
    code = await alice.closed()
    assert code == (Close.DISCONNECTED if way == "disconnected" else Close.ENDED)
    assert "alice" not in await stores.apresence(CODE)
    if way == "ended":
        await bob.expect("end", reason="ended")
        await bob.closed()
    else:
        await shows(bob, bob=1)
        assert received[-1] == ("left", "alice")


async def test_a_disconnection_of_a_session_closes_the_tabs_of_all(
    tab: Opener,
) -> None:
    tabs = [await tab("alice"), await tab("bob")]
    key = StoreKey.of_session(CODE)
    followers = await get_backend(blocking=False).followers(key)
    event_bus.bus.publish(event_bus.Disconnection(key, followers))
    for socket in tabs:
        await socket.expect("end", reason="disconnected", retry=False)
        assert await socket.closed() == Close.DISCONNECTED
    back = await tab("alice")
    assert back.welcome["participant"] == "alice"


async def test_who_another_process_held_is_gone_with_the_lease_not_with_the_beat(
    tab: Opener, settings: Any, received: list[tuple[str, str]]
) -> None:
    # No beat comes in time.
    settings.SESSIONSTORES = {"HEARTBEAT": 600, "PRESENCE_LEASE": 1}
    far = Lease("far", BOB, "far", "c", frozenset({SESSION}))
    await get_backend(blocking=False).lease([far])
    settings.SESSIONSTORES = {"HEARTBEAT": 600}
    alice = await tab("alice")
    await shows(alice, alice=1, bob=1)
    await until(lambda: alice.look() == {"alice": [{}]}, "the ghost to go")
    assert received == [("joined", "alice"), ("left", "bob")]


async def test_a_newcomer_who_is_refused_is_announced_to_nobody(
    tab: Opener, settings: Any, received: list[tuple[str, str]]
) -> None:
    settings.SESSIONSTORES = {"MAX_PARTICIPANTS": 1}
    bob = await tab("bob")
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token=token("eve"), client="c", have={})
    await socket.expect("error", code="limit_reached")
    assert await socket.closed() == Close.LIMIT
    await current_hub().heartbeat.pulse()
    await bob.expect("ping")
    await until(lambda: received)
    assert received == [("joined", "bob")]
    assert set(bob.look()) == {"bob"}
    assert set(await stores.apresence(CODE)) == {"bob"}


async def test_a_valid_token_opens_a_locked_session_with_a_record_or_without(
    tab: Opener, received: list[tuple[str, str]]
) -> None:
    await tab("bob")
    await stores.alock(CODE)
    alice = await tab("alice")
    assert alice.welcome["participant"] == "alice"
    await alice.drop()
    await stores.acleanup_participant(CODE, "alice")
    back = await tab("alice")
    answer = await back.act(1, "board.note", text="here")
    assert answer["type"] == "ack", answer
    assert await stores.aparticipants(CODE) == ["alice", "bob"]
    with pytest.raises(SessionLocked):
        await get_backend(blocking=False).open(StoreKey(CODE, "eve"), {})


async def test_a_join_is_told_though_the_tab_that_made_it_is_gone_too_soon(
    tab: Opener, monkeypatch: pytest.MonkeyPatch, received: list[tuple[str, str]]
) -> None:
    backend = type(get_backend(blocking=False))
    connections = backend.connections
    asked, other = asyncio.Event(), asyncio.Event()

    async def fails_once(self: Any, key: StoreKey) -> Any:
        if asked.is_set():
            return await connections(self, key)
        asked.set()
        await other.wait()
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(backend, "connections", fails_once)
    first = Socket()
    await first.open()
    await first.say(type="hello", token=token("alice"), client="c1", have={})
    await asked.wait()
    second = await tab("alice", client="c2")
    assert received == []
    other.set()
    await first.expect("error", code="store_unavailable")
    assert await first.closed() == Close.UNAVAILABLE
    assert received == [("joined", "alice")]
    await second.say(type="bye")
    await second.closed()
    assert received == [("joined", "alice"), ("left", "alice")]


async def test_tabs_that_are_leaving_do_not_count_towards_the_limit(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"MAX_CONNECTIONS": 2, "LEAVE_GRACE": 600}
    for number in range(5):
        page = await tab("alice", client=f"c{number}")
        await page.drop()
    again = await tab("alice", client="c4")
    assert again.welcome["client"] == "c4", "the tab before it is gone, not copied"
    await tab("alice", client="c5")
    refused = Socket()
    with pytest.raises(AssertionError, match="limit_reached"):
        await refused.hello("alice", client="c6")
    assert await refused.closed() == Close.TOO_MANY_CONNECTIONS


# What tabs show of themselves


async def test_what_a_tab_shows_of_itself_reaches_the_others(tab: Opener) -> None:
    alice, bob = await tab("alice", meta={"name": "Al"}), await tab("bob")
    await shows(bob, alice=[{"name": "Al"}], bob=1)
    await alice.say(type="meta", data={"name": "Al", "typing": True})
    await shows(bob, alice=[{"name": "Al", "typing": True}], bob=1)
    await shows(alice, alice=[{"name": "Al", "typing": True}], bob=1)
    await alice.say(type="meta", data={})
    await shows(bob, alice=1, bob=1)
    assert (await stores.apresence(CODE))["alice"].metas == ({},)


async def test_a_meta_that_is_too_large_is_refused_and_changes_nothing(
    tab: Opener, settings: Any
) -> None:
    settings.DEBUG = True
    alice, bob = await tab("alice", meta={"name": "Al"}), await tab("bob")
    await shows(bob, alice=[{"name": "Al"}], bob=1)
    full = {"x": "y" * (MAX_META_BYTES - len('{"x":""}'))}
    await alice.say(type="meta", data={**full, "z": 1})
    error = await alice.expect("error", code="bad_meta")
    assert "1024 bytes" in error["hint"]
    await alice.say(type="meta", data=full)
    await shows(bob, alice=[full], bob=1)
    assert (await alice.act(1, "board.note", text="x"))["type"] == "ack"


async def test_a_tab_that_comes_with_too_large_a_meta_is_let_in_without(
    tab: Opener,
) -> None:
    socket = Socket()
    await socket.open()
    meta = {"x": "y" * MAX_META_BYTES}
    await socket.say(type="hello", token=token("bob"), client="c", meta=meta)
    await socket.expect("error", code="bad_meta")
    for kind in ("welcome", "snapshot", "snapshot"):
        await socket.expect(kind)
    await shows(socket, bob=1)
    await socket.drop()


async def test_a_flood_of_metas_costs_a_few_leases_and_the_last_one_counts(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    await shows(bob, alice=1, bob=1)
    backend = type(get_backend(blocking=False))
    lease = backend.lease
    leased: list[int] = []

    async def counted(self: Any, leases: Any) -> Any:
        leased.append(len(leases))
        return await lease(self, leases)

    monkeypatch.setattr(backend, "lease", counted)
    started = asyncio.get_running_loop().time()
    # More than a tab may send at once: the last comes in all the same.
    for number in range(300):
        await alice.say(type="meta", data={"n": number})
    await shows(bob, alice=[{"n": 299}], bob=1)
    seconds = asyncio.get_running_loop().time() - started
    assert len(leased) <= 2 + seconds * 4


async def test_a_tab_that_stalls_is_shown_only_the_last(tab: Opener) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    await shows(bob, alice=1, bob=1)
    (connection,) = current_hub().following[BOB]
    outbox = connection.outbox
    send, free = outbox._send, asyncio.Event()

    async def stalled(event: dict[str, Any]) -> None:
        await free.wait()
        await send(event)

    outbox._send = stalled
    frames = len(bob.presence_frames)
    for number in range(3):
        await alice.say(type="meta", data={"n": number})
        await until(lambda n=number: alice.look()["alice"] == [{"n": n}])  # type: ignore[misc]
    queued = [item for item in outbox._queue if not isinstance(item, str)]
    assert len(queued) <= 1
    free.set()
    await shows(bob, alice=[{"n": 2}], bob=1)
    assert len(bob.presence_frames) - frames <= 2


# What others are told, and what they find out


async def test_hints_that_are_lost_show_in_the_next_heartbeat(tab: Opener) -> None:
    alice = await tab("alice")
    await shows(alice, alice=1)
    far = Lease("far", BOB, "far", "c", frozenset({SESSION}), b'{"n":1}')
    backend = get_backend(blocking=False)
    await backend.lease([far])
    await current_hub().heartbeat.pulse()
    await alice.expect("ping")
    await shows(alice, alice=1, bob=[{"n": 1}])
    await backend.release(far)
    await current_hub().heartbeat.pulse()
    await alice.expect("ping")
    await shows(alice, alice=1)


async def test_another_process_is_told_to_look_at_each_change(tab: Opener) -> None:
    far = Lease("far", BOB, "specific.far!x", "c", frozenset({SESSION}))
    await get_backend(blocking=False).lease([far])
    sent = counters.sent
    alice = await tab("alice")
    await until(lambda: counters.sent > sent)
    await shows(alice, alice=1, bob=1)
    sent = counters.sent
    await alice.say(type="meta", data={"n": 1})
    await until(lambda: counters.sent > sent)
    sent = counters.sent
    await alice.say(type="bye")
    await alice.closed()
    await until(lambda: counters.sent > sent)


async def run_out(leases: list[Lease], settings: Any) -> None:
    """Let these leases run out soon, and return when they have; no others do."""
    given = settings.SESSIONSTORES
    settings.SESSIONSTORES = given | {"PRESENCE_LEASE": 0.05}
    await get_backend(blocking=False).lease(leases)
    settings.SESSIONSTORES = given
    await asyncio.sleep(0.1)


async def test_the_ghosts_of_a_killed_process_are_gone_within_the_lease(
    tab: Opener, settings: Any, received: list[tuple[str, str]]
) -> None:
    alice = await tab("alice")
    await shows(alice, alice=1)
    ghosts = [
        Lease(str(number), StoreKey(CODE, f"g{number}"), "far", "c", frozenset({"*"}))
        for number in range(5)
    ]
    await get_backend(blocking=False).lease(ghosts)
    await current_hub().heartbeat.pulse()
    await alice.expect("ping")
    await shows(alice, alice=1, **{lease.key.participant: 1 for lease in ghosts})
    await run_out(ghosts, settings)
    await current_hub().heartbeat.pulse()
    await alice.expect("ping")
    await shows(alice, alice=1)
    assert sorted(received[1:]) == [("left", f"g{number}") for number in range(5)]


async def test_a_participant_whose_leases_ran_out_joins_anew(
    tab: Opener, received: list[tuple[str, str]]
) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    await shows(bob, alice=1, bob=1)
    # As if this process had been paused, and another one had looked after it.
    backend = get_backend(blocking=False)
    (lease,) = await backend.connections(ALICE)
    await backend.release(lease)
    await current_hub().heartbeat.pulse()
    assert received == [("joined", "alice"), ("joined", "bob"), ("joined", "alice")]
    await bob.expect("ping")
    await shows(bob, alice=1, bob=1)
    await alice.expect("ping")


async def test_a_lease_that_comes_in_after_its_release_is_taken_back(
    tab: Opener, monkeypatch: pytest.MonkeyPatch, received: list[tuple[str, str]]
) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    await shows(bob, alice=1, bob=1)
    backend = type(get_backend(blocking=False))
    lease = backend.lease
    gone = asyncio.Event()

    async def slow(self: Any, leases: Any) -> Any:
        await gone.wait()
        return await lease(self, leases)

    with monkeypatch.context() as delay:
        delay.setattr(backend, "lease", slow)
        pulse = asyncio.create_task(current_hub().heartbeat.pulse())
        await alice.expect("ping")
        await alice.say(type="bye")
        await alice.closed()
        gone.set()
        await pulse
    assert set(await stores.apresence(CODE)) == {"bob"}
    joins = sum(call == ("joined", "alice") for call in received)
    assert joins == sum(call == ("left", "alice") for call in received)
    await bob.expect("ping")
    await shows(bob, bob=1)


async def test_presence_is_kept_from_other_sessions(tab: Opener) -> None:
    alice = await tab("alice", meta={"secret": "of alice"})
    eve = await tab(token=Participant("AAAAAA", "eve").token())
    await shows(alice, alice=[{"secret": "of alice"}])
    await shows(eve, eve=1)
    await current_hub().heartbeat.pulse()
    await eve.expect("ping")
    assert "secret" not in json.dumps(eve.presence_frames)
