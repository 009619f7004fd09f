from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionstores.backends import get_backend
from sessionstores.backends.types import Lease
from sessionstores.exceptions import StoreUnavailable
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.participants.tokens import Claims, make_token
from sessionstores.realtime import connection, consumers, dispatcher
from sessionstores.realtime.consumers import StoreConsumer
from sessionstores.realtime.hub import current_hub, hubs
from sessionstores.realtime.protocol import Close
from sessionstores.state.declaration import State, action, registry
from sessionstores.state.revisions import Rev
from tests.sockets import CODE, ORIGIN, Opener, Socket, token, until
from tests.workshop.states import Agenda, Board

ALICE = StoreKey(CODE, "alice")


def applied(snapshot: dict[str, Any], *patches: dict[str, Any]) -> str:
    """Follow the chain from a snapshot; return the rev that it leads to."""
    rev: str = snapshot["rev"]
    for patch in patches:
        assert patch["base"] == rev
        rev = patch["rev"]
    return rev


async def fails(*args: Any, **kwargs: Any) -> Any:
    raise StoreUnavailable("redis at 10.0.0.7 does not answer")


# Hello


async def test_hello_is_answered_by_welcome_and_a_snapshot_of_each_document(
    tab: Opener,
) -> None:
    alice = await tab("alice", role="facilitator", client="c8f2")
    assert abs(alice.welcome.pop("now") - time.time()) < 60
    assert alice.welcome == {
        "type": "welcome",
        "session": CODE,
        "participant": "alice",
        "role": "facilitator",
        "name": None,
        "client": "c8f2",
        "ping": 10,
        "limits": {"rate": [20, 40], "frame": 65_536},
    }
    me, session = alice.snapshots["me"], alice.snapshots["session"]
    board = {
        "deck": ["ace", "king", "queen", "jack", "ten"],
        "piles": {},
        "notes": "",
    }
    assert me["states"]["board"] == board
    assert session["states"]["agenda"] == {"step": 1, "votes": {}}
    assert not me["reset"]
    assert not session["reset"]
    snapshot = await stores.get(Board, CODE, "alice").asnapshot()
    assert me["rev"] == snapshot.rev


async def test_a_tab_that_is_current_gets_no_states(tab: Opener) -> None:
    first = await tab()
    have = {doc: frame["rev"] for doc, frame in first.snapshots.items()}
    second = await tab(client="c2", have=have)
    for doc, frame in second.snapshots.items():
        assert "states" not in frame
        assert (frame["rev"], frame["reset"]) == (have[doc], False)


async def test_a_tab_that_is_behind_gets_states_without_reset(tab: Opener) -> None:
    first = await tab()
    await first.act(1, "board.move", card="ace", pile="keep")
    second = await tab(client="c2", have={"me": first.snapshots["me"]["rev"]})
    assert second.snapshots["me"]["states"]["board"]["piles"] == {"keep": ["ace"]}
    assert not second.snapshots["me"]["reset"]


@pytest.mark.parametrize("how", ["incarnation", "counter", "tail"])
async def test_a_tab_of_another_history_is_told_of_the_reset(
    tab: Opener, how: str
) -> None:
    first = await tab()
    await first.act(1, "board.move", card="ace", pile="keep")
    base = Rev.parse(first.snapshots["me"]["rev"])
    foreign = {
        "incarnation": base.reincarnated(),
        "counter": base.next().next(),
        "tail": base._replace(tail="00000000"),
    }[how]
    second = await tab(client="c2", have={"me": str(foreign)})
    assert second.snapshots["me"]["reset"]
    assert "states" in second.snapshots["me"]


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ([(b"origin", b"http://testserver")], True),
        ([(b"origin", b"https://localhost:8000")], True),
        ([(b"origin", b"http://evil.example")], False),
        ([(b"origin", b"http://testserver.evil.example")], False),
        ([(b"origin", b"http://sub.testserver")], False),
        ([(b"origin", b"null")], False),
        ([(b"origin", b"http://[::1")], False),
        ([(b"origin", b"http://testserver"), (b"origin", b"http://evil")], False),
        ([(b"origin", b"")], False),
        # No browser; behind the validator it would be refused all the same.
        ([], True),
    ],
)
async def test_only_the_sites_own_origins_may_connect(
    headers: list[tuple[bytes, bytes]], accepted: bool
) -> None:
    socket = Socket(headers=headers)
    if accepted:
        await socket.hello()
        await socket.drop()
        return
    await socket.open()
    await socket.expect("error", code="forbidden")
    assert await socket.closed() == Close.FORBIDDEN


async def test_a_client_of_another_protocol_is_told_ours(settings: Any) -> None:
    settings.DEBUG = True
    socket = Socket(subprotocols=["sessionstores.v9"])
    assert await socket.open() is None
    error = await socket.expect("error", code="unknown_protocol")
    assert "sessionstores.v1" in error["hint"]
    assert await socket.closed() == Close.UNKNOWN_PROTOCOL


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["x", "sessionstores.v1"], "sessionstores.v1"), ([], None)],
)
async def test_our_subprotocol_is_chosen_where_it_is_offered(
    offered: list[str], chosen: str | None
) -> None:
    socket = Socket(subprotocols=offered)
    assert await socket.open() == chosen
    await socket.drop()


async def test_a_tab_that_says_no_hello_is_closed_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumers.StoreConsumer, "hello_seconds", 0.01)
    socket = Socket()
    await socket.open()
    await socket.expect("error", code="hello_timeout")
    assert await socket.closed() == Close.HELLO_TIMEOUT


async def test_what_comes_before_hello_is_a_bad_frame() -> None:
    socket = Socket()
    await socket.open()
    await socket.say(type="bye")
    await socket.expect("error", code="bad_frame")
    await socket.say_text("{")
    await socket.expect("error", code="bad_json")
    await socket.say(type="hello", token=token(), client="c1")
    await socket.expect("welcome")
    await socket.drop()


async def test_a_tab_may_leave_before_hello() -> None:
    socket = Socket()
    await socket.open()
    await socket.drop()
    assert socket.silent


async def test_only_websockets_are_served() -> None:
    with pytest.raises(ValueError, match="'http'"):
        await consumers.StoreConsumer()({"type": "http"}, None, None)


async def test_a_socket_that_never_opens_is_let_go() -> None:
    socket = Socket()
    await socket.communicator.send_input({"type": "websocket.disconnect"})
    await socket.communicator.wait()
    assert socket.silent


@pytest.mark.parametrize("kind", ["forged", "expired", "link"])
async def test_a_token_that_does_not_count_is_refused(kind: str) -> None:
    old = Claims(CODE, "alice", "participant", time.time() - 50_000)
    bad = {
        "forged": token()[:-1] + "_",
        "expired": make_token(old),
        "link": Participant(CODE, "alice").link("/").partition("=")[2],
    }[kind]
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token=bad, client="c1")
    error = await socket.expect("error", code="invalid_token")
    assert bad not in error["message"]
    assert await socket.closed() == Close.TOKEN
    assert await get_backend(blocking=False).connections(ALICE) == []


async def test_a_revoked_token_is_refused_and_a_newer_one_is_not(tab: Opener) -> None:
    old = token()
    await stores.arevoke(CODE, "alice")
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token=old, client="c1")
    await socket.expect("error", code="invalid_token")
    assert await socket.closed() == Close.TOKEN
    await tab("alice")


async def test_an_ended_session_takes_nobody() -> None:
    await stores.get(Board, CODE, "alice").asnapshot()
    await stores.aend_session(CODE)
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token=token(), client="c1")
    await socket.expect("error", code="session_ended")
    assert await socket.closed() == Close.ENDED


async def test_one_connection_more_than_allowed_is_refused(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"MAX_CONNECTIONS": 2}
    await tab(client="c1")
    await tab(client="c2")
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token=token(), client="c3")
    await socket.expect("error", code="limit_reached")
    assert await socket.closed() == Close.TOO_MANY_CONNECTIONS
    assert len(await get_backend(blocking=False).connections(ALICE)) == 2
    await tab("bob")


async def dead(*clients: str) -> None:
    """Enter connections of alice's as a process leaves them behind that was killed."""
    leases = [
        Lease(f"dead{client}", ALICE, "dead", client, frozenset({"alice"}))
        for client in clients
    ]
    await get_backend(blocking=False).lease(leases)


async def come_at_once(
    clients: Iterable[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Socket], list[str]]:
    """Open tabs that are all leased before any looks; return who got in, and who not.

    Those who did not have been asked to come back later.
    """
    sockets = {client: Socket() for client in clients}
    backend = type(get_backend(blocking=False))
    connections, lease = backend.connections, backend.lease
    leased: set[str] = set()
    all_leased = asyncio.Event()

    async def counted(self: Any, leases: Any) -> Any:
        joined = await lease(self, leases)
        leased.update(each.connection for each in leases)
        if len(leased) >= len(sockets):
            all_leased.set()
        return joined

    async def late(self: Any, key: StoreKey) -> Any:
        await all_leased.wait()
        return await connections(self, key)

    async def come(client: str, socket: Socket) -> bool:
        await socket.open()
        await socket.say(type="hello", token=token(), client=client)
        frame = await socket.receive()
        if frame["type"] == "welcome":
            for _ in range(2):
                await socket.expect("snapshot")
            return True
        assert (frame["type"], frame["code"]) == ("error", "limit_reached")
        assert await socket.closed() == Close.TOO_MANY_CONNECTIONS
        return False

    with monkeypatch.context() as race:
        race.setattr(backend, "lease", counted)
        race.setattr(backend, "connections", late)
        came_in = await asyncio.gather(*(come(*each) for each in sockets.items()))
    places = list(zip(came_in, sockets.items(), strict=True))
    admitted = [socket for is_in, (_, socket) in places if is_in]
    return admitted, [client for is_in, (client, _) in places if not is_in]


async def test_of_many_tabs_that_come_at_once_as_many_get_in_as_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admitted, refused = await come_at_once(
        [f"c{number}" for number in range(12)], monkeypatch
    )
    assert (len(admitted), len(refused)) == (8, 4)
    assert len(await get_backend(blocking=False).connections(ALICE)) == 8
    assert len(current_hub().connections) == 8
    for socket in admitted:
        await socket.drop()


@pytest.mark.parametrize("number", [5, 8])
async def test_the_tabs_of_a_process_that_was_killed_take_their_places_again(
    tab: Opener, number: int
) -> None:
    clients = [f"c{each}" for each in range(number)]
    await dead(*clients)
    tabs = [await tab(client=client) for client in clients]
    # A copy would be told apart, so none keeps the id that another may have.
    assert not {socket.welcome["client"] for socket in tabs} & set(clients)
    found = await get_backend(blocking=False).connections(ALICE)
    assert {lease.process for lease in found} == {current_hub().process}
    assert (await stores.apresence(CODE))["alice"].connections == number
    # And once more, with the ids that they were given.
    assert (await tabs[0].act(1, "board.note", text="x"))["type"] == "ack"


async def test_tabs_that_come_back_at_once_all_get_in_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = [f"c{each}" for each in range(8)]
    await dead(*waiting)
    in_at_last: list[Socket] = []
    for _ in range(8):
        admitted, waiting = await come_at_once(waiting, monkeypatch)
        assert admitted, "nobody got in"
        in_at_last += admitted
        if not waiting:
            break
    assert len(in_at_last) == 8
    for socket in in_at_last:
        await socket.drop()


async def test_a_tab_takes_the_place_of_its_own_connection_that_hangs_here(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"MAX_CONNECTIONS": 1}
    hanging = await tab(client="c1")
    again = await tab(client="c1")
    assert again.welcome["client"] != "c1", "the old one may be a tab of its own"
    assert (await again.act(1, "board.note", text="x"))["type"] == "ack"
    await hanging.expect("patch")


async def test_copies_that_bring_one_client_id_are_held_to_the_limit(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.SESSIONSTORES = {"MAX_CONNECTIONS": 3}
    sockets = []
    for _ in range(10):
        socket = Socket()
        await socket.open()
        await socket.say(type="hello", token=token(), client="same")
        if (await socket.receive())["type"] == "welcome":
            sockets.append(socket)
    assert len(sockets) == 4, "one may be what a tab left behind"
    for socket in sockets:
        await socket.drop()


async def test_a_tab_whose_lease_somebody_took_is_leased_again(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = get_backend(blocking=False)
    connections = type(backend).connections

    async def taken(self: Any, key: StoreKey) -> Any:
        for lease in await connections(self, key):
            await backend.release(lease)
        return await connections(self, key)

    with monkeypatch.context() as race:
        race.setattr(type(backend), "connections", taken)
        alice = await tab(client="c1")
    (lease,) = await backend.connections(ALICE)
    assert lease.client == alice.welcome["client"] != "c1"


async def test_a_full_session_refuses_newcomers(tab: Opener, settings: Any) -> None:
    settings.SESSIONSTORES = {"MAX_PARTICIPANTS": 1}
    await tab("alice")
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token=token("bob"), client="c1")
    await socket.expect("error", code="limit_reached")
    assert await socket.closed() == Close.LIMIT
    assert await get_backend(blocking=False).connections(StoreKey(CODE, "bob")) == []


async def test_an_outage_at_hello_asks_the_tab_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(get_backend(blocking=False)), "lease", fails)
    monkeypatch.setattr(type(get_backend(blocking=False)), "release", fails)
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token=token(), client="c1")
    error = await socket.expect("error", code="store_unavailable")
    assert "10.0.0.7" not in error["message"]
    assert await socket.closed() == Close.UNAVAILABLE
    assert not current_hub().connections


async def test_a_failure_of_ours_at_hello_asks_the_tab_to_come_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(type(get_backend(blocking=False)), "connections", breaks)
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token=token(), client="c1")
    error = await socket.expect("error", code="internal")
    assert "secret" not in error["message"]
    assert "ZeroDivisionError" in caplog.text
    assert await socket.closed() == Close.INTERNAL


async def test_a_duplicated_tab_gets_a_client_id_of_its_own(tab: Opener) -> None:
    first = await tab(client="c1")
    copy = await tab(client="c1")
    other = await tab(client="c2")
    assert first.welcome["client"] == "c1"
    assert other.welcome["client"] == "c2"
    assert copy.welcome["client"] not in {"c1", "c2"}
    leases = await get_backend(blocking=False).connections(ALICE)
    assert {lease.client for lease in leases} == {"c1", "c2", copy.welcome["client"]}


async def test_what_is_committed_while_snapshots_are_read_follows_them(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = stores.get(Board, CODE, "alice")
    agenda = stores.get(Agenda, CODE)
    read = consumers.Connection.open
    moved = iter(["ace", "king"])

    async def interrupted(self: Any, document: Any) -> str:
        # Before the read: in the snapshot, so no patch. After it: a patch.
        await board.adispatch(Board.move, next(moved), pile="keep")
        frame = await read(self, document)
        await agenda.adispatch(lambda agenda: agenda.votes.update(x=len(agenda.votes)))
        return frame

    monkeypatch.setattr(consumers.Connection, "open", interrupted)
    alice = await tab("alice")
    me, session = alice.snapshots["me"], alice.snapshots["session"]
    assert me["states"]["board"]["piles"] == {"keep": ["ace"]}
    patch = await alice.expect("patch", doc="me")
    assert applied(me, patch) == (await board.asnapshot()).rev
    patch = await alice.expect("patch", doc="session")
    assert applied(session, patch) == (await agenda.asnapshot()).rev
    assert alice.silent


async def test_data_of_a_newer_version_asks_the_tab_to_come_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = get_backend(blocking=False)
    await backend.open(ALICE, {"board": b'99:{"secret":1}'})
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token=token(), client="c1")
    error = await socket.expect("error", code="state_corrupt")
    assert "99" not in error["message"]
    assert "99" in caplog.text
    assert await socket.closed() == Close.INTERNAL


# Actions


async def test_an_action_is_acknowledged_with_its_operations_and_result(
    tab: Opener,
) -> None:
    alice = await tab()
    ack = await alice.act(1, "board.move", card="ace", pile="keep")
    assert (ack["type"], ack["id"], ack["doc"], ack["result"]) == ("ack", 1, "me", None)
    assert ack["base"] == alice.snapshots["me"]["rev"]
    assert {"op": "add", "path": "/board/piles/keep", "value": ["ace"]} in ack["ops"]
    snapshot = await stores.get(Board, CODE, "alice").asnapshot()
    assert ack["rev"] == snapshot.rev
    assert alice.silent


async def test_an_action_that_changes_nothing_is_acknowledged_in_place(
    tab: Opener,
) -> None:
    alice = await tab()
    ack = await alice.act(1, "board.note", text="")
    assert ack["base"] == ack["rev"] == alice.snapshots["me"]["rev"]
    assert ack["ops"] == []


async def test_each_tab_that_follows_gets_the_patch_and_the_source_does_not(
    tab: Opener,
) -> None:
    first, second = await tab(client="c1"), await tab(client="c2")
    bob = await tab("bob")
    ack = await first.act(1, "board.move", card="ace", pile="keep")
    patch = await second.expect("patch", doc="me")
    assert (patch["base"], patch["rev"], patch["ops"]) == (
        ack["base"],
        ack["rev"],
        ack["ops"],
    )
    ack = await bob.act(1, "agenda.vote", card=5)
    assert ack["doc"] == "session"
    for other in (first, second):
        patch = await other.expect("patch", doc="session")
        assert (patch["rev"], patch["ops"]) == (ack["rev"], ack["ops"])
    assert first.silent
    assert second.silent
    assert bob.silent
    agenda = await stores.get(Agenda, CODE).asnapshot()
    assert agenda.state.votes == {"bob": 5}


async def test_patches_follow_in_the_order_of_commits(tab: Opener) -> None:
    first, second = await tab(client="c1"), await tab(client="c2")
    for number in range(1, 31):
        await first.say(
            type="action",
            id=number,
            state="board",
            action="note",
            args={"text": str(number)},
        )
    last = None
    for number in range(1, 31):
        last = await first.expect("ack", id=number)
    rev = second.snapshots["me"]["rev"]
    assert last
    while rev != last["rev"]:
        rev = applied({"rev": rev}, await second.expect("patch", doc="me"))


@pytest.mark.parametrize(
    ("state", "name", "args", "code"),
    [
        ("board", "move", {"card": "joker", "pile": "keep"}, "no_such_card"),
        ("board", "move", {"card": 1, "pile": "keep"}, "invalid_arguments"),
        ("board", "move", {"card": "ace"}, "invalid_arguments"),
        ("board", "move", {"card": "a", "pile": "b", "x": 1}, "invalid_arguments"),
        (
            "board",
            "move",
            {"card": "a", "pile": "b", "agenda": {}},
            "invalid_arguments",
        ),
        ("board", "move", [], "invalid_arguments"),
        ("board", "move", None, "invalid_arguments"),
        ("board", "__init__", {}, "unknown_action"),
        ("board", "shuffle", {}, "unknown_action"),
        ("bored", "move", {}, "unknown_state"),
        ("agenda", "advance", {}, "forbidden"),
        ("agenda", "vote", {"card": 1, "by": "bob"}, "invalid_arguments"),
    ],
)
async def test_an_action_that_cannot_be_is_rejected_and_changes_nothing(
    tab: Opener, state: str, name: str, args: Any, code: str
) -> None:
    alice = await tab()
    await alice.say(type="action", id=1, state=state, action=name, args=args)
    reject = await alice.expect("reject", id=1, code=code)
    assert reject["message"]
    revs = {doc: frame["rev"] for doc, frame in alice.snapshots.items()}
    assert (await stores.get(Board, CODE, "alice").asnapshot()).rev == revs["me"]
    assert (await stores.get(Agenda, CODE).asnapshot()).rev == revs["session"]


async def test_a_role_opens_the_actions_that_are_its_own(tab: Opener) -> None:
    chair = await tab("chair", role="facilitator")
    ack = await chair.act(1, "agenda.advance")
    assert ack["ops"] == [{"op": "replace", "path": "/agenda/step", "value": 2}]


async def test_an_action_that_breaks_is_answered_as_internal_and_logged(
    tab: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    with registry.isolated():

        class Broken(State):
            value: int = 0

            @action
            def break_down(self) -> None:
                raise ZeroDivisionError("secret")

            @action
            def oddity(self) -> object:
                self.value = 1
                return object()

            @action
            def answer(self) -> dict[str, int]:
                return {"answer": 42}

        alice = await tab()
        reject = await alice.act(1, "broken.break_down")
        assert (reject["type"], reject["code"]) == ("reject", "internal")
        assert "secret" not in reject["message"]
        assert "ZeroDivisionError" in caplog.text
        ack = await alice.act(2, "broken.oddity")
        assert (ack["type"], ack["result"]) == ("ack", None)
        assert ack["base"] != ack["rev"]
        assert "is not a JSON value" in caplog.text
        assert (await alice.act(3, "broken.answer"))["result"] == {"answer": 42}


async def test_an_outage_during_an_action_rejects_it_and_the_connection_lives(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab()
    with monkeypatch.context() as outage:
        outage.setattr(type(get_backend(blocking=False)), "read", fails)
        reject = await alice.act(1, "board.clear")
        assert reject["code"] == "store_unavailable"
        assert "10.0.0.7" not in reject["message"]
        await alice.say(type="sync", doc="me")
        error = await alice.expect("error", code="store_unavailable")
        assert "10.0.0.7" not in error["message"]
    assert (await alice.act(2, "board.clear"))["type"] == "ack"


async def test_a_snapshot_that_breaks_is_answered_and_the_connection_lives(
    tab: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("secret")

    alice = await tab()
    with monkeypatch.context() as fault:
        fault.setattr(connection, "open_document", breaks)
        await alice.say(type="sync", doc="me")
        error = await alice.expect("error", code="internal")
        assert "secret" not in error["message"]
        assert "ZeroDivisionError" in caplog.text
    await alice.say(type="sync", doc="me")
    await alice.expect("snapshot", doc="me")


async def test_a_snapshot_that_an_outage_kept_back_comes_with_the_heartbeat(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab()
    with monkeypatch.context() as fault:
        fault.setattr(connection, "open_document", fails)
        await alice.say(type="sync", doc="me")
        error = await alice.expect("error", code="store_unavailable")
        assert "10.0.0.7" not in error["message"]
    # The tab does not ask again, since a sync is always answered by a snapshot.
    for frames in ({"ping", "snapshot"}, {"ping"}):
        await current_hub().heartbeat.pulse()
        assert {(await alice.receive())["type"] for _ in frames} == frames


@pytest.mark.parametrize("restarted", [True, False])
async def test_a_gap_past_the_ring_is_a_reset_only_if_the_server_was_restarted(
    restarted: bool, tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab()
    rev = (await alice.act(1, "board.note", text="seen"))["rev"]
    board = stores.get(Board, CODE, "alice")
    # Nobody tells the tab of these.
    with monkeypatch.context() as deaf:
        deaf.setattr(current_hub(), "deliver", lambda event: None)
        for number in range(40):
            await board.adispatch(Board.note, str(number))

    async def another_run(backend: object) -> str:
        return "another"

    if restarted:
        backend = type(get_backend(blocking=False))
        monkeypatch.setattr(backend, "run_name", another_run)
    await alice.say(type="sync", doc="me", rev=rev)
    snapshot = await alice.expect("snapshot", doc="me")
    assert snapshot["reset"] is restarted
    assert snapshot["states"]["board"]["notes"] == "39"
    # It has been told: the next time, that is nothing new.
    await alice.say(type="sync", doc="me")
    assert not (await alice.expect("snapshot", doc="me"))["reset"]


@pytest.mark.parametrize("restarted", [True, False])
async def test_a_tab_that_was_away_past_the_ring_says_which_run_it_knew(
    restarted: bool, tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = type(get_backend(blocking=False))
    names = ["abc1"]

    async def run_name(backend: object) -> str:
        return names[0]

    monkeypatch.setattr(backend, "run_name", run_name)
    alice = await tab()
    rev = (await alice.act(1, "board.note", text="seen"))["rev"]
    runs = {"me": alice.snapshots["me"]["run"]}
    await alice.drop()
    for number in range(40):
        await stores.get(Board, CODE, "alice").adispatch(Board.note, str(number))
    names[0] = "abc2" if restarted else "abc1"
    again = await tab(client="c2", have={"me": rev}, runs=runs)
    snapshot = again.snapshots["me"]
    assert (snapshot["reset"], snapshot["run"]) == (restarted, names[0])
    assert snapshot["states"]["board"]["notes"] == "39"


async def test_more_actions_than_the_rate_limit_are_rejected(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"RATE_LIMIT": (0.001, 3)}
    alice = await tab()
    assert alice.welcome["limits"]["rate"] == [0.001, 3]
    answers = [(await alice.act(n, "board.note", text=str(n))) for n in range(1, 6)]
    assert [answer["type"] for answer in answers] == ["ack"] * 3 + ["reject"] * 2
    assert answers[-1]["code"] == "limit_reached"


async def test_without_a_rate_limit_none_is_announced(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"RATE_LIMIT": None}
    alice = await tab()
    assert alice.welcome["limits"]["rate"] is None
    for number in range(1, 101):
        answer = await alice.act(number, "board.note", text=str(number))
        assert answer["type"] == "ack"


async def test_actions_sent_again_are_slowed_down_instead_of_rejected(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"RATE_LIMIT": (200, 1)}
    alice = await tab()
    for number in range(1, 6):
        await alice.say(
            type="action",
            id=number,
            state="board",
            action="note",
            args={"text": str(number)},
            client="c0",
        )
        await alice.expect("ack", id=number)


# Exactly once


async def test_an_action_sent_again_after_a_reconnect_takes_effect_once(
    tab: Opener,
) -> None:
    first = await tab(client="c1")
    ack = await first.act(1, "board.move", card="ace", pile="keep")
    await first.drop()
    again = await tab(client="c1")
    repeated = await again.act(1, "board.move", card="ace", pile="keep")
    assert (repeated["type"], repeated["ops"]) == ("ack", [])
    assert "result" not in repeated
    assert repeated["base"] == repeated["rev"] == ack["rev"]
    board = await stores.get(Board, CODE, "alice").asnapshot()
    assert board.state.piles == {"keep": ["ace"]}


async def test_a_resend_counts_under_the_client_that_sent_it_first(
    tab: Opener,
) -> None:
    await (await tab(client="c1")).act(1, "agenda.vote", card=1)
    copy = await tab(client="c1")
    assert copy.welcome["client"] != "c1"
    await copy.say(
        type="action",
        id=1,
        state="agenda",
        action="vote",
        args={"card": 2},
        client="c1",
    )
    assert "result" not in await copy.expect("ack", id=1)
    assert "result" in await copy.act(1, "agenda.vote", card=3)


async def test_nobody_uses_up_the_ids_of_another_participants_client(
    tab: Opener,
) -> None:
    alice, bob = await tab("alice", client="same"), await tab("bob", client="same")
    assert "result" in await bob.act(500, "agenda.vote", card=1)
    await alice.expect("patch", doc="session")
    assert "result" in await alice.act(1, "agenda.vote", card=2)


@pytest.mark.parametrize("pong", [False, True])
async def test_rejected_actions_sent_again_are_rejected_again(
    tab: Opener, pong: bool
) -> None:
    first = await tab(client="c1")
    moves = ["ace", "joker", "king", "queen"]
    types = ["ack", "reject", "ack", "ack"]
    for id, (card, kind) in enumerate(zip(moves, types, strict=True), 1):
        answer = await first.act(id, "board.move", card=card, pile="keep")
        assert answer["type"] == kind
        if pong:
            # It was not asked for, so it confirms nothing.
            await first.say(type="pong")
    await first.drop()
    again = await tab(client="c1")
    for id, (card, kind) in enumerate(zip(moves, types, strict=True), 1):
        answer = await again.act(id, "board.move", card=card, pile="keep")
        assert (answer["type"], answer["id"]) == (kind, id)
        assert answer.get("code") == ("no_such_card" if kind == "reject" else None)
    board = await stores.get(Board, CODE, "alice").asnapshot()
    assert board.state.piles == {"keep": ["queen", "king", "ace"]}


async def test_refusals_that_the_tab_has_seen_are_forgotten(tab: Opener) -> None:
    alice = await tab(client="c1")
    hub = current_hub()

    async def beat() -> None:
        await hub.heartbeat.pulse()
        await alice.expect("ping")
        await alice.say(type="pong", visible=True)
        await alice.say(type="sync", doc="me", rev=alice.snapshots["me"]["rev"])
        await alice.expect("snapshot")

    async def remembered(id: int) -> list[int]:
        await alice.act(id, "board.note", text=str(id))
        record = await get_backend(blocking=False).read(ALICE)
        return list(record.clients["c1"].refused)  # type: ignore[union-attr]

    await alice.act(1, "board.move", card="joker", pile="keep")
    assert await remembered(2) == [1]
    await beat()
    assert await remembered(3) == [1]
    await alice.act(4, "board.move", card="joker", pile="keep")
    await beat()
    assert await remembered(5) == [4]
    await beat()
    assert await remembered(6) == []


async def test_the_refusals_that_a_commit_carries_are_bounded(
    tab: Opener, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.SESSIONSTORES = {"RATE_LIMIT": None}
    monkeypatch.setattr(dispatcher, "MAX_ANSWERS", 3)
    alice = await tab(client="c1")
    for id in range(1, 6):
        await alice.act(id, "board.move", card="joker", pile="keep")
    await alice.act(6, "board.note", text="x")
    record = await get_backend(blocking=False).read(ALICE)
    assert list(record.clients["c1"].refused) == [3, 4, 5]  # type: ignore[union-attr]


# Sync, token, bye


async def test_sync_is_always_answered_by_a_snapshot(tab: Opener) -> None:
    alice = await tab()
    ack = await alice.act(1, "board.note", text="x")
    await alice.say(type="sync", doc="me", rev=alice.snapshots["me"]["rev"])
    frame = await alice.expect("snapshot", doc="me", rev=ack["rev"], reset=False)
    assert frame["states"]["board"]["notes"] == "x"
    await alice.say(type="sync", doc="me", rev=ack["rev"])
    assert "states" not in await alice.expect("snapshot", doc="me", rev=ack["rev"])
    await alice.say(type="sync", doc="session")
    assert "states" in await alice.expect("snapshot", doc="session")


async def test_sync_that_is_current_reads_no_states(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab()
    rev = alice.snapshots["me"]["rev"]
    monkeypatch.setattr(connection, "open_document", fails)
    await alice.say(type="sync", doc="me", rev=rev)
    assert "states" not in await alice.expect("snapshot", doc="me", rev=rev)


async def test_a_commit_while_a_sync_asks_for_the_head_comes_after_its_answer(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab()
    rev = alice.snapshots["me"]["rev"]
    backend = type(get_backend(blocking=False))
    heads = backend.heads

    async def late(self: Any, keys: Any) -> Any:
        found = await heads(self, keys)
        await stores.get(Board, CODE, "alice").adispatch(Board.note, "late")
        return found

    with monkeypatch.context() as race:
        race.setattr(backend, "heads", late)
        await alice.say(type="sync", doc="me", rev=rev)
        await alice.expect("snapshot", doc="me", rev=rev)
    await alice.expect("patch", doc="me", base=rev)


async def test_sync_of_a_document_that_is_not_there_is_a_bad_frame(
    tab: Opener,
) -> None:
    alice = await tab()
    await alice.say(type="sync", doc="p:bob")
    await alice.expect("error", code="bad_frame")


async def test_a_second_hello_is_a_bad_frame(tab: Opener) -> None:
    alice = await tab()
    await alice.say(type="hello", token=token("bob"), client="c2")
    await alice.expect("error", code="bad_frame")


async def test_a_newer_token_changes_no_role_that_the_record_has(tab: Opener) -> None:
    alice = await tab()
    assert (await alice.act(1, "agenda.advance"))["code"] == "forbidden"
    await alice.say(type="token", token=token("alice", "facilitator"))
    assert (await alice.act(2, "agenda.advance"))["code"] == "forbidden"


@pytest.mark.parametrize("other", ["bob", "forged"])
async def test_a_token_for_somebody_else_changes_nothing(
    tab: Opener, other: str
) -> None:
    alice = await tab()
    bad = token("bob", "facilitator") if other == "bob" else "forged"
    await alice.say(type="token", token=bad)
    await alice.expect("error", code="invalid_token")
    assert (await alice.act(1, "agenda.advance"))["code"] == "forbidden"


async def test_bye_releases_the_lease_and_closes(tab: Opener) -> None:
    alice = await tab()
    await alice.say(type="bye")
    event = await alice.communicator.receive_output()
    assert (event["type"], event["code"]) == ("websocket.close", 1000)
    assert await get_backend(blocking=False).connections(ALICE) == []


async def test_a_lost_connection_is_leaving_and_lets_go_of_what_it_followed(
    tab: Opener,
) -> None:
    first, second = await tab(client="c1"), await tab(client="c2")
    backend = get_backend(blocking=False)
    await first.drop()
    leases = await backend.connections(ALICE)
    assert {lease.client: lease.leaving for lease in leases} == {
        "c1": True,
        "c2": False,
    }
    assert await backend.followers(ALICE) == {current_hub().process}
    await second.drop()
    assert await backend.followers(ALICE) == frozenset()


# Bad frames


BAD = [
    (b"\x00\x01", "bad_frame"),
    ("not json", "bad_json"),
    ("[]", "bad_frame"),
    ("null", "bad_frame"),
    ("x" * 65_536, "too_large"),
    ("[" * 40 + "]" * 40, "too_deep"),
    ('{"type":"pong","x":NaN}', "bad_value"),
    ('{"type":"pong","x":"\\ud800"}', "bad_value"),
    ('{"type":"pong","x":9007199254740992}', "bad_value"),
    ('{"type":"observe","participant":"bob"}', "unknown_type"),
    ('{"type":"action","id":"1"}', "bad_frame"),
]


@pytest.mark.parametrize(("sent", "code"), BAD)
async def test_a_bad_frame_gets_an_error_and_changes_nothing(
    tab: Opener, sent: str | bytes, code: str
) -> None:
    alice = await tab()
    kind = "text" if isinstance(sent, str) else "bytes"
    await alice.communicator.send_input({"type": "websocket.receive", kind: sent})
    error = await alice.expect("error", code=code)
    assert error["message"]
    ack = await alice.act(1, "board.note", text="")
    assert ack["rev"] == alice.snapshots["me"]["rev"]


async def test_a_tab_that_sends_too_many_bad_frames_is_closed(tab: Opener) -> None:
    alice = await tab()
    for _ in range(consumers.MAX_BAD_FRAMES):
        await alice.say_text("{")
        await alice.expect("error", code="bad_json")
    await alice.say(type="sync", doc="nothing")
    await alice.expect("error", code="too_many_bad_frames")
    assert await alice.closed() == Close.TOO_MANY_BAD_FRAMES


@pytest.mark.parametrize("ends", ["disconnected", "cancelled"])
async def test_a_connection_that_is_closed_while_it_parts_is_gone_from_the_hub(
    ends: str,
) -> None:
    events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[dict[str, Any]] = []
    parting, taken = asyncio.Event(), asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        if "too_many_bad_frames" in message.get("text", ""):
            parting.set()
            await taken.wait()
        sent.append(message)

    scope = {"type": "websocket", "headers": [ORIGIN], "path": "/", "subprotocols": []}
    serving = asyncio.create_task(StoreConsumer.as_asgi()(scope, events.get, send))
    events.put_nowait({"type": "websocket.connect"})
    hello = {"type": "hello", "token": token(), "client": "c1"}
    for text in (json.dumps(hello), *["{"] * 25):
        events.put_nowait({"type": "websocket.receive", "text": text})
    await parting.wait()
    if ends == "disconnected":
        await stores.adisconnect(CODE, "alice")
        await asyncio.sleep(0.01)
        taken.set()
        await serving
        assert sent[-1]["code"] == Close.TOO_MANY_BAD_FRAMES
    else:
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
    assert not current_hub().connections
    assert not hubs


@pytest.mark.parametrize("version", ["2.4", "2.0", None])
@pytest.mark.parametrize("extra", [0, 5])
async def test_who_still_sends_is_cut_off_where_the_server_can_and_else_closed(
    version: str | None, extra: int
) -> None:
    events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asgi = {"version": "3.0", **({"spec_version": version} if version else {})}
    scope = {"type": "websocket", "headers": [], "path": "/", "asgi": asgi}
    events.put_nowait({"type": "websocket.connect"})
    for _ in range(consumers.MAX_BAD_FRAMES + 1 + extra):
        events.put_nowait({"type": "websocket.receive", "text": "{"})
    await StoreConsumer.as_asgi()(scope, events.get, send)
    farewell = json.loads([each for each in sent if "text" in each][-1]["text"])
    assert farewell["code"] == "too_many_bad_frames"
    closed = [each["code"] for each in sent if each["type"] == "websocket.close"]
    cut_off = version == "2.4" and extra > 0
    assert closed == ([] if cut_off else [Close.TOO_MANY_BAD_FRAMES])


async def test_a_stranger_that_sends_too_many_bad_frames_is_closed() -> None:
    socket = Socket()
    await socket.open()
    for _ in range(consumers.MAX_BAD_FRAMES + 1):
        await socket.say_text("{")
    for _ in range(consumers.MAX_BAD_FRAMES):
        await socket.expect("error", code="bad_json")
    await socket.expect("error", code="too_many_bad_frames")
    assert await socket.closed() == Close.TOO_MANY_BAD_FRAMES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.lists(
        st.text()
        | st.binary()
        | json_values.map(json.dumps)
        | st.builds(
            lambda kind, rest: json.dumps({**rest, "type": kind}),
            st.sampled_from(["action", "sync", "token", "hello", "nothing"]),
            st.dictionaries(
                st.sampled_from(["id", "state", "action", "args", "doc", "client"]),
                json_values | st.just("board"),
            ),
        ),
        max_size=10,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_a_tab_sends_it_lives_and_nothing_changes(
    sent: list[str | bytes],
) -> None:
    await get_backend(blocking=False).clear()
    alice = await Socket().hello()
    for item in sent:
        kind = "text" if isinstance(item, str) else "bytes"
        await alice.communicator.send_input({"type": "websocket.receive", kind: item})
    await alice.say(type="sync", doc="me", rev=alice.snapshots["me"]["rev"])
    frame = await alice.receive()
    while frame["type"] != "snapshot" or frame["doc"] != "me":
        assert frame["type"] in {"error", "reject", "snapshot"}
        frame = await alice.receive()
    assert frame["rev"] == alice.snapshots["me"]["rev"]
    await alice.drop()


async def test_the_reader_gives_other_tabs_their_turn(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"RATE_LIMIT": None}
    greedy, other = await tab("greedy"), await tab("other")
    for id in range(1, 201):
        await greedy.say(
            type="action", id=id, state="board", action="note", args={"text": str(id)}
        )
    await other.act(1, "board.note", text="x")
    assert greedy.communicator.input_queue.qsize() > 0


# The end


@pytest.mark.parametrize(
    ("how", "reason"), [("cleanup_participant", "cleanup"), ("end_session", "ended")]
)
async def test_the_end_is_told_and_the_connection_closed(
    tab: Opener, how: str, reason: str
) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    if how == "cleanup_participant":
        await stores.acleanup_participant(CODE, "alice")
    else:
        await stores.aend_session(CODE)
        await bob.expect("end", reason=reason, retry=False)
        assert await bob.closed() == Close.ENDED
    await alice.expect("end", reason=reason, retry=False)
    assert await alice.closed() == Close.ENDED
    assert bob.silent
    assert await get_backend(blocking=False).connections(ALICE) == []


async def test_an_action_that_ends_its_own_session_is_still_carried_out(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab("alice")
    run = dispatcher.perform

    async def ends(*args: Any, **kwargs: Any) -> Any:
        outcome = await run(*args, **kwargs)
        await stores.acleanup_session(CODE)
        await asyncio.sleep(0)
        return outcome

    monkeypatch.setattr(dispatcher, "perform", ends)
    await alice.say(type="action", id=1, state="board", action="clear", args={})
    await alice.expect("end", reason="cleanup")
    assert await alice.closed() == Close.ENDED


async def test_a_state_that_is_deleted_starts_afresh_in_a_snapshot_with_reset(
    tab: Opener,
) -> None:
    alice = await tab("alice")
    await alice.act(1, "board.note", text="x")
    await stores.get(Board, CODE, "alice").adelete()
    frame = await alice.expect("snapshot", doc="me", reset=True)
    assert frame["states"]["board"]["notes"] == ""
    assert (await alice.act(2, "board.note", text="y"))["type"] == "ack"


async def test_a_shutdown_lets_the_tab_come_back_elsewhere(tab: Opener) -> None:
    alice = await tab("alice")
    alice.communicator.future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alice.communicator.future
    (lease,) = await get_backend(blocking=False).connections(ALICE)
    assert lease.leaving


async def test_through_routing_and_the_validator_a_tab_connects() -> None:
    from tests.asgi import application

    socket = Socket(application)
    await socket.hello()
    await socket.drop()
    stranger = Socket(application, headers=[(b"origin", b"http://evil.example")])
    assert (await stranger.communicator.connect())[0] is False
    await stranger.communicator.wait()


async def test_commits_from_threads_reach_tabs(tab: Opener) -> None:
    alice = await tab("alice")
    board = stores.get(Board, CODE, "alice")
    await asyncio.to_thread(board.dispatch, Board.note, "from a thread")
    patch = await alice.expect("patch", doc="me")
    assert patch["ops"][0]["value"] == "from a thread"


async def test_a_tab_that_is_gone_without_a_word_is_noticed_when_written_to() -> None:
    events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        if len(sent) > 3:
            raise OSError("gone")
        sent.append(event)

    events.put_nowait({"type": "websocket.connect"})
    hello = json.dumps({"type": "hello", "token": token(), "client": "c1"})
    events.put_nowait({"type": "websocket.receive", "text": hello})
    scope = {"type": "websocket", "headers": [ORIGIN]}
    task = asyncio.create_task(consumers.StoreConsumer()(scope, events.get, send))
    await until(lambda: len(sent) == 4)
    await stores.asend(CODE, {"anybody": "there"})
    await asyncio.wait_for(task, 5)
    assert not current_hub().connections
