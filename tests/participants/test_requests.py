"""Request identity: the link, Django session and user that a request brings."""

from __future__ import annotations

import time
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory, override_settings

from sessionstores.manager import stores
from sessionstores.participants.joining import ajoin, join, resolve
from sessionstores.participants.participant import Participant
from sessionstores.participants.tokens import LINK_SALT, Claims, make_token
from tests.participants.browsers import (
    BOTH_JOINS,
    CACHED,
    COOKIES,
    DATABASE,
    Browser,
    Join,
)


def test_two_participants_fit_in_one_browser_by_links(
    code: str, browser: Browser
) -> None:
    own = browser.join(code)
    for name in ("alice", "bob"):
        link = Participant(code, name, "guest").link("/board/?a=1")
        assert browser.resolve(code, link) == Participant(code, name, "guest")
    assert browser.resolve(code) == own


def test_link_counts_where_no_code_is_asked_for(code: str, browser: Browser) -> None:
    link = Participant(code, "alice").link("/")
    assert browser.resolve(None, link) == Participant(code, "alice")


def test_link_of_another_session_makes_its_visitor_nobody(
    code: str, browser: Browser
) -> None:
    browser.join(code)
    elsewhere = Participant("ABC234", "alice").link("/")
    assert browser.resolve(code, elsewhere) is None
    assert browser.resolve("ABC234", elsewhere) == Participant("ABC234", "alice")


@pytest.mark.parametrize("bad", ["", "x", "forged", "old", "token", "revoked"])
def test_bad_link_does_not_fall_back_to_who_the_browser_was(
    code: str, browser: Browser, bad: str
) -> None:
    browser.join(code)
    alice = Participant(code, "alice")
    old = Claims(code, "alice", "participant", time.time() - 10**6)
    link = {
        "forged": alice.link("/")[:-2],
        "old": f"/?ss_participant={make_token(old, salt=LINK_SALT)}",
        "token": f"/?ss_participant={alice.token()}",
        "revoked": alice.link("/"),
    }.get(bad, f"/?ss_participant={bad}")
    stores.revoke(code, "alice")
    assert browser.resolve(code, link) is None
    assert browser.resolve(code) is not None


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_a_parameter_of_the_sites_own_is_none_of_our_business(
    joining: Join, code: str, browser: Browser
) -> None:
    joined = browser.join(code, url="/?participant=alice", joining=joining)
    assert joined.id != "alice"
    assert browser.resolve(code, "/?participant=alice") == joined
    link = Participant(code, "bob").link("/results/?participant=alice")
    assert browser.resolve(code, link) == Participant(code, "bob")


def test_a_link_of_an_earlier_release_is_one_until_it_expires(
    code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    alice = Participant(code, "alice")
    old = alice.link("/").replace("ss_participant", "participant")
    assert browser.resolve(code, old) == alice
    expired = Claims(code, "alice", "participant", time.time() - 10**6)
    # Then it makes its visitor nobody, as any other that is bad.
    link = f"/?participant={make_token(expired, salt=LINK_SALT)}"
    assert browser.resolve(code, link) is None
    assert browser.resolve(code, old[:-1]) == joined


@pytest.mark.parametrize("joining", BOTH_JOINS)
@pytest.mark.parametrize("engine", [CACHED, COOKIES, DATABASE])
@pytest.mark.django_db
def test_guest_is_minted_once_for_a_browser_and_session(
    engine: str, joining: Join, code: str
) -> None:
    other_code = stores.create_session()
    browser = Browser(engine)
    first = browser.join(code, joining=joining)
    assert first == Participant(code, first.id, "participant")
    elsewhere = browser.join(other_code, joining=joining)
    assert [browser.join(code, joining=joining) for _ in range(3)] == [first] * 3
    assert browser.resolve(code) == first
    assert elsewhere.id != first.id
    assert Browser(engine).join(code, joining=joining).id != first.id
    assert len(stores.participants(code)) == 2


@pytest.mark.django_db
@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_user_is_the_same_in_every_browser_and_the_id_hides_the_pk(
    joining: Join, code: str
) -> None:
    ann, ben = (
        get_user_model().objects.create(pk=pk, username=str(pk)) for pk in (12, 13)
    )
    first = Browser(user=ann).join(code, joining=joining)
    assert Browser(COOKIES, user=ann).join(code, joining=joining) == first
    assert Browser(user=ben).join(code, joining=joining).id != first.id
    assert len(first.id) == 16
    with override_settings(SECRET_KEY="another"):
        assert Browser(user=ann).join(code, joining=joining).id != first.id


@pytest.mark.django_db
def test_user_is_found_by_the_async_accessor_where_there_is_one(code: str) -> None:
    ann = get_user_model().objects.create(username="ann")
    browser = Browser()
    request = browser.request()

    async def auser() -> Any:
        return ann

    request.auser = auser
    request.user = AnonymousUser()
    joined = async_to_sync(ajoin)(request, code)
    assert joined == Browser(user=ann).join(code)


def test_request_without_auth_middleware_is_a_guest(code: str) -> None:
    request = Browser().request()
    del request.user
    assert join(request, code).session == code


@pytest.mark.django_db
def test_guest_who_logs_in_stays_who_they_are(code: str, browser: Browser) -> None:
    guest = browser.join(code)
    browser.user = get_user_model().objects.create(username="ann")
    assert browser.join(code) == guest


def test_unchanged_identity_is_not_written_again(code: str, browser: Browser) -> None:
    browser.join(code)
    request = browser.request()
    join(request, code)
    assert not request.session.modified


def test_join_needs_djangos_session(code: str) -> None:
    request = RequestFactory().get("/")
    with pytest.raises(ImproperlyConfigured, match="SessionMiddleware"):
        join(request, code)


def test_identity_of_one_session_does_not_count_in_another(
    code: str, browser: Browser
) -> None:
    browser.join(code)
    other = stores.create_session()
    assert browser.resolve(other) is None
    request = browser.request()
    # Somebody copies the entry, as a site's own code could.
    kept = request.session[f"sessionstores.{code}"]
    request.session[f"sessionstores.{other}"] = kept
    assert resolve(request, other) is None


def test_request_without_djangos_session_is_nobodys(code: str) -> None:
    assert resolve(RequestFactory().get("/"), code) is None
