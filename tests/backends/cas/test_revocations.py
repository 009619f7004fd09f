"""Revocations, and how long they hold."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from sessionstores.backends.base import run
from sessionstores.backends.cas.index import Index
from sessionstores.backends.cas.revocations import Revocations
from sessionstores.backends.cas.values import Values
from sessionstores.backends.types import Standing
from sessionstores.exceptions import (
    StateCorrupt,
)
from tests.backends.cas.stores import (
    DictBackend,
    DictStore,
)
from tests.backends.driven import (
    ALICE,
    BOB,
    CODE,
    ELSEWHERE,
    OWN,
    Clock,
)


def test_revocations_that_cannot_be_read_let_nobody_in(
    plain: DictBackend, clock: Clock
) -> None:
    plain.store.plant(f"ss:{{{CODE}}}:r:", b"junk")
    with pytest.raises(StateCorrupt, match=CODE):
        run(plain.standings([ALICE]))
    with pytest.raises(StateCorrupt, match=CODE):
        run(plain.revoke(ALICE))


@pytest.fixture
def revocations(values: Values) -> Revocations:
    return Revocations(values, Index(values))


def test_the_latest_of_ones_own_and_the_sessions_revocation_counts(
    revocations: Revocations, clock: Clock
) -> None:
    run(revocations.revoke(ALICE))
    first = clock.time
    clock.advance(10)
    run(revocations.revoke(OWN))
    assert run(revocations.standings([ALICE, BOB])) == {
        ALICE: Standing(False, first + 10),
        BOB: Standing(False, first + 10),
    }
    clock.advance(10)
    run(revocations.revoke(ALICE))
    assert run(revocations.standings([ALICE, BOB, ELSEWHERE])) == {
        ALICE: Standing(False, first + 20),
        BOB: Standing(False, first + 10),
        ELSEWHERE: Standing(False, None),
    }


def test_a_revocation_is_kept_as_long_as_a_token_can_live(
    revocations: Revocations, clock: Clock, settings: Settings
) -> None:
    settings.SESSIONSTORES = {"TOKEN_MAX_AGE": 100}
    run(revocations.revoke(ALICE))
    clock.advance(60)
    run(revocations.revoke(BOB))
    clock.advance(60)
    run(revocations.revoke(OWN))
    standings = run(revocations.standings([ALICE, BOB]))
    assert standings[ALICE] == standings[BOB] == Standing(False, clock.time)
    clock.advance(99)
    assert run(revocations.standings([BOB]))[BOB].revoked_at is not None


def test_a_tombstone_ends_every_token(
    revocations: Revocations, store: DictStore
) -> None:
    store.plant(f"ss:{{{CODE}}}:t:", b"0")
    assert run(revocations.standings([ALICE])) == {ALICE: Standing(True, None)}
