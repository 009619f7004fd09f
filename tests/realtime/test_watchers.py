"""Watching others: who may, what they are sent, and what they are told of its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers

from sessionstores.backends import get_backend
from sessionstores.backends.types import EVERYONE
from sessionstores.exceptions import StoreUnavailable
from sessionstores.keys import SESSION, StoreKey
from sessionstores.manager import stores
from sessionstores.realtime import watch_list, watchers
from sessionstores.realtime.hub import current_hub, hubs
from sessionstores.state.declaration import State, StateMeta, registry
from tests.sockets import CODE, Frame, Opener, Socket, until
from tests.workshop.states import Board

BOB = StoreKey(CODE, "bob")


@pytest.fixture(autouse=True)
async def empty() -> AsyncIterator[None]:
    await get_backend(blocking=False).clear()
    channel_layers.set("default", InMemoryChannelLayer())
    yield
    assert not hubs
    for hub in (current_hub(),):
        assert not hub.watchers.sessions
        assert not hub.watchers.following


async def noted(id: str, text: str = "secret") -> str:
    """Have a participant's board changed; return its rev."""
    board = stores.get(Board, CODE, id)
    await board.adispatch(lambda b: (b.deck.append(text), setattr(b, "notes", text)))
    snapshot = await board.apeek()
    assert snapshot is not None
    return snapshot.rev


async def after(seconds: float) -> None:
    """Return when the cache's clock is that much further."""
    clock = get_backend(blocking=False).clock
    due = clock() + seconds
    await until(lambda: clock() > due)


async def watching(tab: Opener, *ids: str, **hello: Any) -> Socket:
    """Open a facilitator's tab that watches; of more than one, take all answers."""
    ada = await tab("ada", role="facilitator", **hello)
    for id in ids:
        await ada.say(type="watch", participant=id)
        await ada.expect("watching", participant=id)
        if len(ids) > 1:
            told = await ada.receive()
            assert told.get("participant", told.get("doc")) in {id, f"p:{id}"}
    return ada


async def frames(socket: Socket, count: int) -> dict[str, Frame]:
    """Return the next frames of documents, by document."""
    found = [await socket.receive() for _ in range(count)]
    return {frame["doc"]: frame for frame in found}


async def test_a_role_that_may_is_shown_what_a_participant_does(tab: Opener) -> None:
    bob = await tab("bob")
    ada = await tab("ada", role="facilitator")
    await ada.say(type="watch", participant="bob")
    await ada.expect("watching", participant="bob", states=["board"], people={})
    snapshot = await ada.expect("snapshot", doc="p:bob", reset=False)
    deck = ["ace", "king", "queen", "jack", "ten"]
    # Without the notes, which are sensitive.
    assert snapshot["states"] == {"board": {"deck": deck, "piles": {}}}
    assert snapshot["rev"] == bob.snapshots["me"]["rev"]
    ack = await bob.act(1, "board.move", card="ace", pile="keep")
    patch = await ada.expect("patch", doc="p:bob", base=ack["base"], rev=ack["rev"])
    assert patch["ops"] == ack["ops"]
    ack = await bob.act(2, "board.note", text="secret")
    await ada.expect("patch", doc="p:bob", base=ack["base"], rev=ack["rev"], ops=[])
    await ada.say(type="unwatch", participant="bob")
    await ada.act(1, "agenda.advance")
    await bob.act(3, "board.clear")
    assert ada.silent


@pytest.mark.parametrize("whom", ["bob", "*", "nobody", "ada"])
async def test_a_role_that_may_not_is_refused(tab: Opener, whom: str) -> None:
    ada, bob = await tab("ada"), await tab("bob")
    await ada.say(type="watch", participant=whom)
    if whom == "ada":
        await ada.expect("error", code="bad_frame", of="watch", participant="ada")
    else:
        await ada.expect("error", code="forbidden", of="watch", participant=whom)
    await bob.act(1, "board.note", text="x")
    await ada.say(type="sync", doc="p:bob")
    await ada.expect("error", code="bad_frame", of="sync")
    assert ada.silent


async def test_a_refusal_says_to_developers_who_may(tab: Opener, settings: Any) -> None:
    settings.DEBUG = True
    ada = await tab("ada", role="guest")
    await ada.say(type="watch", participant="bob")
    error = await ada.expect("error", code="forbidden")
    assert "'guest' may watch nobody" in error["hint"]


async def test_everybody_is_watched_whoever_comes_later_too(tab: Opener) -> None:
    await noted("bob")
    await stores.aset_name(CODE, "bob", "Bob")
    ada = await tab("ada", role="facilitator")
    await ada.say(type="watch", participant="*")
    named = {"bob": {"name": "Bob", "role": "participant"}}
    await ada.expect("watching", participant="*", states=["board"], people=named)
    await ada.expect("snapshot", doc="p:bob")
    # One who opens a tab, and one whom the server's own code creates.
    carol = await tab("carol")
    await ada.expect("snapshot", doc="p:carol", rev=carol.snapshots["me"]["rev"])
    rev = await noted("dave")
    await ada.expect("snapshot", doc="p:dave", rev=rev)
    await carol.act(1, "board.clear")
    await ada.say(type="sync", doc="p:dave", rev=rev)
    shown = await ada.expect("snapshot", doc="p:dave", rev=rev)
    assert "states" not in shown
    # Their names come with a beat.
    await current_hub().heartbeat.pulse()
    new = {"name": None, "role": "participant"}
    people = {"carol": new, "dave": new}
    await ada.expect("ping")
    await ada.expect("watching", participant="*", people=people)
    assert ada.silent


async def test_one_entry_follows_everybody(tab: Opener) -> None:
    ids = [f"p{n}" for n in range(watch_list.MAX_NAMED + 1)]
    backend = get_backend(blocking=False)
    ada = await watching(tab, *ids[:-1])
    (lease,) = await backend.connections(StoreKey(CODE, "ada"))
    assert lease.follows == {"ada", SESSION, *ids[:-1]}
    await ada.say(type="watch", participant=ids[-1])
    await ada.expect("watching", participant=ids[-1])
    (lease,) = await backend.connections(StoreKey(CODE, "ada"))
    assert lease.follows == {"ada", SESSION, EVERYONE}
    await ada.expect("gone", participant=ids[-1])
    # Others whom it does not watch reach the process, and not the tab.
    await noted("bob")
    rev = await noted("p3")
    await ada.expect("snapshot", doc="p:p3", rev=rev)
    process = current_hub().process
    assert await backend.followers(BOB) == {process}
    await ada.drop()
    assert await backend.followers(BOB) == frozenset()


async def test_a_class_is_followed_by_one_read_a_beat(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(40):
        await noted(f"p{n}")
    ada = await watching(tab, "*")
    shown = await frames(ada, 40)
    assert set(shown) == {f"p:p{n}" for n in range(40)}
    calls: list[str] = []
    backend = type(get_backend(blocking=False))
    for name in ("read", "participants", "heads", "profiles"):
        method = getattr(backend, name)

        def counted(self: Any, *args: Any, _m: Any = method, **kwargs: Any) -> Any:
            calls.append(_m.__name__)
            return _m(self, *args, **kwargs)

        monkeypatch.setattr(backend, name, counted)
    await current_hub().heartbeat.pulse()
    assert calls.count("participants") == 1
    assert calls.count("read") == 0
    assert calls.count("heads") == 1
    ping = await ada.expect("ping")
    assert set(ping["heads"]) == {"me", "session"}


async def test_a_large_class_is_listed_at_every_second_beat(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionstores.realtime.watch_beats.LISTED", 4)
    for n in range(4):
        await noted(f"p{n}")
    ada = await watching(tab, "*")
    await frames(ada, 4)
    backend = get_backend(blocking=False)
    for lost in (False, True):
        record = await backend.read(StoreKey(CODE, "p1"))
        # Five with the facilitator: the first beat lists them, the next one does not.
        await backend.commit(record, record.rev.next(), {})  # type: ignore[arg-type,union-attr]
        await current_hub().heartbeat.pulse()
        await ada.expect("ping")
        assert ada.silent is lost or await ada.expect("snapshot", doc="p:p1")


async def test_a_lost_message_is_made_up_for_at_the_next_beat(tab: Opener) -> None:
    await noted("bob")
    ada = await watching(tab, "bob")
    await ada.expect("snapshot", doc="p:bob")
    backend = get_backend(blocking=False)
    record = await backend.read(BOB)
    rev = record.rev.next()  # type: ignore[union-attr]
    await backend.commit(record, rev, {})  # type: ignore[arg-type]
    await current_hub().heartbeat.pulse()
    await ada.expect("ping")
    await ada.expect("snapshot", doc="p:bob", rev=str(rev), reset=False)
    await backend.delete(BOB)
    await current_hub().heartbeat.pulse()
    await ada.expect("ping")
    await ada.expect("gone", participant="bob", reason="absent")
    await current_hub().heartbeat.pulse()
    await ada.expect("ping")
    assert ada.silent


# What it costs those who are watched


async def test_to_be_watched_is_not_to_be_used(tab: Opener, settings: Any) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 5}
    ada = await watching(tab, "bob")
    await ada.expect("gone", participant="bob", reason="absent")
    # Nobody was created.
    assert await stores.aparticipants(CODE) == ["ada"]
    await noted("bob")
    await ada.expect("snapshot", doc="p:bob")
    backend = get_backend(blocking=False)
    seen = {each.id: each.seen for each in await backend.participants(CODE)}
    await after(0.6)
    await ada.say(type="sync", doc="p:bob")
    await ada.expect("snapshot", doc="p:bob")
    await current_hub().heartbeat.pulse()
    now = {each.id: each.seen for each in await backend.participants(CODE)}
    assert now["bob"] == seen["bob"]


def quiz(**fields: int) -> type[State]:
    """Declare a state as a release of the site does, with these fields."""
    space = {"__annotations__": dict.fromkeys(fields, int), **fields}
    made: type[State] = StateMeta("Quiz", (State,), space, watch=("facilitator",))
    return made


async def test_what_a_new_release_fills_in_is_committed_before_it_is_shown(
    tab: Opener,
) -> None:
    with registry.isolated():
        before = stores.get(quiz(points=0), CODE, "bob")
        await before.adispatch(lambda state: setattr(state, "points", 1))
        later = stores.get(quiz(points=0, tries=3), CODE, "bob")
        ada = await watching(tab, "bob")
        snapshot = await ada.expect("snapshot", doc="p:bob")
        assert snapshot["states"] == {"quiz": {"points": 1, "tries": 3}}
        assert (
            str((await get_backend(blocking=False).heads([BOB]))[BOB])
            == (snapshot["rev"])
        )
        await later.adispatch(lambda state: setattr(state, "tries", 2))
        patch = await ada.expect("patch", doc="p:bob", base=snapshot["rev"])
        assert [each["path"] for each in patch["ops"]] == ["/quiz/tries"]
        await ada.drop()


async def test_a_state_that_somebody_has_not_used_is_missing_until_they_do(
    tab: Opener,
) -> None:
    await noted("bob")
    with registry.isolated():
        hands = stores.get(quiz(points=0), CODE, "bob")
        ada = await watching(tab, "bob")
        before = await ada.expect("snapshot", doc="p:bob", states={})
        assert await hands.apeek() is None
        await hands.adispatch(lambda state: setattr(state, "points", 1))
        after = await ada.expect("snapshot", doc="p:bob", reset=False)
        assert after["states"] == {"quiz": {"points": 1}}
        assert after["rev"] != before["rev"]
        await hands.adelete()
        gone = await ada.expect("snapshot", doc="p:bob", states={})
        assert gone["rev"] != after["rev"]
        assert await hands.apeek() is None
        await ada.drop()


async def test_what_cannot_be_read_is_left_out_until_its_participant_is_back(
    tab: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    await noted("bob")
    backend = get_backend(blocking=False)
    record = await backend.read(BOB)
    await backend.commit(record, record.rev.next(), {"board": b"1:{"})  # type: ignore[arg-type,union-attr]
    ada = await watching(tab, "bob")
    snapshot = await ada.expect("snapshot", doc="p:bob")
    assert snapshot["states"] == {}
    assert "left out of what others watch" in caplog.text
    bob = await tab("bob")
    snapshot = await ada.expect("snapshot", doc="p:bob", reset=True)
    assert snapshot["rev"] == bob.snapshots["me"]["rev"]
    assert snapshot["states"]["board"]["piles"] == {}


# Its end


async def test_a_role_that_is_taken_ends_it_at_once(tab: Opener) -> None:
    bob = await tab("bob")
    ada = await watching(tab, "bob")
    await ada.expect("snapshot", doc="p:bob")
    await ada.say(type="watch", participant="*")
    await ada.expect("watching", participant="*")
    await ada.expect("snapshot", doc="p:bob")
    await stores.aset_role(CODE, "ada", "participant")
    await ada.expect("self", role="participant")
    for whom in ("bob", "*"):
        await ada.expect("unwatched", participant=whom, reason="forbidden")
    await bob.act(1, "board.clear")
    await ada.say(type="watch", participant="bob")
    await ada.expect("error", code="forbidden")
    assert not current_hub().watchers.sessions
    # Given back, it is asked for again.
    await stores.aset_role(CODE, "ada", "facilitator")
    await ada.expect("self", role="facilitator")
    await ada.say(type="watch", participant="bob")
    await ada.expect("watching")
    await ada.expect("snapshot", doc="p:bob")


async def test_a_role_is_looked_up_when_it_is_asked_for(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await tab("ada", role="facilitator")
    # The hint is lost.
    monkeypatch.setattr(type(current_hub()), "_deliver", lambda self, event: None)
    await stores.aset_role(CODE, "ada", "guest")
    await ada.say(type="watch", participant="bob")
    await ada.expect("self", role="guest")
    await ada.expect("error", code="forbidden")


async def test_another_role_that_may_is_shown_its_own_states(tab: Opener) -> None:
    with registry.isolated():

        class Grade(State, watch=("jury",)):
            mark: int = 0

        class Entry(State, watch=("jury", "facilitator")):
            text: str = ""

        await stores.get(Grade, CODE, "bob").adispatch(lambda g: setattr(g, "mark", 5))
        await stores.get(Entry, CODE, "bob").asnapshot()
        ada = await watching(tab, "bob")
        before = await ada.expect("snapshot", doc="p:bob")
        assert set(before["states"]) == {"entry"}
        await stores.aset_role(CODE, "ada", "jury")
        await ada.expect("self", role="jury")
        await ada.expect("watching", participant="bob", states=["entry", "grade"])
        after = await ada.expect("snapshot", doc="p:bob", rev=before["rev"])
        assert after["states"] == {"entry": {"text": ""}, "grade": {"mark": 5}}
        assert after["run"] != before["run"]
        await ada.drop()


@pytest.mark.parametrize("waiting", ["patch", "snapshot"])
async def test_what_waits_for_a_tab_is_dropped_with_its_role(
    tab: Opener, waiting: str
) -> None:
    await noted("bob")
    ada = await watching(tab, "bob")
    await ada.expect("snapshot", doc="p:bob")
    (connection,) = current_hub().connections.values()
    # As if the network did not move.
    connection.outbox._writing = True
    await noted("bob", "too late")
    if waiting == "snapshot":
        connection.refresh(connection.watch_list.documents["bob"])
    assert "p:bob" in connection.outbox._documents
    await stores.aset_role(CODE, "ada", "participant")
    await until(lambda: connection.actor.role == "participant")
    connection.outbox._writing = False
    connection.outbox._start()
    await ada.expect("self", role="participant")
    await ada.expect("unwatched", participant="bob")
    assert connection.outbox._joined == 0
    assert ada.silent


@pytest.mark.parametrize("role", ["participant", "jury"])
async def test_what_is_being_read_is_shown_as_the_role_sees_it_then(
    tab: Opener, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry.isolated():

        class Entry(State, watch=("facilitator",)):
            text: str = ""

        class Grade(State, watch=("facilitator", "jury")):
            mark: int = 0

        entry = stores.get(Entry, CODE, "bob")
        await entry.adispatch(lambda e: setattr(e, "text", "secret"))
        await stores.get(Grade, CODE, "bob").asnapshot()
        ada = await watching(tab, "bob")
        await ada.expect("snapshot", doc="p:bob")
        (connection,) = current_hub().connections.values()
        backend = type(get_backend(blocking=False))
        read, reading, going_on = backend.read, asyncio.Event(), asyncio.Event()

        async def slow(self: Any, key: StoreKey, **kwargs: Any) -> Any:
            record = await read(self, key, **kwargs)
            if key == BOB and not kwargs.get("touch", True):
                reading.set()
                await going_on.wait()
            return record

        monkeypatch.setattr(backend, "read", slow)
        await ada.say(type="sync", doc="p:bob")
        await reading.wait()
        # Such as comes while it is read, before and after.
        await entry.adispatch(lambda e: setattr(e, "text", "secret too"))
        await stores.aset_role(CODE, "ada", role)
        await until(lambda: connection.actor.role == role)
        monkeypatch.setattr(backend, "read", read)
        await entry.adispatch(lambda e: setattr(e, "text", "secret again"))
        going_on.set()
        await ada.expect("self", role=role)
        if role == "jury":
            await ada.expect("watching", states=["grade"])
            shown = await ada.expect("snapshot", doc="p:bob")
            assert shown["states"] == {"grade": {"mark": 0}}
        else:
            await ada.expect("unwatched")
        await ada.say(type="sync", doc="nothing")
        await ada.expect("error", of="sync")
        await ada.drop()


REMOVALS: dict[str, Any] = {
    "cleanup": lambda: stores.acleanup_participant(CODE, "bob"),
    "kicked": lambda: stores.akick(CODE, "bob"),
}


@pytest.mark.parametrize("reason", REMOVALS)
@pytest.mark.parametrize("whom", ["bob", "*"])
async def test_who_watches_is_told_why_a_record_is_gone(
    tab: Opener, reason: str, whom: str
) -> None:
    await noted("bob")
    ada = await watching(tab, whom)
    await ada.expect("snapshot", doc="p:bob")
    await REMOVALS[reason]()
    await ada.expect("gone", participant="bob", reason=reason)
    if reason == "kicked":
        await stores.areadmit(CODE, "bob")
    # Back again, with another incarnation, which is nothing that was lost.
    rev = await noted("bob", "again")
    await ada.expect("snapshot", doc="p:bob", rev=rev, reset=False)


async def test_who_watches_is_told_that_somebody_was_idle(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 5, "AUTO_SWEEP": False}
    bob = await tab("bob")
    ada = await watching(tab, "*")
    await ada.expect("snapshot", doc="p:bob")
    await bob.say(type="bye")
    assert await bob.closed() == 1000
    # Not at once, and not as long as it is watched only.
    await after(0.6)
    await stores.asweep(idle_for=0)
    await ada.expect("gone", participant="bob", reason="idle")


async def test_what_the_cache_has_lost_is_shown_anew(tab: Opener) -> None:
    bob = await tab("bob")
    ada = await watching(tab, "bob")
    await ada.expect("snapshot", doc="p:bob")
    await get_backend(blocking=False).delete(BOB)
    await current_hub().heartbeat.pulse()
    await bob.expect("snapshot", doc="me", reset=True)
    await ada.expect("ping")
    told = await ada.receive()
    if told["type"] == "gone":
        told = await ada.receive()
    assert (told["type"], told["doc"]) == ("snapshot", "p:bob")


async def test_the_end_of_the_session_is_the_tabs_own(tab: Opener) -> None:
    await noted("bob")
    ada = await watching(tab, "*")
    await ada.expect("snapshot", doc="p:bob")
    await stores.aend_session(CODE)
    frame = await ada.receive()
    while frame["type"] == "gone":
        frame = await ada.receive()
    assert (frame["type"], frame["reason"]) == ("end", "ended")
    assert await ada.closed() == 4004


# Reconnects, limits and outages


async def test_a_tab_that_comes_back_gets_what_it_lacks(tab: Opener) -> None:
    await noted("bob")
    await noted("carol")
    ada = await watching(tab, "*")
    shown = await frames(ada, 2)
    await ada.drop()
    rev = await noted("carol", "meanwhile")
    have = {doc: frame["rev"] for doc, frame in shown.items()}
    runs = {doc: frame["run"] for doc, frame in shown.items()}
    ada = await watching(tab, "*", have=have, runs=runs)
    again = await frames(ada, 2)
    assert "states" not in again["p:bob"]
    assert again["p:bob"]["rev"] == have["p:bob"]
    assert again["p:carol"]["rev"] == rev
    assert "meanwhile" in again["p:carol"]["states"]["board"]["deck"]
    assert not any(frame["reset"] for frame in again.values())


async def test_a_tab_that_comes_back_with_another_role_gets_all_of_its_states(
    tab: Opener,
) -> None:
    with registry.isolated():

        class Entry(State, watch=("jury", "facilitator")):
            text: str = ""

        await stores.get(Entry, CODE, "bob").adispatch(
            lambda e: setattr(e, "text", "x")
        )
        ada = await watching(tab, "bob")
        shown = await ada.expect("snapshot", doc="p:bob")
        await ada.drop()

        class Grade(State, watch=("jury",)):
            mark: int = 0

        await stores.aset_role(CODE, "ada", "jury")
        bob = await tab("bob")
        have, run = {"p:bob": bob.snapshots["me"]["rev"]}, {"p:bob": shown["run"]}
        ada = await watching(tab, "bob", have=have, runs=run)
        again = await ada.expect("snapshot", doc="p:bob", rev=have["p:bob"])
        assert set(again["states"]) == {"entry", "grade"}
        await ada.drop()
        await bob.drop()


async def test_a_tab_watches_no_more_by_name_than_a_session_holds(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"MAX_PARTICIPANTS": 2}
    ada = await watching(tab, "p1", "p2")
    await ada.say(type="watch", participant="p3")
    await ada.expect("error", code="limit_reached", of="watch", participant="p3")
    # One that it watches already, and everybody, it may ask for.
    await ada.say(type="watch", participant="p2")
    await ada.expect("watching", participant="p2")
    await ada.expect("gone", participant="p2")
    await ada.say(type="watch", participant="*")
    await ada.expect("watching", participant="*")


async def test_in_an_outage_it_is_refused_and_nobody_is_watched(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    await noted("bob")
    ada = await tab("ada", role="facilitator")
    (connection,) = current_hub().connections.values()
    backend = type(get_backend(blocking=False))

    async def fails(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("no answer")

    for method in ("lease", "profiles"):
        with monkeypatch.context() as patch:
            patch.setattr(backend, method, fails)
            for whom in ("bob", "*"):
                await ada.say(type="watch", participant=whom)
                await ada.expect("error", code="store_unavailable", of="watch")
        assert not current_hub().watchers.sessions
        assert not current_hub().watchers.following
    with monkeypatch.context() as patch:
        patch.setattr(backend, "read", fails)
        await ada.say(type="watch", participant="bob")
        await ada.expect("watching")
        await until(lambda: connection.watch_list.documents["bob"].owed)
        assert ada.silent
    await current_hub().heartbeat.pulse()
    await ada.expect("ping")
    await ada.expect("snapshot", doc="p:bob")


async def test_it_counts_among_what_the_cache_is_read_for(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionstores.realtime.frame_throttle.READ_BURST", 1.0)
    # However slow the machine is, it earns next to nothing meanwhile.
    rate = 1e-6
    monkeypatch.setattr("sessionstores.realtime.frame_throttle.READS_PER_SECOND", rate)
    ada = await tab("ada", role="facilitator")
    waited: list[float] = []

    async def wait(self: Any, seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(
        "sessionstores.realtime.frame_throttle.FrameThrottle.wait", wait
    )
    for _ in range(4):
        await ada.say(type="watch", participant="bob")
        await ada.expect("watching")
        await ada.expect("gone", participant="bob")
    await until(lambda: waited)
    assert 0 < waited[0] * rate < 4 * (watchers.FRAME_COST + watchers.DOCUMENT_COST)


async def test_a_tab_that_reads_nothing_keeps_no_class_in_memory(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionstores.realtime.outbox.MAX_JOINED", 4096)
    for n in range(20):
        await noted(f"p{n}")
    ada = await watching(tab, "*")
    await frames(ada, 20)
    (connection,) = current_hub().connections.values()
    # As if the network did not move.
    connection.outbox._writing = True
    for _ in range(4):
        for n in range(20):
            await noted(f"p{n}", "x" * 200)
    outbox = connection.outbox
    assert outbox._joined <= 4096 + 600
    assert len(outbox._documents) == 20
    outbox._writing = False
    outbox._start()
    await until(lambda: not outbox._documents)
    assert outbox._joined == 0
    heads = await get_backend(blocking=False).heads(
        [StoreKey(CODE, f"p{n}") for n in range(20)]
    )
    shown: dict[str, str] = {}
    while not ada.silent:
        frame = await ada.receive()
        shown[frame["doc"]] = frame["rev"]
    assert shown == {f"p:{key.participant}": str(rev) for key, rev in heads.items()}
