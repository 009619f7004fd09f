"""Leaving a session: who is forgotten, what is removed, and who may come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.core.exceptions import SynchronousOnlyOperation

from sessionstores import signals
from sessionstores.exceptions import InvalidKey, Kicked, SessionLocked
from sessionstores.manager import stores
from sessionstores.participants.identities import KeptIdentities
from sessionstores.participants.leaving import aleave, leave
from tests.participants.browsers import BOTH_JOINS, COOKIES, Browser, Join
from tests.workshop.states import Board

Leave = Callable[[Any, str], bool]


@pytest.fixture(params=[leave, async_to_sync(aleave)], ids=["leave", "aleave"])
def leaving(request: pytest.FixtureRequest) -> Leave:
    found: Leave = request.param
    return found


def leave_by(
    browser: Browser, code: str, *, leaving: Leave = leave, url: str = "/"
) -> bool:
    request: Any = browser.request(url)
    was_in = leaving(request, code)
    browser.close(request)
    assert not was_in or request.participant is None
    return was_in


def test_who_leaves_is_nobody_and_their_data_are_gone(
    leaving: Leave, code: str, browser: Browser
) -> None:
    told = []

    def receive(participant: str, reason: str, states: Any, **kwargs: Any) -> None:
        told.append((participant, reason, states["board"].notes))

    joined = browser.join(code)
    stores.get(Board, code, joined.id).dispatch(Board.note, "mine")
    link = joined.link("/")
    signals.participant_removed.connect(receive)
    try:
        assert leave_by(browser, f" {code.lower()}", leaving=leaving)
        assert not leave_by(browser, code, leaving=leaving)
    finally:
        signals.participant_removed.disconnect(receive)
    assert told == [(joined.id, "left", "mine")]
    assert browser.resolve(code) is None
    assert Browser().resolve(code, link) is None
    assert stores.participants(code) == []


def test_who_comes_back_is_the_same_afresh(
    leaving: Leave, code: str, browser: Browser
) -> None:
    joined = browser.join(code, role="facilitator")
    leave_by(browser, code, leaving=leaving)
    again = browser.join(code)
    assert again.id == joined.id
    assert again.role == "participant"
    assert browser.resolve(code) == again
    assert stores.get(Board, code, again.id).state == Board()


@pytest.mark.django_db
@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_a_user_who_comes_back_is_the_same(
    joining: Join, leaving: Leave, code: str
) -> None:
    ann = get_user_model().objects.create(username="ann")
    browser, other = Browser(user=ann), Browser(COOKIES, user=ann)
    joined = browser.join(code, joining=joining)
    other.join(code, joining=joining)
    leave_by(browser, code, leaving=leaving)
    # They are one participant, in whichever browser they leave.
    assert other.resolve(code) is None
    assert browser.join(code, joining=joining) == joined
    assert stores.participants(code) == [joined.id]


def test_leaving_one_session_leaves_others_alone(code: str, browser: Browser) -> None:
    other = stores.create_session()
    joined = browser.join(other)
    browser.join(code)
    leave_by(browser, code)
    assert browser.resolve(other) == joined
    assert stores.participants(other) == [joined.id]


def test_who_comes_by_a_link_leaves_as_whom_it_names(
    leaving: Leave, code: str, browser: Browser
) -> None:
    own = browser.join(code)
    alice = Browser().join(code, participant="alice")
    url = alice.link("/")
    assert leave_by(browser, code, leaving=leaving, url=url)
    assert stores.participants(code) == [own.id]
    assert browser.resolve(code) == own
    # By a link that is void, nobody leaves.
    assert not leave_by(browser, code, leaving=leaving, url="/?ss_participant=x")
    elsewhere = alice.link("/")
    assert not leave_by(browser, stores.create_session(), url=elsewhere)
    assert browser.resolve(code) == own


def test_who_is_not_in_cannot_leave(
    leaving: Leave, code: str, browser: Browser
) -> None:
    Browser().join(code)
    assert not leave_by(browser, code, leaving=leaving)
    assert not leave_by(browser, "K7Q2ZD", leaving=leaving)
    assert len(stores.participants(code)) == 1
    with pytest.raises(InvalidKey):
        leave_by(browser, "no session", leaving=leaving)


def test_who_leaves_without_claims_is_out_too(code: str, browser: Browser) -> None:
    browser.join(code)
    request = browser.request()
    KeptIdentities(request.session).forget(code)
    browser.close(request)
    assert leave_by(browser, code)
    assert browser.resolve(code) is None
    assert stores.participants(code) == []


@pytest.mark.parametrize("before", ["ended", "cleaned up", "revoked"])
def test_who_was_in_is_forgotten_when_they_leave(
    before: str, leaving: Leave, code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    if before == "ended":
        stores.end_session(code)
    elif before == "revoked":
        stores.revoke(code)
    else:
        stores.cleanup_participant(code, joined.id)
    assert leave_by(browser, code, leaving=leaving) is (before == "revoked")
    assert f"sessionstores.{code}" not in browser.request().session
    assert browser.resolve(code) is None


def test_another_request_that_saves_its_session_later_brings_nobody_back(
    code: str, browser: Browser
) -> None:
    browser.join(code)
    late = browser.request()
    list(late.session.keys())
    leave_by(browser, code)
    late.session["basket"] = 1
    browser.close(late)
    assert browser.resolve(code) is None


def test_a_locked_session_takes_nobody_back_who_has_left(
    code: str, browser: Browser
) -> None:
    browser.join(code)
    # Whose identity a process has verified, it lets in.
    browser.resolve(code)
    stores.lock(code)
    leave_by(browser, code)
    with pytest.raises(SessionLocked):
        browser.join(code)


def test_leaving_is_no_way_around_a_kick(
    leaving: Leave, code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    stores.kick(code, joined.id)
    assert not leave_by(browser, code, leaving=leaving)
    with pytest.raises(Kicked):
        browser.join(code)
    stores.readmit(code, joined.id)
    assert browser.join(code) == joined


async def test_leave_refuses_to_run_in_an_event_loop() -> None:
    with pytest.raises(SynchronousOnlyOperation, match="aleave"):
        leave(Browser().request(), "K7Q2ZD")
