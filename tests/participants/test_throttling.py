"""The throttle of wrong session codes."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest
from django.contrib.sessions.backends.base import SessionBase
from django.db import connections
from django.test import RequestFactory
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
from sessionstores.participants.throttling import (
    GUESS_WINDOW,
    MAX_GUESSES,
    GuessThrottle,
)
from tests.backends.driven import JUNK
from tests.caches import KINDS, cache_on
from tests.faults.refusals import database_alias
from tests.participants.browsers import (
    BOTH_JOINS,
    Browser,
    Join,
)
from tests.servers import Valkey


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
    # Even the right code is refused now.
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


GARBAGE = [
    *JUNK,
    b"[" * 10_000,
    b'["never"]',
    b"[1e999]",
    b"null",
    b'{"\xff": 1}',
    # Times that never pass.
    json.dumps([9e99] * MAX_GUESSES).encode(),
    json.dumps([-1] * MAX_GUESSES).encode(),
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
        for _ in range(MAX_GUESSES):
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
