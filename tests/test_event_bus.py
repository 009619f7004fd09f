"""Events reach their listeners; one that fails breaks nothing."""

from __future__ import annotations

import json

import pytest

from sessionstores import event_bus, stores
from sessionstores.keys import StoreKey
from sessionstores.state.apply_patch import apply
from tests.staff import CODE, fill
from tests.workshop.states import Agenda, Board


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


def test_a_listener_that_is_subscribed_again_is_called_once() -> None:
    bus = event_bus.EventBus()
    heard: list[event_bus.Event] = []
    note = event_bus.Note(StoreKey("K7Q2ZD", "alice"), "joined")
    for _ in range(2):
        bus.subscribe(heard.append, event_bus.Note)
        bus.subscribe(heard.append, event_bus.Note, event_bus.Creation, first=True)
    bus.publish(note)
    assert heard == [note]
    bus.publish(event_bus.Creation(note.key))
    assert len(heard) == 2


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


def test_patches_are_counted_with_their_bytes() -> None:
    changes: list[event_bus.Event | event_bus.Note] = []
    fill("alice")
    event_bus.bus.subscribe(changes.append, *event_bus.SESSION_EVENTS)
    try:
        stores.get(Agenda, CODE).dispatch(Agenda.advance)
    finally:
        event_bus.bus.unsubscribe(changes.append)
    before = (event_bus.patches.count, event_bus.patches.bytes)
    (change,) = (each for each in changes if isinstance(each, event_bus.Change))
    size = len(change.operations)
    assert len(change.operations) == size
    assert (event_bus.patches.count, event_bus.patches.bytes) == (
        before[0] + 1,
        before[1] + size,
    )
