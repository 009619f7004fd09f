"""Signals reach receivers once, after the fact; delivery never breaks a commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.dispatch import Signal

from sessionstores import ActionRejected, signals, stores
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
