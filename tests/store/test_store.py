"""Stores: isolation, atomic dispatch, copies, revs."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from sessionstores import (
    ActionRejected,
    Conflict,
    InvalidArguments,
    StateCorrupt,
    StateTooLarge,
    signals,
)
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import Attempt, Record, Stale
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.state import codec
from sessionstores.state.declaration import (
    State,
    action,
    field,
    get_action,
    injected,
    registry,
)
from sessionstores.state.revisions import Rev
from sessionstores.store import records, transactions
from sessionstores.store import retry as tries_module
from tests.workshop.states import Agenda, Board

ALICE = StoreKey("K7Q2ZD", "alice")

with registry.isolated():

    class Secret(State):
        text: str = ""

    class Hall(State, scope="session"):
        open: bool = True

        @action
        def shout(self, *, secret: Secret = injected) -> None:
            self.open = False

    class Name(State):
        text: str = "anonymous"

    class Badge(State):
        text: str = ""

        @action
        def write(self, *, name: Name = injected) -> None:
            self.text = name.text

    class Diary(State):
        author: str = ""

        @action
        def sign(self, *, by: Participant = injected) -> None:
            self.author = by.id


@pytest.fixture
def board() -> Any:
    return stores.get(Board, *ALICE)


def read(key: StoreKey = ALICE) -> Record:
    record = run(get_backend(blocking=True).read(key))
    assert isinstance(record, Record)
    return record


def store_raw(name: str, stored: bytes, key: StoreKey = ALICE) -> None:
    """Put `stored` in the place of a state, as a broken or newer process would."""
    backend = get_backend(blocking=True)
    record = run(records.open_record(backend, key, (Board,)))
    run(backend.commit(record, record.rev.next(), {name: stored}))


def test_a_store_is_created_on_first_access_and_peek_creates_nothing(
    board: Any,
) -> None:
    assert board.peek() is None
    assert stores.participants("K7Q2ZD") == []
    assert board.state == Board()
    assert board.peek().state == Board()
    assert stores.participants("K7Q2ZD") == ["alice"]


def test_two_participants_never_share_anything(board: Any) -> None:
    bob = stores.get(Board, "K7Q2ZD", "bob")
    other_session = stores.get(Board, "ABC123", "alice")
    board.dispatch(lambda b: b.piles.update(keep=["ace"]))
    assert board.state.piles == {"keep": ["ace"]}
    assert bob.state.piles == {}
    assert other_session.state.piles == {}


def test_every_access_gets_its_own_copy(board: Any) -> None:
    first = board.state
    first.piles["mine"] = ["ace"]
    assert board.state.piles == {}


def test_dispatch_returns_what_the_action_returns_and_moves_the_rev(
    board: Any,
) -> None:
    before = board.snapshot()
    assert board.dispatch(lambda b: b.piles.setdefault("keep", ["ace"])) == ["ace"]
    after = board.snapshot()
    old, new = Rev.parse(before.rev), Rev.parse(after.rev)
    assert new.incarnation == old.incarnation
    assert new.counter == old.counter + 1


def test_no_change_means_no_commit(board: Any) -> None:
    rev = board.snapshot().rev
    assert board.dispatch(lambda b: len(b.deck)) == len(Board().deck)
    assert board.snapshot().rev == rev


def test_an_action_that_raises_changes_nothing(board: Any) -> None:
    rev = board.snapshot().rev

    def fail(b: Board) -> None:
        b.piles["half"] = ["done"]
        raise ActionRejected("No.", code="no")

    with pytest.raises(ActionRejected, match="No"):
        board.dispatch(fail)
    assert board.snapshot() == (Board(), rev)


def test_an_action_cannot_leave_a_state_that_could_not_be_read_again(
    board: Any,
) -> None:
    rev = board.snapshot().rev
    with pytest.raises(StateCorrupt, match="notes"):
        board.dispatch(lambda b: setattr(b, "notes", 5))
    assert board.snapshot().rev == rev


def test_the_server_fills_in_injected_parameters() -> None:
    agenda = stores.get(Agenda, "K7Q2ZD")
    alice = Participant("K7Q2ZD", "alice")
    agenda.dispatch(Agenda.vote, 3, by=alice)
    assert agenda.state.votes == {"alice": 3}
    with pytest.raises(InvalidArguments, match="by"):
        agenda.dispatch(Agenda.vote, 4)  # type: ignore[call-arg, unused-ignore]
    board = stores.get(Board, *ALICE)
    card = board.state.deck[0]
    board.dispatch(Board.move, card, "keep")
    agenda.dispatch(lambda a: setattr(a, "step", 2))
    with pytest.raises(ActionRejected) as refused:
        board.dispatch(Board.move, board.state.deck[0], "keep")
    assert refused.value.code == "wrong_step"


def test_an_actor_is_filled_in_for_a_participants_own_state() -> None:
    with registry.isolated(Diary):
        diary = stores.get(Diary, *ALICE)
        diary.dispatch(Diary.sign)
        assert diary.state.author == "alice"


def test_a_session_action_cannot_see_into_a_participant() -> None:
    with registry.isolated(Secret, Hall):
        hall = stores.get(Hall, "K7Q2ZD")
        with pytest.raises(InvalidArguments, match="each participant has their own"):
            hall.dispatch(Hall.shout)


def test_an_injected_state_of_the_same_participant_comes_from_the_same_record() -> None:
    with registry.isolated(Name, Badge):
        badge, name = stores.get(Badge, *ALICE), stores.get(Name, *ALICE)
        name.dispatch(lambda n: setattr(n, "text", "Alice"))
        badge.dispatch(Badge.write)
        assert badge.state.text == "Alice"


def test_replace_compares_the_rev(board: Any) -> None:
    snapshot = board.snapshot()
    board.dispatch(lambda b: setattr(b, "notes", "theirs"))
    with pytest.raises(Conflict, match="new snapshot"):
        board.replace(Board(notes="mine"), base=snapshot.rev)
    assert board.state.notes == "theirs"
    base = board.snapshot().rev
    rev = board.replace(Board(notes="mine"), base=base)
    assert board.snapshot() == (Board(notes="mine"), rev)
    assert board.replace(Board(notes="mine"), base=rev) == rev
    with pytest.raises(TypeError, match="needs a Board"):
        board.replace(Agenda(), base=rev)


def test_a_deleted_state_is_gone_until_the_next_access(board: Any) -> None:
    assert board.delete() is False
    board.dispatch(lambda b: setattr(b, "notes", "old"))
    old = Rev.parse(board.snapshot().rev)
    assert board.delete() is True
    assert board.peek() is None
    assert board.delete() is False
    assert board.state.notes == ""
    assert Rev.parse(board.snapshot().rev).incarnation != old.incarnation


def test_touch_returns_whether_there_was_a_record(board: Any) -> None:
    assert board.touch() is False
    assert board.state
    assert board.touch() is True


async def test_every_method_has_an_async_twin(board: Any) -> None:
    assert await board.apeek() is None
    assert (await board.asnapshot()).state == Board()
    await board.adispatch(lambda b: setattr(b, "notes", "async"))
    snapshot = await board.apeek()
    assert snapshot.state.notes == "async"
    rev = await board.areplace(Board(notes="new"), base=snapshot.rev)
    assert (await board.asnapshot()) == (Board(notes="new"), rev)
    assert await board.atouch() is True
    assert await board.adelete() is True
    assert await board.apeek() is None


def test_a_record_past_its_size_is_refused_and_stays(board: Any, settings: Any) -> None:
    settings.SESSIONSTORES = {"MAX_STATE_BYTES": 2_000}
    rev = board.snapshot().rev
    with pytest.raises(StateTooLarge, match="2000"):
        board.dispatch(lambda b: setattr(b, "notes", "x" * 2_000))
    assert board.snapshot().rev == rev


def test_missing_fields_are_filled_in_and_committed_before_they_are_shown(
    board: Any,
) -> None:
    store_raw("board", b'1:{"notes":"kept","gone":1}')
    stored_rev = read().rev
    first = board.snapshot()
    assert first.state.notes == "kept"
    assert first.state.deck == Board().deck
    assert Rev.parse(first.rev).counter == stored_rev.counter + 1
    assert board.snapshot() == first


def test_undecodable_state_goes_aside_and_a_new_incarnation_begins(
    board: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store_raw("board", b'1:{"notes": ')
    before = read().rev
    with pytest.raises(StateCorrupt):
        board.peek()
    quarantined: list[dict[str, Any]] = []

    def receive(sender: Any, **named: Any) -> None:
        quarantined.append(named)

    signals.state_quarantined.connect(receive)
    try:
        snapshot = board.snapshot()
    finally:
        signals.state_quarantined.disconnect(receive)
    assert snapshot.state == Board()
    assert Rev.parse(snapshot.rev).incarnation != before.incarnation
    assert [(named["key"], named["state"]) for named in quarantined] == [
        (ALICE, "board")
    ]
    assert "set aside" in caplog.text


def test_a_dispatch_on_undecodable_state_starts_from_a_fresh_one(board: Any) -> None:
    store_raw("board", b"garbage")
    board.dispatch(lambda b: setattr(b, "notes", "afresh"))
    assert board.state == Board(notes="afresh")


def test_data_of_a_newer_version_is_left_alone(board: Any) -> None:
    store_raw("board", b'9:{"notes":"from the future"}')
    before = read()
    for call in (
        lambda: board.state,
        board.peek,
        lambda: board.dispatch(lambda b: setattr(b, "notes", "past")),
    ):
        with pytest.raises(StateCorrupt) as error:
            call()
        assert error.value.newer
    assert read().states == before.states
    assert read().rev == before.rev


def test_old_data_migrates_once() -> None:
    with registry.isolated():

        class Counter(State, version=2):
            total: int = 0

            @classmethod
            def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
                return {"total": data["count"] * 10}

        store_raw("counter", b'1:{"count":4}')
        counter = stores.get(Counter, *ALICE)
        first = counter.snapshot()
        assert first.state.total == 40
        assert counter.snapshot() == first
        counter.dispatch(lambda c: setattr(c, "total", c.total + 1))
        assert counter.state.total == 41


def test_a_document_holds_every_declared_state_of_its_scope() -> None:
    backend = get_backend(blocking=True)
    record = run(records.open_document(backend, ALICE))
    assert set(record.states) == {
        cls.__sessionstores__.name for cls in records.states_in("participant")
    }
    again = run(records.open_document(backend, ALICE))
    assert again.rev == record.rev
    session = run(records.open_document(backend, StoreKey.of_session("K7Q2ZD")))
    assert "agenda" in session.states
    assert "board" not in session.states


def test_an_attempt_takes_effect_once_and_a_rejected_one_stays_rejected() -> None:
    backend = get_backend(blocking=True)
    alice = Participant("K7Q2ZD", "alice")
    move = get_action(Board, "move")

    def perform(
        number: int, card: str, rejected: dict[int, str]
    ) -> transactions.Outcome:
        return run(
            transactions.perform(
                backend,
                ALICE,
                Board,
                move,
                {"card": card, "pile": "keep"},
                actor=alice,
                attempt=Attempt("tab1", number, rejected),
            )
        )

    deck = Board().deck
    first = perform(1, deck[0], {})
    assert first.change is not None
    with pytest.raises(ActionRejected):
        perform(2, "no such card", {})
    perform(3, deck[1], {2: "rejected"})
    repeated = perform(1, deck[0], {})
    assert repeated.repeated
    assert repeated.change is None
    with pytest.raises(ActionRejected) as refused:
        perform(2, deck[2], {})
    assert refused.value.code == "rejected"
    state = codec.decode(Board, read().states["board"])
    assert state.piles == {"keep": [deck[1], deck[0]]}


def test_a_writer_that_never_wins_gets_a_conflict(
    board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert board.state
    monkeypatch.setattr(tries_module, "MIN_SECONDS", 0.01)
    backend = get_backend(blocking=True)
    tries = 0

    async def lose(base: Record, *args: Any, **named: Any) -> Stale:
        nonlocal tries
        tries += 1
        return Stale(base)

    monkeypatch.setattr(backend, "commit", lose)
    with pytest.raises(Conflict, match="others committed first"):
        board.dispatch(lambda b: setattr(b, "notes", "mine"))
    assert tries >= tries_module.MIN_TRIES


def test_a_record_removed_under_a_dispatch_is_opened_again(board: Any) -> None:
    assert board.state
    calls = 0

    def remove_once(b: Board) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            stores.cleanup_participant(*ALICE)
        b.notes = "second"

    board.dispatch(remove_once)
    assert calls == 2
    assert board.state.notes == "second"


def test_threads_lose_no_update() -> None:
    """8 × 2,500 dispatches on one store; conflicts are dispatched again."""
    with registry.isolated():

        class Tally(State):
            count: int = 0
            seen: dict[str, int] = field(default_factory=dict[str, int])

        tally = stores.get(Tally, *ALICE)
        conflicts = 0

        def add(tally_state: Tally, who: str) -> int:
            tally_state.count += 1
            tally_state.seen[who] = tally_state.seen.get(who, 0) + 1
            return tally_state.count

        returned: list[int] = []

        def work(who: str) -> None:
            nonlocal conflicts
            for _ in range(2_500):
                while True:
                    try:
                        returned.append(tally.dispatch(add, who))
                        break
                    except Conflict:
                        conflicts += 1

        threads = [threading.Thread(target=work, args=(str(n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        final = tally.state
        assert final.count == 20_000
        assert final.seen == {str(n): 2_500 for n in range(8)}
        # Each acknowledged dispatch saw a count of its own: none was run twice.
        assert sorted(returned) == list(range(1, 20_001))
        print(f"conflicts raised: {conflicts}")  # noqa: T201


async def test_coroutines_lose_no_update() -> None:
    """200 × 50 dispatches on one store."""
    with registry.isolated():

        class Tally(State):
            count: int = 0

        tally = stores.get(Tally, *ALICE)
        returned: list[int] = []

        def add(state: Tally) -> int:
            state.count += 1
            return state.count

        async def work() -> None:
            for _ in range(50):
                returned.append(await tally.adispatch(add))
                await asyncio.sleep(0)

        await asyncio.gather(*(work() for _ in range(200)))
        assert (await tally.asnapshot()).state.count == 10_000
        assert sorted(returned) == list(range(1, 10_001))
