"""Everybody's states: peeked at from outside, and filled in for a session's action."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import ANY

import pytest
from asgiref.sync import async_to_sync
from django.db import connections
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessionstores import (
    ActionRejected,
    Snapshot,
    StateCorrupt,
    StoreUnavailable,
)
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.database import DatabaseStore, database_of
from sessionstores.backends.types import Record
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.state.declaration import (
    State,
    action,
    field,
    injected,
    registry,
)
from sessionstores.store.records import open_record
from tests.caches import SHARED, when_reached
from tests.servers import Valkey
from tests.sockets import opening_tabs

CODE = "K7Q2ZD"
TABLE = StoreKey.of_session(CODE)

with registry.isolated():

    class Hand(State, version=2):
        card: str = ""
        history: list[str] = field(default_factory=list[str])

        @classmethod
        def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
            return {"card": data["number"]}

        @action
        def choose(self, card: str) -> None:
            self.card = card

    class Notes(State):
        text: str = ""

    class Table(State, scope="session"):
        title: str = ""
        revealed: dict[str, str] = field(default_factory=dict[str, str])

        @action
        def name(self, title: str) -> None:
            self.title = title

        @action(role="facilitator")
        def voted(self, *, hands: Mapping[str, Hand] = injected) -> list[str]:
            return [id for id, hand in hands.items() if hand.card]

        @action(role="facilitator")
        def reveal(self, *, hands: Mapping[str, Hand] = injected) -> int:
            if not hands:
                raise ActionRejected("Nobody is here.", code="empty")
            self.revealed = {id: hand.card for id, hand in hands.items() if hand.card}
            return len(hands)

        @action
        def meddle(
            self,
            *,
            by: Participant,
            hands: Mapping[str, Hand] = injected,
            notes: Mapping[str, Notes] = injected,
        ) -> str:
            seen = hands["alice"].card
            hands["alice"].card = by.id
            hands["alice"].history.append("meddled")
            self.title += f"{by.id},"
            return f"{seen} {len(hands['alice'].history)} {len(notes)}"

        @action
        def force(self, *, hands: Mapping[str, Hand] = injected) -> None:
            hands["mallory"] = Hand()  # type: ignore[index]


pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    """Declare the states of this module, and no others."""
    with registry.isolated(Hand, Notes, Table):
        yield


@pytest.fixture
def table() -> Any:
    return stores.get(Table, CODE)


def choose(id: str, card: str, code: str = CODE) -> None:
    stores.get(Hand, code, id).dispatch(Hand.choose, card)


def store_raw(id: str, stored: bytes, code: str = CODE) -> None:
    """Put a hand's stored form in place, as a broken or another release would."""
    backend, key = get_backend(blocking=True), StoreKey(code, id)
    record = run(open_record(backend, key, (Notes,)))
    run(backend.commit(record, record.rev.next(), {"hand": stored}))


def fill_batches(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Read so many people in one round trip."""
    for name in ("cas.records", "redis.sessions"):
        monkeypatch.setattr(f"sessionstores.backends.{name}.STATES_BATCH", size)


# Peeking at everybody


def test_everybody_who_has_a_state_is_peeked_at(kind: str) -> None:
    choose("bob", "5")
    choose("alice", "3")
    assert stores.get(Notes, CODE, "carol").state == Notes()
    choose("alice", "8", code="ABC234")
    found = stores.peek_all(Hand, CODE)
    assert list(found) == ["alice", "bob"]
    assert found == {id: stores.get(Hand, CODE, id).peek() for id in ("alice", "bob")}
    assert stores.peek_all("hand", CODE) == found
    assert async_to_sync(stores.apeek_all)(Hand, CODE) == found
    found["alice"].state.card = "changed"
    assert stores.peek_all(Hand, CODE)["alice"].state.card == "3"


def test_peeking_at_everybody_creates_nothing(kind: str) -> None:
    assert stores.peek_all(Hand, CODE) == {}
    assert stores.sessions() == []
    code = stores.create_session()
    assert stores.peek_all(Hand, code) == {}
    choose("alice", "3", code=code)
    stores.end_session(code)
    assert stores.peek_all(Hand, code) == {}


IDS = ("alice", "bob", "carol")
# What may happen to a participant, in words for a failing example.
HAPPENINGS: dict[str, Callable[[str, str], Any]] = {
    "chooses": lambda code, id: choose(id, id[0], code),
    "notes": lambda code, id: stores.get(Notes, code, id).state,
    "drops the hand": lambda code, id: stores.get(Hand, code, id).delete(),
    "is reset": lambda code, id: stores.reset(code, id),
    "is removed": lambda code, id: stores.cleanup_participant(code, id),
    "has an old hand": lambda code, id: store_raw(id, b'1:{"number":"13"}', code),
    "has a partial hand": lambda code, id: store_raw(id, b'2:{"new":1}', code),
    "has a broken hand": lambda code, id: store_raw(id, b"2:{", code),
    "has a hand that does not migrate": lambda code, id: store_raw(id, b"1:{}", code),
    "looks": lambda code, id: stores.get(Hand, code, id).state,
    "session cleaned up": lambda code, id: stores.cleanup_session(code),
}
HISTORIES = st.lists(
    st.tuples(st.sampled_from(sorted(HAPPENINGS)), st.sampled_from(IDS)), max_size=12
)
numbers = itertools.count()


def peek_one_by_one(code: str) -> dict[str, Snapshot[Hand]]:
    found = {}
    for id in IDS:
        try:
            snapshot = stores.get(Hand, code, id).peek()
        except StateCorrupt:
            continue
        if snapshot is not None:
            found[id] = snapshot
    return found


@pytest.mark.parametrize("kind", ["locmem", "valkey"], indirect=True)
@given(history=HISTORIES)
@hypothesis_settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_everybody_is_as_peeked_at_one_by_one(
    kind: str, history: list[tuple[str, str]]
) -> None:
    code = f"A{next(numbers):05d}"
    for happening, id in history:
        HAPPENINGS[happening](code, id)
    one_by_one = peek_one_by_one(code)
    assert stores.peek_all(Hand, code) == one_by_one
    assert async_to_sync(stores.apeek_all)(Hand, code) == one_by_one
    # Nor has it changed anything.
    assert peek_one_by_one(code) == one_by_one


def test_who_has_corrupt_data_is_left_out_and_named_in_the_log(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    choose("alice", "3")
    choose("carol", "5")
    store_raw("bob", b"2:[")
    with caplog.at_level(logging.WARNING, "sessionstores.store"):
        assert list(stores.peek_all(Hand, CODE)) == ["alice", "carol"]
        stores.peek_all(Hand, CODE)
    (line,) = [each for each in caplog.messages if "left out" in each]
    assert line.startswith("K7Q2ZD:bob: left out of everybody's hand: ")
    # What is there stays there.
    with pytest.raises(StateCorrupt):
        stores.get(Hand, CODE, "bob").peek()


def test_data_of_a_newer_release_is_an_error_and_no_absence(table: Any) -> None:
    choose("alice", "3")
    store_raw("bob", b'3:{"card":"5"}')
    for call in (
        lambda: stores.peek_all(Hand, CODE),
        lambda: table.dispatch(Table.reveal),
    ):
        with pytest.raises(StateCorrupt) as error:
            call()
        assert error.value.newer
    assert table.state == Table()


@pytest.mark.parametrize("kind", ["locmem", "valkey"], indirect=True)
def test_a_thousand_people_are_peeked_at(kind: str, table: Any) -> None:
    async def fill() -> None:
        await table.asnapshot()
        for start in range(0, 1_000, 100):
            hands = [
                stores.get(Hand, CODE, f"p{start + n:04d}").adispatch(Hand.choose, "1")
                for n in range(100)
            ]
            await asyncio.gather(*hands)

    async_to_sync(fill)()
    found = stores.peek_all(Hand, CODE)
    assert list(found) == [f"p{n:04d}" for n in range(1_000)]
    assert {each.state.card for each in found.values()} == {"1"}
    assert table.dispatch(Table.reveal) == 1_000
    assert len(table.state.revealed) == 1_000


@pytest.fixture
def own_valkey(settings: Any) -> Iterator[Valkey]:
    """A server that no other test has ever used, so that its counts are exact."""
    server = Valkey()
    server.start()
    try:
        backend = "django.core.cache.backends.redis.RedisCache"
        settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": server.url}}
        yield server
    finally:
        server.stop()


def test_redis_is_asked_once_for_each_500(
    own_valkey: Valkey, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(call: Callable[[], object]) -> int:
        """Return how many scripts a call makes the server run."""
        call()
        with own_valkey.client() as client:
            client.config_resetstat()
            call()
            figures: Any = client.info("commandstats")
        names = {"cmdstat_evalsha", "cmdstat_eval", "cmdstat_multi"}
        return sum(figures[name]["calls"] for name in names & figures.keys())

    for n in range(10):
        choose(f"p{n}", "1")
    calls: tuple[Callable[[], object], ...] = (
        lambda: stores.peek_all(Hand, CODE),
        lambda: async_to_sync(stores.apeek_all)(Hand, CODE),
    )
    assert [count(call) for call in calls] == [1, 1]
    # The session's record is known and confirmed: that is the other one.
    assert count(lambda: table.dispatch(Table.voted)) == 2
    fill_batches(monkeypatch, 4)
    assert [count(call) for call in calls] == [3, 3]
    fill_batches(monkeypatch, 5)
    assert [count(call) for call in calls] == [2, 2]
    # What is large is read in parts that do not keep the server.
    limit = "sessionstores.backends.redis.sessions.STATES_BYTES"
    monkeypatch.setattr(limit, 1)
    assert [count(call) for call in calls] == [10, 10]


@pytest.mark.parametrize("kind", ["memcached", "sqlite", "postgres"], indirect=True)
def test_other_caches_are_asked_once_for_the_ids_and_once_for_each_500(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(10):
        choose(f"p{n}", "1")
    fill_batches(monkeypatch, 4)
    backend: Any = get_backend(blocking=True)
    read = backend.store.read
    sizes: list[int] = []

    async def noted(keys: Any) -> Any:
        sizes.append(len(keys))
        return await read(keys)

    monkeypatch.setattr(backend.store, "read", noted)
    if isinstance(backend.store, DatabaseStore):
        with CaptureQueriesContext(
            connections[database_of(backend.store.table)]
        ) as queries:
            assert len(stores.peek_all(Hand, CODE)) == 10
        selects = [each for each in queries if "cache_key" in each["sql"]]
        assert len(selects) == 4
    else:
        assert len(stores.peek_all(Hand, CODE)) == 10
    assert sizes == [1, 4, 4, 2]


# In a session's action


def test_a_sessions_action_is_given_everybodys_states(kind: str, table: Any) -> None:
    with pytest.raises(ActionRejected, match="Nobody"):
        table.dispatch(Table.reveal)
    choose("alice", "3")
    choose("bob", "")
    assert stores.get(Notes, CODE, "carol").state == Notes()
    rev = table.snapshot().rev
    assert table.dispatch(Table.voted) == ["alice"]
    assert table.snapshot().rev == rev
    assert table.dispatch(Table.reveal) == 2
    assert table.state.revealed == {"alice": "3"}
    assert stores.get(Hand, CODE, "carol").peek() is None


async def test_a_sessions_action_is_given_them_in_an_event_loop_and_in_threads(
    kind: str, table: Any
) -> None:
    await table.asnapshot()
    await stores.get(Hand, CODE, "alice").adispatch(Hand.choose, "3")
    assert await table.adispatch(Table.voted) == ["alice"]

    def reveal(_: int) -> int:
        table = stores.get(Table, CODE)
        answer: int = when_reached(lambda: table.dispatch(Table.reveal))
        connections.close_all()
        return answer

    with ThreadPoolExecutor(4) as pool:
        loop = asyncio.get_running_loop()
        threads = [loop.run_in_executor(pool, reveal, n) for n in range(4)]
        answers = await asyncio.gather(*threads, table.adispatch(Table.reveal))
    assert answers == [1] * 5
    assert (await table.asnapshot()).state.revealed == {"alice": "3"}


async def test_a_tab_asks_for_them_without_naming_them() -> None:
    async with opening_tabs() as open_tab:
        alice = await open_tab("alice")
        fay = await open_tab("fay", role="facilitator", client="c2")
        assert (await alice.act(1, "hand.choose", card="3"))["type"] == "ack"
        assert await fay.act(1, "table.voted") == {
            "type": "ack",
            "id": 1,
            "doc": "session",
            "base": ANY,
            "rev": ANY,
            "ops": [],
            "result": ["alice"],
        }
        forged = await fay.act(2, "table.reveal", hands={"alice": {"card": "8"}})
        assert (forged["type"], forged["code"]) == ("reject", "invalid_arguments")
        forbidden = await alice.act(2, "table.reveal")
        assert (forbidden["type"], forbidden["code"]) == ("reject", "forbidden")
        # Who has opened a page has a hand.
        assert (await fay.act(3, "table.reveal"))["result"] == 2
        patch = await alice.expect("patch", doc="session")
        assert patch["ops"] == [
            {"op": "add", "path": "/table/revealed/alice", "value": "3"}
        ]


def test_server_code_may_give_them_itself(table: Any) -> None:
    choose("alice", "3")
    assert table.dispatch(Table.reveal, hands={"bob": Hand(card="5")}) == 1
    assert table.state.revealed == {"bob": "5"}


def test_the_mapping_is_read_only(table: Any) -> None:
    with pytest.raises(TypeError, match="item assignment"):
        table.dispatch(Table.force)
    assert stores.participants(CODE) == []


async def test_a_group_reads_them_once_and_each_call_has_its_own(
    kind: str, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await table.asnapshot()
    hand = stores.get(Hand, CODE, "alice")
    await hand.adispatch(Hand.choose, "3")
    backend = get_backend(blocking=False)
    read_states = backend.read_states
    reads: list[str] = []

    async def noted(code: str, name: str) -> Any:
        reads.append(name)
        return await read_states(code, name)

    monkeypatch.setattr(backend, "read_states", noted)
    calls = [
        table.adispatch(Table.meddle, by=Participant(CODE, f"p{n}")) for n in range(10)
    ]
    # Whatever a call has done to its copies, the next one does not see it.
    assert await asyncio.gather(*calls) == ["3 1 0"] * 10
    # In memory, a group is all that is ready; else the first goes ahead.
    assert sorted(reads) in (["hand", "notes"], ["hand", "hand", "notes", "notes"])
    assert (await hand.asnapshot()).state == Hand(card="3")
    assert (await table.asnapshot()).state.title.count(",") == 10


@pytest.mark.parametrize("kind", SHARED, indirect=True)
def test_an_action_that_runs_again_is_given_them_as_they_are_then(
    kind: str, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert table.state == Table()
    choose("alice", "3")
    backend = get_backend(blocking=True)
    commit = backend.commit
    late = [True]

    async def commit_late(base: Record, *rest: Any, **options: Any) -> Any:
        if base.key == TABLE and late.pop():
            monkeypatch.setattr(backend, "commit", commit)
            choose("alice", "8")
            other = await backend.read(TABLE)
            assert isinstance(other, Record)
            title = b'1:{"title":"x","revealed":{}}'
            await commit(other, other.rev.next(), {"table": title})
        return await commit(base, *rest, **options)

    monkeypatch.setattr(backend, "commit", commit_late)
    table.dispatch(Table.reveal)
    assert table.state == Table(title="x", revealed={"alice": "8"})


def test_a_change_of_a_participant_meanwhile_does_not_run_an_action_again() -> None:
    choose("alice", "3")
    runs: list[str] = []
    with registry.isolated(Hand):

        class Desk(State, scope="session"):
            seen: str = ""

            @action
            def look(self, *, hands: Mapping[str, Hand] = injected) -> None:
                runs.append(hands["alice"].card)
                choose("alice", "13")
                self.seen = hands["alice"].card

        desk = stores.get(Desk, CODE)
        desk.dispatch(Desk.look)
        assert runs == ["3"]
        assert desk.state.seen == "3"
        assert stores.peek_all(Hand, CODE)["alice"].state.card == "13"


def test_one_with_corrupt_data_does_not_keep_an_action_from_the_others(
    kind: str, table: Any
) -> None:
    choose("alice", "3")
    store_raw("bob", b"2:[")
    assert table.dispatch(Table.reveal) == 1
    assert table.state.revealed == {"alice": "3"}


async def test_an_outage_is_told_to_each_call_and_to_no_other(
    table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await table.asnapshot()

    async def silent(code: str, name: str) -> Any:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(get_backend(blocking=False), "read_states", silent)
    answers = await asyncio.gather(
        table.adispatch(Table.reveal),
        table.adispatch(Table.voted),
        table.adispatch(Table.name, "Sprint 7"),
        return_exceptions=True,
    )
    assert [type(each) for each in answers[:2]] == [StoreUnavailable] * 2
    assert answers[2] is None
    assert (await table.asnapshot()).state.title == "Sprint 7"
