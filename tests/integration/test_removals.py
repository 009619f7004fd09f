"""Every way in which a record goes: who is told, why, how often, and what tabs see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sessionstores import signals
from sessionstores.backends import get_backend
from sessionstores.backends.cas.backend import CasBackend
from sessionstores.backends.cas.keys import record_key
from sessionstores.backends.types import Lease
from sessionstores.keys import StoreKey, cache_key
from sessionstores.manager import stores
from sessionstores.participants.joining import ajoin, aresolve
from sessionstores.participants.leaving import aleave
from sessionstores.participants.participant import Participant
from sessionstores.realtime.hub import current_hub, hubs
from sessionstores.realtime.protocol import Close
from tests.caches import KINDS, cache_on
from tests.participants.browsers import Browser
from tests.servers import Valkey
from tests.sockets import CODE, Opener, Socket, opening_tabs, until
from tests.workshop.states import Agenda, Board

ALICE, BOB = StoreKey(CODE, "alice"), StoreKey(CODE, "bob")


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
def removed() -> Iterator[list[tuple[str, str, Any]]]:
    """Who was removed, why, and with which notes on the board; None: lost."""
    told: list[tuple[str, str, Any]] = []

    def receive(participant: str, reason: str, states: Any, **kwargs: Any) -> None:
        told.append((participant, reason, states and states["board"].notes))

    signals.participant_removed.connect(receive)
    yield told
    signals.participant_removed.disconnect(receive)


async def noted(id: str, text: str = "mine") -> None:
    await stores.get(Board, CODE, id).adispatch(Board.note, text)


async def lose(key: StoreKey, request: pytest.FixtureRequest) -> None:
    """Let the record be gone as by the cache's own doing."""
    backend = get_backend(blocking=False)
    if isinstance(backend, CasBackend):
        name = record_key(key)
        found = (await backend.store.read([name]))[name]
        assert await backend.store.delete(name, found.token)
        return
    valkey: Valkey = request.getfixturevalue("valkey")
    with valkey.client() as client:
        assert client.delete(cache_key("ss", key.session, "p", key.participant)) == 1


async def fall_silent(key: StoreKey, settings: Any) -> None:
    """Let a participant's leases run out, while their process is still told of things.

    Another connection of it, which watches, keeps it among the followers.
    """
    backend = get_backend(blocking=False)
    hub = current_hub()
    settings.SESSIONSTORES |= {"PRESENCE_LEASE": 0.05, "LEAVE_GRACE": 0}
    await backend.lease(
        [c.lease(hub.process) for c in hub.connections.values() if c.key == key]
    )
    settings.SESSIONSTORES |= {"PRESENCE_LEASE": 600}
    watcher = StoreKey(key.session, "watcher")
    follows = frozenset([key.participant])
    await backend.lease([Lease("w", watcher, hub.process, "c", follows)])
    while await backend.connections(key):  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.005)


async def ended(socket: Socket, reason: str) -> None:
    """Expect the end, with a reason, as the next that the tab hears."""
    await socket.expect("end", reason=reason, retry=False)
    assert await socket.closed() == Close.ENDED


async def test_idle_participants_are_told_of_once(
    tab: Opener, settings: Any, removed: list[Any]
) -> None:
    await noted("alice", "last words")
    bob = await tab("bob")
    alice = await tab("alice")
    await fall_silent(ALICE, settings)
    done = await stores.asweep(idle_for=0)
    assert (done.participants, done.lost, done.left) == (1, 0, 1)
    assert (await stores.asweep(idle_for=0)).is_quiet
    assert removed == [("alice", "idle", "last words")]
    await ended(alice, "idle")
    assert bob.silent
    assert await stores.aparticipants(CODE) == ["bob"]


async def test_cleanup_of_a_participant_is_told_of_once(
    tab: Opener, removed: list[Any]
) -> None:
    await noted("alice")
    alice, also_alice, bob = await tab("alice"), await tab("alice"), await tab("bob")
    assert await stores.acleanup_participant(CODE, "alice") is True
    assert await stores.acleanup_participant(CODE, "alice") is False
    assert removed == [("alice", "cleanup", "mine")]
    await ended(alice, "cleanup")
    await ended(also_alice, "cleanup")
    assert bob.silent


async def test_cleanup_of_a_session_is_told_of_once_for_each_participant(
    tab: Opener, removed: list[Any]
) -> None:
    await noted("alice")
    await noted("away", "not here")
    alice, bob = await tab("alice"), await tab("bob")
    assert await stores.acleanup_session(CODE) == 3
    assert sorted(removed) == [
        ("alice", "cleanup", "mine"),
        ("away", "cleanup", "not here"),
        ("bob", "cleanup", ""),
    ]
    await ended(alice, "cleanup")
    await ended(bob, "cleanup")
    await until(lambda: not hubs)
    assert await stores.acleanup_session(CODE) == 0
    assert len(removed) == 3


@pytest.mark.parametrize("whole", [True, False])
async def test_cleanup_whose_hint_is_lost_ends_tabs_at_the_next_heartbeat(
    whole: bool,
    tab: Opener,
    removed: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await noted("alice")
    alice, bob = await tab("alice"), await tab("bob")
    # As when another process does it, and no layer carries messages from there.
    with monkeypatch.context() as deaf:
        deaf.setattr(current_hub(), "deliver", lambda event: None)
        if whole:
            assert await stores.acleanup_session(CODE) == 2
        else:
            assert await stores.acleanup_participant(CODE, "alice")
    told = [("alice", "cleanup", "mine"), ("bob", "cleanup", "")][: 1 + whole]
    assert sorted(removed) == told
    await current_hub().heartbeat.pulse()
    await ended(alice, "cleanup")
    if whole:
        await ended(bob, "cleanup")
        await until(lambda: not hubs)
    else:
        await bob.expect("ping")
        await current_hub().heartbeat.pulse()
    assert sorted(removed) == told
    # Nothing was made anew, and a later access starts afresh.
    assert await stores.aparticipants(CODE) == ([] if whole else ["bob"])
    again = await tab("alice")
    assert again.snapshots["me"]["states"]["board"]["notes"] == ""


@pytest.mark.parametrize("is_heard", [True, False])
async def test_leaving_is_told_of_once_and_no_open_page_undoes_it(
    is_heard: bool, tab: Opener, removed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser()
    request = browser.request()
    await ajoin(request, CODE, participant="alice", create=True)
    await noted("alice")
    # A page that the browser keeps, as for its back button.
    page = (await Participant(CODE, "alice").aconfig())["token"]
    alice, also_alice, bob = await tab("alice"), await tab("alice"), await tab("bob")
    with monkeypatch.context() as deaf:
        if not is_heard:
            deaf.setattr(current_hub(), "deliver", lambda event: None)
        assert await aleave(request, CODE) is True
        assert await aleave(request, CODE) is False
    if not is_heard:
        await current_hub().heartbeat.pulse()
    await ended(alice, "left")
    await ended(also_alice, "left")
    assert bob.silent is is_heard  # else it was pinged
    assert removed == [("alice", "left", "mine")]
    assert await aresolve(request, CODE) is None
    back = Socket()
    await back.open()
    await back.say(type="hello", token=page, client="c1")
    await back.expect("error", code="invalid_token")
    assert await back.closed() == Close.TOKEN
    assert await stores.aparticipants(CODE) == ["bob"]
    await ajoin(request, CODE, participant="alice")
    again = await tab("alice")
    assert again.snapshots["me"]["states"]["board"]["notes"] == ""
    assert len(removed) == 1


async def test_end_of_a_session_is_told_of_once_for_each_participant(
    tab: Opener, removed: list[Any]
) -> None:
    sessions: list[str] = []

    def receive(session: str, **kwargs: Any) -> None:
        sessions.append(session)

    await noted("alice")
    alice, bob = await tab("alice"), await tab("bob")
    await stores.get(Agenda, CODE).asnapshot()
    signals.session_ended.connect(receive)
    try:
        assert await stores.aend_session(CODE) == 2
        await ended(alice, "ended")
        await ended(bob, "ended")
        assert await stores.aend_session(CODE) == 0
    finally:
        signals.session_ended.disconnect(receive)
    assert sorted(removed) == [("alice", "ended", "mine"), ("bob", "ended", "")]
    assert sessions == [CODE]


async def test_loss_under_open_tabs_is_told_of_once_and_tabs_are_reset(
    tab: Opener, removed: list[Any], request: pytest.FixtureRequest
) -> None:
    await noted("alice")
    alice, also_alice, bob = await tab("alice"), await tab("alice"), await tab("bob")
    await lose(ALICE, request)
    # As the next heartbeat does, which compares heads.
    await current_hub().heartbeat.pulse()
    for socket in (alice, also_alice):
        frame = await snapshot(socket)
        assert frame["reset"] is True
        assert frame["states"]["board"]["notes"] == ""
    assert removed == [("alice", "lost", None)]
    await current_hub().heartbeat.pulse()
    assert removed == [("alice", "lost", None)]
    assert (await bob.expect("ping"))["heads"]
    assert (await stores.asweep(orphans=True)).lost == 0


async def snapshot(socket: Socket) -> dict[str, Any]:
    """Return the next snapshot, past pings."""
    while True:
        frame = await socket.receive()
        if frame["type"] == "snapshot":
            return frame
        assert frame["type"] == "ping", frame


async def test_loss_that_a_returning_participant_notices_is_told_of_once(
    removed: list[Any], request: pytest.FixtureRequest
) -> None:
    await noted("alice")
    await lose(ALICE, request)
    boards = [stores.get(Board, CODE, "alice") for _ in range(8)]
    async with asyncio.TaskGroup() as group:
        for board in boards:
            group.create_task(board.asnapshot())
    assert removed == [("alice", "lost", None)]
    await noted("alice", "afresh")
    assert await stores.acleanup_participant(CODE, "alice")
    assert removed[1:] == [("alice", "cleanup", "afresh")]


async def test_loss_that_a_sweep_notices_is_told_of_once_and_tabs_are_reset(
    tab: Opener, settings: Any, removed: list[Any], request: pytest.FixtureRequest
) -> None:
    await noted("alice")
    alice, bob = await tab("alice"), await tab("bob")
    await fall_silent(ALICE, settings)
    await lose(ALICE, request)
    done = await stores.asweep(orphans=True)
    assert (done.lost, done.participants) == (1, 0)
    frame = await snapshot(alice)
    assert frame["reset"] is True
    assert frame["states"]["board"]["notes"] == ""
    assert removed == [("alice", "lost", None)]
    assert bob.silent
    assert (await stores.asweep(orphans=True)).lost == 0
    assert len(removed) == 1
