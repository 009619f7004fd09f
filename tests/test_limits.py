"""The one past a limit gets its typed error; the others notice nothing.

Over the public API and tabs, on each kind of cache.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from sessionstores import (
    LimitReached,
    Participant,
    Snapshot,
    StateTooLarge,
    signals,
    stores,
)
from sessionstores.backends import get_backend
from sessionstores.realtime.protocol import Close
from tests.caches import KINDS, cache_on, when_reached
from tests.workshop.states import Agenda, Board

from .sockets import CODE, Opener, Socket, opening_tabs

Limit = Callable[..., None]


@pytest.fixture(params=KINDS)
def limit(request: pytest.FixtureRequest, settings: Any) -> Iterator[Limit]:
    """Set limits for the rest of a test, which runs over each kind of cache."""

    def set_limits(**limits: Any) -> None:
        settings.SESSIONSTORES = {"AUTO_SWEEP": False, **limits}

    with cache_on(request.param, request, settings):
        yield set_limits


@pytest.fixture
async def tab(limit: Limit) -> AsyncIterator[Opener]:
    async with opening_tabs() as open_tab:
        yield open_tab
    clients = getattr(get_backend(blocking=False), "_clients", None)
    if clients is not None:
        # What closes by itself when the loop ends is closed only after the settings
        # are others again, and then too late.
        await clients.current().close()


@pytest.fixture
def created() -> Iterator[list[str]]:
    """The keys that `store_created` brings during a test."""
    seen: list[str] = []

    def receive(key: object, **kwargs: Any) -> None:
        seen.append(str(key))

    signals.store_created.connect(receive)
    yield seen
    signals.store_created.disconnect(receive)


def board(participant: str) -> Any:
    return stores.get(Board, CODE, participant)


async def refused(participant: str) -> tuple[str, int]:
    """Say hello as a tab that is turned away; return its error and close code."""
    socket = Socket()
    await socket.open()
    token = Participant(CODE, participant, "participant").token()
    await socket.say(type="hello", token=token, client="c1", have={})
    frame = await socket.expect("error")
    code: str = frame["code"]
    return code, await socket.closed()


async def settle(*sockets: Socket) -> None:
    """See that each tab was sent nothing, up to the answer to what it asks now."""
    for socket in sockets:
        await socket.say(type="sync", doc="me")
        await socket.expect("snapshot", doc="me")


def test_a_participant_too_many_is_refused_and_the_others_stay(
    limit: Limit, created: list[str]
) -> None:
    limit(MAX_PARTICIPANTS=2)
    before = {}
    for name in ("alice", "bob"):
        board(name).dispatch(Board.note, name)
        before[name] = board(name).snapshot()
    with pytest.raises(LimitReached, match=r"K7Q2ZD has 2 participants.*MAX_PART"):
        board("carol").dispatch(Board.note, "carol")
    with pytest.raises(LimitReached):
        _ = board("carol").state
    assert board("carol").peek() is None
    assert stores.participants(CODE) == ["alice", "bob"]
    assert created == ["K7Q2ZD:alice", "K7Q2ZD:bob"]
    assert {name: board(name).snapshot() for name in before} == before
    board("alice").dispatch(Board.note, "still here")
    # Another session has room of its own, and a place that is free is taken.
    stores.get(Board, "AAAAAA", "carol").dispatch(Board.note, "elsewhere")
    stores.cleanup_participant(CODE, "bob")
    board("carol").dispatch(Board.note, "carol")
    assert stores.participants(CODE) == ["alice", "carol"]


def test_of_many_newcomers_at_once_no_more_come_in_than_may(limit: Limit) -> None:
    limit(MAX_PARTICIPANTS=5)
    stores.get(Agenda, CODE).snapshot()
    barrier = threading.Barrier(12)
    answers: list[object] = []

    def come(number: int) -> None:
        barrier.wait(10)
        try:
            answers.append(when_reached(board(f"p{number}").snapshot))
        except LimitReached:
            # Not the error itself: it would keep this thread's connections alive.
            answers.append(None)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=come, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    came_in = [answer for answer in answers if isinstance(answer, Snapshot)]
    assert len(answers) == 12
    assert len(came_in) == stores.participant_count(CODE) == 5


async def test_the_tab_of_a_participant_too_many_is_told_and_no_other(
    limit: Limit, tab: Opener
) -> None:
    limit(MAX_PARTICIPANTS=2)
    sockets = [await tab("alice"), await tab("bob")]
    await settle(*sockets)
    assert await refused("carol") == ("limit_reached", Close.LIMIT)
    await settle(*sockets)
    assert await stores.aparticipants(CODE) == ["alice", "bob"]
    ack = await sockets[0].act(1, "board.note", text="still here")
    assert ack["type"] == "ack"


def test_a_session_too_many_is_refused_and_the_others_stay(limit: Limit) -> None:
    limit(MAX_SESSIONS=2)
    code = stores.create_session(label="first")
    mine = stores.get(Board, code, "alice")
    mine.dispatch(Board.note, "mine")
    before = mine.snapshot()
    board("alice").dispatch(Board.note, "a site's own code counts too")
    with pytest.raises(LimitReached, match="MAX_SESSIONS"):
        stores.create_session(label="third")
    with pytest.raises(LimitReached, match="MAX_SESSIONS"):
        stores.get(Board, "AAAAAA", "alice").dispatch(Board.note, "x")
    assert stores.sessions() == sorted([code, CODE])
    assert mine.snapshot() == before
    stores.get(Board, code, "bob").dispatch(Board.note, "newcomers still come in")
    stores.end_session(CODE)
    assert stores.create_session(label="third") in stores.sessions()


def test_a_state_too_large_is_refused_and_the_last_one_stays(limit: Limit) -> None:
    limit(MAX_STATE_BYTES=1_000)
    alice = board("alice")
    alice.dispatch(Board.note, "x" * 500)
    before = alice.snapshot()
    with pytest.raises(StateTooLarge, match=r"1000 are allowed.*'board'"):
        alice.dispatch(Board.note, "x" * 1_000)
    with pytest.raises(StateTooLarge):
        alice.replace(Board(notes="x" * 1_000), base=before.rev)
    assert alice.snapshot() == before
    agenda = stores.get(Agenda, CODE)
    many = {f"participant-{number}": 1 for number in range(100)}
    with pytest.raises(StateTooLarge):
        agenda.dispatch(lambda agenda: agenda.votes.update(many))
    assert agenda.state == Agenda()
    board("bob").dispatch(Board.note, "x" * 500)
    alice.dispatch(Board.note, "smaller")
    assert alice.state.notes == "smaller"


async def test_the_tab_whose_state_is_too_large_is_told_and_no_other(
    limit: Limit, tab: Opener
) -> None:
    limit(MAX_STATE_BYTES=1_000)
    alice, other, bob = [
        await tab(name, client=client)
        for name, client in (("alice", "c1"), ("alice", "c2"), ("bob", "c1"))
    ]
    await settle(alice, other, bob)
    answer = await alice.act(1, "board.note", text="x" * 1_000)
    assert (answer["type"], answer["code"]) == ("reject", "state_too_large")
    await settle(alice, other, bob)
    answer = await alice.act(2, "board.note", text="x")
    assert answer["type"] == "ack"
    await other.expect("patch", doc="me")
    await settle(bob)


async def test_a_tab_that_acts_too_fast_is_told_and_no_other(
    limit: Limit, tab: Opener
) -> None:
    limit(RATE_LIMIT=(0.001, 3))
    alice, other, bob = [
        await tab(name, client=client)
        for name, client in (("alice", "c1"), ("alice", "c2"), ("bob", "c1"))
    ]
    assert alice.welcome["limits"]["rate"] == [0.001, 3]
    await settle(alice, other, bob)
    answers = [await alice.act(n, "board.note", text=str(n)) for n in range(1, 6)]
    told = [(answer["type"], answer.get("code")) for answer in answers]
    assert told == [("ack", None)] * 3 + [("reject", "limit_reached")] * 2
    for number in range(3):
        patch = await other.expect("patch", doc="me")
        assert patch["rev"] == answers[number]["rev"]
    for socket in (other, bob):
        assert (await socket.act(1, "board.note", text="mine"))["type"] == "ack"
    # What the server itself does is not counted.
    for number in range(10):
        await board("alice").adispatch(Board.note, f"server {number}")
    assert (await board("alice").asnapshot()).state.notes == "server 9"
