"""An action that concerns others is caught, with what it changed; no other is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from sessionstores import ActionRejected, State, action, stores
from sessionstores.state.declaration import field, registry
from sessionstores.testing import (
    aassert_isolated,
    aparticipant,
    assert_isolated,
    participant,
)
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.usefixtures("isolated")

SHARED: list[str] = []


@pytest.fixture
def faulty() -> Iterator[Any]:
    """A state whose actions do what no action should."""
    with registry.isolated():

        class Faulty(State):
            cards: list[str] = field(default_factory=lambda: [*SHARED])

            @action
            def share(self) -> None:
                SHARED.append("ace")

        yield Faulty
    SHARED.clear()


def test_actions_that_concern_nobody_else_pass() -> None:
    assert_isolated(Board, Board.move, {"card": "ace", "pile": "keep"})
    assert_isolated(Board, "note", {"text": "mine"})
    assert_isolated(Board, lambda board: board.piles.clear())
    assert_isolated(Board, Board.clear, by=participant("MYOWN2"))
    assert stores.participants("MYOWN2")[:3] == ["alice", "bob", "carol"]


def test_a_states_of_the_session_may_change_the_session() -> None:
    assert_isolated(Agenda, Agenda.advance, role="facilitator")
    assert_isolated(Agenda, Agenda.vote, {"card": 3})
    assert_isolated(Agenda, lambda agenda: agenda.votes.clear())


def test_what_an_action_refuses_is_raised() -> None:
    with pytest.raises(ActionRejected, match="no card"):
        assert_isolated(Board, Board.move, {"card": "joker", "pile": "keep"})


def test_it_needs_no_route() -> None:
    with override_settings(ASGI_APPLICATION="nowhere.application"):
        assert_isolated(Board, Board.clear)


async def test_it_works_in_a_loop() -> None:
    await aassert_isolated(Board, Board.clear, by=await aparticipant())


def test_states_that_share_an_object_are_caught(faulty: Any) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_isolated(faulty, faulty.share)
    assert "+++ a newcomer, after" in str(caught.value)
    assert '+    "cards": [\n+      "ace"\n+    ]' in str(caught.value)


async def test_another_ones_record_is_caught_with_a_diff() -> None:
    alice = await aparticipant()
    bob = await aparticipant(alice)

    def meddle(board: Board) -> None:
        board.notes = "own"
        store = stores.get(Board, bob.session, bob.id)
        # In a thread of its own, as a client of another process would.
        _in_thread(store.dispatch, Board.note, "meddled")

    with pytest.raises(AssertionError) as caught:
        await aassert_isolated(Board, meddle, by=alice)
    text = str(caught.value)
    assert f"by {alice.session}:alice concerns others too" in text
    assert "--- bob, before" in text
    assert "meddled" in text
    assert "own" not in text


async def test_the_sessions_record_is_caught() -> None:
    alice = await aparticipant()

    def meddle(board: Board) -> None:
        _in_thread(stores.get(Agenda, alice.session).dispatch, Agenda.advance)

    with pytest.raises(AssertionError, match="the session, before"):
        await aassert_isolated(Board, meddle, by=alice)


@pytest.mark.parametrize("to", [None, "bob"])
async def test_a_frame_to_anothers_tab_is_caught(to: str | None) -> None:
    alice = await aparticipant()

    def meddle(board: Board) -> None:
        _in_thread(stores.send, alice.session, {"hello": "all"}, to)

    with pytest.raises(AssertionError) as caught:
        await aassert_isolated(Board, meddle, by=alice)
    assert 'A tab of bob got {"type": "message", "data": {"hello": "all"}}' in str(
        caught.value
    )
    assert ("carol" in str(caught.value)) is (to is None)


def _in_thread(call: Any, *args: Any) -> None:
    thread = threading.Thread(target=call, args=args)
    thread.start()
    thread.join()
