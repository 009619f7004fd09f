"""The part of the contract about who participants are: name, role and user."""

from __future__ import annotations

from random import Random
from typing import get_args

import pytest

from sessionstores.backends.base import Backend, run
from sessionstores.backends.profiles import changed
from sessionstores.backends.types import (
    UNKNOWN,
    Attempt,
    Committed,
    Profile,
    ProfileRule,
)
from sessionstores.keys import StoreKey
from tests.backends.driven import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    ELSEWHERE,
    JUNK,
    MORE,
    BackendTests,
    Clock,
    Driven,
    in_threads,
    lease,
)

ADA = Profile("Ada Łovelace 👩🏽‍💻", "facilitator", "7")
HOUR = 3_600.0
# The default of IDLE_TIMEOUT, in seconds.
TIMEOUT = 300.0


def profile_of(backend: Driven, key: StoreKey = ALICE) -> Profile:
    """Return a profile, after a look that every way to read it shows the same."""
    (info,) = (
        each for each in backend.participants(CODE) if each.id == key.participant
    )
    assert backend.profiles([key]) == {key: info.profile}
    assert backend.standings([key], profiles=True)[key].profile == info.profile
    assert backend.set_profile(key, UNKNOWN) == info.profile
    assert backend.open(key, BOARD).record.profile in (info.profile, UNKNOWN)
    profile: Profile = info.profile
    return profile


class ProfilesContract(BackendTests):
    def test_the_name_that_a_tab_showed_is_remembered_beside_the_profile(
        self, backend: Driven, clock: Clock
    ) -> None:
        def shown() -> list[str]:
            return [each.shown_name for each in backend.participants(CODE)]

        backend.remember_name(ALICE, "nobody yet")
        assert backend.participants(CODE) == []
        record = backend.open(ALICE, BOARD).record
        backend.open(BOB, BOARD)
        assert shown() == ["", ""]
        before = backend.participants(CODE)[0]
        clock.advance(100)
        backend.remember_name(ALICE, "Zoë 👩🏽‍💻")
        (after, _) = backend.participants(CODE)
        # Nobody counts as used, as kept, or as named.
        assert after == before._replace(shown_name="Zoë 👩🏽‍💻")
        assert backend.read_record(ALICE).rev == record.rev
        assert backend.profiles([ALICE]) == {ALICE: UNKNOWN}
        backend.set_profile(ALICE, ADA)
        record = backend.commit_next(record, MORE)
        assert shown() == ["Zoë 👩🏽‍💻", ""]
        assert profile_of(backend) == ADA
        backend.remember_name(ALICE, "Zoe")
        assert shown() == ["Zoe", ""]
        assert profile_of(backend) == ADA
        backend.delete(ALICE)
        backend.open(ALICE, BOARD)
        assert shown() == ["", ""]

    def test_no_name_is_remembered_in_what_is_no_record(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        self.plant(self.key_of(ALICE), JUNK[0], clock)
        backend.remember_name(ALICE, "Zoe")
        assert backend.participants(CODE) == []

    def test_nothing_is_known_of_who_has_said_nothing(self, backend: Driven) -> None:
        assert backend.open(ALICE, BOARD).record.profile == UNKNOWN
        assert profile_of(backend) == UNKNOWN

    def test_a_record_is_created_with_a_profile(self, backend: Driven) -> None:
        opened = backend.open(ALICE, BOARD, profile=ADA)
        assert opened.created
        assert opened.record.profile == backend.read_record(ALICE).profile == ADA
        assert profile_of(backend) == ADA
        # An existing one keeps its own.
        assert backend.open(ALICE, BOARD, profile=Profile("Eve")).record.profile == ADA
        assert profile_of(backend) == ADA

    def test_parts_change_alone_and_without_a_new_rev(self, backend: Driven) -> None:
        record = backend.open(ALICE, BOARD).record
        for given, expected in (
            (Profile(role="guide"), Profile(None, "guide", None)),
            (Profile(name="Ada"), Profile("Ada", "guide", None)),
            (Profile(user="7"), Profile("Ada", "guide", "7")),
            (Profile("Bo", ""), Profile("Bo", "", "7")),
        ):
            assert backend.set_profile(ALICE, given) == expected
            assert profile_of(backend) == expected
        assert backend.heads([ALICE]) == {ALICE: record.rev}
        # What was read before commits all the same.
        backend.commit_next(record, MORE)
        assert profile_of(backend) == Profile("Bo", "", "7")

    def test_the_rules_are_the_same_everywhere(self, backend: Driven) -> None:
        backend.open(ALICE, BOARD)
        random, expected = Random(7), UNKNOWN
        for _ in range(150):
            given = Profile(*random.choices([None, "", "a", "ü"], k=3))
            how = random.choice(get_args(ProfileRule))
            if random.random() < 0.1:
                backend.delete(ALICE)
                backend.open(ALICE, BOARD)
                expected = UNKNOWN
            expected = changed(expected, given, how)
            assert backend.set_profile(ALICE, given, how) == expected
        assert profile_of(backend) == expected

    def test_a_role_that_there_is_outlasts_a_join(self, backend: Driven) -> None:
        backend.open(ALICE, BOARD)
        join = Profile("Ada", "participant", "7")
        assert backend.set_profile(ALICE, join, "join") == join
        backend.set_profile(ALICE, Profile(role="facilitator"))
        again = Profile("Bo", "participant", "8")
        assert backend.set_profile(ALICE, again, "join") == Profile(
            "Bo", "facilitator", "8"
        )
        # Withdrawn, it is decided anew by the next join, by nothing else.
        backend.set_profile(ALICE, Profile(role=""))
        assert backend.set_profile(ALICE, ADA, "fill").role == ""
        assert backend.set_profile(ALICE, Profile(role="x"), "join").role == "x"

    def test_nobody_is_made_by_a_profile(self, backend: Driven) -> None:
        assert backend.set_profile(ALICE, ADA) is None
        backend.open(BOB, BOARD)
        assert backend.set_profile(ALICE, ADA, "join") is None
        assert backend.participant_count(CODE) == 1
        nobody = {ALICE: UNKNOWN, ELSEWHERE: UNKNOWN}
        assert backend.profiles([*nobody]) == nobody
        assert backend.profiles([]) == {}

    def test_many_are_read_at_once(self, backend: Driven) -> None:
        keys = [StoreKey(CODE, f"p{number}") for number in range(20)] + [ELSEWHERE]
        for key in keys:
            backend.open(key, BOARD, profile=Profile(key.participant))
        expected = {key: Profile(key.participant) for key in keys}
        assert backend.profiles(keys) == expected
        found = backend.standings(keys, profiles=True)
        assert {key: each.profile for key, each in found.items()} == expected

    def test_a_profile_stays_with_its_record(
        self, backend: Driven, clock: Clock
    ) -> None:
        record = backend.open(ALICE, BOARD, profile=ADA).record
        record = backend.commit_next(record, MORE)
        assert record.profile == ADA
        # Longer than clients are remembered, and in use all the time.
        for _ in range(5):
            clock.advance(TIMEOUT - 50)
            backend.touch(ALICE)
            assert profile_of(backend) == ADA
        record = backend.read_record(ALICE)
        answer = backend.commit(record, record.rev.next(), BOARD, [Attempt("t", 1, {})])
        assert isinstance(answer, Committed)
        backend.lease([lease(ALICE)])
        backend.release(lease(ALICE))
        assert profile_of(backend) == ADA
        # A reset, and what fills in a state.
        record = backend.read_record(ALICE)
        backend.commit(record, record.rev.reincarnated(), BOARD, is_change=False)
        assert profile_of(backend) == ADA
        backend.create_session("KEEP23", label="", keep=HOUR)
        backend.update_session(CODE, extend=HOUR, label="Team day", locked=True)
        assert profile_of(backend) == ADA
        assert backend.session(CODE).label == "Team day"

    def test_a_profile_goes_with_its_record(
        self, backend: Driven, clock: Clock
    ) -> None:
        for remove in (
            lambda: backend.delete(ALICE),
            lambda: backend.delete_session(CODE),
            lambda: (
                clock.advance(TIMEOUT + 1)
                or backend.evict_idle(CODE, idle_for=TIMEOUT, limit=9)
            ),
        ):
            backend.open(ALICE, BOARD, profile=ADA)
            assert profile_of(backend) == ADA
            remove()
            assert backend.profiles([ALICE]) == {ALICE: UNKNOWN}
            opened = backend.open(ALICE, BOARD)
            assert (opened.created, opened.record.profile) == (True, UNKNOWN)
            assert profile_of(backend) == UNKNOWN
            backend.delete(ALICE)

    def test_a_profile_is_entered_in_the_index_again(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD, profile=ADA)
        self.lose_index(CODE, clock)
        assert backend.reindex(ALICE)
        assert profile_of(backend) == ADA

    @pytest.mark.parametrize("named", ["created", "later"])
    def test_who_has_a_name_is_kept_as_long_as_the_session(
        self, backend: Driven, clock: Clock, named: str
    ) -> None:
        backend.create_session(CODE, label="", keep=24 * HOUR)
        if named == "created":
            backend.open(ALICE, BOARD, profile=Profile("Ada"))
        else:
            backend.open(ALICE, BOARD)
            backend.set_profile(ALICE, Profile("Ada"), "join")
        # A role, or a pk, makes nobody more than a visitor.
        backend.open(BOB, BOARD, profile=Profile(None, "facilitator", "7"))
        backend.set_profile(BOB, Profile(role="participant"))
        alice, bob = backend.participants(CODE)
        assert alice.kept_until > 0
        assert bob.kept_until == 0
        clock.advance(TIMEOUT + 1)
        removed = backend.evict_idle(CODE, idle_for=TIMEOUT, limit=9)
        assert [final.key for final in removed] == [BOB]
        # Past what any record without a keep has left, and no sweep meanwhile.
        clock.advance(20 * HOUR)
        assert backend.evict_idle(CODE, idle_for=0, limit=9) == []
        assert backend.profiles([ALICE])[ALICE].name == "Ada"
        clock.advance(4 * HOUR)
        removed = backend.evict_idle(CODE, idle_for=TIMEOUT, limit=9)
        assert [final.key for final in removed] == [ALICE]

    def test_a_change_of_a_profile_is_no_use(
        self, backend: Driven, clock: Clock
    ) -> None:
        seen = backend.open(ALICE, BOARD).record.seen
        clock.advance(TIMEOUT - 1)
        backend.set_profile(ALICE, ADA)
        backend.profiles([ALICE])
        assert [each.seen for each in backend.participants(CODE)] == [seen]
        clock.advance(2)
        removed = backend.evict_idle(CODE, idle_for=TIMEOUT, limit=9)
        assert [final.key for final in removed] == [ALICE]

    def test_profiles_and_commits_do_not_undo_each_other(
        self, blocking: Backend
    ) -> None:
        run(blocking.open(ALICE, BOARD))
        revs = []

        def work(number: int) -> None:
            for turn in range(20):
                if number == 0:
                    given = Profile(name=f"name {turn}")
                    assert run(blocking.set_profile(ALICE, given)) is not None
                elif number == 1:
                    given = Profile(role=f"role {turn}")
                    assert run(blocking.set_profile(ALICE, given)) is not None
                else:
                    record = run(blocking.read(ALICE))
                    state = {f"state{turn}": b"1:{}"}
                    answer = run(blocking.commit(record, record.rev.next(), state))
                    assert isinstance(answer, Committed)
                    revs.append(answer.record.rev)

        in_threads(3, work)
        assert run(blocking.profiles([ALICE])) == {
            ALICE: Profile("name 19", "role 19", None)
        }
        record = run(blocking.read(ALICE))
        assert record.rev == revs[-1]
        assert record.rev.counter == 21
        assert len(record.states) == 21

    def test_a_record_that_is_corrupt_says_nothing(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(BOB, BOARD, profile=ADA)
        for junk in JUNK:
            backend.open(ALICE, BOARD)
            self.plant(self.key_of(ALICE), junk, clock)
            found = backend.profiles([ALICE, BOB])
            assert found == {ALICE: UNKNOWN, BOB: ADA}
            standings = backend.standings([ALICE, BOB], profiles=True)
            assert [standings[key].profile for key in (ALICE, BOB)] == [UNKNOWN, ADA]
            self.lose_record(ALICE, clock)
