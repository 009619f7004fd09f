"""Session lifecycle: lock, extend, disconnect, reset."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from math import inf, nan
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation

from sessionstores import (
    InvalidArguments,
    InvalidKey,
    SessionLocked,
    State,
    UnknownSession,
    event_bus,
)
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.cas.keys import record_key
from sessionstores.backends.types import Lease, Record, SessionInfo, Stale
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.sessions.lifecycle import LONGEST_KEEP
from sessionstores.state.declaration import registry
from sessionstores.store.commits import commit
from tests.workshop.states import Agenda, Board

CODE = "K7Q2ZD"
ALICE = StoreKey(CODE, "alice")
OWN = StoreKey.of_session(CODE)


@pytest.fixture
def events() -> Iterator[list[event_bus.Event]]:
    """Everything that is published during a test."""
    seen: list[event_bus.Event] = []
    event_bus.bus.subscribe(seen.append, *event_bus.SESSION_EVENTS)
    yield seen
    event_bus.bus.unsubscribe(seen.append)


def notes(events: list[event_bus.Event]) -> list[tuple[str, str, str]]:
    """Return the notes for the timeline, without those that it derives itself."""
    return [
        (str(event.key), event.kind, event.text)
        for event in events
        if isinstance(event, event_bus.Note)
    ]


def info(code: str = CODE) -> SessionInfo:
    found = run(get_backend(blocking=True).session(code))
    assert found is not None
    return found


# Locking


def test_locked_session_refuses_newcomers_until_it_is_unlocked(
    events: list[event_bus.Event],
) -> None:
    board = stores.get(Board, CODE, "alice")
    board.snapshot()
    stores.lock(CODE)
    assert info().locked
    with pytest.raises(SessionLocked):
        stores.get(Board, CODE, "bob").snapshot()
    board.dispatch(Board.note, "still in")
    stores.unlock(CODE)
    assert not info().locked
    stores.get(Board, CODE, "bob").snapshot()
    assert notes(events) == [
        ("K7Q2ZD:*", "locked", ""),
        ("K7Q2ZD:*", "unlocked", ""),
    ]


# Labels


def test_session_may_be_given_another_label(events: list[event_bus.Event]) -> None:
    code = stores.create_session(label="Team day", keep=60)
    stores.set_label(code, "Tëam night")
    assert info(code).label == "Tëam night"
    assert info(code).keep == 60
    stores.set_label(code, "")
    assert info(code).label == ""
    assert notes(events) == [
        (f"{code}:*", "labelled", "Tëam night"),
        (f"{code}:*", "labelled", ""),
    ]


@pytest.mark.parametrize("label", [None, 7, b"x", "\ud800"])
def test_what_is_no_label_is_refused_and_changes_nothing(
    events: list[event_bus.Event], label: Any
) -> None:
    code = stores.create_session(label="Team day")
    with pytest.raises(InvalidArguments, match="label"):
        stores.set_label(code, label)
    assert info(code).label == "Team day"
    assert notes(events) == []


async def test_a_session_that_there_is_not_has_no_label() -> None:
    with pytest.raises(UnknownSession):
        await stores.aset_label("ZZZZZZ", "Team day")


# Extending


def test_session_is_kept_as_long_as_the_longest_extension_says(
    events: list[event_bus.Event],
) -> None:
    code = stores.create_session(keep=60)
    assert stores.extend(code, 3_600) is True
    until = info(code).created + info(code).keep
    assert until == pytest.approx(time.time() + 3_600, abs=5)
    assert stores.extend(code, 60) is False
    assert info(code).created + info(code).keep == until
    assert notes(events) == [(f"{code}:*", "extended", "3600")]


@pytest.mark.parametrize("seconds", [-1, nan, inf, -inf, 1e11, 10**400])
async def test_what_is_no_time_to_keep_a_session_is_refused_and_changes_nothing(
    seconds: float,
) -> None:
    code = await stores.acreate_session(keep=60)
    with pytest.raises(ValueError, match="give 0 or more"):
        await stores.aextend(code, seconds)
    with pytest.raises(ValueError, match="give 0 or more"):
        await asyncio.to_thread(stores.extend, code, seconds)
    assert (await asyncio.to_thread(info, code)).keep == 60
    with pytest.raises(ValueError, match="give 0 or more"):
        await stores.acreate_session(keep=seconds)
    with pytest.raises(ValueError, match="give 0 or more"):
        await asyncio.to_thread(stores.create_session, keep=seconds)
    assert await stores.asessions() == [code]


def test_session_can_be_kept_for_a_century() -> None:
    code = stores.create_session(keep=LONGEST_KEEP)
    assert info(code).keep == LONGEST_KEEP


@pytest.mark.parametrize(
    "call",
    [
        lambda: stores.lock(CODE),
        lambda: stores.unlock(CODE),
        lambda: stores.extend(CODE, 60),
    ],
)
def test_session_that_is_not_there_is_unknown(
    call: Callable[[], object], events: list[event_bus.Event]
) -> None:
    with pytest.raises(UnknownSession, match="no session K7Q2ZD"):
        call()
    stores.get(Board, CODE, "alice").snapshot()
    stores.end_session(CODE)
    with pytest.raises(UnknownSession):
        call()
    assert notes(events) == []
    assert stores.sessions() == []


# Disconnecting


def test_disconnection_is_told_to_those_who_follow(
    events: list[event_bus.Event],
) -> None:
    stores.get(Board, CODE, "alice").snapshot()
    lease = Lease("c1", ALICE, "web-1", "tab", frozenset(["alice", "*"]))
    run(get_backend(blocking=True).lease([lease]))
    stores.disconnect(CODE, "alice")
    stores.disconnect(CODE)
    told = [event for event in events if isinstance(event, event_bus.Disconnection)]
    assert [(str(event.key), event.followers) for event in told] == [
        ("K7Q2ZD:alice", {"web-1"}),
        ("K7Q2ZD:*", {"web-1"}),
    ]
    assert ("K7Q2ZD:alice", "disconnected", "") in notes(events)
    # It is a hint only: who is gone stays gone.
    assert stores.participants(CODE) == ["alice"]


# Resetting


def test_reset_makes_all_states_fresh_in_a_new_incarnation(
    events: list[event_bus.Event],
) -> None:
    board, agenda = stores.get(Board, CODE, "alice"), stores.get(Agenda, CODE)
    board.dispatch(Board.note, "mine")
    agenda.dispatch(lambda a: setattr(a, "step", 3))
    before = board.snapshot().rev
    assert stores.reset(CODE, "alice") is True
    after = board.snapshot()
    assert after.state == Board()
    assert after.rev.split(".")[0] != before.split(".")[0]
    assert agenda.state.step == 3
    change = next(
        event
        for event in reversed(events)
        if isinstance(event, event_bus.Change) and event.key == ALICE
    )
    assert (change.reset, change.base, change.rev) == (True, before, after.rev)
    assert ("K7Q2ZD:alice", "reset", "") in notes(events)


def test_reset_of_nobody_creates_nobody(events: list[event_bus.Event]) -> None:
    assert stores.reset(CODE, "alice") is False
    assert stores.sessions() == []
    assert notes(events) == []


def test_reset_takes_away_states_that_are_no_longer_declared() -> None:
    with registry.isolated(Board):

        class Sketch(State):
            lines: int = 0

        stores.get(Sketch, CODE, "alice").dispatch(lambda s: setattr(s, "lines", 3))
    stores.get(Board, CODE, "alice").dispatch(Board.note, "mine")
    assert stores.reset(CODE, "alice")
    assert set(stored().states) == {"board"}


def stored() -> Record:
    record = run(get_backend(blocking=True).read(ALICE, touch=False))
    assert isinstance(record, Record)
    return record


def test_reset_replaces_what_is_no_record_at_all() -> None:
    backend: Any = get_backend(blocking=True)
    board = stores.get(Board, CODE, "alice")
    board.dispatch(Board.note, "mine")
    name = record_key(ALICE)
    token = run(backend.store.read([name]))[name].token
    run(backend.store.cas(name, token, b"junk", 60))
    assert stores.reset(CODE, "alice") is True
    assert board.state == Board()


def test_reset_wins_over_a_writer_who_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = stores.get(Board, CODE, "alice")
    board.snapshot()
    backend = get_backend(blocking=True)
    overtaken: list[Stale] = []

    async def overtake(*args: Any, **kwargs: Any) -> Any:
        if not overtaken:
            base, rev = args[1], args[1].rev.next()
            await commit(backend, base, rev, {"board": b"1:{}"}, sender=Board)
        answer = await commit(*args, **kwargs)
        if isinstance(answer, Stale):
            overtaken.append(answer)
        return answer

    monkeypatch.setattr("sessionstores.sessions.lifecycle.commit", overtake)
    assert stores.reset(CODE, "alice") is True
    assert len(overtaken) == 1
    assert board.state == Board()


# Both flavours


async def test_every_method_refuses_an_event_loop() -> None:
    for call in (
        lambda: stores.lock(CODE),
        lambda: stores.unlock(CODE),
        lambda: stores.extend(CODE, 60),
        lambda: stores.set_label(CODE, "x"),
        lambda: stores.disconnect(CODE),
        lambda: stores.reset(CODE, "alice"),
        stores.sweep,
    ):
        with pytest.raises(SynchronousOnlyOperation, match="await a"):
            call()


async def test_every_method_has_a_twin(events: list[event_bus.Event]) -> None:
    code = await stores.acreate_session()
    board = stores.get(Board, code, "alice")
    await board.adispatch(Board.note, "mine")
    await stores.alock(code)
    with pytest.raises(SessionLocked):
        await stores.get(Board, code, "bob").asnapshot()
    await stores.aunlock(code)
    await stores.aset_label(code, "Team day")
    assert await stores.aextend(code, 60) is True
    assert await stores.areset(code, "alice") is True
    assert (await board.asnapshot()).state == Board()
    await stores.adisconnect(code)
    kinds = [kind for _, kind, _ in notes(events)]
    assert kinds == [
        "locked",
        "unlocked",
        "labelled",
        "extended",
        "reset",
        "disconnected",
    ]
    # It is kept, and Alice with it, who has changed something.
    assert (await stores.asweep(idle_for=0)).participants == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: stores.lock("no"),
        lambda: stores.unlock("no"),
        lambda: stores.extend("no", 60),
        lambda: stores.disconnect(CODE, "a:b"),
        lambda: stores.reset(CODE, "*"),
        lambda: stores.sweep(session="no"),
    ],
)
def test_keys_are_checked_first(call: Callable[[], object]) -> None:
    with pytest.raises(InvalidKey):
        call()


def test_sweep_takes_the_options_of_its_pace() -> None:
    for number in range(5):
        stores.get(Board, CODE, f"p{number}").snapshot()
    shown: list[int] = []
    done = stores.sweep(
        idle_for=0,
        batch_size=2,
        max_seconds=0,
        progress=lambda sweep: shown.append(sweep.participants),
    )
    assert (done.participants, done.finished) == (2, False)
    assert shown == [2, 2]
    assert stores.sweep(idle_for=0, dry_run=True).participants == 3
    assert stores.sweep(idle_for=0, session=CODE, participant="p4").participants == 1
    with pytest.raises(ValueError, match="batch_size"):
        stores.sweep(batch_size=0)
    assert stores.participant_count() == 2
