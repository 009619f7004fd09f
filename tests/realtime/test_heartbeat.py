"""The heartbeat: leases, tokens, pings and the heads that they carry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers

from sessionstores import signals
from sessionstores.backends import get_backend
from sessionstores.exceptions import StoreUnavailable
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.participants.tokens import Claims, make_token, read_token
from sessionstores.realtime import heartbeat
from sessionstores.realtime.hub import Hub, current_hub, hubs
from sessionstores.realtime.protocol import Close
from tests.sockets import CODE, Opener, until
from tests.workshop.states import Board

ALICE = StoreKey(CODE, "alice")


@pytest.fixture(autouse=True)
async def empty() -> AsyncIterator[None]:
    await get_backend(blocking=False).clear()
    channel_layers.set("default", InMemoryChannelLayer())
    yield
    assert not hubs


async def fails(*args: Any, **kwargs: Any) -> Any:
    raise StoreUnavailable("no answer")


async def test_a_heartbeat_tells_every_tab_the_heads_of_its_documents(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"HEARTBEAT": 0.01}
    alice, bob = await tab("alice"), await tab("bob")
    for socket in (alice, bob):
        heads = {doc: frame["rev"] for doc, frame in socket.snapshots.items()}
        await socket.expect("ping", heads=heads)


async def test_a_lost_patch_shows_in_the_next_heads(tab: Opener) -> None:
    alice = await tab("alice")
    # A process without us among its followers: nothing tells us of its commit.
    backend = get_backend(blocking=False)
    record = await backend.read(ALICE)
    await backend.commit(record, record.rev.next(), {})  # type: ignore[arg-type,union-attr]
    await current_hub().heartbeat.pulse()
    ping = await alice.expect("ping")
    assert ping["heads"]["me"] != alice.snapshots["me"]["rev"]
    assert ping["heads"]["session"] == alice.snapshots["session"]["rev"]


async def test_heads_that_are_older_than_what_was_sent_are_left_out(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab("alice")
    backend = get_backend(blocking=False)
    heads = type(backend).heads

    async def slow(self: Any, keys: Any) -> Any:
        found = await heads(self, keys)
        await stores.get(Board, CODE, "alice").adispatch(Board.note, "meanwhile")
        return found

    monkeypatch.setattr(type(backend), "heads", slow)
    await current_hub().heartbeat.pulse()
    await alice.expect("patch", doc="me")
    ping = await alice.expect("ping")
    assert set(ping["heads"]) == {"session"}


async def test_a_record_that_is_gone_is_shown_anew_with_reset(tab: Opener) -> None:
    alice = await tab("alice")
    await alice.act(1, "board.note", text="x")
    await get_backend(blocking=False).delete(ALICE)
    await current_hub().heartbeat.pulse()
    frame = await alice.expect("snapshot", doc="me", reset=True)
    assert frame["states"]["board"]["notes"] == ""
    ping = await alice.expect("ping")
    assert "me" not in ping["heads"]


async def test_a_loss_is_told_once_to_receivers_and_to_each_tab(tab: Opener) -> None:
    lost: list[tuple[str, str]] = []

    def note(sender: Any, participant: str, reason: str, **named: Any) -> None:
        lost.append((participant, reason))

    tabs = [await tab("alice", client=f"c{number}") for number in range(3)]
    await tabs[0].act(1, "board.note", text="x")
    for socket in tabs[1:]:
        await socket.expect("patch")
    signals.participant_removed.connect(note)
    try:
        await get_backend(blocking=False).clear()
        await current_hub().heartbeat.pulse()
        for socket in tabs:
            frames = [await socket.receive() for _ in range(3)]
            while not socket.silent:
                frames.append(await socket.receive())
            told = [f["doc"] for f in frames if f.get("reset")]
            assert sorted(told) == ["me", "session"], frames
    finally:
        signals.participant_removed.disconnect(note)
    assert lost == [("alice", "lost")]


async def test_a_record_that_is_still_to_be_created_is_not_lost(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []

    def note(sender: Any, participant: str, **named: Any) -> None:
        lost.append(participant)

    await tab("bob")
    backend = type(get_backend(blocking=False))
    connections = backend.connections

    async def beaten(self: Any, key: StoreKey) -> Any:
        # The newcomer is leased, and nothing has been opened yet.
        await current_hub().heartbeat.pulse()
        return await connections(self, key)

    signals.participant_removed.connect(note)
    monkeypatch.setattr(backend, "connections", beaten)
    try:
        alice = await tab("alice")
    finally:
        signals.participant_removed.disconnect(note)
    assert not alice.snapshots["me"]["reset"]
    assert lost == []


def owe(participant: str, seconds: float) -> None:
    """Let the tab of a participant owe a pong for so long."""
    hub = current_hub()
    (connection,) = hub.following[StoreKey(CODE, participant)]
    connection.outbox.asked = hub.loop.time() - seconds


async def test_a_heartbeat_renews_the_leases_of_tabs_that_answer(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("new", "prompt", "mute"):
        await tab(name)
    renewed: list[str] = []

    async def lease(self: Any, leases: Any) -> list[StoreKey]:
        renewed.extend(lease.key.participant for lease in leases)
        return []

    monkeypatch.setattr(type(get_backend(blocking=False)), "lease", lease)
    owe("prompt", 9)
    owe("mute", 11)
    await current_hub().heartbeat.pulse()
    assert set(renewed) == {"new", "prompt"}


async def test_a_tab_that_answers_no_ping_for_too_long_is_closed(tab: Opener) -> None:
    slow, mute = await tab("slow"), await tab("mute")
    owe("slow", 24)
    owe("mute", 26)
    await current_hub().heartbeat.pulse()
    await slow.expect("ping")
    await mute.expect("error", code="slow")
    assert await mute.closed() == Close.SLOW


async def test_pings_that_are_answered_are_not_owed(tab: Opener) -> None:
    alice = await tab("alice")
    (connection,) = current_hub().connections.values()
    for _ in range(3):
        await current_hub().heartbeat.pulse()
        await alice.expect("ping")
        assert connection.outbox.asked is not None
        await alice.say(type="pong", visible=True)
        await until(lambda: connection.outbox.asked is None)


async def test_a_heartbeat_without_the_cache_pings_without_heads(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab("alice")
    backend = type(get_backend(blocking=False))
    with monkeypatch.context() as outage:
        for method in ("lease", "heads", "standings"):
            outage.setattr(backend, method, fails)
        await current_hub().heartbeat.pulse()
        assert "heads" not in await alice.expect("ping")
    await current_hub().heartbeat.pulse()
    assert "heads" in await alice.expect("ping")


async def test_pings_do_not_wait_for_leases_that_take_long(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "PING_WAIT_SECONDS", 0.001)
    renewed = asyncio.Event()

    async def slow(*args: Any) -> list[StoreKey]:
        await renewed.wait()
        return []

    alice = await tab("alice")
    monkeypatch.setattr(type(get_backend(blocking=False)), "lease", slow)
    pulse = asyncio.create_task(current_hub().heartbeat.pulse())
    assert set((await alice.expect("ping"))["heads"]) == {"me", "session"}
    assert not pulse.done()
    renewed.set()
    await pulse


async def test_heartbeats_that_take_longer_than_one_do_not_pile_up(
    tab: Opener, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSIONSTORES = {"HEARTBEAT": 0.005}
    running = most = beats = 0

    async def slow(self: Hub) -> None:
        nonlocal running, most, beats
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        beats += 1

    monkeypatch.setattr(heartbeat.Heartbeat, "pulse", slow)
    await tab("alice")
    await until(lambda: beats >= 5)
    assert most == 1


async def test_leases_of_many_connections_are_renewed_in_strides(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await tab(f"p{number}")
    sizes: list[int] = []

    async def lease(self: Any, leases: Any) -> list[StoreKey]:
        sizes.append(len(leases))
        return []

    monkeypatch.setattr(heartbeat, "STRIDE", 2)
    monkeypatch.setattr(type(get_backend(blocking=False)), "lease", lease)
    await current_hub().heartbeat.pulse()
    assert sizes == [2, 2, 1]


async def test_a_heartbeat_that_breaks_is_logged_and_the_next_one_comes(
    tab: Opener,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.SESSIONSTORES = {"HEARTBEAT": 0.01}

    async def breaks(*args: Any) -> None:
        raise ZeroDivisionError

    alice = await tab("alice")
    with monkeypatch.context() as fault:
        fault.setattr(type(get_backend(blocking=False)), "run_name", breaks)
        await until(lambda: "A heartbeat failed" in caplog.text)
    await alice.expect("ping")


async def test_an_outage_of_some_sessions_keeps_no_others_from_being_renewed(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bad", *(f"p{number}" for number in range(4))):
        await tab(name)
    renewed: list[str] = []

    async def lease(self: Any, leases: Any) -> list[StoreKey]:
        names = [lease.key.participant for lease in leases]
        if "bad" in names:
            raise StoreUnavailable("this shard does not answer")
        renewed.extend(names)
        return []

    monkeypatch.setattr(heartbeat, "STRIDE", 2)
    monkeypatch.setattr(type(get_backend(blocking=False)), "lease", lease)
    await current_hub().heartbeat.pulse()
    assert renewed == ["p1", "p2", "p3"]


async def test_of_sessions_whose_leases_are_not_renewed_nobody_is_taken_for_gone(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = Participant("AAAAAA", "bob").token()
    await tab("alice")
    await tab(token=others)
    backend = type(get_backend(blocking=False))
    lease, reap = backend.lease, backend.reap
    reaped: list[list[str]] = []

    async def partly(self: Any, leases: Any) -> Any:
        if any(lease.key.session == CODE for lease in leases):
            raise StoreUnavailable("this shard does not answer")
        return await lease(self, leases)

    async def counted(self: Any, codes: Any) -> Any:
        reaped.append(list(codes))
        return await reap(self, codes)

    monkeypatch.setattr(heartbeat, "STRIDE", 1)
    monkeypatch.setattr(backend, "lease", partly)
    monkeypatch.setattr(backend, "reap", counted)
    await current_hub().heartbeat.pulse()
    assert reaped == [["AAAAAA"]]


async def test_in_an_outage_leases_are_tried_for_no_longer_than_a_heartbeat(
    tab: Opener, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        await tab(f"p{number}")
    settings.SESSIONSTORES = {"HEARTBEAT": 1}
    loop = asyncio.get_running_loop()
    now, tries = loop.time(), 0

    async def hangs(self: Any, leases: Any) -> list[StoreKey]:
        nonlocal now, tries
        tries += 1
        now += 0.4
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(heartbeat, "STRIDE", 1)
    monkeypatch.setattr(type(get_backend(blocking=False)), "lease", hangs)
    connections = list(current_hub().connections.values())
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: now)
        assert await current_hub().heartbeat._renew_leases(connections) == {CODE}
    assert tries == 3


async def test_many_connections_are_pinged_in_strides(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "STRIDE", 2)
    sockets = [await tab(f"p{number}") for number in range(5)]
    leaving = asyncio.create_task(sockets[4].drop())
    await asyncio.gather(current_hub().heartbeat.pulse(), leaving)
    for socket in sockets[:4]:
        await socket.expect("ping")


# Tokens while connected


async def test_a_revocation_closes_open_connections_at_once(tab: Opener) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    await stores.arevoke(CODE, "alice")
    await alice.expect("error", code="invalid_token")
    assert await alice.closed() == Close.TOKEN
    assert (await bob.act(1, "board.note", text="x"))["type"] == "ack"
    await stores.arevoke(CODE)
    await bob.expect("error", code="invalid_token")
    assert await bob.closed() == Close.TOKEN


async def test_a_revocation_that_nobody_told_of_is_noticed_in_a_heartbeat(
    tab: Opener,
) -> None:
    alice = await tab("alice")
    await get_backend(blocking=False).revoke(ALICE)
    await current_hub().heartbeat.pulse()
    await alice.expect("error", code="invalid_token")
    assert await alice.closed() == Close.TOKEN


async def test_a_revocation_during_an_outage_waits_for_the_next_heartbeat(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab("alice")
    asked = []

    async def down(*args: Any) -> None:
        asked.append(args)
        await fails()

    with monkeypatch.context() as outage:
        outage.setattr(type(get_backend(blocking=False)), "standings", down)
        await stores.arevoke(CODE, "alice")
        await until(lambda: asked)
        assert (await alice.act(1, "board.note", text="x"))["type"] == "ack"
    await current_hub().heartbeat.pulse()
    await alice.expect("error", code="invalid_token")


async def test_an_end_that_nobody_told_of_is_noticed_in_a_heartbeat(
    tab: Opener,
) -> None:
    alice = await tab("alice")
    await get_backend(blocking=False).end_session(CODE)
    await current_hub().heartbeat.pulse()
    await alice.expect("end", reason="ended", retry=False)
    assert await alice.closed() == Close.ENDED


async def test_a_token_that_expires_while_connected_closes_even_in_an_outage(
    tab: Opener, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab("alice")
    settings.SESSIONSTORES = {"TOKEN_MAX_AGE": 0.001}
    await asyncio.sleep(0.002)
    monkeypatch.setattr(type(get_backend(blocking=False)), "standings", fails)
    await current_hub().heartbeat.pulse()
    await alice.expect("error", code="invalid_token")
    assert await alice.closed() == Close.TOKEN


async def test_a_token_is_renewed_before_it_expires(tab: Opener) -> None:
    issued = time.time() - 0.8 * 43_200
    old = make_token(Claims(CODE, "alice", "facilitator", issued))
    alice = await tab("alice", token=old)
    young = await tab("bob")
    await current_hub().heartbeat.pulse()
    frame = await alice.expect("token")
    claims = read_token(frame["token"], max_age=43_200)
    assert claims[:3] == (CODE, "alice", "facilitator")
    assert claims.issued > issued + 30_000
    await alice.expect("ping")
    await young.expect("ping")
    await current_hub().heartbeat.pulse()
    await alice.expect("ping")
    # What was issued over the socket is revoked like any other.
    await stores.arevoke(CODE, "alice")
    await alice.expect("error", code="invalid_token")
