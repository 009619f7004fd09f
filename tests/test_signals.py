"""Signals reach receivers once, after the fact; delivery never breaks a commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.dispatch import Signal

from sessionstores import ActionRejected, event_bus, signals, stores
from sessionstores.keys import StoreKey
from sessionstores.state.apply_patch import apply
from tests.workshop.states import Board


class Receiver:
    """Notes what a signal brought."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, sender: Any, **named: Any) -> None:
        named.pop("signal")
        self.calls.append(named)


@pytest.fixture
def received() -> Iterator[dict[str, Receiver]]:
    watched: dict[str, Signal] = {
        "created": signals.store_created,
        "changed": signals.store_changed,
        "removed": signals.participant_removed,
        "ended": signals.session_ended,
    }
    receivers = {name: Receiver() for name in watched}
    for name, signal in watched.items():
        signal.connect(receivers[name])
    yield receivers
    for name, signal in watched.items():
        signal.disconnect(receivers[name])


def test_creation_and_change_are_each_signalled_once(
    received: dict[str, Receiver],
) -> None:
    board = stores.get(Board, "K7Q2ZD", "alice")
    assert board.state
    assert [call["key"] for call in received["created"].calls] == [board.key]
    assert received["changed"].calls == []
    board.dispatch(Board.note, "hello")
    board.dispatch(Board.note, "hello")
    assert received["changed"].calls == [
        {"key": board.key, "rev": board.snapshot().rev, "states": ("board",)}
    ]
    assert len(received["created"].calls) == 1


async def test_async_changes_are_signalled_too(received: dict[str, Receiver]) -> None:
    board = stores.get(Board, "K7Q2ZD", "alice")
    await board.adispatch(Board.note, "hello")
    assert [call["key"] for call in received["created"].calls] == [board.key]
    assert [call["states"] for call in received["changed"].calls] == [("board",)]


def test_a_rejection_is_no_change(received: dict[str, Receiver]) -> None:
    board = stores.get(Board, "K7Q2ZD", "alice")
    with pytest.raises(ActionRejected):
        board.dispatch(Board.move, "no such card", "keep")  # type: ignore[call-arg, unused-ignore]
    assert board.key not in [call["key"] for call in received["changed"].calls]


def test_each_way_of_removal_tells_its_reason_once(
    received: dict[str, Receiver],
) -> None:
    for name in ("alice", "bob", "carol"):
        assert stores.get(Board, "K7Q2ZD", name).state
    stores.cleanup_participant("K7Q2ZD", "alice")
    stores.end_session("K7Q2ZD")
    stores.end_session("K7Q2ZD")
    reasons = [
        (call["participant"], call["reason"]) for call in received["removed"].calls
    ]
    assert sorted(reasons) == [
        ("alice", "cleanup"),
        ("bob", "ended"),
        ("carol", "ended"),
    ]
    assert all(
        isinstance(c["states"]["board"], Board) for c in received["removed"].calls
    )


def test_a_receiver_that_fails_breaks_neither_the_commit_nor_the_others(
    received: dict[str, Receiver], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**named: Any) -> None:
        raise RuntimeError("a receiver failed")

    signals.store_changed.connect(fail)
    try:
        stores.get(Board, "K7Q2ZD", "alice").dispatch(Board.note, "kept")
    finally:
        signals.store_changed.disconnect(fail)
    assert stores.get(Board, "K7Q2ZD", "alice").state.notes == "kept"
    assert len(received["changed"].calls) == 1
    assert "a receiver failed" in caplog.text


def test_a_listener_that_fails_is_logged_and_the_next_one_is_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[event_bus.Event] = []

    def fail(event: event_bus.Event) -> None:
        raise RuntimeError("no delivery today")

    with event_bus.bus.isolated():
        event_bus.bus.subscribe(fail, *event_bus.SESSION_EVENTS)
        event_bus.bus.subscribe(heard.append, *event_bus.SESSION_EVENTS)
        stores.get(Board, "K7Q2ZD", "alice").dispatch(Board.note, "kept")
    assert [type(event) for event in heard] == [event_bus.Change]
    assert "no delivery today" in caplog.text


def test_a_listener_hears_only_the_classes_that_it_subscribed_to() -> None:
    bus = event_bus.EventBus()
    key = StoreKey("K7Q2ZD", "alice")
    heard: list[tuple[str, str]] = []
    bus.subscribe(lambda each: heard.append(("notes", each.kind)), event_bus.Note)
    bus.subscribe(lambda _: heard.append(("last", "")), event_bus.Note)
    bus.subscribe(lambda _: heard.append(("first", "")), event_bus.Note, first=True)
    for event in (event_bus.Note(key, "joined"), event_bus.Creation(key)):
        bus.publish(event)
    assert heard == [("first", ""), ("notes", "joined"), ("last", "")]


def test_listeners_of_a_block_are_restored_after_it() -> None:
    bus = event_bus.EventBus()
    heard: list[str] = []

    def outer(event: event_bus.Serving) -> None:
        heard.append("outer")

    def inner(event: event_bus.Serving) -> None:
        heard.append("inner")

    bus.subscribe(outer, event_bus.Serving)
    with bus.isolated():
        bus.subscribe(inner, event_bus.Serving)
        bus.publish(event_bus.Serving())
        bus.unsubscribe(inner)
        bus.publish(event_bus.Serving())
    bus.publish(event_bus.Serving())
    assert heard == ["inner", "outer"]


def test_creations_are_published_once() -> None:
    heard: list[str] = []
    with event_bus.bus.restored():
        event_bus.bus.subscribe(
            lambda event: heard.append(str(event.key)), event_bus.Creation
        )
        code = stores.create_session()
        assert stores.get(Board, code, "alice").state
        assert stores.get(Board, code, "alice").state
    assert heard == [f"{code}:*", f"{code}:alice"]


def change(
    before: dict[str, bytes], after: dict[str, bytes | None]
) -> event_bus.Change:
    return event_bus.Change(
        StoreKey("K7Q2ZD", "alice"), "7f3a.1-00000000", "7f3a.2-00000000", before, after
    )


def test_the_operations_of_a_change_lead_from_before_to_after() -> None:
    event = change(
        {"board": b'1:{"piles":{"a":["x"]}}', "name": b'1:{"text":"x"}'},
        {"board": b'1:{"piles":{"a":[]}}', "name": None, "badge": b'1:{"text":"y"}'},
    )
    old = {"board": {"piles": {"a": ["x"]}}, "name": {"text": "x"}}
    assert apply(old, json.loads(event.operations)) == {
        "board": {"piles": {"a": []}},
        "badge": {"text": "y"},
    }
