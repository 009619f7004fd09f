from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation

from sessionstores import event_bus, signals
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import Lease
from sessionstores.exceptions import InvalidKey, StoreUnavailable
from sessionstores.keys import SESSION, StoreKey
from sessionstores.manager import stores
from sessionstores.sessions import presence
from sessionstores.sessions.presence import Attendee, attendees, metas_of
from tests.sockets import CODE

ALICE, BOB = StoreKey(CODE, "alice"), StoreKey(CODE, "bob")


def lease(
    connection: str,
    key: StoreKey = ALICE,
    *,
    meta: bytes = b"",
    since: float = 0.0,
    leaving: bool = False,
    process: str = "far",
) -> Lease:
    follows = frozenset({SESSION, key.participant})
    return Lease(connection, key, process, "c", follows, meta, since, leaving)


@pytest.fixture
def published() -> Iterator[list[event_bus.Event]]:
    events: list[event_bus.Event] = []
    with event_bus.bus.isolated():
        event_bus.bus.subscribe(events.append, *event_bus.SESSION_EVENTS)
        yield events


@pytest.fixture
def received() -> Iterator[list[tuple[str, str, str]]]:
    """What the signals of presence brought: the signal, session and participant."""
    calls: list[tuple[str, str, str]] = []

    def join(sender: Any, session: str, participant: str, **named: Any) -> None:
        calls.append(("joined", session, participant))

    def leave(sender: Any, session: str, participant: str, **named: Any) -> None:
        calls.append(("left", session, participant))

    signals.participant_joined.connect(join)
    signals.participant_left.connect(leave)
    yield calls
    signals.participant_joined.disconnect(join)
    signals.participant_left.disconnect(leave)


async def fails(*args: Any, **kwargs: Any) -> Any:
    raise StoreUnavailable("no answer")


# Participants and connections


def test_nobody_is_present_without_a_connection() -> None:
    assert attendees([]) == {}
    assert metas_of([]) == {}


def test_a_participant_is_present_once_however_many_tabs_there_are() -> None:
    found = attendees(
        [
            lease("3", BOB, since=30, meta=b'{"name":"Bob"}'),
            lease("1", since=20),
            lease("2", BOB, since=10),
        ]
    )
    assert found == {
        "alice": Attendee("alice", 20, 1, ({},), leaving=False),
        "bob": Attendee("bob", 10, 2, ({}, {"name": "Bob"}), leaving=False),
    }
    assert list(found) == ["alice", "bob"]


def test_what_a_closed_tab_showed_counts_only_while_there_is_no_other() -> None:
    closed = lease("1", since=10, meta=b'{"name":"Al"}', leaving=True)
    assert attendees([closed]) == {
        "alice": Attendee("alice", 10, 0, ({"name": "Al"},), leaving=True)
    }
    back = lease("2", since=12)
    assert attendees([back, closed]) == {
        "alice": Attendee("alice", 10, 1, ({},), leaving=False)
    }


def test_a_reload_that_shows_the_same_is_no_difference() -> None:
    before = lease("1", since=10, meta=b'{"name":"Al"}')
    gone = before._replace(leaving=True)
    back = lease("2", since=11, meta=b'{"name":"Al"}')
    twice = back._replace(leaving=True)
    steps = ([before], [gone], [gone, back], [gone, twice], [twice], [back])
    views = [metas_of(leases) for leases in steps]
    assert views == [{"alice": (b'{"name":"Al"}',)}] * 6


def test_tabs_that_opened_in_one_moment_have_an_order_all_the_same() -> None:
    one, two = lease("1", meta=b'{"n":1}'), lease("2", meta=b'{"n":2}')
    assert metas_of([one, two]) == metas_of([two, one])


# What sites ask


def test_presence_names_who_is_connected() -> None:
    backend = get_backend(blocking=True)
    assert stores.presence(CODE) == {}
    run(backend.lease([lease("1", BOB, meta=b'{"name":"Bob"}'), lease("2")]))
    found = stores.presence(CODE)
    assert list(found) == ["alice", "bob"]
    assert found["bob"].metas == ({"name": "Bob"},)
    assert found["bob"].since > 0
    run(backend.release(lease("1", BOB)))
    assert list(stores.presence(CODE)) == ["alice"]
    assert stores.presence("AAAAAA") == {}


async def test_presence_has_an_async_twin() -> None:
    await get_backend(blocking=False).lease([lease("1")])
    assert list(await stores.apresence(CODE)) == ["alice"]
    with pytest.raises(SynchronousOnlyOperation, match="apresence"):
        stores.presence(CODE)


def test_presence_checks_the_code() -> None:
    with pytest.raises(InvalidKey):
        stores.presence("no")


async def test_an_outage_is_not_an_empty_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(get_backend(blocking=False)), "connections_of", fails)
    with pytest.raises(StoreUnavailable):
        await stores.apresence(CODE)


# Announcements


async def test_joins_and_leaves_are_signalled_and_noted(
    published: list[event_bus.Event], received: list[tuple[str, str, str]]
) -> None:
    backend = get_backend(blocking=False)
    await presence.joined(backend, [ALICE, BOB])
    await presence.left(backend, [ALICE])
    assert received == [
        ("joined", CODE, "alice"),
        ("joined", CODE, "bob"),
        ("left", CODE, "alice"),
    ]
    noted = [(event.key, event.kind) for event in published if is_note(event)]
    assert noted == [(ALICE, "joined"), (BOB, "joined"), (ALICE, "left")]


def is_note(event: event_bus.Event) -> bool:
    return isinstance(event, event_bus.Note)


async def test_those_who_follow_the_session_are_told_to_look_again(
    published: list[event_bus.Event],
) -> None:
    backend = get_backend(blocking=False)
    await presence.notify(backend, CODE)
    assert published == []
    await backend.lease([lease("1"), lease("2", process="near")])
    await presence.notify(backend, CODE, besides=frozenset({"near"}))
    (event,) = published
    assert isinstance(event, event_bus.Attendance)
    assert event.key == StoreKey.of_session(CODE)
    assert event.followers == {"far"}


async def test_without_the_cache_nobody_is_told_and_nothing_raised(
    published: list[event_bus.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = get_backend(blocking=False)
    await backend.lease([lease("1")])
    monkeypatch.setattr(type(backend), "followers", fails)
    await presence.notify(backend, CODE)
    assert published == []


async def test_of_many_who_reap_one_announces_each_leave(
    settings: Any,
    published: list[event_bus.Event],
    received: list[tuple[str, str, str]],
) -> None:
    settings.SESSIONSTORES = {"PRESENCE_LEASE": 0.01}
    backend = get_backend(blocking=False)
    await backend.lease([lease("1"), lease("2"), lease("3", BOB)])
    settings.SESSIONSTORES = {}
    await backend.lease([lease("4", StoreKey(CODE, "carol"))])
    await asyncio.sleep(0.02)
    found = await asyncio.gather(*(presence.reap(backend, [CODE]) for _ in range(10)))
    assert sorted(key for keys in found for key in keys) == [ALICE, BOB]
    assert sorted(received) == [("left", CODE, "alice"), ("left", CODE, "bob")]
    told = [event for event in published if isinstance(event, event_bus.Attendance)]
    assert [event.followers for event in told] == [{"far"}] * len(told)
    assert told


def test_reaping_works_from_code_without_a_loop(
    settings: Any, received: list[tuple[str, str, str]]
) -> None:
    backend = get_backend(blocking=True)
    run(backend.lease([lease("1")]))
    run(backend.release(lease("1"), grace=0.001))
    while not run(presence.reap(backend, [CODE])):
        assert not received
    assert received == [("left", CODE, "alice")]
    assert run(presence.reap(backend, [CODE])) == []
