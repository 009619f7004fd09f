"""The throttle of wrong session codes."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest
from django.contrib.sessions.backends.base import SessionBase
from django.db import connections
from django.test import RequestFactory, override_settings
from hypothesis import example, given
from hypothesis import strategies as st

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.cas.backend import CasBackend
from sessionstores.backends.locmem import LocMemBackend
from sessionstores.backends.redis.serializers import value_key
from sessionstores.exceptions import (
    LimitReached,
    UnknownSession,
)
from sessionstores.keys import generate_code
from sessionstores.manager import stores
from sessionstores.participants.joining import join
from sessionstores.participants.participant import Participant
from sessionstores.participants.throttling import GuessThrottle
from tests.backends.driven import JUNK
from tests.caches import KINDS, cache_on
from tests.faults.refusals import database_alias
from tests.logs import records_of_ours
from tests.participants.browsers import (
    BOTH_JOINS,
    Browser,
    Join,
)
from tests.servers import Valkey

LIMIT, WINDOW = 60, 60


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
    except LimitReached:
        return LimitReached
    except UnknownSession:
        return UnknownSession
    return Participant


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_sixty_guesses_a_minute_are_evaluated_of_ten_thousand(
    joining: Join, code: str, lookups: list[str]
) -> None:
    total = 10_000 if joining is join else 500
    results = Counter(guess(generate_code(), joining=joining) for _ in range(total))
    assert results == {UnknownSession: LIMIT, LimitReached: total - LIMIT}
    assert len(lookups) == LIMIT
    # Even the right code is refused now.
    assert guess(code, joining=joining) is LimitReached
    assert len(lookups) == LIMIT


def test_limit_says_what_to_do() -> None:
    for _ in range(LIMIT):
        guess("K7Q2ZD")
    with pytest.raises(LimitReached, match=r"^60 .* within 60 s .* Wait for 60 s"):
        Browser().join("K7Q2ZD")


def test_failures_are_forgotten_one_by_one_after_a_minute(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.time()
    for number in range(LIMIT):
        at = start + number / 2
        monkeypatch.setattr(time, "time", lambda at=at: at)
        assert guess("K7Q2ZD") is UnknownSession
    assert guess(code) is LimitReached
    monkeypatch.setattr(time, "time", lambda: start + WINDOW + 0.25)
    assert guess("K7Q2ZD") is UnknownSession
    assert guess(code) is LimitReached
    monkeypatch.setattr(time, "time", lambda: start + 2 * WINDOW + 1)
    assert guess(code) is Participant


def test_a_class_behind_one_address_is_not_locked_out_by_its_typos(
    code: str, settings: Any
) -> None:
    settings.SESSIONSTORES = {"GUESS_LIMIT": [10, 60]}
    # Thirty, of whom ten mistype, some of them twice.
    for number in range(30):
        for _ in range(1 + number % 2 if number < 10 else 0):
            assert guess("K7Q2ZD") is UnknownSession
        assert guess(code) is Participant


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_who_knows_one_code_gains_as_many_guesses_at_most(
    joining: Join, code: str
) -> None:
    wrong = 0
    while guess("K7Q2ZD", joining=joining) is UnknownSession:
        wrong += 1
        guess(code, joining=joining)
    assert wrong == 2 * LIMIT


def test_what_is_given_back_was_a_failure(code: str) -> None:
    for _ in range(5):
        assert guess(code) is Participant
    assert [guess("K7Q2ZD") for _ in range(LIMIT)] == [UnknownSession] * LIMIT
    assert guess("K7Q2ZD") is LimitReached


def test_who_comes_back_gives_nothing_back(code: str, browser: Browser) -> None:
    browser.join(code)
    for _ in range(LIMIT):
        guess("K7Q2ZD")
        browser.join(code)
    assert guess("K7Q2ZD") is LimitReached


def test_the_throttle_can_be_turned_off(settings: Any, code: str) -> None:
    settings.SESSIONSTORES = {"GUESS_LIMIT": None}
    assert {guess("K7Q2ZD") for _ in range(3 * LIMIT)} == {UnknownSession}
    assert guess(code) is Participant
    backend: Any = get_backend(blocking=True)
    names = run(backend.store.list_keys())
    assert [name for name in names if ":v:guesses:" in name] == []


STEPS = st.lists(
    st.tuples(st.sampled_from(["wrong", "right"]), st.integers(0, 9)), max_size=80
)


@given(STEPS)
def test_no_window_ever_has_more_than_twice_the_limit(
    steps: list[tuple[str, int]],
) -> None:
    now, evaluated = 1_000_000.0, []
    own = {"GUESS_LIMIT": (3, 20), "AUTO_SWEEP": False}
    with override_settings(SESSIONSTORES=own), pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now)
        backend = LocMemBackend("default", blocking=True)
        run(backend.clear())
        request = Browser().request()
        for step, seconds in steps:
            now += seconds
            throttle = GuessThrottle(backend, request)
            try:
                run(throttle.check())
                if step == "wrong":
                    run(throttle.count())
                    evaluated.append(now)
                else:
                    run(throttle.give_back())
            except LimitReached:
                # It says so only while a window has had its share.
                assert len([at for at in evaluated if now - at < 20]) >= 3
        for start in evaluated:
            assert len([at for at in evaluated if 0 <= at - start < 20]) <= 6


def test_a_proxy_whose_headers_are_not_used_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def wrong(address: str, forwarded: str) -> list[str]:
        request = RequestFactory().get(
            "/", REMOTE_ADDR=address, headers={"x-forwarded-for": forwarded}
        )
        request.session = SessionBase()
        caplog.clear()
        with pytest.raises(UnknownSession):
            join(request, "K7Q2ZD")
        return [record.getMessage() for record in records_of_ours(caplog)]

    # The server has taken the visitor's address from there.
    assert wrong("192.0.2.7", "192.0.2.7") == []
    assert wrong("192.0.2.7", "10.9.9.9, 192.0.2.7") == []
    (line,) = wrong("10.0.0.1", "192.0.2.7")
    assert "'10.0.0.1'" in line
    assert "--proxy-headers" in line
    # Once for many.
    assert wrong("10.0.0.1", "192.0.2.8") == []


def test_ended_codes_count_as_guesses(ended: str) -> None:
    results = [guess(ended) for _ in range(LIMIT + 1)]
    assert results == [UnknownSession] * LIMIT + [LimitReached]


def test_guessing_bars_nobody_else_nor_those_who_are_in(
    code: str, browser: Browser
) -> None:
    joined = browser.join(code)
    for _ in range(LIMIT + 5):
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
    for _ in range(LIMIT + 1):
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
    for _ in range(LIMIT):
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
    """A hundred lookups are under way before the first failure is counted."""
    backend = get_backend(blocking=False)
    request = Browser().request()
    crowd = [GuessThrottle(backend, request) for _ in range(100)]
    for guesses in crowd:
        await guesses.check()
    told = 0
    for guesses in crowd:
        try:
            await guesses.count()
        except LimitReached:
            continue
        told += 1
    assert told == LIMIT
    # Nor is one told who guessed right among them.
    with pytest.raises(LimitReached):
        await crowd[0].check()


GARBAGE = [
    *JUNK,
    b"[" * 10_000,
    b'["never"]',
    b"[1e999]",
    b"null",
    b'{"\xff": 1}',
    # Times that never pass.
    json.dumps([9e99] * LIMIT).encode(),
    json.dumps([-1] * LIMIT).encode(),
]


@pytest.mark.parametrize("joining", BOTH_JOINS)
@pytest.mark.parametrize("kind", KINDS)
def test_garbage_under_the_key_of_wrong_guesses_counts_for_nothing(
    kind: str, joining: Join, request: pytest.FixtureRequest, settings: Any
) -> None:
    with cache_on(kind, request, settings):
        code = stores.create_session(keep=3600)
        backend = get_backend(blocking=True)
        for number, garbage in enumerate(GARBAGE):
            name = GuessThrottle(backend, Browser().request()).name
            held = run(backend.value(name))
            assert run(backend.swap_value(name, held.token, garbage, seconds=60))
            joined = Browser().join(code, joining=joining)
            assert joined.session == code
            with pytest.raises(UnknownSession):
                Browser().join("K7Q2ZD", joining=joining)
            # It is replaced by what counts.
            times = json.loads(run(backend.value(name)).data or b"")
            assert len(times) == 1, number
        if kind in ("sqlite", "postgres"):
            connections[database_alias()].close()


@pytest.mark.parametrize("joining", BOTH_JOINS)
def test_another_type_under_the_key_of_wrong_guesses_counts_for_nothing(
    joining: Join, valkey: Valkey, request: pytest.FixtureRequest, settings: Any
) -> None:
    with cache_on("valkey", request, settings), valkey.client() as client:
        code = stores.create_session(keep=3600)
        backend = get_backend(blocking=True)
        name = GuessThrottle(backend, Browser().request()).name
        client.hset(value_key(name), "what", "is it?")
        assert Browser().join(code, joining=joining).session == code
        for _ in range(LIMIT):
            with pytest.raises(UnknownSession):
                Browser().join("K7Q2ZD", joining=joining)
        with pytest.raises(LimitReached):
            Browser().join("K7Q2ZD", joining=joining)


@given(st.text(st.characters(max_codepoint=0x10FFFF, exclude_categories=())))
@example("\udd00")
def test_any_text_is_an_address(text: str) -> None:
    request = RequestFactory().get("/")
    request.META["REMOTE_ADDR"] = text
    assert GuessThrottle(get_backend(blocking=True), request).name


def test_guess_that_cannot_be_counted_is_refused() -> None:
    class Crowded(LocMemBackend):
        async def swap_value(self, *args: Any, **kwargs: Any) -> bool:
            return False

    backend = Crowded("default", blocking=True)
    with pytest.raises(LimitReached):
        run(GuessThrottle(backend, Browser().request()).count())
