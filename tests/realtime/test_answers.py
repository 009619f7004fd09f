"""Answers of a connection are remembered until the tab has them, and bounded."""

from __future__ import annotations

import pytest

from sessionstores.realtime import dispatcher
from sessionstores.realtime.dispatcher import Answers, Place

ME: Place = ("c1", "me")


def beat(told: Answers) -> None:
    """Take the pong to the ping of a heartbeat; all frames before it have arrived."""
    told.confirm(is_calm=True)


def test_an_attempt_takes_along_what_was_answered_before_it() -> None:
    told = Answers()
    told.refused(ME, 1, "not_so")
    told.unchanged(ME, 2)
    told.refused(("c1", "session"), 3, "conflict")
    attempt = told.attempt(ME, 4, own=True, resent=False)
    assert (attempt.client, attempt.id, attempt.resent) == ("c1", 4, False)
    assert dict(attempt.rejected) == {1: "not_so"}
    assert list(attempt.unchanged) == [2]
    assert attempt.floor == 0


def test_what_has_arrived_is_forgotten_and_the_floor_says_so() -> None:
    told = Answers()
    told.attempt(ME, 1, own=True, resent=False)
    told.refused(ME, 1, "not_so")
    beat(told)
    # It was answered after the ping that is answered now, for all one knows.
    assert dict(told.attempt(ME, 2, own=True, resent=False).rejected) == {1: "not_so"}
    told.refused(ME, 2, "not_so")
    beat(told)
    attempt = told.attempt(ME, 3, own=True, resent=False)
    assert (dict(attempt.rejected), attempt.floor) == ({2: "not_so"}, 1)
    beat(told)
    attempt = told.attempt(ME, 4, own=True, resent=False)
    assert (dict(attempt.rejected), attempt.floor) == ({}, 2)


def test_the_ids_of_another_client_say_nothing_of_ones_own() -> None:
    told = Answers()
    told.attempt(("old", "me"), 900, own=False, resent=True)
    beat(told)
    beat(told)
    assert told.attempt(ME, 1, own=True, resent=False).floor == 0


def test_nothing_is_taken_for_heard_while_another_ping_is_open() -> None:
    told = Answers()
    told.attempt(ME, 1, own=True, resent=False)
    told.refused(ME, 1, "not_so")
    told.confirm(is_calm=False)
    told.confirm(is_calm=True)
    attempt = told.attempt(ME, 2, own=True, resent=False)
    assert (dict(attempt.rejected), attempt.floor) == ({1: "not_so"}, 0)


def test_answers_are_bounded_and_what_changed_nothing_is_unknown_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "MAX_ANSWERS", 3)
    told = Answers()
    for id in range(1, 6):
        told.refused(ME, id, "not_so")
    # The record knows of these that they were not applied.
    attempt = told.attempt(ME, 6, own=True, resent=False)
    assert (list(attempt.rejected), attempt.floor) == ([3, 4, 5], 0)
    for id in range(6, 11):
        told.unchanged(ME, id)
    attempt = told.attempt(ME, 11, own=True, resent=False)
    assert (list(attempt.unchanged), attempt.floor) == ([8, 9, 10], 7)


def test_the_clients_whose_answers_are_remembered_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "MAX_PLACES", 2)
    told = Answers()
    told.unchanged(("a", "me"), 7)
    told.refused(("b", "me"), 1, "not_so")
    told.refused(("c", "me"), 1, "not_so")
    attempt = told.attempt(("a", "me"), 8, own=False, resent=True)
    assert (list(attempt.unchanged), attempt.floor) == ([], 7)
    assert dict(told.attempt(("b", "me"), 2, own=False, resent=True).rejected)
