"""Followers: which processes a commit must reach."""

from __future__ import annotations

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.cas.followers import Followers
from sessionstores.backends.cas.values import Values
from sessionstores.backends.types import EVERYONE
from sessionstores.keys import SESSION
from tests.backends.cas.stores import DictStore
from tests.backends.driven import ALICE, BOB, OWN, Clock, lease


@pytest.fixture
def followers(values: Values) -> Followers:
    return Followers(values)


def test_a_lease_follows_its_records_until_it_expires(
    followers: Followers, clock: Clock
) -> None:
    run(followers.follow([lease(ALICE), lease(BOB, process="web-2")]))
    assert run(followers.followers(ALICE)) == {"web-1"}
    assert run(followers.followers(OWN)) == {"web-1", "web-2"}
    clock.advance(20)
    run(followers.follow([lease(BOB, process="web-2")]))
    clock.advance(20)
    assert run(followers.followers(ALICE)) == set()
    assert run(followers.followers(OWN)) == {"web-2"}


def test_everyone_is_followed_but_not_the_session(followers: Followers) -> None:
    run(followers.follow([lease(BOB, follows=(EVERYONE,))]))
    assert run(followers.followers(ALICE)) == {"web-1"}
    assert run(followers.followers(OWN)) == set()


def test_an_unfollowed_record_has_the_others_followers(followers: Followers) -> None:
    run(followers.follow([lease(ALICE), lease(ALICE, "c2", "web-2")]))
    run(followers.unfollow(lease(ALICE, follows=(ALICE.participant,))))
    assert run(followers.followers(ALICE)) == {"web-2"}
    assert run(followers.followers(OWN)) == {"web-1", "web-2"}


def test_no_value_is_left_when_nobody_follows(
    followers: Followers, store: DictStore
) -> None:
    run(followers.follow([lease(ALICE)]))
    run(followers.unfollow(lease(ALICE)))
    assert store.values() == {}


def test_followers_of_several_records_are_read_at_once(followers: Followers) -> None:
    run(followers.follow([lease(ALICE), lease(BOB, "c2", "web-2", (EVERYONE,))]))
    assert run(followers.followers_of([ALICE, BOB, OWN])) == {
        ALICE: {"web-1", "web-2"},
        BOB: {"web-2"},
        OWN: {"web-1"},
    }


def test_a_corrupt_value_counts_as_nobody_until_the_next_beat(
    followers: Followers, store: DictStore
) -> None:
    for junk in (b"junk", b"", b"\x80", b"\x93\x01"):
        store.plant(f"ss:{{{ALICE.session}}}:f:alice", junk)
        assert run(followers.followers(ALICE)) == set()
        run(followers.follow([lease(ALICE, follows=("alice", SESSION))]))
        assert run(followers.followers(ALICE)) == {"web-1"}
