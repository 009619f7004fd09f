"""The contract of a backend about who is kept, who is idle, and who may enter."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from pytest_django import Settings

from sessionstores.backends.types import ParticipantInfo
from sessionstores.exceptions import LimitReached, SessionLocked
from sessionstores.keys import StoreKey
from tests.backends.driven import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    MORE,
    OWN,
    START,
    BackendTests,
    Clock,
    Driven,
    lease,
)

CAROL = StoreKey(CODE, "carol")
HOUR = 3_600.0
# The default of IDLE_TIMEOUT, in seconds.
TIMEOUT = 300.0


def ids(infos: list[ParticipantInfo]) -> list[str]:
    return [info.id for info in infos]


def evicted(backend: Driven, idle_for: float = TIMEOUT) -> list[str]:
    removed = backend.evict_idle(CODE, idle_for=idle_for, limit=100)
    return sorted(final.key.participant for final in removed)


def change(backend: Driven, key: StoreKey) -> None:
    """Have a participant change their own state, as an action does."""
    record = backend.open(key, BOARD).record
    backend.commit_next(record, MORE if record.states == BOARD else BOARD)


def fill_in(backend: Driven, key: StoreKey) -> None:
    """Commit as a read does that finds a state missing."""
    record = backend.open(key, BOARD).record
    states = {f"more{len(record.states)}": b"1:{}"}
    backend.commit(record, record.rev.next(), states, is_change=False)


def act_elsewhere(backend: Driven, key: StoreKey) -> None:
    backend.open(key, BOARD)
    assert backend.touch(key, acted=True)


def act_elsewhere_in_a_tab(backend: Driven, key: StoreKey) -> None:
    backend.open(key, BOARD)
    backend.lease([lease(key)._replace(acted=True)])
    backend.release(lease(key))


def start_over(backend: Driven, key: StoreKey) -> None:
    """Change a state, then have somebody reset all states."""
    change(backend, key)
    record = backend.read_record(key)
    rev = record.rev.reincarnated()
    backend.commit(record, rev, BOARD, is_change=False)


WAYS: dict[str, Callable[[Driven, StoreKey], None]] = {
    "change": change,
    "elsewhere": act_elsewhere,
    "in a tab": act_elsewhere_in_a_tab,
    "reset": start_over,
}


class KeepingContract(BackendTests):
    """Participants in a kept session, last uses, and locked sessions."""

    # Of the random histories.
    HISTORIES: ClassVar[int] = 2
    STEPS: ClassVar[int] = 40

    @pytest.mark.parametrize("way", WAYS)
    def test_who_has_changed_something_is_kept_as_long_as_the_session(
        self, backend: Driven, clock: Clock, way: str
    ) -> None:
        backend.create_session(CODE, label="", keep=24 * HOUR)
        WAYS[way](backend, ALICE)
        backend.open(BOB, BOARD)
        assert [info.kept_until for info in backend.participants(CODE)] == [
            START + 24 * HOUR,
            0,
        ]
        clock.advance(TIMEOUT + 1)
        assert evicted(backend) == ["bob"]
        # Past what any record without a keep has left, and no sweep meanwhile.
        clock.advance(20 * HOUR)
        for idle_for in (TIMEOUT, 1, 0):
            assert evicted(backend, idle_for) == []
        assert backend.due_sessions(idle_for=TIMEOUT, limit=9) in ([], [CODE])
        assert ids(backend.participants(CODE)) == ["alice"]
        assert backend.participant_count(CODE) == 1
        assert not backend.open(ALICE, BOARD).created
        clock.advance(4 * HOUR)
        assert evicted(backend) == ["alice"]
        assert backend.participant_count() == 0

    def test_the_end_of_the_keep_is_the_end_of_it(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="", keep=1_000)
        change(backend, ALICE)
        clock.advance(800)
        change(backend, BOB)
        clock.advance(199)
        assert evicted(backend) == []
        clock.advance(1)
        assert CODE in backend.due_sessions(idle_for=TIMEOUT, limit=9)
        # Alice was not seen for 1,000 s by now, but Bob for 200.
        assert evicted(backend) == ["alice"]
        clock.advance(99)
        assert evicted(backend) == []
        clock.advance(1)
        assert CODE in backend.due_sessions(idle_for=TIMEOUT, limit=9)
        assert evicted(backend) == ["bob"]
        assert backend.evict_empty_session(CODE, idle_for=0)

    def test_an_extension_keeps_those_who_sleep_already(
        self, backend: Driven, clock: Clock
    ) -> None:
        for key in (ALICE, BOB):
            change(backend, key)
        backend.open(CAROL, BOARD)
        clock.advance(TIMEOUT - 10)
        backend.update_session(CODE, extend=10 * HOUR)
        assert evicted(backend, 0) == ["carol"]
        backend.update_session(CODE, extend=HOUR, locked=True)
        clock.advance(9 * HOUR)
        assert evicted(backend, 0) == []
        backend.update_session(CODE, extend=10 * HOUR)
        change(backend, BOB)
        clock.advance(9 * HOUR)
        assert evicted(backend, 0) == []
        assert ids(backend.participants(CODE)) == ["alice", "bob"]
        clock.advance(HOUR)
        assert evicted(backend) == ["alice", "bob"]

    def test_a_shorter_keep_lets_go_sooner(self, backend: Driven, clock: Clock) -> None:
        backend.create_session(CODE, label="", keep=10 * HOUR)
        change(backend, ALICE)
        clock.advance(HOUR)
        assert evicted(backend, 0) == []
        backend.update_session(CODE, keep=2 * HOUR)
        assert evicted(backend, 0) == []
        clock.advance(HOUR)
        assert CODE in backend.due_sessions(idle_for=TIMEOUT, limit=9)
        assert evicted(backend) == ["alice"]

    @pytest.mark.parametrize(("keep", "idle_for"), [(250, TIMEOUT), (350, 340)])
    def test_a_sweep_finds_what_one_with_another_patience_left(
        self, backend: Driven, clock: Clock, keep: float, idle_for: float
    ) -> None:
        backend.create_session(CODE, label="", keep=keep)
        change(backend, ALICE)
        clock.advance(40)
        change(backend, BOB)
        assert evicted(backend, 30) == []
        clock.advance(max(keep, idle_for) - 39)
        assert backend.due_sessions(idle_for=idle_for, limit=9) == [CODE]
        assert evicted(backend, idle_for) == ["alice"]

    def test_a_sweep_finds_who_came_when_all_others_were_kept(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="", keep=HOUR)
        change(backend, ALICE)
        clock.advance(TIMEOUT)
        # Who marks the session as used.
        backend.open(CAROL, BOARD)
        assert evicted(backend, 0) == ["carol"]
        # Alice first, who is kept.
        backend.open(ALICE, BOARD)
        backend.open(BOB, BOARD)
        clock.advance(TIMEOUT)
        assert backend.due_sessions(idle_for=TIMEOUT, limit=9) == [CODE]
        assert evicted(backend) == ["bob"]

    def test_a_session_may_be_kept_without_its_participants(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="", keep=HOUR, keep_participants=False)
        assert not backend.session(CODE).keep_participants
        change(backend, ALICE)
        backend.update_session(CODE, extend=10 * HOUR, label="Team day")
        assert not backend.session(CODE).keep_participants
        (alice,) = backend.participants(CODE)
        assert alice.kept_until == 0
        clock.advance(TIMEOUT + 1)
        assert evicted(backend) == ["alice"]
        change(backend, BOB)
        clock.advance(3 * TIMEOUT)
        assert backend.read(BOB) is None
        assert backend.session(CODE) is not None

    def test_what_is_filled_in_by_reading_keeps_nobody(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="", keep=24 * HOUR)
        for key in (ALICE, BOB):
            fill_in(backend, key)
            fill_in(backend, key)
        record = backend.read_record(BOB)
        rev = record.rev.reincarnated()
        backend.commit(record, rev, {"more1": None}, is_change=False)
        assert [info.kept_until for info in backend.participants(CODE)] == [0, 0]
        change(backend, CAROL)
        fill_in(backend, CAROL)
        clock.advance(TIMEOUT + 1)
        assert evicted(backend) == ["alice", "bob"]
        fill_in(backend, ALICE)
        clock.advance(2 * TIMEOUT)
        assert backend.read(ALICE) is None
        change(backend, ALICE)
        clock.advance(HOUR)
        assert evicted(backend, 0) == []
        assert ids(backend.participants(CODE)) == ["alice", "carol"]

    def test_the_kept_are_no_sign_of_a_sweep_that_is_late(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="", keep=24 * HOUR)
        change(backend, ALICE)
        clock.advance(HOUR)
        (summary,) = backend.summaries()
        assert (summary.oldest, summary.participants) == (clock(), 1)
        backend.open(BOB, BOARD)
        clock.advance(10)
        (summary,) = backend.summaries()
        assert summary.oldest == clock() - 10

    def test_a_kept_participant_can_be_removed(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="", keep=24 * HOUR)
        for key in (ALICE, BOB):
            change(backend, key)
        assert backend.delete(ALICE) is not None
        assert backend.open(ALICE, BOARD).created
        assert len(backend.delete_session(CODE)) == 3
        # What comes after it, under the same code, is not kept.
        change(backend, BOB)
        clock.advance(TIMEOUT + 1)
        assert evicted(backend) == ["bob"]

    def test_others_who_leave_take_no_kept_participant_with_them(
        self, backend: Driven, clock: Clock
    ) -> None:
        change(backend, ALICE)
        backend.open(BOB, BOARD)
        backend.open(CAROL, BOARD)
        clock.advance(10)
        backend.update_session(CODE, extend=24 * HOUR)
        backend.delete(BOB)
        clock.advance(TIMEOUT)
        assert evicted(backend) == ["carol"]
        clock.advance(20 * HOUR)
        assert backend.participant_count(CODE) == 1
        assert ids(backend.participants(CODE)) == ["alice"]

    def test_newcomers_keep_the_session_alive(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.create_session(CODE, label="Team day", keep=0)
        for number in range(15):
            clock.advance(100)
            backend.open(StoreKey(CODE, f"p{number}"), BOARD)
        assert backend.session(CODE).label == "Team day"

    # Last uses

    @pytest.mark.parametrize("moment", [0.5, 10, 29.9, 30, 31, 59.9])
    def test_who_acted_a_moment_ago_is_not_idle(
        self, backend: Driven, clock: Clock, moment: float
    ) -> None:
        backend.open(ALICE, BOARD)
        clock.advance(moment)
        change(backend, ALICE)
        clock.advance(0.2)
        for idle_for in (0.1, 1, 10):
            assert evicted(backend, idle_for) == []
        clock.advance(29.7)
        assert evicted(backend, 10) == []
        clock.advance(0.2)
        assert CODE in backend.due_sessions(idle_for=10, limit=9)
        assert evicted(backend, 10) == ["alice"]

    def test_a_session_used_a_moment_ago_is_not_idle(
        self, backend: Driven, clock: Clock
    ) -> None:
        record = backend.open(OWN, BOARD).record
        clock.advance(10)
        backend.commit_next(record, MORE)
        clock.advance(0.2)
        assert not backend.evict_empty_session(CODE, idle_for=1)
        clock.advance(30)
        assert backend.evict_empty_session(CODE, idle_for=1)

    def test_zero_seconds_without_use_are_any(self, backend: Driven) -> None:
        change(backend, ALICE)
        assert evicted(backend, 0) == ["alice"]

    def test_states_that_nobody_asks_for_are_left_out(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, MORE)
        backend.open(BOB, BOARD)
        backend.lease([lease(ALICE), lease(BOB, "c2", follows=())])
        backend.open(CAROL, BOARD)
        clock.advance(TIMEOUT + 1)
        self.lose_record(CAROL, clock)
        removed = backend.evict_idle(CODE, idle_for=TIMEOUT, limit=9, with_states=False)
        found = {final.key.participant: final[1:] for final in removed}
        nobody: frozenset[str] = frozenset()
        size = len(MORE["board"])
        assert found.pop("alice")[::2] == ({}, size)
        assert found == {
            "bob": ({}, nobody, len(BOARD["board"])),
            "carol": (None, nobody, 0),
        }
        assert backend.participant_count(CODE) == 0

    # Locked sessions

    def test_who_is_admitted_may_enter_a_locked_session(
        self, backend: Driven, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"MAX_PARTICIPANTS": 2}
        backend.open(ALICE, BOARD)
        backend.update_session(CODE, locked=True)
        with pytest.raises(SessionLocked):
            backend.open(BOB, BOARD)
        assert backend.open(BOB, BOARD, admitted=True).created
        assert not backend.open(BOB, BOARD).created
        with pytest.raises(LimitReached):
            backend.open(CAROL, BOARD, admitted=True)
        assert ids(backend.participants(CODE)) == ["alice", "bob"]

    # All of it

    def test_in_any_history_the_kept_stay_and_the_idle_go(
        self, backend: Driven, clock: Clock
    ) -> None:
        for number in range(self.HISTORIES):
            seed = random.randrange(2**32)
            history = History(random.Random(seed), backend, clock)
            try:
                for _ in range(self.STEPS):
                    history.step()
            except AssertionError as error:
                error.add_note(f"History {number}, seed {seed}: {history.steps}")
                raise
            backend.delete_session(CODE)


class Person:
    """A participant as the model knows them."""

    def __init__(self, now: float) -> None:
        self.used = self.acted = now
        self.has_changed = False


class History:
    """Random operations on one session, and a model of who must be and must not be."""

    def __init__(self, chance: random.Random, backend: Driven, clock: Clock) -> None:
        self.chance = chance
        self.backend = backend
        self.clock = clock
        self.people: dict[StoreKey, Person] = {}
        self.steps: list[Any] = []
        self.keep_participants = chance.random() < 0.8
        self.kept_until = 0.0
        if chance.random() < 0.7:
            keep = chance.choice([200.0, 1_000.0, HOUR])
            self.backend.create_session(
                CODE, label="", keep=keep, keep_participants=self.keep_participants
            )
            self.kept_until = clock() + keep
        else:
            self.keep_participants = True
            self.backend.open(OWN, {})

    def step(self) -> None:
        """Do something, and check what must hold."""
        doing = self.chance.choices(
            [self.use, self.wait, self.extend, self.sweep, self.remove, self.hold],
            [8, 5, 1, 5, 1, 1],
        )
        doing[0]()
        if self.backend.session(CODE) is None:
            # It expires when nothing in it is used, and never while it is kept.
            assert self.clock() >= self.kept_until
            assert not any(map(self.must_be, self.people.values()))
            self.people.clear()
            self.kept_until, self.keep_participants = 0.0, True
            self.backend.evict_empty_session(CODE, idle_for=0)
            self.backend.open(OWN, {})
        listed = ids(self.backend.participants(CODE))
        for key, person in list(self.people.items()):
            if key.participant in listed:
                continue
            assert not self.must_be(person), key
            # A sweep reports what has expired.
            del self.people[key]

    def must_be(self, person: Person) -> bool:
        return self.is_kept(person) or self.clock() < person.used + TIMEOUT

    def is_kept(self, person: Person) -> bool:
        return (
            person.has_changed
            and self.keep_participants
            and self.clock() < self.kept_until
        )

    def use(self) -> None:
        key = StoreKey(CODE, self.chance.choice("abcde"))
        way = self.chance.choice([change, fill_in, act_elsewhere, touch, look])
        self.steps.append((way.__name__, key.participant))
        way(self.backend, key)
        now = self.clock()
        person = self.people.setdefault(key, Person(now))
        if way in (change, fill_in):
            person.acted = now
        person.used = now
        person.has_changed |= way in (change, act_elsewhere)

    def wait(self) -> None:
        seconds = self.chance.choice([0.5, 5, 29, 40, 100, 310, 700])
        self.steps.append(seconds)
        self.clock.advance(seconds)

    def extend(self) -> None:
        seconds = self.chance.choice([100.0, 500.0, 2 * HOUR])
        self.steps.append(("extend", seconds))
        if self.backend.update_session(CODE, extend=seconds) is not None:
            self.kept_until = max(self.kept_until, self.clock() + seconds)

    def hold(self) -> None:
        seconds = self.chance.choice([50.0, 400.0])
        self.steps.append(("keep", seconds))
        created = self.backend.session(CODE)
        if created is None:
            return
        keep = max(0.0, self.clock() + seconds - created.created)
        self.backend.update_session(CODE, keep=keep)
        self.kept_until = created.created + keep

    def remove(self) -> None:
        if self.people:
            key = self.chance.choice(list(self.people))
            self.steps.append(("delete", key.participant))
            self.backend.delete(key)
            del self.people[key]

    def sweep(self) -> None:
        idle_for = self.chance.choice([0.0, 1.0, 10.0, 30.0, 100.0, TIMEOUT])
        self.steps.append(("sweep", idle_for))
        listed = set(ids(self.backend.participants(CODE)))
        is_due = CODE in self.backend.due_sessions(idle_for=idle_for, limit=9)
        gone = set(evicted(self.backend, idle_for)) & listed
        assert is_due or not gone, "not due"
        counts = max(idle_for, 30.0) if idle_for else 0.0
        now = self.clock()
        for key, person in list(self.people.items()):
            id = key.participant
            if id in gone:
                assert not self.is_kept(person), id
                assert now - person.acted >= counts, id
                assert now - person.used >= counts - 30, id
                del self.people[key]
            elif id in listed and not self.is_kept(person):
                # What is used longer ago is gone.
                assert now - person.used < max(counts, 1e-6), id


def touch(backend: Driven, key: StoreKey) -> None:
    with suppress(KeyError):
        backend.open(key, BOARD)
        backend.touch(key)


def look(backend: Driven, key: StoreKey) -> None:
    backend.open(key, BOARD)
    backend.read(key)
