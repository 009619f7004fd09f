"""Joining and resolving: ids, roles, and sessions that take no newcomers."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.test import override_settings

from sessionstores import conf
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.cas.keys import record_key
from sessionstores.exceptions import (
    InvalidKey,
    InvalidToken,
    Kicked,
    LimitReached,
    SessionLocked,
    UnknownSession,
)
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.joining import ajoin, aresolve, join, resolve
from sessionstores.participants.participant import Participant
from sessionstores.participants.tokens import read_token
from sessionstores.store.admissions import Admissions
from tests.participants.browsers import (
    BOTH_JOINS,
    Browser,
    Join,
)
from tests.workshop.states import Board

# Joining


def test_joining_lists_the_participant_with_its_states(
    code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    assert stores.participants(code) == [joined.id]
    peeked = stores.get(Board, code, joined.id).peek()
    assert peeked is not None
    assert peeked.state == Board()


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_given_id_wins_and_is_kept(joining: Join, code: str, browser: Browser) -> None:
    browser.join(code, joining=joining)
    named = browser.join(code, joining=joining, participant="alice")
    assert named == Participant(code, "alice")
    assert browser.join(code, joining=joining) == named
    assert browser.resolve(code) == named


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_role_of_a_join_counts_for_newcomers_only(
    joining: Join, code: str, browser: Browser
) -> None:
    assert browser.join(code, joining=joining).role == "participant"
    assert browser.join(code, joining=joining, role="facilitator").role == "participant"
    lead = Browser()
    assert lead.join(code, joining=joining, role="facilitator").role == "facilitator"
    assert lead.join(code, joining=joining, role="participant").role == "facilitator"
    assert lead.join(code, joining=joining).role == "facilitator"
    kept = lead.resolve(code)
    assert kept is not None
    assert kept.role == "facilitator"


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_name_is_kept_with_the_record(
    joining: Join, code: str, browser: Browser
) -> None:
    assert browser.join(code, joining=joining).name is None
    named = browser.join(code, joining=joining, name=" Ada ")
    assert named == Participant(code, named.id, name="Ada")
    # Left out, it stays.
    assert browser.join(code, joining=joining) == named
    assert browser.resolve(code) == named
    assert browser.resolve(code, named.link("/")) == named
    assert Browser().join(code, joining=joining, url=named.link("/")) == named
    assert named.config()["name"] == "Ada"
    assert browser.join(code, joining=joining, name="Bo").name == "Bo"
    assert [person.name for person in stores.people(code)] == ["Bo"]
    # Others may have the same.
    assert Browser().join(code, joining=joining, name="Bo").id != named.id


def test_name_and_role_of_the_record_decide_over_what_is_kept(
    code: str, browser: Browser
) -> None:
    joined = browser.join(code, name="Ada")
    assert stores.set_role(code, joined.id, "facilitator")
    assert stores.set_name(code, joined.id, "Ada L.")
    expected = Participant(code, joined.id, "facilitator", "Ada L.")
    assert browser.resolve(code) == expected
    assert browser.resolve(code, joined.link("/")) == expected
    assert browser.join(code, role="guest") == expected
    assert Browser().join(code, url=joined.link("/")) == expected
    assert stores.set_role(code, joined.id, "guest")
    assert browser.resolve(code) == browser.join(code)
    assert browser.join(code).role == "guest"


def test_lost_record_is_opened_again_with_the_role_that_is_kept(
    code: str, browser: Browser
) -> None:
    joined = browser.join(code, role="facilitator")
    stores.cleanup_participant(code, joined.id)
    assert browser.resolve(code) == joined
    joined.config()
    assert [person.role for person in stores.people(code)] == ["facilitator"]
    assert browser.join(code) == joined


def test_pk_of_a_user_is_kept_with_the_record(code: str, browser: Browser) -> None:
    guest = browser.join(code)
    user = User(pk=7)
    joined = Browser(user=user).join(code)
    users = {person.id: person.user for person in stores.people(code)}
    assert users == {guest.id: None, joined.id: "7"}
    # One who opens another's link is not that other.
    Browser(user=user).join(code, url=guest.link("/"))
    assert {person.id: person.user for person in stores.people(code)} == users
    # A guest who logs in is known from then on.
    browser.user = user
    browser.join(code)
    assert {person.user for person in stores.people(code)} == {"7"}


def test_role_does_not_go_over_to_another_id(code: str, browser: Browser) -> None:
    browser.join(code, participant="lead", role="facilitator")
    assert browser.join(code, participant="lead").role == "facilitator"
    assert browser.join(code, participant="alice").role == "participant"


def test_join_by_link_is_who_the_link_names_and_keeps_nothing(
    code: str, browser: Browser
) -> None:
    own = browser.join(code)
    alice = Participant(code, "alice", "facilitator")
    assert browser.join(code, url=alice.link("/")) == alice
    assert browser.join(code) == own
    assert "alice" in stores.participants(code)
    assert Browser().join(code, url=alice.link("/"), participant="bob").id == "bob"


def test_join_by_a_bad_link_is_a_join_without_one(code: str, browser: Browser) -> None:
    own = browser.join(code)
    link = Participant(code, "alice").link("/")
    stores.revoke(code, "alice")
    assert browser.join(code, url=link) == own
    assert browser.join(code, url=link[:-1]) == own
    assert "alice" not in stores.participants(code)


def test_a_code_is_taken_as_people_type_it(code: str, browser: Browser) -> None:
    joined = browser.join(f" {code[:3].lower()}-{code[3:]}\n")
    assert joined.session == code
    assert browser.join(code) == joined


def test_request_has_its_participant_after_joining(code: str, browser: Browser) -> None:
    request: Any = browser.request()
    joined = join(request, code)
    assert request.participant is joined


def test_identity_is_renewed_at_half_its_age(
    code: str, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    max_age = conf.get().token_max_age
    start = time.time()
    joined = browser.join(code)
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: start + max_age * 0.6)
        assert browser.resolve(code) == joined
        assert browser.join(code, create=True) == joined
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: start + max_age * 1.2)
        assert browser.resolve(code) == joined
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: start + max_age * 1.7)
        assert browser.resolve(code) is None
        assert browser.join(code, create=True) == joined
        assert browser.resolve(code) == joined


def test_revoked_is_nobody_until_joining_again_as_the_same(
    code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    stores.revoke(code, joined.id)
    assert browser.resolve(code) is None
    assert browser.join(code) == joined
    assert browser.resolve(code) == joined


@pytest.mark.parametrize("whom", ["lead", None])
def test_revoked_comes_back_without_the_role(
    code: str, browser: Browser, whom: str | None
) -> None:
    lead = browser.join(code, participant="lead", role="facilitator", name="Ada")
    stores.revoke(code, whom)
    assert browser.join(code) == Participant(code, "lead", name="Ada")
    stores.revoke(code, whom)
    # In whatever browser.
    assert Browser().join(code, participant="lead").role == "participant"
    stores.revoke(code, whom)
    assert browser.join(code, role="facilitator") == lead
    assert browser.join(code) == lead


@pytest.mark.parametrize(
    "given",
    [
        {"code": "k7q2z"},
        {"code": "K7Q2ZD?"},
        {"code": None},
        {"participant": "a:b"},
        {"participant": ""},
        {"participant": "*"},
        {"role": ""},
        {"name": ""},
        {"name": "A\nda"},
        {"name": "x" * 81},
    ],
)
@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_invalid_input_is_refused_before_any_cache_access(
    joining: Join, given: dict[str, Any], calls: Counter[str]
) -> None:
    request = Browser().request()
    calls.clear()
    with pytest.raises(InvalidKey):
        joining(request, **{"code": "K7Q2ZD", "create": True} | given)
    assert not calls
    assert not request.session.accessed


async def test_sync_functions_refuse_to_run_in_an_event_loop() -> None:
    request = Browser().request()
    for call, way_out in (
        (lambda: join(request, "K7Q2ZD"), "ajoin"),
        (lambda: resolve(request, "K7Q2ZD"), "request.aparticipant"),
        (Participant("K7Q2ZD", "alice").config, "aconfig"),
    ):
        with pytest.raises(SynchronousOnlyOperation, match=way_out):
            call()


# Sessions that are unknown, ended, locked, full


def test_create_makes_the_session(browser: Browser) -> None:
    joined = browser.join("K7Q2ZD", create=True)
    assert stores.sessions() == ["K7Q2ZD"]
    assert stores.participants("K7Q2ZD") == [joined.id]


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_unknown_session_is_not_created(joining: Join, browser: Browser) -> None:
    with pytest.raises(UnknownSession, match="K7Q2ZD"):
        browser.join("K7Q2ZD", joining=joining)
    assert stores.sessions() == []
    assert browser.cookie is None


def test_ended_session_stays_unknown_even_to_who_would_create_it(
    code: str, browser: Browser
) -> None:
    browser.join(code)
    stores.end_session(code)
    for create in (False, True):
        with pytest.raises(UnknownSession):
            browser.join(code, create=create)
    assert browser.resolve(code) is None
    assert stores.sessions() == []


def test_unknown_and_ended_cannot_be_told_apart(
    ended: str, calls: Counter[str]
) -> None:
    seen = []
    for code in ("K7Q2ZD", ended):
        calls.clear()
        with pytest.raises(UnknownSession) as caught:
            Browser().join(code)
        error = caught.value
        message = str(error).replace(code, "CODE")
        seen.append((type(error), error.code, message, error.__cause__, dict(calls)))
        # The counter of guesses is as full for the one as for the other.
        run(get_backend(blocking=True).clear())
        if code != ended:
            stores.end_session(ended)
    assert seen[0] == seen[1]
    assert seen[0][-1]


def test_locked_session_takes_no_newcomers_but_those_who_are_in(
    code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    run(get_backend(blocking=True).update_session(code, locked=True))
    assert browser.join(code) == joined
    newcomer = Browser()
    with pytest.raises(SessionLocked):
        newcomer.join(code)
    assert newcomer.cookie is None
    assert stores.participants(code) == [joined.id]


@pytest.mark.parametrize("joining", BOTH_JOINS)
@pytest.mark.parametrize("way", ["kept", "expired", "revoked", "link", "other id"])
def test_locked_session_takes_back_who_has_lost_the_record(
    joining: Join, way: str, code: str, browser: Browser
) -> None:
    joined = browser.join(code, joining=joining)
    link = joined.link("/")
    stores.lock(code)
    stores.cleanup_participant(code, joined.id)
    # Whatever was verified here before, as in a process that has just started.
    get_backend(blocking=True).memory.of(Admissions)._keys.clear()
    if way == "link":
        assert Browser().join(code, joining=joining, url=link) == joined
        return
    if way == "revoked":
        stores.revoke(code, joined.id)
    if way == "other id":
        with pytest.raises(SessionLocked):
            browser.join(code, joining=joining, participant="mallory")
    age = 1e-9 if way == "expired" else 43_200
    with override_settings(SESSIONSTORES={"TOKEN_MAX_AGE": age}):
        assert browser.join(code, joining=joining).id == joined.id
    assert stores.participants(code) == [joined.id]


@pytest.mark.parametrize("by_link", [True, False])
def test_who_is_resolved_may_use_a_locked_session_without_a_record(
    by_link: bool, code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    url = joined.link("/") if by_link else "/"
    stores.lock(code)
    for use in (
        lambda who: who.config()["docs"]["me"],
        lambda who: stores.get(Board, *who.key).state.deck,
        lambda who: stores.get(Board, *who.key).dispatch(Board.move, "ace", "keep"),
    ):
        stores.cleanup_participant(code, joined.id)
        get_backend(blocking=True).memory.of(Admissions)._keys.clear()
        with pytest.raises(SessionLocked):
            use(joined)
        (Browser() if by_link else browser).resolve(code, url)
        use(joined)
        assert stores.participants(code) == [joined.id]


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_who_was_kicked_cannot_join_again_but_as_somebody_new(
    joining: Join, code: str, browser: Browser
) -> None:
    kept = browser.join(code, joining=joining)
    assert stores.kick(code, kept.id)
    assert browser.resolve(code) is None
    for _ in range(2):
        with pytest.raises(Kicked):
            browser.join(code, joining=joining)
    # The site says who it is, or another browser is one that nobody knows.
    with pytest.raises(Kicked):
        browser.join(code, joining=joining, participant=kept.id)
    assert browser.join(code, joining=joining, participant="carol").id == "carol"
    assert Browser().join(code, joining=joining).id != kept.id
    assert kept.id not in stores.participants(code)


def test_who_is_readmitted_is_who_they_were_though_it_is_locked(
    code: str, browser: Browser
) -> None:
    kept = browser.join(code, role="facilitator")
    stores.kick(code, kept.id)
    with pytest.raises(Kicked):
        browser.join(code)
    stores.lock(code)
    with pytest.raises(Kicked):
        browser.join(code)
    stores.readmit(code, kept.id)
    assert browser.resolve(code) == kept
    assert browser.join(code) == kept


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_who_was_kicked_joins_by_no_link_either(
    joining: Join, code: str, browser: Browser
) -> None:
    alice = Participant(code, "alice", "facilitator")
    assert browser.join(code, joining=joining, url=alice.link("/")) == alice
    own = browser.join(code, joining=joining)
    stores.kick(code, "alice")
    with pytest.raises(Kicked):
        browser.join(code, joining=joining, url=alice.link("/"))
    assert browser.resolve(code, url=alice.link("/")) is None
    # It does not become another identity of the browser's, nor touch that.
    assert browser.join(code, joining=joining) == own
    assert stores.participants(code) == [own.id]


def test_a_user_who_was_kicked_is_out_in_every_browser(
    code: str, django_user_model: Any
) -> None:
    user = django_user_model(pk=7, username="ada")
    kept = Browser(user=user).join(code)
    stores.kick(code, kept.id)
    with pytest.raises(Kicked):
        Browser(user=user).join(code)


def test_a_kick_costs_no_guess(code: str, browser: Browser) -> None:
    kept = browser.join(code)
    stores.kick(code, kept.id)
    with override_settings(SESSIONSTORES={"GUESS_LIMIT": (1, 60)}):
        for _ in range(3):
            with pytest.raises(Kicked):
                browser.join(code)


def test_full_session_takes_no_more(code: str) -> None:
    with override_settings(SESSIONSTORES={"MAX_PARTICIPANTS": 2}):
        Browser().join(code)
        Browser().join(code)
        with pytest.raises(LimitReached, match="MAX_PARTICIPANTS"):
            Browser().join(code)


def test_session_whose_record_is_corrupt_can_still_be_joined(code: str) -> None:
    backend: Any = get_backend(blocking=True)
    name = record_key(StoreKey.of_session(code))
    found = run(backend.store.read([name]))[name]
    run(backend.store.cas(name, found.token, b"\xc1 no record", 60))
    joined = Browser().join(code)
    assert joined.id in stores.participants(code)
    assert joined.config()["docs"]["session"]["states"]["agenda"]["step"] == 1


# Resolving


async def test_async_twins_do_the_same(browser: Browser) -> None:
    code = await stores.acreate_session()
    request = browser.request()
    joined = await ajoin(request, code)
    assert await aresolve(request, code) == joined
    config = await joined.aconfig()
    assert config["participant"] == joined.id
    assert config["docs"]["me"]["states"]["board"]["deck"]
    await stores.arevoke(code)
    assert await aresolve(request, code) is None
    with pytest.raises(InvalidToken):
        read_token(config["token"], max_age=-1)


@pytest.mark.parametrize("code", [None, "K7Q2ZD", "not a code", "K7Q2ZD\n", 7, ""])
def test_stranger_is_nobody_and_asks_the_cache_nothing(
    code: object, browser: Browser, calls: Counter[str]
) -> None:
    calls.clear()
    assert browser.resolve(code) is None
    assert not calls


def test_lost_session_still_knows_its_participants(code: str, browser: Browser) -> None:
    joined = browser.join(code)
    stores.cleanup_session(code)
    assert browser.resolve(code) == joined
    joined.config()
    assert stores.participants(code) == [joined.id]
