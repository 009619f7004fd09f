"""Identities that Django's session keeps: one person, whatever is saved when."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.exceptions import Kicked, SessionLocked
from sessionstores.keys import generate_code
from sessionstores.manager import stores
from sessionstores.participants.identities import (
    MAX_BYTES,
    MAX_CODES,
    RECENT,
    KeptIdentities,
    Origin,
    guest_id,
)
from sessionstores.participants.joining import join
from sessionstores.participants.leaving import leave
from sessionstores.participants.participant import Participant
from sessionstores.participants.tokens import Claims
from sessionstores.participants.visitors import COOKIE, offer_seed
from tests.participants.browsers import (
    BOTH_JOINS,
    CACHED,
    COOKIES,
    DATABASE,
    Browser,
    Join,
)

ENGINES = [
    CACHED,
    COOKIES,
    DATABASE,
    "django.contrib.sessions.backends.cached_db",
    "django.contrib.sessions.backends.file",
]
# Browsers keep no cookie of more.
COOKIE_BYTES = 4096


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> str:
    settings.SESSION_FILE_PATH = tmp_path
    found: str = request.param
    return found


def visited(browser: Browser) -> dict[str, str]:
    """Return the cookies of who was shown a page to join."""
    response = HttpResponse()
    offer_seed(browser.request(), response)
    return {name: morsel.value for name, morsel in response.cookies.items()}


def loaded(browser: Browser, cookies: dict[str, str]) -> HttpRequest:
    """Return a request that has begun: what others save later it does not see."""
    request = browser.request()
    request.COOKIES = dict(cookies)
    list(request.session.keys())
    return request


# Two at once


@pytest.mark.django_db
@pytest.mark.parametrize("joining", BOTH_JOINS)
@pytest.mark.parametrize("before", ["visit", "session", "seed", "user"])
def test_two_requests_at_once_are_one_person(
    engine: str, joining: Join, before: str, code: str
) -> None:
    browser = Browser(engine)
    if before == "user":
        browser.user = get_user_model().objects.create(username="ann")
    if before == "session":
        request = browser.request()
        request.session["basket"] = ["milk"]
        browser.close(request)
    if before == "seed":
        browser.join(stores.create_session())
    cookies = visited(browser) if before == "visit" else {}
    first, second = (loaded(browser, cookies) for _ in range(2))
    joined = [joining(first, code), joining(second, code)]
    assert joined[0] == joined[1]
    assert stores.participants(code) == [joined[0].id]
    for late, early in permutations((first, second)):
        browser.close(early)
        browser.close(late)
        assert browser.resolve(code) == joined[0]
        assert browser.join(code, joining=joining) == joined[0]


@pytest.mark.django_db
@pytest.mark.parametrize("by_user", [True, False])
def test_who_joins_two_sessions_at_once_is_in_both(
    engine: str, code: str, *, by_user: bool
) -> None:
    other = stores.create_session()
    browser = Browser(engine)
    if by_user:
        browser.user = get_user_model().objects.create(username="ann")
    cookies = visited(browser)
    requests = [loaded(browser, cookies) for _ in range(2)]
    joined = [
        join(request, each)
        for request, each in zip(requests, (code, other), strict=True)
    ]
    for request in requests:
        browser.close(request)
    # The second has saved a session that knows nothing of the first.
    assert [browser.resolve(each) for each in (code, other)] == joined
    assert [browser.join(each) for each in (code, other)] == joined
    assert len(stores.participants(code)) == len(stores.participants(other)) == 1


def test_two_browsers_are_two_people(code: str) -> None:
    ids = set()
    for _ in range(2):
        browser = Browser()
        ids.add(join(loaded(browser, visited(browser)), code).id)
        ids.add(Browser().join(code).id)
    assert len(ids) == 4


@pytest.mark.parametrize("cookie", ["", "x", "forged", "expired", "short"])
def test_a_cookie_that_is_not_ours_makes_nobody(cookie: str, code: str) -> None:
    browser = Browser()
    good = visited(browser)[COOKIE]
    ours = join(loaded(browser, {COOKIE: good}), code)
    given = good[:-1] if cookie == "forged" else good if cookie == "expired" else cookie
    start = time.time()
    with pytest.MonkeyPatch.context() as patch:
        if cookie == "expired":
            patch.setattr(time, "time", lambda: start + 4_000)
        others = {join(loaded(Browser(), {COOKIE: given}), code).id for _ in range(2)}
    assert len(others - {ours.id}) == 2


def test_who_has_a_seed_is_offered_none(code: str, browser: Browser) -> None:
    cookies = visited(browser)
    assert cookies
    request = loaded(browser, cookies)
    response = HttpResponse()
    offer_seed(request, response)
    assert not response.cookies
    browser.join(code)
    assert visited(browser) == {}


@pytest.mark.django_db
def test_the_next_person_at_a_computer_is_somebody_else(engine: str, code: str) -> None:
    browser = Browser(engine)
    first = browser.join(code)
    request = browser.request()
    request.session.flush()
    browser.close(request)
    assert browser.resolve(code) is None
    assert browser.join(code).id != first.id


# Without claims


def test_a_visitor_who_looks_in_is_nobody_though_they_have_a_seed(
    code: str, browser: Browser, calls: Counter[str]
) -> None:
    browser.join(stores.create_session())
    calls.clear()
    assert browser.resolve(code) is None
    assert stores.participants(code) == []
    for strange in ("K7Q2ZD", "not a code", "K7Q2ZD\n", 7, None):
        assert browser.resolve(strange) is None
    assert sum(calls.values()) <= 3


@pytest.mark.parametrize("end", ["revoke", "end", "cleanup"])
def test_who_has_no_claims_is_nobody_once_they_are_out(
    end: str, code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    forget(browser, code)
    assert browser.resolve(code) == joined
    if end == "revoke":
        stores.revoke(code, joined.id)
    elif end == "end":
        stores.end_session(code)
    else:
        stores.cleanup_participant(code, joined.id)
    assert browser.resolve(code) is None
    if end != "end":
        assert browser.join(code) == joined
        assert browser.resolve(code) == joined


def test_a_bad_link_makes_nobody_of_who_has_a_seed(code: str, browser: Browser) -> None:
    browser.join(code)
    forget(browser, code)
    assert browser.resolve(code, "/?ss_participant=x") is None


def forget(browser: Browser, code: str) -> None:
    """Have Django's session lose what it keeps for a code."""
    request = browser.request()
    KeptIdentities(request.session).forget(code)
    browser.close(request)


# A user and their keys


@pytest.mark.django_db
@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_a_user_is_the_same_under_a_rotated_key_in_every_browser(
    joining: Join, code: str
) -> None:
    ann = get_user_model().objects.create(username="ann")
    first = Browser(user=ann)
    joined = first.join(code, joining=joining)
    rotated = {"SECRET_KEY": "newer", "SECRET_KEY_FALLBACKS": ["other", "tests-only"]}
    with override_settings(**rotated):
        assert Browser(user=ann).join(code, joining=joining) == joined
        assert first.join(code, joining=joining) == joined
        assert stores.participants(code) == [joined.id]
        # A session that they join later knows them by the newer key.
        other = stores.create_session()
        later = Browser(user=ann).join(other, joining=joining)
        assert later.id != joined.id
        assert first.join(other, joining=joining) == later
        # So does this one once their record is gone, in both browsers.
        stores.cleanup_participant(code, joined.id)
        again = Browser(user=ann).join(code, joining=joining)
        assert again.id == later.id
        assert first.resolve(code) == again
        assert first.join(code, joining=joining) == again
        assert stores.participants(code) == [again.id]


@pytest.mark.django_db
@pytest.mark.parametrize("then", ["stays", "is kicked", "leaves"])
def test_a_user_whose_record_is_gone_is_not_two_under_a_rotated_key(
    then: str, code: str
) -> None:
    ann = get_user_model().objects.create(username="ann")
    first, second = Browser(user=ann), Browser(user=ann)
    stores.cleanup_participant(code, first.join(code).id)
    rotated = {"SECRET_KEY": "newer", "SECRET_KEY_FALLBACKS": ["tests-only"]}
    with override_settings(**rotated):
        joined = second.join(code, name="Ann")
        if then == "is kicked":
            stores.kick(code, joined.id)
        elif then == "leaves":
            request = first.request()
            assert leave(request, code)
            first.close(request)
        for browser in (first, second):
            found = browser.resolve(code)
            assert found == (joined if then == "stays" else None)
        assert stores.participants(code) == ([joined.id] if then == "stays" else [])


@pytest.mark.django_db
def test_a_user_under_a_rotated_key_is_no_newcomer_to_a_locked_session(
    code: str,
) -> None:
    browser = Browser(user=get_user_model().objects.create(username="ann"))
    joined = browser.join(code)
    stores.lock(code)
    stores.cleanup_participant(code, joined.id)
    rotated = {"SECRET_KEY": "newer", "SECRET_KEY_FALLBACKS": ["tests-only"]}
    with override_settings(**rotated):
        assert browser.join(code) == joined
        with pytest.raises(SessionLocked):
            Browser().join(code)


@pytest.mark.django_db
@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_a_user_who_was_kicked_is_out_under_a_rotated_key_too(
    joining: Join, code: str
) -> None:
    ann = get_user_model().objects.create(username="ann")
    first = Browser(user=ann)
    stores.kick(code, first.join(code, joining=joining).id)
    rotated = {"SECRET_KEY": "newer", "SECRET_KEY_FALLBACKS": ["tests-only"]}
    with override_settings(**rotated):
        for browser in (first, Browser(user=ann)):
            with pytest.raises(Kicked):
                browser.join(code, joining=joining)


@pytest.mark.django_db
def test_a_guest_who_was_kicked_stays_out_when_they_log_in(
    code: str, browser: Browser
) -> None:
    guest = browser.join(code)
    forget(browser, code)
    stores.kick(code, guest.id)
    browser.user = get_user_model().objects.create(username="ann")
    with pytest.raises(Kicked):
        browser.join(code)


@pytest.mark.django_db
def test_a_guest_is_the_same_under_a_rotated_key(code: str, browser: Browser) -> None:
    joined = browser.join(code)
    forget(browser, code)
    with override_settings(SECRET_KEY="newer"):
        assert browser.join(code) == joined


@pytest.mark.django_db
def test_a_guest_who_logs_in_stays_who_they_are_without_claims(
    code: str, browser: Browser
) -> None:
    guest = browser.join(code)
    forget(browser, code)
    browser.user = get_user_model().objects.create(username="ann")
    assert browser.join(code) == guest
    assert browser.join(stores.create_session()).id != guest.id


# How much is kept


def test_entries_of_earlier_releases_stay_valid(code: str, browser: Browser) -> None:
    codes = [code, *(stores.create_session() for _ in range(40))]
    request = browser.request()
    at = time.time() - 60
    for number, each in enumerate(codes):
        stores.get("board", each, f"guest-{number}").touch()
        entry = [each, f"guest-{number}", "participant", at + number]
        request.session[f"sessionstores.{each}"] = entry
    browser.close(request)
    for _ in range(2):
        for number, each in enumerate(codes):
            assert browser.resolve(each) == Participant(each, f"guest-{number}")
        # After it, the older ones are kept in another form.
        browser.join(stores.create_session())
    assert browser.join(code) == Participant(code, "guest-0")


def test_an_earlier_release_finds_the_latest(code: str, browser: Browser) -> None:
    joined = browser.join(code)
    for _ in range(RECENT - 1):
        browser.join(stores.create_session())
    entry = browser.request().session[f"sessionstores.{code}"]
    assert entry[:3] == [code, joined.id, "participant"]
    assert len(entry) == 4


def test_of_too_many_codes_ended_ones_go_first_and_then_the_oldest(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.time()
    clock = iter(range(10_000))
    # Each join a second after the one before, as far as they can be told apart.
    codes = [stores.create_session(keep=10_000) for _ in range(MAX_CODES + 3)]
    for code in codes[:MAX_CODES]:
        now = start + next(clock)
        monkeypatch.setattr(time, "time", lambda now=now: now)
        browser.join(code, participant="alice", role="host")
    for code in (codes[7], codes[9]):
        stores.end_session(code)
    kept = []
    for code in codes[MAX_CODES:]:
        now = start + next(clock)
        monkeypatch.setattr(time, "time", lambda now=now: now)
        browser.join(code, participant="alice", role="host")
        found = KeptIdentities(browser.request().session).all()
        kept.append([claims.session for claims in found])
    living = [code for code in codes if code not in (codes[7], codes[9])]
    assert kept == [living[:-2], living[:-1], living[1:]]
    assert browser.resolve(codes[0]) is None
    alice = Participant(codes[1], "alice", "host")
    assert browser.resolve(codes[1]) == alice


def joined_view(request: HttpRequest, code: str) -> HttpResponse:
    return HttpResponse(join(request, code).id)


urlpatterns = [path("<code>/join/", joined_view)]


@pytest.mark.django_db
@pytest.mark.urls(__name__)
@pytest.mark.parametrize("is_user", [True, False])
def test_a_browser_in_two_hundred_sessions_keeps_its_login_in_a_cookie(
    is_user: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSION_ENGINE = COOKIES
    client = Client()
    if is_user:
        client.force_login(get_user_model().objects.create(username="ann"))
    codes = [stores.create_session(keep=10**6) for _ in range(200)]
    # Joined at moments that cannot be compressed.
    moment, chance = time.time(), random.Random(7)
    ids = {}
    for code in codes:
        moment += chance.uniform(1, 400)
        monkeypatch.setattr(time, "time", lambda now=moment: now)
        response = client.get(f"/{code}/join/")
        ids[code] = response.content.decode()
        (cookie,) = response.cookies.values()
        assert len(f"{cookie.key}={cookie.value}") <= COOKIE_BYTES * 0.6
    assert ("_auth_user_id" in client.session) is is_user
    identities = KeptIdentities(client.session)
    assert len(identities.all()) == MAX_CODES
    # Who is dropped is found again.
    for code in (codes[0], codes[57], codes[-1]):
        assert client.get(f"/{code}/join/").content.decode() == ids[code]
        assert stores.participants(code) == [ids[code]]


CODES = st.builds(generate_code)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
ROLES = st.text("abcö👋", min_size=1, max_size=64)
CLAIMS = st.builds(
    Claims, CODES, IDS, st.just("participant") | ROLES, st.floats(0, 2e9)
)


@given(
    st.lists(CLAIMS, unique_by=lambda claims: claims.session, max_size=130),
    st.sampled_from([Origin(), Origin("s" * 22), Origin("s" * 22, "u" * 16)]),
)
def test_whatever_is_kept_is_found_again_and_is_bounded(
    held: list[Claims], origin: Origin
) -> None:
    held = sorted(
        (
            each._replace(participant=guest_id("s" * 22, each.session))
            if number % 2
            else each
            for number, each in enumerate(held)
        ),
        key=lambda claims: claims.issued,
    )
    session = SessionBase()
    session["basket"] = 1
    kept = KeptIdentities(session)
    kept.write(held, origin)
    assert kept.origin == origin
    found = kept.all()
    assert len(found) <= MAX_CODES
    for claims in found:
        (same,) = (each for each in held if each.session == claims.session)
        assert claims[:3] == same[:3]
        assert claims.issued <= same.issued < claims.issued + 1
        assert kept.get(claims.session) == claims
    # The oldest are left out, of which as many as needed.
    assert {each.session for each in found} == {
        each.session for each in held[len(held) - len(found) :]
    }
    text = json.dumps(dict(session.items()))
    assert len(found) in (len(held), MAX_CODES) or len(text) > MAX_BYTES
    for claims in list(found):
        kept.forget(claims.session)
        assert kept.get(claims.session) is None
    assert kept.all() == []
    assert session["basket"] == 1


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["seed", "user", "codes", "K7Q2ZD"]), inner)
    ),
    max_leaves=8,
)


@given(JUNK, JUNK)
def test_junk_in_djangos_session_counts_for_nothing(shared: Any, own: Any) -> None:
    session = SessionBase()
    session["sessionstores"] = shared
    session["sessionstores.K7Q2ZD"] = own
    kept = KeptIdentities(session)
    claims = Claims("ABC234", "alice", "participant", 1.0)
    assert isinstance(kept.all(), list)
    assert kept.get("K7Q2ZD") is None or kept.get("K7Q2ZD") in kept.all()
    kept.write(kept.with_claims(claims), kept.origin)
    assert kept.get("ABC234") == claims
