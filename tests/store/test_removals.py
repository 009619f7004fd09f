"""Removed records are announced to tabs and receivers, lost ones once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sessionstores import event_bus, signals
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import Removed
from sessionstores.keys import StoreKey
from sessionstores.store import removals
from sessionstores.store.removals import announce_lost, announce_removed
from tests.workshop.states import Board

ALICE = StoreKey("K7Q2ZD", "alice")
OWN = StoreKey.of_session("K7Q2ZD")
WEB = frozenset(["web-1"])
STATES = {"board": b'1:{"notes":"mine"}'}


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """The announcements to tabs and receivers, in order."""
    seen: list[Any] = []

    def publish(event: event_bus.Removal) -> None:
        seen.append((str(event.key), event.reason, event.followers))

    def receive(participant: str, reason: str, states: Any, **kwargs: Any) -> None:
        seen.append((participant, reason, states))

    with event_bus.bus.isolated():
        event_bus.bus.subscribe(publish, event_bus.Removal)
        signals.participant_removed.connect(receive)
        yield seen
        signals.participant_removed.disconnect(receive)


def test_tabs_are_told_before_receivers_who_may_take_their_time(
    told: list[Any],
) -> None:
    gone = [Removed(ALICE, STATES, WEB), Removed(OWN, {}, WEB)]
    assert run(announce_removed(get_backend(blocking=True), gone, "ended")) == 1
    assert told == [
        ("K7Q2ZD:alice", "ended", WEB),
        ("alice", "ended", {"board": Board(notes="mine")}),
        # A session is not a participant.
        ("K7Q2ZD:*", "ended", WEB),
    ]


def test_receiver_that_fails_keeps_nobody_from_being_told(told: list[Any]) -> None:
    def fail(**kwargs: Any) -> None:
        raise ValueError("no room in the archive")

    signals.participant_removed.connect(fail)
    try:
        gone = [Removed(ALICE, STATES, WEB), Removed(ALICE, STATES, WEB)]
        run(announce_removed(get_backend(blocking=True), gone, "idle"))
    finally:
        signals.participant_removed.disconnect(fail)
    assert len(told) == 4


def test_final_state_that_cannot_be_read_does_not_hide_the_others(
    told: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    gone = Removed(ALICE, {**STATES, "gone": b"1:{}"}, WEB)
    run(announce_removed(get_backend(blocking=True), [gone], "idle"))
    assert told[1] == ("alice", "idle", {"board": Board(notes="mine")})
    assert "The final 'gone' of a participant is unreadable" in caplog.text


async def test_coroutines_tell_the_same(told: list[Any]) -> None:
    gone = [Removed(ALICE, STATES, WEB)]
    assert await announce_removed(get_backend(blocking=False), gone, "idle") == 1
    assert told[1] == ("alice", "idle", {"board": Board(notes="mine")})


def test_loss_is_told_once_however_many_notice_it(
    told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = get_backend(blocking=True)
    gone = Removed(ALICE, None, WEB)
    for _ in range(3):
        run(announce_lost(backend, [gone]))
    assert told == [("K7Q2ZD:alice", "lost", WEB), ("alice", "lost", None)]
    run(announce_lost(backend, [gone._replace(key=StoreKey("K7Q2ZD", "bob"))]))
    assert len(told) == 4
    # Later, it is another loss.
    run(backend.clear())
    monkeypatch.setattr(removals, "NOTICED_WITHIN", -1.0)
    for _ in range(2):
        run(announce_lost(backend, [gone]))
    assert len(told) == 8
