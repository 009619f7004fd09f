"""Joining: who a visitor is, remains and becomes, and what guessing gets nobody."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.http import HttpRequest
from django.test import RequestFactory, override_settings
from django.urls import set_script_prefix

from sessionstores import conf
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.cas.backend import CasBackend
from sessionstores.backends.cas.keys import record_key
from sessionstores.backends.locmem import LocMemBackend, LocMemStore
from sessionstores.exceptions import (
    InvalidKey,
    InvalidToken,
    LimitReached,
    SessionEnded,
    SessionLocked,
    UnknownSession,
)
from sessionstores.keys import StoreKey, generate_code
from sessionstores.manager import stores
from sessionstores.participants.joining import ajoin, aresolve, join, resolve
from sessionstores.participants.participant import Participant
from sessionstores.participants.throttling import (
    GUESS_WINDOW,
    MAX_GUESSES,
    GuessThrottle,
)
from sessionstores.participants.tokens import LINK_SALT, Claims, make_token, read_token
from sessionstores.state.declaration import State, action, field, get_action, registry
from tests.workshop.states import Agenda, Board

CACHED = "django.contrib.sessions.backends.cache"
COOKIES = "django.contrib.sessions.backends.signed_cookies"
DATABASE = "django.contrib.sessions.backends.db"

# Each as a view of its kind calls it.
BOTH_JOINS = [
    pytest.param(join, id="join"),
    pytest.param(async_to_sync(ajoin), id="ajoin"),
]
Join = Callable[..., Participant]


class Browser:
    """Keeps Django's session from one request to the next, as a cookie does."""

    def __init__(self, engine: str = CACHED, user: Any = None) -> None:
        self.engine: Any = import_module(engine)
        self.user = user
        self.cookie: str | None = None

    def request(self, url: str = "/", *, address: str = "192.0.2.1") -> HttpRequest:
        request = RequestFactory().get(url, REMOTE_ADDR=address)
        request.session = self.engine.SessionStore(self.cookie)
        request.user = self.user or AnonymousUser()
        return request

    def close(self, request: HttpRequest) -> None:
        if request.session.modified:
            request.session.save()
            self.cookie = request.session.session_key

    def join(self, code: str, *, joining: Join = join, **given: Any) -> Participant:
        request = self.request(given.pop("url", "/"))
        joined = joining(request, code, **given)
        self.close(request)
        return joined

    def resolve(self, code: object, url: str = "/") -> Participant | None:
        return resolve(self.request(url), code)


@pytest.fixture
def code() -> str:
    return stores.create_session(keep=3600)


@pytest.fixture
def browser() -> Browser:
    return Browser()


@pytest.fixture
def ended() -> str:
    code = stores.create_session()
    stores.end_session(code)
    return code


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the calls that reach the cache, by kind and number of keys."""
    counted: Counter[str] = Counter()
    for name in ("read", "cas", "delete"):
        monkeypatch.setattr(LocMemStore, name, _counting(name, counted))
    return counted


def _counting(name: str, counted: Counter[str]) -> Any:
    real = getattr(LocMemStore, name)

    async def call(self: LocMemStore, keys: Any, *args: Any) -> Any:
        counted[f"{name} {1 if isinstance(keys, str) else len(keys)}"] += 1
        return await real(self, keys, *args)

    return call


# Participants


@pytest.mark.parametrize(
    ("session", "id", "role"),
    [
        ("k7q2zd", "alice", "participant"),
        ("K7Q2ZD\n", "alice", "participant"),
        ("K7Q2ZD", "*", "participant"),
        ("K7Q2ZD", "a" * 65, "participant"),
        ("K7Q2ZD", "alice", ""),
        ("K7Q2ZD", "alice", "two\nlines"),
    ],
)
def test_participant_has_a_valid_code_id_and_role(
    session: str, id: str, role: str
) -> None:
    with pytest.raises(InvalidKey):
        Participant(session, id, role)


def test_participant_has_the_key_of_its_record() -> None:
    assert Participant("K7Q2ZD", "alice").key == StoreKey("K7Q2ZD", "alice")


def test_token_speaks_for_its_participant_only() -> None:
    tokens = {
        who: read_token(who.token(), max_age=60)
        for who in (
            Participant("K7Q2ZD", "alice"),
            Participant("K7Q2ZD", "bob", "facilitator"),
            Participant("ABC234", "alice"),
        )
    }
    for who, claims in tokens.items():
        assert claims[:3] == (who.session, who.id, who.role)


def test_actions_are_given_who_acts() -> None:
    with registry.isolated():

        class Poll(State, scope="session"):
            voters: list[str] = field(default_factory=list)

            @action
            def vote(self, *, by: Participant) -> None:
                self.voters.append(by.id)

        poll = stores.get(Poll, "K7Q2ZD")
        poll.dispatch(Poll.vote, by=Participant("K7Q2ZD", "alice"))
        assert poll.state.voters == ["alice"]
        assert get_action(Poll, "vote").injected == {"by": Participant}


# Links


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/b/", "/b/?participant="),
        ("/b/?", "/b/?participant="),
        ("/b/?a=1&b=%20&c", "/b/?a=1&b=%20&c&participant="),
        ("/b/?participant=old&a=1", "/b/?a=1&participant="),
        ("/b/?participants=2", "/b/?participants=2&participant="),
        ("https://x.example/b?a=é#part", "https://x.example/b?a=é&participant="),
        ("", "?participant="),
    ],
)
def test_link_keeps_query_and_fragment(url: str, expected: str) -> None:
    link = Participant("K7Q2ZD", "alice").link(url)
    plain, _, fragment = link.partition("#")
    assert plain.startswith(expected)
    assert fragment == url.partition("#")[2]
    signed = plain.removeprefix(expected)
    assert read_token(signed, max_age=60, salt=LINK_SALT).participant == "alice"


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
        "old": f"/?participant={make_token(old, salt=LINK_SALT)}",
        "token": f"/?participant={alice.token()}",
        "revoked": alice.link("/"),
    }.get(bad, f"/?participant={bad}")
    stores.revoke(code, "alice")
    assert browser.resolve(code, link) is None
    assert browser.resolve(code) is not None


# Joining


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


def test_joining_lists_the_participant_with_its_states(
    code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    assert stores.participants(code) == [joined.id]
    peeked = stores.get(Board, code, joined.id).peek()
    assert peeked is not None
    assert peeked.state == Board()


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


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_given_id_wins_and_is_kept(joining: Join, code: str, browser: Browser) -> None:
    browser.join(code, joining=joining)
    named = browser.join(code, joining=joining, participant="alice")
    assert named == Participant(code, "alice")
    assert browser.join(code, joining=joining) == named
    assert browser.resolve(code) == named


def test_role_is_kept_until_another_is_given(code: str, browser: Browser) -> None:
    assert browser.join(code).role == "participant"
    assert browser.join(code, role="facilitator").role == "facilitator"
    assert browser.join(code).role == "facilitator"
    kept = browser.resolve(code)
    assert kept is not None
    assert kept.role == "facilitator"
    assert browser.join(code, role="participant").role == "participant"


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


def test_request_has_its_participant_after_joining(code: str, browser: Browser) -> None:
    request: Any = browser.request()
    joined = join(request, code)
    assert request.participant is joined


def test_unchanged_identity_is_not_written_again(code: str, browser: Browser) -> None:
    browser.join(code)
    request = browser.request()
    join(request, code)
    assert not request.session.modified


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


def test_revoked_comes_back_without_the_role(code: str, browser: Browser) -> None:
    lead = browser.join(code, participant="lead", role="facilitator")
    stores.revoke(code, "lead")
    assert browser.join(code) == Participant(code, "lead")
    assert browser.join(code, role="facilitator") == lead


@pytest.mark.parametrize(
    "given",
    [
        {"code": "k7q2zd"},
        {"code": "K7Q2ZD\n"},
        {"code": None},
        {"participant": "a:b"},
        {"participant": ""},
        {"participant": "*"},
        {"role": ""},
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


def test_join_needs_djangos_session(code: str) -> None:
    request = RequestFactory().get("/")
    with pytest.raises(ImproperlyConfigured, match="SessionMiddleware"):
        join(request, code)


async def test_sync_functions_refuse_to_run_in_an_event_loop() -> None:
    request = Browser().request()
    for call, way_out in (
        (lambda: join(request, "K7Q2ZD"), "ajoin"),
        (lambda: resolve(request, "K7Q2ZD"), "aresolve"),
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


# Guessing


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the codes that are looked up."""
    asked: list[str] = []
    real = CasBackend.session

    async def session(self: CasBackend, code: str) -> Any:
        asked.append(code)
        return await real(self, code)

    monkeypatch.setattr(CasBackend, "session", session)
    return asked


def guess(code: str, address: str = "192.0.2.1", *, joining: Join = join) -> type:
    """Join as somebody who has no cookie; return what comes of it."""
    request = RequestFactory().get("/", REMOTE_ADDR=address)
    request.session = SessionBase()
    try:
        joining(request, code)
    except (UnknownSession, LimitReached) as error:
        return type(error)
    return Participant


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_ten_guesses_a_minute_are_evaluated_of_ten_thousand(
    joining: Join, code: str, lookups: list[str]
) -> None:
    total = 10_000 if joining is join else 500
    results = Counter(guess(generate_code(), joining=joining) for _ in range(total))
    assert results == {UnknownSession: 10, LimitReached: total - 10}
    assert len(lookups) == 10
    # The right code is no better than another now.
    assert guess(code, joining=joining) is LimitReached
    assert len(lookups) == 10


def test_limit_says_what_to_do() -> None:
    for _ in range(MAX_GUESSES):
        guess("K7Q2ZD")
    with pytest.raises(LimitReached, match=r"10 .* Wait a minute"):
        Browser().join("K7Q2ZD")


def test_failures_are_forgotten_one_by_one_after_a_minute(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.time()
    for second in range(MAX_GUESSES):
        monkeypatch.setattr(time, "time", lambda at=start + second: at)
        assert guess("K7Q2ZD") is UnknownSession
    assert guess(code) is LimitReached
    monkeypatch.setattr(time, "time", lambda: start + GUESS_WINDOW + 0.5)
    assert guess("K7Q2ZD") is UnknownSession
    assert guess(code) is LimitReached
    monkeypatch.setattr(time, "time", lambda: start + 2 * GUESS_WINDOW + 1)
    assert guess(code) is Participant


def test_success_does_not_reset_the_count(code: str) -> None:
    for _ in range(MAX_GUESSES):
        assert guess(code) is Participant
        assert guess("K7Q2ZD") is UnknownSession
    assert guess(code) is LimitReached


def test_ended_codes_count_as_guesses(ended: str) -> None:
    results = [guess(ended) for _ in range(MAX_GUESSES + 1)]
    assert results == [UnknownSession] * MAX_GUESSES + [LimitReached]


def test_guessing_bars_nobody_else_nor_those_who_are_in(
    code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    for _ in range(MAX_GUESSES + 5):
        guess("K7Q2ZD")
    assert guess(code) is LimitReached
    assert guess(code, "192.0.2.2") is Participant
    assert browser.join(code) == joined
    link = Participant(code, "alice").link("/")
    assert Browser().join(code, url=link).id == "alice"
    request = Browser().request()
    assert join(request, "K7Q2ZD", create=True).session == "K7Q2ZD"


def test_who_is_in_is_not_counted_when_the_session_is_gone(
    code: str, browser: Browser
) -> None:
    browser.join(code)
    stores.cleanup_session(code)
    for _ in range(MAX_GUESSES + 1):
        with pytest.raises(UnknownSession):
            browser.join(code)
    assert guess("K7Q2ZD") is UnknownSession


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
        ("unix:", "", False),
    ],
)
def test_address_is_what_its_owner_cannot_vary(
    one: str, other: str, same: bool, code: str
) -> None:
    for _ in range(MAX_GUESSES):
        guess("K7Q2ZD", one)
    assert guess(code, other) is (LimitReached if same else Participant)


def test_address_is_not_kept_in_clear() -> None:
    guess("K7Q2ZD", "192.0.2.123")
    backend: Any = get_backend(blocking=True)
    names = run(backend.store.list_keys())
    stored = [
        (name, found.value) for name, found in run(backend.store.read(names)).items()
    ]
    assert [key for key, _ in stored if ":v:guesses:" in key]
    assert "192.0.2.123" not in repr(stored)
    assert all(len(value) < 300 for _, value in stored)


async def test_guesses_at_once_learn_no_more_than_guesses_in_turn() -> None:
    """Fifty lookups are under way before the first failure is counted."""
    backend = get_backend(blocking=False)
    request = Browser().request()
    crowd = [GuessThrottle(backend, request) for _ in range(50)]
    for guesses in crowd:
        await guesses.check()
    told = 0
    for guesses in crowd:
        try:
            await guesses.count()
        except LimitReached:
            continue
        told += 1
    assert told == MAX_GUESSES
    # Nor is one told who guessed right among them.
    with pytest.raises(LimitReached):
        await crowd[0].check()


def test_guess_that_cannot_be_counted_is_refused() -> None:
    class Crowded(LocMemBackend):
        async def swap_value(self, *args: Any, **kwargs: Any) -> bool:
            return False

    backend = Crowded("default", blocking=True)
    with pytest.raises(LimitReached):
        run(GuessThrottle(backend, Browser().request()).count())


# What a page needs


@pytest.fixture
def prefix() -> Iterator[str]:
    set_script_prefix("/site/")
    yield "/site/"
    set_script_prefix("/")


def test_config_has_all_that_a_page_needs_as_json(code: str) -> None:
    alice = Participant(code, "alice", "facilitator")
    board = stores.get(Board, code, "alice")
    board.dispatch(Board.move, "ace", "kept </script>", agenda=Agenda())
    config = alice.config()
    assert json.loads(json.dumps(config)) == config
    assert read_token(config["token"], max_age=60)[:3] == (code, "alice", alice.role)
    expected = {
        "url": "/ws/sessionstores/",
        "session": code,
        "participant": "alice",
        "role": "facilitator",
        "states": {"agenda": "session", "board": "me"},
    }
    assert config.items() >= expected.items()
    assert config["docs"].keys() == {"me", "session"}
    me = config["docs"]["me"]
    assert me["rev"] == board.snapshot().rev
    assert me["states"]["board"]["piles"] == {"kept </script>": ["ace"]}
    session = config["docs"]["session"]
    assert session["states"]["agenda"] == {"step": 1, "votes": {}}
    assert session["rev"] == stores.get(Agenda, code).snapshot().rev


def test_config_respects_the_script_prefix(code: str, prefix: str) -> None:
    config = Participant(code, "alice").config()
    assert config["url"] == f"{prefix}ws/sessionstores/"


def test_config_opens_both_documents_once(code: str) -> None:
    alice = Participant(code, "alice")
    first = alice.config()
    assert stores.participants(code) == ["alice"]
    assert alice.config()["docs"] == first["docs"]


def test_config_leaves_out_states_that_are_no_longer_declared(code: str) -> None:
    alice = Participant(code, "alice")
    with registry.isolated(Board):

        class Gone(State):
            x: int = 1

        assert alice.config()["states"] == {"board": "me", "gone": "me"}
    with registry.isolated(Board):
        config = alice.config()
        assert config["states"] == {"board": "me"}
        assert config["docs"]["me"]["states"].keys() == {"board"}
        assert config["docs"]["session"]["states"] == {}


def test_config_never_holds_anothers_state(code: str) -> None:
    alice, bob = Participant(code, "alice"), Participant(code, "bob")
    stores.get(Board, code, "bob").dispatch(Board.note, "secret of bob")
    assert "secret of bob" not in json.dumps(alice.config())
    assert "secret of bob" in json.dumps(bob.config())


def test_config_of_an_ended_session_says_so(ended: str) -> None:
    with pytest.raises(SessionEnded):
        Participant(ended, "alice").config()


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


# Resolving


@pytest.mark.parametrize("code", [None, "K7Q2ZD", "not a code", "K7Q2ZD\n", 7, ""])
def test_stranger_is_nobody_and_asks_the_cache_nothing(
    code: object, browser: Browser, calls: Counter[str]
) -> None:
    calls.clear()
    assert browser.resolve(code) is None
    assert not calls


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


def test_lost_session_still_knows_its_participants(code: str, browser: Browser) -> None:
    joined = browser.join(code)
    stores.cleanup_session(code)
    assert browser.resolve(code) == joined
    joined.config()
    assert stores.participants(code) == [joined.id]


def test_request_without_djangos_session_is_nobodys(code: str) -> None:
    assert resolve(RequestFactory().get("/"), code) is None
