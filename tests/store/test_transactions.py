"""Transactions: an action runs again after a conflict, never after its commit."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstores import ActionRejected, Conflict, signals
from sessionstores.backends import get_backend
from sessionstores.backends.base import Backend, run
from sessionstores.backends.cas.keys import record_key
from sessionstores.backends.types import Attempt, Record
from sessionstores.event_bus import Act, bus
from sessionstores.exceptions import OutcomeUnknown, StateCorrupt, StoreUnavailable
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.state.declaration import get_action
from sessionstores.store import transactions
from tests.workshop.states import Agenda, Board

ALICE = StoreKey("K7Q2ZD", "alice")


def add(board: Board) -> int:
    board.notes += "+"
    return len(board.notes)


@pytest.fixture
def backend() -> Backend:
    return get_backend(blocking=True)


@pytest.fixture
def board() -> Any:
    return stores.get(Board, *ALICE)


def remember(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Have the record as it is now recalled from now on, as some backends do."""
    record = run(backend.read(ALICE))
    assert isinstance(record, Record)
    monkeypatch.setattr(backend, "recall", lambda key: record)
    return record


@pytest.mark.parametrize(
    "error", [RuntimeError, StoreUnavailable, KeyError, ActionRejected]
)
@pytest.mark.parametrize("recalled", [True, False])
def test_what_a_commit_raises_runs_no_action_again(
    backend: Backend,
    board: Any,
    monkeypatch: pytest.MonkeyPatch,
    recalled: bool,
    error: type[Exception],
) -> None:
    board.dispatch(add)
    if recalled:
        remember(backend, monkeypatch)
    commit = backend.commit

    async def breaks(*args: Any, **kwargs: Any) -> Any:
        await commit(*args, **kwargs)
        raise error("after it was in")

    with monkeypatch.context() as fault:
        fault.setattr(backend, "commit", breaks)
        with pytest.raises(error, match="after it was in"):
            board.dispatch(add)
    assert board.state.notes == "++"


def test_a_commit_without_an_answer_is_of_unknown_outcome_and_a_read_is_not(
    backend: Backend, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("no answer")

    board.dispatch(add)
    for method, unknown in (("commit", True), ("read", False)):
        with monkeypatch.context() as outage:
            outage.setattr(backend, method, fails)
            with pytest.raises(StoreUnavailable, match="no answer") as caught:
                board.dispatch(add)
        assert isinstance(caught.value, OutcomeUnknown) is unknown
        assert caught.value.code == "store_unavailable"


def test_a_commit_that_was_refused_is_not_of_unknown_outcome(
    backend: Backend, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("no", refused=True)

    board.dispatch(add)
    monkeypatch.setattr(backend, "commit", fails)
    with pytest.raises(StoreUnavailable, match="no") as caught:
        board.dispatch(add)
    assert not isinstance(caught.value, OutcomeUnknown)


def test_a_commit_beside_what_is_corrupt_is_unknown_if_nobody_can_look(
    backend: Backend, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = backend.commit

    async def in_and_away(*args: Any, **kwargs: Any) -> Any:
        await commit(*args, **kwargs)

        async def refuses(*args: Any, **kwargs: Any) -> Any:
            raise StoreUnavailable("cannot be reached", refused=True)

        outage.setattr(backend, "read", refuses)
        raise StateCorrupt("beside it")

    board.dispatch(add)
    with monkeypatch.context() as outage:
        outage.setattr(backend, "commit", in_and_away)
        with pytest.raises(OutcomeUnknown):
            board.dispatch(add)
    assert board.state.notes == "++"


def test_what_an_outdated_record_leads_to_is_looked_at_again_on_the_newer(
    backend: Backend, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.dispatch(add)
    remember(backend, monkeypatch)
    board.dispatch(add)

    def check(state: Board) -> int:
        if state.notes == "+":
            raise ActionRejected("outdated")
        return len(state.notes)

    assert board.dispatch(check) == 2
    assert board.dispatch(lambda state: state.notes) == "++"
    assert board.dispatch(add) == 3


def spoil(backend: Any) -> None:
    """Replace alice's record by junk."""
    name = record_key(ALICE)
    [held] = run(backend.store.read([name])).values()
    run(backend.store.cas(name, held.token, b"junk", None))


def reject(board: Board) -> None:
    raise ActionRejected("as it is")


@pytest.mark.parametrize("kind", ["change", "nothing", "rejection"])
def test_a_recalled_record_that_has_become_corrupt_is_set_aside(
    backend: Any, board: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    board.dispatch(add)
    remember(backend, monkeypatch)
    spoil(backend)
    told: list[dict[str, Any]] = []

    def receive(sender: Any, **named: Any) -> None:
        told.append(named)

    signals.state_quarantined.connect(receive)
    try:
        if kind == "change":
            assert board.dispatch(add) == 1
        elif kind == "nothing":
            assert board.dispatch(lambda state: state.notes) == ""
        else:
            with pytest.raises(ActionRejected, match="as it is"):
                board.dispatch(reject)
    finally:
        signals.state_quarantined.disconnect(receive)
    assert [(named["key"], named["state"]) for named in told] == [(ALICE, None)]
    assert board.state.notes == ("+" if kind == "change" else "")


def test_what_is_corrupt_beside_the_record_runs_no_action_again(
    backend: Backend, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.dispatch(add)
    commit = backend.commit

    async def corrupt_beside(*args: Any, **kwargs: Any) -> Any:
        await commit(*args, **kwargs)
        raise StateCorrupt("what follows the record")

    with monkeypatch.context() as fault:
        fault.setattr(backend, "commit", corrupt_beside)
        with pytest.raises(StateCorrupt, match="what follows the record"):
            board.dispatch(add)
    assert board.state.notes == "++"


def test_a_record_that_is_corrupt_at_every_try_ends_in_a_conflict(
    backend: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = backend.commit

    async def corrupt(*args: Any, **kwargs: Any) -> Any:
        spoil(backend)
        return await commit(*args, **kwargs)

    monkeypatch.setattr("sessionstores.store.retry.MIN_SECONDS", 0.01)
    monkeypatch.setattr(backend, "commit", corrupt)
    with pytest.raises(Conflict, match="others committed first"):
        board.dispatch(add)


def test_an_action_that_was_reported_as_failed_but_is_in_stays_in(
    backend: Backend, board: Any
) -> None:
    note = get_action(Board, "note")

    def perform(id: int, text: str, rejected: dict[int, str]) -> Any:
        return run(
            transactions.perform(
                backend,
                ALICE,
                Board,
                note,
                {"text": text},
                actor=Participant(*ALICE),
                attempt=Attempt("tab", id, rejected),
            )
        )

    perform(1, "one", {})
    # 1 is in, 2 is not, and the server knows of neither.
    for id in (3, 4):
        perform(id, "more" * id, {1: "store_unavailable", 2: "store_unavailable"})
        assert perform(1, "one", {}).repeated
        with pytest.raises(ActionRejected) as refused:
            perform(2, "two", {})
        assert refused.value.code == "store_unavailable"
    assert board.state.notes == "more" * 4


def test_who_changes_the_session_s_state_is_told_once(backend: Backend) -> None:
    session = StoreKey.of_session(ALICE.session)
    acts: list[tuple[str, str, str]] = []

    def perform(key: StoreKey, cls: Any, name: str, id: int, **arguments: Any) -> None:
        run(
            transactions.perform(
                backend,
                key,
                cls,
                get_action(cls, name),
                arguments,
                actor=Participant(*ALICE),
                attempt=Attempt("tab", id, {}),
            )
        )

    def note(act: Act) -> None:
        acts.append((str(act.key), act.state, act.action))

    with bus.restored():
        bus.subscribe(note, Act)
        for id in (1, 2, 2):
            # The second changes nothing, and the third is the second again.
            perform(session, Agenda, "vote", id, card=7)
        perform(ALICE, Board, "note", 3, text="mine")
        stores.get(Agenda, ALICE.session).dispatch(Agenda.advance)
    assert acts == [(str(ALICE), "agenda", "Agenda.vote")]
