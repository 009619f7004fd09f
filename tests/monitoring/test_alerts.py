"""Alerts on large records and slow operations: logged and signalled, each once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
from django.test import override_settings

from sessionstores import ActionRejected, signals
from sessionstores.backends import drop_backends, get_backend
from sessionstores.backends.base import run
from sessionstores.manager import stores
from sessionstores.monitoring import alerts
from sessionstores.monitoring.alerts import (
    BUDGET_PER_PARTICIPANT,
    Alert,
    RecentAlerts,
    recent_alerts,
    warn,
)
from tests.logs import NEVER_SLOW, records_of_ours
from tests.sockets import CODE, Socket
from tests.workshop.states import Agenda, Board

LEAK = Alert("slow", "It is slow.", "Make it fast.", "K7Q2ZD:alice")


@pytest.fixture
def warnings() -> Iterator[list[tuple[str, str]]]:
    """What `store_warning` says during a test: code and key of each."""
    seen: list[tuple[str, str]] = []

    def receive(
        sender: object, warning: str, key: str, text: str, hint: str, **kwargs: Any
    ) -> None:
        assert sender is Alert
        assert text
        assert hint
        seen.append((warning, key))

    signals.store_warning.connect(receive)
    yield seen
    signals.store_warning.disconnect(receive)


@pytest.fixture(autouse=True)
def _not_slow() -> Iterator[None]:
    with override_settings(SESSIONSTORES={"SLOW_OPERATION_MS": NEVER_SLOW}):
        yield


def board(participant: str = "alice") -> Any:
    return stores.get(Board, CODE, participant)


def test_a_record_at_four_fifths_of_its_limit_is_warned_of_at_the_write(
    warnings: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(SESSIONSTORES={"MAX_STATE_BYTES": 1_000}):
        board().dispatch(Board.note, "x" * 600)
        assert warnings == []
        board().dispatch(Board.note, "x" * 750)
        (record,) = records_of_ours(caplog)
        assert (record.name, record.levelno) == (
            "sessionstores.stats",
            logging.WARNING,
        )
        assert record.getMessage().startswith("near_limit: K7Q2ZD:alice has ")
        board().dispatch(Board.note, "x" * 760)
        board("bob").dispatch(Board.note, "x" * 750)
    assert warnings == [("near_limit", f"{CODE}:{name}") for name in ("alice", "bob")]


def test_a_participant_over_the_budget_is_warned_of_but_a_session_has_none(
    warnings: list[tuple[str, str]],
) -> None:
    with override_settings(SESSIONSTORES={"MAX_STATE_BYTES": 10**7}):
        board().dispatch(Board.note, "x" * BUDGET_PER_PARTICIPANT)
        agenda = stores.get(Agenda, CODE)
        many = {f"participant-{number:020}": 1 for number in range(8_000)}
        agenda.dispatch(lambda agenda: agenda.votes.update(many))
    assert warnings == [("over_budget", f"{CODE}:alice")]


async def test_a_receiver_in_an_event_loop_may_be_a_coroutine() -> None:
    seen = []

    async def receive(warning: str, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        seen.append(warning)

    signals.store_warning.connect(receive)
    with override_settings(SESSIONSTORES={"MAX_STATE_BYTES": 1_000}):
        await board().adispatch(Board.note, "x" * 750)
    signals.store_warning.disconnect(receive)
    assert seen == ["near_limit"]


def test_a_slow_operation_is_warned_of_by_name_and_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def reject(state: Board) -> None:
        raise ActionRejected("No.")

    store = board()
    snapshot = store.snapshot()
    rev = snapshot.rev

    def replace() -> None:
        store.replace(Board(notes="new"), base=rev)

    def refuse() -> None:
        with pytest.raises(ActionRejected):
            store.dispatch(reject)

    operations = {
        "dispatch of Board.note": lambda: store.dispatch(
            Board.note, snapshot.state.notes
        ),
        "reject": refuse,
        "snapshot": store.snapshot,
        "peek": store.peek,
        "peek_all": lambda: stores.peek_all(Board, "K7Q2ZD"),
        "replace": replace,
        "delete": store.delete,
    }
    for name, operation in operations.items():
        drop_backends()
        caplog.clear()
        with override_settings(SESSIONSTORES={"SLOW_OPERATION_MS": 0}):
            operation()
        (record,) = records_of_ours(caplog)
        message = record.getMessage()
        whose = "*" if name == "peek_all" else "alice"
        assert message.startswith(f"slow: K7Q2ZD:{whose}: "), message
        assert f"{name} took" in message or name == "reject"


class Scribe(NamedTuple):
    """Callable, with its arguments in its text, as a partial has them."""

    text: str

    def __call__(self, board: Board) -> None:
        board.notes = self.text


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (partial(Board.note, text="secret"), "Board.note"),
        (partial(Scribe("secret")), "Scribe"),
        (Scribe("secret"), "Scribe"),
    ],
)
def test_a_slow_operation_is_named_without_its_arguments(
    caplog: pytest.LogCaptureFixture, function: Any, name: str
) -> None:
    store = board()
    assert store.state.notes == ""
    with override_settings(SESSIONSTORES={"SLOW_OPERATION_MS": 0}):
        store.dispatch(function)
    assert f"dispatch of {name} took " in caplog.text
    assert "secret" not in caplog.text


async def test_a_slow_operation_of_a_tab_is_warned_of_too(
    warnings: list[tuple[str, str]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The session's document, opened last, is the one that is remembered.
    monkeypatch.setattr(alerts, "MAX_REMEMBERED", 1)
    with override_settings(SESSIONSTORES={"SLOW_OPERATION_MS": 0}):
        socket = await Socket().hello("alice")
        opened = [record.getMessage() for record in records_of_ours(caplog)]
        await socket.act(1, "board.note", text="x")
        await socket.drop()
    assert set(warnings) == {("slow", f"{CODE}:alice"), ("slow", f"{CODE}:*")}
    assert all("opening took " in message for message in opened)
    assert "dispatch of Board.note took " in caplog.text


def test_nothing_is_slow_below_the_setting(warnings: list[tuple[str, str]]) -> None:
    board().dispatch(Board.note, "x")
    assert board().state.notes == "x"
    assert warnings == []


def test_the_same_warning_comes_once_in_a_while(
    warnings: list[tuple[str, str]],
) -> None:
    backend = get_backend(blocking=True)
    assert run(warn(backend, LEAK)) is True
    assert run(warn(backend, LEAK)) is False
    assert run(warn(backend, LEAK._replace(key="K7Q2ZD:bob"))) is True
    assert run(warn(backend, LEAK._replace(code="growing"))) is True
    assert len(warnings) == 3
    recent = recent_alerts(backend)
    with override_settings(SESSIONSTORES={"IDLE_TIMEOUT": 1e-9}):
        assert run(warn(backend, LEAK)) is True
        assert recent.current() == []
    # The one that came again is the youngest.
    assert [alert.code for alert in recent.current()] == ["slow", "growing", "slow"]
    assert recent.current()[-1] == LEAK


async def test_both_flavours_of_a_backend_remember_one_warning() -> None:
    assert await warn(get_backend(blocking=False), LEAK) is True
    blocking = get_backend(blocking=True)
    assert recent_alerts(blocking).current() == [LEAK]
    assert await warn(blocking, LEAK) is False


def test_a_process_remembers_a_bounded_number_of_warnings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alerts, "MAX_REMEMBERED", 3)
    recent = RecentAlerts()
    for number in range(10):
        assert recent.add(LEAK._replace(key=f"K7Q2ZD:p{number}"))
    assert [alert.key for alert in recent.current()] == [
        f"K7Q2ZD:p{number}" for number in (7, 8, 9)
    ]


def test_one_of_many_threads_gives_a_warning() -> None:
    barrier = threading.Barrier(8)
    recent = RecentAlerts()
    answers = []

    def remember() -> None:
        barrier.wait(10)
        answers.append(recent.add(LEAK))

    threads = [threading.Thread(target=remember) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]


def test_a_receiver_that_fails_fails_no_dispatch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(**kwargs: Any) -> None:
        raise RuntimeError("the receiver is broken")

    signals.store_warning.connect(fail)
    with override_settings(SESSIONSTORES={"MAX_STATE_BYTES": 1_000}):
        board().dispatch(Board.note, "x" * 750)
    signals.store_warning.disconnect(fail)
    assert board().state.notes == "x" * 750
    assert "the receiver is broken" in caplog.text
