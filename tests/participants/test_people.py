"""People of a session: who they are, and what `stores` changes of that."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from hypothesis import given

from sessionstores import Person, stores
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.event_bus import ProfileChange, bus
from sessionstores.exceptions import InvalidKey, SessionEnded, UnknownSession
from sessionstores.keys import StoreKey
from sessionstores.participants.participant import Participant
from tests.backends.driven import lease
from tests.participants.browsers import Browser
from tests.participants.test_names import anything
from tests.workshop.states import Board


def both(name: str) -> list[Any]:
    """Return a method of `stores` and its async twin."""
    return [getattr(stores, name), async_to_sync(getattr(stores, f"a{name}"))]


def test_everybody_with_a_record_is_listed_by_id(code: str) -> None:
    Browser().join(code, participant="bob", name="Bob")
    Browser().join(code, participant="alice", role="facilitator")
    stores.get(Board, code, "carol").dispatch(Board.move, "ace", "keep")
    run(get_backend(blocking=True).lease([lease(StoreKey(code, "bob"))]))
    for people in both("people"):
        alice, bob, carol = found = people(code)
        assert all(isinstance(each, Person) for each in found)
        assert (alice.id, alice.name, alice.role) == ("alice", None, "facilitator")
        assert (bob.id, bob.name, bob.role) == ("bob", "Bob", "participant")
        assert (carol.id, carol.name, carol.role) == ("carol", None, "participant")
        assert [each.tabs for each in found] == [0, 1, 0]
        assert [each.online for each in found] == [False, True, False]
        assert {each.user for each in found} == {None}
        assert carol.bytes > bob.bytes > 0
        assert bob.last_seen > 1_700_000_000
    stores.cleanup_participant(code, "bob")
    assert [each.id for each in stores.people(code)] == ["alice", "carol"]
    assert stores.people("NQNE23") == []


def test_round_trips_do_not_grow_with_people(code: str, calls: Counter[str]) -> None:
    for number in range(30):
        Browser().join(code, participant=f"p{number}", name=f"Name {number}")
    calls.clear()
    assert len(stores.people(code)) == 30
    assert sum(calls.values()) <= 3


@pytest.mark.parametrize("twin", [0, 1])
def test_name_and_role_change_alone(code: str, twin: int) -> None:
    set_name, set_role = both("set_name")[twin], both("set_role")[twin]
    Browser().join(code, participant="alice")
    before = stores.get(Board, code, "alice").snapshot()
    assert set_name(code, "alice", "  Ada ") is True
    assert set_role(code, "alice", "facilitator") is True
    (alice,) = stores.people(code)
    assert (alice.name, alice.role) == ("Ada", "facilitator")
    assert set_name(code, "alice", "Ada") is True
    assert stores.get(Board, code, "alice").snapshot() == before


@pytest.mark.parametrize("method", ["set_name", "set_role"])
def test_who_is_not_there_is_not_made(code: str, method: str) -> None:
    for change in both(method):
        assert change(code, "nobody", "x") is False
        with pytest.raises(UnknownSession, match="NQNE23"):
            change("NQNE23", "alice", "x")
    assert stores.people(code) == []
    Browser().join(code, participant="alice")
    stores.end_session(code)
    for change in both(method):
        with pytest.raises(UnknownSession):
            change(code, "alice", "x")
    with pytest.raises(SessionEnded):
        stores.get(Board, code, "alice").snapshot()


@pytest.mark.parametrize("method", ["set_name", "set_role"])
@pytest.mark.parametrize(
    "given",
    [
        ("k7q2z", "alice", "x"),
        ("K7Q2ZD", "a:b", "x"),
        ("K7Q2ZD", "*", "x"),
        ("K7Q2ZD", "alice", ""),
        ("K7Q2ZD", "alice", "a\nb"),
        ("K7Q2ZD", "alice", "x" * 81),
        ("K7Q2ZD", "alice", None),
    ],
)
def test_invalid_input_is_refused_before_any_cache_access(
    method: str, given: tuple[Any, ...], calls: Counter[str]
) -> None:
    calls.clear()
    for change in both(method):
        with pytest.raises(InvalidKey):
            change(*given)
    assert not calls


@given(name=anything)
def test_any_name_that_is_taken_comes_back_as_it_is(name: str) -> None:
    code = stores.create_session()
    stores.get(Board, code, "alice").snapshot()
    try:
        stores.set_name(code, "alice", name)
    except InvalidKey:
        expected = None
    else:
        expected = name.strip()
    (alice,) = stores.people(code)
    assert alice.name == expected
    assert Participant(code, "alice", name=alice.name).name == expected
    stores.cleanup_session(code)


def test_processes_with_tabs_get_a_hint(code: str) -> None:
    Browser().join(code, participant="alice")
    backend = get_backend(blocking=True)
    run(backend.lease([lease(StoreKey(code, "bob"), process="web-2")]))
    heard: list[ProfileChange] = []
    with bus.isolated():
        bus.subscribe(heard.append, ProfileChange)
        stores.set_name(code, "alice", "Ada")
        stores.set_role(code, "alice", "facilitator")
        stores.set_role(code, "nobody", "facilitator")
        Browser().join(code, participant="alice", name="Bo")
        # Nothing new.
        Browser().join(code, participant="alice", name="Bo")
        Browser().join(code, participant="alice")
    assert [event.followers for event in heard] == [frozenset({"web-2"})] * 3
    assert {event.key for event in heard} == {StoreKey(code, "alice")}


def test_data_of_a_participant_includes_the_name(code: str) -> None:
    Browser().join(code, participant="alice", name="Ada")
    stores.reset(code, "alice")
    assert [person.name for person in stores.people(code)] == ["Ada"]
    stores.cleanup_participant(code, "alice")
    stores.get(Board, code, "alice").snapshot()
    assert [person.name for person in stores.people(code)] == [None]
