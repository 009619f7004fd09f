"""Actions of many tabs in one commit: each its own answer, and one patch for all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sessionstores.backends import get_backend
from sessionstores.exceptions import StoreUnavailable
from sessionstores.keys import SESSION, StoreKey
from sessionstores.manager import stores
from sessionstores.realtime.hub import current_hub
from sessionstores.state.apply_patch import apply
from tests.sockets import CODE, Frame, Opener, Socket
from tests.workshop.states import Agenda, Board

TABS = 12


async def open_tabs(tab: Opener, count: int = TABS) -> list[Socket]:
    """Open tabs of as many participants, and let each see its own presence."""
    return [await tab(f"p{number}", client=f"c{number}") for number in range(count)]


async def vote(socket: Socket, card: int, id: int = 1) -> None:
    """Send a vote; wait for nothing."""
    args = {"card": card}
    await socket.say(type="action", id=id, state="agenda", action="vote", args=args)


async def texts_until_quiet(socket: Socket, count: int) -> list[str]:
    """Return the next frames but for presence, as text."""
    events = [await socket._event() for _ in range(count)]
    return [event["text"] for event in events]


def applied(socket: Socket, frames: list[Frame]) -> tuple[Frame, str]:
    """Return the session's states and rev in a tab after these frames."""
    states, rev = (socket.snapshots["session"][name] for name in ("states", "rev"))
    for frame in frames:
        if "ops" in frame and frame["base"] != frame["rev"]:
            assert frame["base"] == rev, frame
            states, rev = apply(states, frame["ops"]), frame["rev"]
    return states, rev


async def test_a_group_is_one_patch_for_all_and_acks_without_one_go_ahead(
    tab: Opener,
) -> None:
    sockets = await open_tabs(tab)
    for number, socket in enumerate(sockets):
        await vote(socket, number)
    # All but the first, who found nobody before it: the patch of the first, their own
    # ack, and the group's patch. The first gets its change with its ack.
    received = [
        await texts_until_quiet(socket, 2 if socket is sockets[0] else 3)
        for socket in sockets
    ]
    expected = {f"p{number}": number for number in range(TABS)}
    snapshot = await stores.get(Agenda, CODE).asnapshot()
    assert snapshot.state.votes == expected
    patches = set()
    for socket, texts in zip(sockets, received, strict=True):
        frames = [json.loads(text) for text in texts]
        states, rev = applied(socket, frames)
        assert states["agenda"]["votes"] == expected
        assert rev == snapshot.rev
        patches.add(texts[-1])
        kinds = [frame["type"] for frame in frames]
        if socket is sockets[0]:
            assert kinds == ["ack", "patch"]
            continue
        assert kinds == ["patch", "ack", "patch"]
        ack = frames[1]
        assert {"base", "ops"} & ack.keys() == set()
        assert (ack["rev"], ack["result"], ack["id"]) == (rev, None, 1)
        assert socket.silent
    # To the letter.
    assert len(patches) == 1


async def test_refusals_and_no_ops_of_a_group_are_answered_with_it(
    tab: Opener,
) -> None:
    sockets = await open_tabs(tab, 5)
    await vote(sockets[0], 1)
    await vote(sockets[1], 2)
    # This one may not.
    await sockets[2].say(type="action", id=1, state="agenda", action="advance")
    await vote(sockets[3], 3)
    answers = []
    for socket in sockets[:4]:
        frames = [await socket.receive() for _ in range(2)]
        while not any(frame["type"] in ("ack", "reject") for frame in frames):
            frames.append(await socket.receive())
        answers += [each for each in frames if each["type"] in ("ack", "reject")]
    assert [answer["type"] for answer in answers] == ["ack", "ack", "reject", "ack"]
    assert answers[2]["code"] == "forbidden"
    assert answers[1]["rev"] == answers[3]["rev"]
    votes = (await stores.get(Agenda, CODE).asnapshot()).state.votes
    assert votes == {"p0": 1, "p1": 2, "p3": 3}


async def test_a_vote_that_changes_nothing_in_a_group_names_its_rev(
    tab: Opener,
) -> None:
    sockets = await open_tabs(tab, 3)
    await vote(sockets[1], 7)
    for socket in sockets:
        await socket.receive()
    await vote(sockets[0], 1, id=2)
    await vote(sockets[1], 7, id=2)
    await vote(sockets[2], 3, id=2)
    frames = [await sockets[1].receive() for _ in range(3)]
    (ack,) = [frame for frame in frames if frame["type"] == "ack"]
    patch = frames[-1]
    assert (ack["base"], ack["rev"], ack["ops"]) == (patch["rev"], patch["rev"], [])


async def test_tabs_that_vanish_meanwhile_keep_nobody_waiting(tab: Opener) -> None:
    sockets = await open_tabs(tab)
    for number, socket in enumerate(sockets):
        await vote(socket, number)
        if number % 3 == 1:
            await socket.communicator.send_input(
                {"type": "websocket.disconnect", "code": 1006}
            )
    for number, socket in enumerate(sockets):
        if number % 3 == 1:
            await socket.drop()
            continue
        frames = [await socket.receive()]
        while frames[-1]["type"] != "ack":
            frames.append(await socket.receive())
    votes = (await stores.get(Agenda, CODE).asnapshot()).state.votes
    for name, card in votes.items():
        assert name == f"p{card}"
    assert {f"p{n}" for n in range(TABS) if n % 3 != 1} <= votes.keys()


@pytest.mark.parametrize("applied_before", [True, False])
@pytest.mark.parametrize("hops", range(6))
async def test_a_tab_that_goes_in_the_middle_of_its_commit_leaves_nothing_behind(
    tab: Opener,
    redis_site: None,
    monkeypatch: pytest.MonkeyPatch,
    hops: int,
    applied_before: bool,
) -> None:
    witness = await tab("bob")
    mine = await tab("alice")
    backend = get_backend(blocking=False)
    commit = backend.commit
    reached = asyncio.Event()

    async def slow(*args: Any, **more: Any) -> Any:
        reached.set()
        if not applied_before:
            await asyncio.sleep(0)
        return await commit(*args, **more)

    monkeypatch.setattr(backend, "commit", slow)
    await vote(mine, 5)
    await reached.wait()
    for _ in range(hops):
        await asyncio.sleep(0)
    # As a server does that waits no longer for the application.
    mine.communicator.future.cancel()
    await asyncio.wait([mine.communicator.future])
    frame = await witness.receive()
    assert frame["type"] == "patch"
    snapshot = await stores.get(Agenda, CODE).asnapshot()
    assert snapshot.state.votes == {"alice": 5}
    assert frame["rev"] == snapshot.rev
    alice = StoreKey(CODE, "alice")
    assert all(each.key != alice for each in current_hub().connections.values())
    left = await backend.connections(StoreKey(CODE, SESSION))
    assert all(lease.leaving for lease in left if lease.key == alice)


async def test_an_unknown_outcome_of_a_group_is_that_of_its_changes(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets = await open_tabs(tab, 4)
    backend = type(get_backend(blocking=False))
    commit = backend.commit
    commits = 0

    async def unanswered(*args: Any, **more: Any) -> Any:
        nonlocal commits
        commits += 1
        answer = await commit(*args, **more)
        if commits == 2:
            raise StoreUnavailable("10.0.0.7 does not answer")
        return answer

    with monkeypatch.context() as outage:
        outage.setattr(backend, "commit", unanswered)
        for number, socket in enumerate(sockets):
            await vote(socket, number)
        answers = []
        for socket in sockets:
            frame = await socket.receive()
            while frame["type"] not in ("ack", "reject"):
                frame = await socket.receive()
            answers.append(frame)
    assert [answer["type"] for answer in answers] == ["ack", *["reject"] * 3]
    assert {answer.get("code") for answer in answers[1:]} == {"outcome_unknown"}


async def test_several_tabs_of_one_person_act_on_their_board_in_order(
    tab: Opener,
) -> None:
    sockets = [await tab("alice", client=f"c{number}") for number in range(3)]
    for number, socket in enumerate(sockets):
        args = {"text": str(number)}
        await socket.say(type="action", id=1, state="board", action="note", args=args)
    for socket in sockets:
        frame = await socket.receive()
        while frame["type"] != "ack":
            frame = await socket.receive()
    assert (await stores.get(Board, CODE, "alice").asnapshot()).state.notes == "2"
