"""Who is kicked is out at once, wherever they are, and is told so; nobody else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sessionstores import Kicked, UnknownSession, signals, stores
from sessionstores.backends import get_backend
from sessionstores.backends.cas.backend import CasBackend
from sessionstores.backends.cas.keys import record_key
from sessionstores.exceptions import MESSAGES
from sessionstores.keys import StoreKey, cache_key
from sessionstores.participants.participant import Participant
from sessionstores.realtime.hub import current_hub, hubs
from sessionstores.realtime.protocol import Close
from sessionstores.realtime.timeline import write_timeline
from tests.caches import KINDS, cache_on
from tests.servers import Valkey
from tests.sockets import CODE, Opener, Socket, opening_tabs, until
from tests.workshop.states import Board

ALICE = StoreKey(CODE, "alice")


@pytest.fixture(autouse=True, params=KINDS)
def cache(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    """The caches on which it is tried."""
    settings.SESSIONSTORES = {"AUTO_SWEEP": False, "HEARTBEAT": 3_600}
    with cache_on(request.param, request, settings):
        yield
        assert not hubs


@pytest.fixture
async def tab() -> AsyncIterator[Opener]:
    async with opening_tabs() as open_tab:
        yield open_tab


@pytest.fixture
def told() -> Iterator[list[tuple[str, ...]]]:
    """What receivers of signals are told of participants."""
    heard: list[tuple[str, ...]] = []

    def removed(participant: str, reason: str, states: Any, **kwargs: Any) -> None:
        heard.append((participant, reason, states and states["board"].notes))

    def left(participant: str, **kwargs: Any) -> None:
        heard.append((participant, "left"))

    signals.participant_removed.connect(removed)
    signals.participant_left.connect(left)
    yield heard
    signals.participant_removed.disconnect(removed)
    signals.participant_left.disconnect(left)


async def kicked(socket: Socket) -> None:
    """Expect the end, as the next that the tab hears."""
    await socket.expect("end", reason="kicked", retry=False)
    assert await socket.closed() == Close.KICKED


async def refused(participant: str = "alice") -> None:
    """Expect that a tab with a token that was good is refused."""
    socket = Socket()
    await socket.open()
    token = Participant(CODE, participant).token()
    await socket.say(type="hello", token=token, client="c9")
    error = await socket.expect("error", code="kicked", of="hello")
    assert error["message"] == MESSAGES["kicked"]
    assert await socket.closed() == Close.KICKED


async def test_all_tabs_of_who_is_kicked_close_at_once_and_others_see_it(
    tab: Opener, told: list[tuple[str, ...]]
) -> None:
    await stores.get(Board, CODE, "alice").adispatch(Board.note, "last words")
    bob, alice, also = await tab("bob"), await tab("alice"), await tab("alice")
    await until(lambda: bob.look().keys() == {"alice", "bob"})
    assert await stores.akick(CODE, "alice") is True
    await kicked(alice)
    await kicked(also)
    await until(lambda: bob.look().keys() == {"bob"}, "presence")
    assert bob.silent
    assert told == [("alice", "kicked", "last words"), ("alice", "left")]
    assert await stores.aparticipants(CODE) == ["bob"]
    assert await stores.akick(CODE, "alice") is False
    await refused()
    assert len(told) == 2
    with pytest.raises(Kicked):
        await stores.get(Board, CODE, "alice").asnapshot()
    with pytest.raises(Kicked):
        await stores.get(Board, CODE, "alice").adispatch(Board.note, "back again")
    assert await stores.get(Board, CODE, "alice").apeek() is None
    # As before, for everybody else.
    ack = await bob.act(1, "board.note", text="still here")
    assert ack["type"] == "ack"
    await write_timeline()
    info = await get_backend(blocking=False).session(CODE)
    assert info is not None
    events = [(each["who"], each["kind"], each["text"]) for each in info.events]
    assert ("alice", "removed", "kicked") in events


async def test_who_is_readmitted_comes_back_and_starts_afresh(tab: Opener) -> None:
    await stores.get(Board, CODE, "alice").adispatch(Board.note, "before")
    bob, alice = await tab("bob"), await tab("alice")
    await stores.akick(CODE, "alice")
    await kicked(alice)
    assert await stores.areadmit(CODE, "alice") is True
    assert await stores.areadmit(CODE, "alice") is False
    back = await tab("alice", have={"me": alice.snapshots["me"]["rev"]})
    frame = back.snapshots["me"]
    assert frame["reset"] is True
    assert frame["states"]["board"]["notes"] == ""
    await until(lambda: "alice" in bob.look())
    await write_timeline()
    info = await get_backend(blocking=False).session(CODE)
    assert info is not None
    assert "readmitted" in {each["kind"] for each in info.events}


@pytest.mark.parametrize("how", ["a heartbeat", "an action", "a sync", "a token"])
async def test_a_kick_of_which_no_hint_comes_is_found_by(
    how: str, tab: Opener, told: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, alice = await tab("bob"), await tab("alice")
    # As when another process does it, and no layer carries messages from there.
    with monkeypatch.context() as deaf:
        deaf.setattr(current_hub(), "deliver", lambda event: None)
        assert await stores.akick(CODE, "alice") is True
    if how == "a heartbeat":
        await current_hub().heartbeat.pulse()
        await bob.expect("ping")
    elif how == "an action":
        # Run on the record that this process still remembers; it is not acknowledged.
        await alice.say(
            type="action", id=1, state="board", action="note", args={"text": "ha"}
        )
    elif how == "a sync":
        await alice.say(type="sync", doc="me")
        await alice.expect("error", code="kicked", of="sync")
    else:
        token = Participant(CODE, "alice").token()
        await alice.say(type="token", token=token)
        await alice.expect("error", code="kicked", of="token")
    await kicked(alice)
    assert bob.silent
    assert await stores.aparticipants(CODE) == ["bob"]
    await until(lambda: ("alice", "left") in told)
    assert told[0][:2] == ("alice", "kicked")


async def test_tabs_close_though_their_record_is_lost(
    tab: Opener, request: pytest.FixtureRequest
) -> None:
    bob, alice = await tab("bob"), await tab("alice")
    backend = get_backend(blocking=False)
    if isinstance(backend, CasBackend):
        name = record_key(ALICE)
        found = (await backend.store.read([name]))[name]
        assert await backend.store.delete(name, found.token)
    else:
        valkey: Valkey = request.getfixturevalue("valkey")
        with valkey.client() as client:
            assert client.delete(cache_key("ss", CODE, "p", "alice")) == 1
    assert await stores.akick(CODE, "alice") is False
    await kicked(alice)
    assert bob.silent


async def test_somebody_who_never_came_is_kept_out(tab: Opener) -> None:
    bob = await tab("bob")
    assert await stores.akick(CODE, "mallory") is False
    await refused("mallory")
    assert bob.silent
    with pytest.raises(UnknownSession):
        await stores.akick("NOSUCH", "mallory")
    with pytest.raises(UnknownSession):
        await stores.areadmit("NOSUCH", "mallory")


async def test_no_action_is_acknowledged_once_a_kick_has_returned(tab: Opener) -> None:
    bob, alice = await tab("bob"), await tab("alice")
    for id in range(1, 41, 2):
        note, vote = {"text": f"{id}"}, {"card": id}
        await alice.say(type="action", id=id, state="board", action="note", args=note)
        await alice.say(
            type="action", id=id + 1, state="agenda", action="vote", args=vote
        )
    await asyncio.sleep(0)
    assert await stores.akick(CODE, "alice") is True
    # What it had been sent before; from here on, nothing but why.
    before = alice.communicator.output_queue.qsize()
    kinds = []
    while "end" not in kinds:
        kinds.append((await alice.receive())["type"])
    assert kinds[before:] in ([], ["end"])
    assert await alice.closed() == Close.KICKED
    assert await stores.aparticipants(CODE) == ["bob"]
    assert bob.welcome
