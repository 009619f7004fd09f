"""`stores`: addressing, lifecycle of sessions and participants."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation

from sessionstores import (
    InvalidKey,
    LimitReached,
    SessionEnded,
    UnknownState,
    event_bus,
    signals,
)
from sessionstores.backends import get_backend
from sessionstores.keys import CODE_ALPHABET
from sessionstores.manager import stores
from tests.workshop.states import Agenda, Board

BAD_CODES = [
    "",
    "abc123",
    "ABC12",
    "ABC1234",
    "ABC123\n",
    "ABC:12",
    "ÄBC123",
    "ABC１23",
]
BAD_IDS = ["", "*", "+", "a:b", "bob\n", "a b", "é", "x" * 65, "{x}", "a/b"]


@pytest.fixture
def events() -> Any:
    """Everything that is published to delivery during a test."""
    seen: list[event_bus.Event] = []
    event_bus.bus.subscribe(seen.append, *event_bus.SESSION_EVENTS)
    yield seen
    event_bus.bus.unsubscribe(seen.append)


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any access to the cache fails the test."""

    def refuse(*args: object) -> None:
        raise AssertionError("the cache was asked")

    backend: Any = get_backend(blocking=True)
    for operation in ("read", "cas", "delete"):
        monkeypatch.setattr(backend.store, operation, refuse)


def test_the_same_participant_gets_the_same_store_while_it_is_held() -> None:
    store = stores.get(Board, "K7Q2ZD", "alice")
    assert stores.get(Board, "K7Q2ZD", "alice") is store
    assert stores.get("board", "K7Q2ZD", "alice") is store
    assert stores.get(Board, "K7Q2ZD", "bob") is not store
    assert stores.get(Board, "K7Q2ZE", "alice") is not store


def test_a_store_that_nobody_holds_is_gone() -> None:
    reference = weakref.ref(stores.get(Board, "K7Q2ZD", "alice"))
    gc.collect()
    assert reference() is None


def test_threads_that_ask_at_once_get_one_store() -> None:
    barrier = threading.Barrier(8)
    got: list[object] = []

    def ask() -> None:
        barrier.wait()
        got.append(stores.get(Board, "K7Q2ZD", "alice"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, got))) == 1


@pytest.mark.parametrize("code", BAD_CODES)
def test_an_invalid_code_is_refused_before_any_cache_access(
    code: str, no_cache: None
) -> None:
    for call in (
        lambda: stores.get(Board, code, "alice"),
        lambda: stores.get(Agenda, code),
        lambda: stores.cleanup_session(code),
        lambda: stores.cleanup_participant(code, "alice"),
        lambda: stores.end_session(code),
        lambda: stores.revoke(code, "alice"),
        lambda: stores.send(code, {}),
        lambda: stores.participants(code),
        lambda: stores.participant_count(code),
        lambda: stores.peek_all(Board, code),
    ):
        with pytest.raises(InvalidKey):
            call()


@pytest.mark.parametrize("participant", BAD_IDS)
def test_an_invalid_participant_is_refused_before_any_cache_access(
    participant: str, no_cache: None
) -> None:
    with pytest.raises(InvalidKey):
        stores.get(Board, "K7Q2ZD", participant)
    with pytest.raises(InvalidKey):
        stores.cleanup_participant("K7Q2ZD", participant)


def test_scope_and_participant_must_fit(no_cache: None) -> None:
    with pytest.raises(InvalidKey, match="belongs to a participant"):
        stores.get(Board, "K7Q2ZD")
    with pytest.raises(InvalidKey, match="belongs to the whole session"):
        stores.get(Agenda, "K7Q2ZD", "alice")
    with pytest.raises(InvalidKey, match=r"stores\.get\(Agenda, code\)\.peek\(\)"):
        stores.peek_all(Agenda, "K7Q2ZD")


def test_a_name_that_no_state_has_is_unknown(no_cache: None) -> None:
    with pytest.raises(UnknownState, match="boards"):
        stores.get("boards", "K7Q2ZD", "alice")
    with pytest.raises(UnknownState, match="boards"):
        stores.peek_all("boards", "K7Q2ZD")
    with pytest.raises(UnknownState, match="not a declared State"):
        stores.peek_all(int, "K7Q2ZD")  # type: ignore[type-var]


def test_get_does_no_input_or_output(no_cache: None) -> None:
    stores.get(Board, "K7Q2ZD", "alice")


def test_created_sessions_have_their_own_unambiguous_codes() -> None:
    codes = {stores.create_session(label="Team day") for _ in range(50)}
    assert len(codes) == 50
    assert set("".join(codes)) <= set(CODE_ALPHABET)
    assert stores.sessions() == sorted(codes)
    assert stores.session_count() == 50


def test_no_session_is_created_past_the_limit(settings: Any) -> None:
    settings.SESSIONSTORES = {"MAX_SESSIONS": 2}
    codes = [stores.create_session() for _ in range(2)]
    with pytest.raises(LimitReached):
        stores.create_session()
    assert stores.sessions() == sorted(codes)


def test_counts_and_lists_follow_what_is_accessed() -> None:
    for name in ("bob", "alice"):
        assert stores.get(Board, "K7Q2ZD", name).state
    assert stores.get(Board, "ABC123", "carol").state
    assert stores.participants("K7Q2ZD") == ["alice", "bob"]
    assert stores.participant_count("K7Q2ZD") == 2
    assert stores.participant_count() == 3
    assert stores.session_count() == 2
    assert stores.participants("ZZZZZZ") == []


def test_cleanup_of_a_participant_leaves_the_others(events: list[Any]) -> None:
    alice, bob = (stores.get(Board, "K7Q2ZD", name) for name in ("alice", "bob"))
    for store in (alice, bob):
        store.dispatch(lambda board: setattr(board, "notes", "mine"))
    events.clear()
    assert stores.cleanup_participant("K7Q2ZD", "alice") is True
    assert stores.cleanup_participant("K7Q2ZD", "alice") is False
    assert alice.peek() is None
    assert bob.state.notes == "mine"
    assert alice.state.notes == ""
    removals = [event for event in events if isinstance(event, event_bus.Removal)]
    assert [(str(event.key), event.reason) for event in removals] == [
        ("K7Q2ZD:alice", "cleanup")
    ]


def test_receivers_get_the_final_states_typed() -> None:
    board = stores.get(Board, "K7Q2ZD", "alice")
    board.dispatch(lambda b: setattr(b, "notes", "last words"))
    got: list[dict[str, Any]] = []

    def receive(sender: Any, **named: Any) -> None:
        got.append(named)

    signals.participant_removed.connect(receive)
    try:
        stores.cleanup_participant("K7Q2ZD", "alice")
    finally:
        signals.participant_removed.disconnect(receive)
    assert len(got) == 1
    assert got[0]["participant"] == "alice"
    assert got[0]["reason"] == "cleanup"
    final = got[0]["states"]["board"]
    assert isinstance(final, Board)
    assert final.notes == "last words"


def test_a_session_that_was_cleaned_up_starts_afresh() -> None:
    board = stores.get(Board, "K7Q2ZD", "alice")
    board.dispatch(lambda b: setattr(b, "notes", "old"))
    agenda = stores.get(Agenda, "K7Q2ZD")
    agenda.dispatch(lambda a: setattr(a, "step", 3))
    assert stores.cleanup_session("K7Q2ZD") == 1
    assert stores.sessions() == []
    assert board.state.notes == ""
    assert agenda.state.step == 1


def test_an_ended_session_stays_closed(events: list[Any]) -> None:
    board = stores.get(Board, "K7Q2ZD", "alice")
    assert board.state
    ended: list[str] = []

    def receive(sender: Any, session: str, **named: Any) -> None:
        ended.append(session)

    signals.session_ended.connect(receive)
    try:
        assert stores.end_session("K7Q2ZD") == 1
    finally:
        signals.session_ended.disconnect(receive)
    assert ended == ["K7Q2ZD"]
    for call in (
        lambda: board.state,
        lambda: board.dispatch(Board.clear),
        lambda: stores.get(Agenda, "K7Q2ZD").state,
    ):
        with pytest.raises(SessionEnded):
            call()
    assert board.peek() is None
    assert stores.sessions() == []
    reasons = [event.reason for event in events if isinstance(event, event_bus.Removal)]
    assert reasons == ["ended", "ended"]


def test_a_message_must_be_json(events: list[Any]) -> None:
    stores.send("K7Q2ZD", {"text": "five minutes"}, "alice")
    assert [event.data for event in events] == [{"text": "five minutes"}]
    with pytest.raises(TypeError):
        stores.send("K7Q2ZD", object())
    assert len(events) == 1


def test_a_revocation_is_told_to_delivery(events: list[Any]) -> None:
    stores.revoke("K7Q2ZD", "alice")
    stores.revoke("K7Q2ZD")
    assert [str(event.key) for event in events] == ["K7Q2ZD:alice", "K7Q2ZD:*"]


async def test_every_sync_method_refuses_an_event_loop() -> None:
    board = stores.get(Board, "K7Q2ZD", "alice")
    for call in (
        stores.create_session,
        lambda: stores.cleanup_participant("K7Q2ZD", "alice"),
        lambda: stores.cleanup_session("K7Q2ZD"),
        lambda: stores.end_session("K7Q2ZD"),
        lambda: stores.revoke("K7Q2ZD"),
        lambda: stores.send("K7Q2ZD", 1),
        stores.session_count,
        stores.participant_count,
        stores.sessions,
        lambda: stores.participants("K7Q2ZD"),
        lambda: stores.peek_all(Board, "K7Q2ZD"),
        lambda: board.state,
        board.snapshot,
        board.peek,
        lambda: board.dispatch(Board.clear),
        lambda: board.replace(Board(), base=""),
        board.touch,
        board.delete,
    ):
        with pytest.raises(SynchronousOnlyOperation, match=r"await (store\.)?a"):
            call()


async def test_every_method_has_a_twin_that_does_the_same(events: list[Any]) -> None:
    code = await stores.acreate_session(label="Team day", keep=60)
    board = stores.get(Board, code, "alice")
    assert (await board.asnapshot()).state == Board()
    assert await stores.asessions() == [code]
    assert await stores.asession_count() == 1
    assert await stores.aparticipants(code) == ["alice"]
    assert await stores.apeek_all(Board, code) == {"alice": await board.apeek()}
    assert await stores.aparticipant_count(code) == 1
    assert await stores.aparticipant_count() == 1
    assert await stores.acleanup_participant(code, "alice") is True
    await stores.arevoke(code)
    await stores.asend(code, {"text": "bye"})
    assert await stores.acleanup_session(code) == 0
    assert await stores.aend_session(code) == 0
    with pytest.raises(SessionEnded):
        await board.asnapshot()


@pytest.mark.parametrize("id", ["", "*", "a b", "constructor\n"])
@pytest.mark.parametrize("method", ["send", "revoke", "disconnect"])
def test_an_id_that_is_none_never_means_everybody(method: str, id: str) -> None:
    told: list[object] = []
    with event_bus.bus.isolated():
        kinds = event_bus.Message, event_bus.Revocation, event_bus.Disconnection
        event_bus.bus.subscribe(told.append, *kinds)
        arguments = ["K7Q2ZD", "hello"][: 2 if method == "send" else 1]
        with pytest.raises(InvalidKey, match="is not a participant id"):
            getattr(stores, method)(*arguments, participant=id)
        assert told == []
        getattr(stores, method)(*arguments)
        assert len(told) == 1
