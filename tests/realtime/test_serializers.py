"""The wire format of events between processes."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstores import event_bus
from sessionstores.keys import StoreKey
from sessionstores.realtime import serializers
from tests.sockets import CODE

ALICE = StoreKey(CODE, "alice")


@pytest.mark.parametrize(
    "event",
    [
        event_bus.Removal(ALICE, "idle"),
        event_bus.Message(StoreKey.of_session(CODE), {"a": ["ü", None, 1.5]}),
        event_bus.Revocation(ALICE),
        event_bus.Attendance(StoreKey.of_session(CODE)),
        event_bus.ProfileChange(ALICE),
        event_bus.Disconnection(ALICE),
    ],
)
def test_an_event_survives_the_journey(event: event_bus.Hint) -> None:
    again: Any = serializers.decode(serializers.encode(event))
    assert type(again) is type(event)
    assert vars(again) == vars(event)


def test_a_change_survives_the_journey() -> None:
    change = event_bus.Change(
        ALICE,
        "7f3a.1-00000001",
        "7f3a.2-00000002",
        {"board": b'1:{"notes":""}'},
        {"board": b'1:{"notes":"x"}'},
        source="c",
    )
    again: Any = serializers.decode(serializers.encode(change))
    for name in ("key", "base", "rev", "operations", "source", "reset"):
        assert getattr(again, name) == getattr(change, name)


def test_a_reset_travels_without_operations() -> None:
    change = event_bus.Change(
        ALICE, "7f3a.1-00000001", "8f3a.1-00000002", {}, {"board": None}, reset=True
    )
    again: Any = serializers.decode(serializers.encode(change))
    assert again.reset
    assert again.operations is None
    assert not again.restarted


def test_who_has_asked_for_a_reset_travels_with_it_from_processes_that_say_so() -> None:
    change = event_bus.Change(
        ALICE, "7f3a.1-00000001", "8f3a.1-00000002", {}, {}, reset=True, restarted=True
    )
    text = serializers.encode(change)
    again: Any = serializers.decode(text)
    assert again.restarted
    # As a process of an earlier release sends it.
    older: Any = serializers.decode(text.replace(',"restarted":true', ""))
    assert older.reset
    assert not older.restarted
