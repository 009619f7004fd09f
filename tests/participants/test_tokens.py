"""Tokens: unforgeable, and void after their time or a revocation."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core import signing
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.backends import drop_backends, get_backend
from sessionstores.backends.base import Backend, run
from sessionstores.backends.types import Standing
from sessionstores.exceptions import InvalidKey, InvalidToken, SessionEnded
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants import tokens
from sessionstores.participants.participant import Participant
from sessionstores.participants.tokens import (
    LINK_SALT,
    MAX_TOKEN_LENGTH,
    TOKEN_SALT,
    Claims,
    check_claims,
    check_clock,
    check_standing,
    make_token,
    read_token,
)
from tests.caches import cache_on
from tests.faults.sites import on_redis
from tests.servers import free_port

HOUR = 3600.0
CODE = "K7Q2ZD"


@pytest.fixture(autouse=True)
def known_time() -> None:
    """Let the time be known, whatever other tests have left behind."""
    run(check_clock(get_backend(blocking=True)))


def claims(participant: str = "alice", **changes: Any) -> Claims:
    return Claims.now(CODE, participant, "participant")._replace(**changes)


def blocking() -> Backend:
    return get_backend(blocking=True)


def stands(token: str, max_age: float = HOUR) -> Claims:
    found = read_token(token, max_age=max_age)
    run(check_standing(blocking(), found, max_age=max_age))
    return found


def test_token_gives_back_what_was_signed() -> None:
    signed = claims()
    assert read_token(make_token(signed), max_age=HOUR) == signed
    assert signed.key == StoreKey(CODE, "alice")


def test_token_is_short_and_fits_into_a_url() -> None:
    token = make_token(claims())
    assert len(token) < 130
    assert token.replace(":", "").replace("-", "").replace("_", "").isalnum()


def test_changing_any_character_makes_a_token_invalid() -> None:
    token = make_token(claims())
    for place, old in enumerate(token):
        # The signature's last character carries two bits that nothing depends on, but
        # the texts are compared, so even these count.
        forged = token[:place] + ("A" if old != "A" else "B") + token[place + 1 :]
        with pytest.raises(InvalidToken):
            read_token(forged, max_age=HOUR)


@pytest.mark.parametrize("cut", [1, 10, 43, 44, 60])
def test_token_that_was_cut_short_is_invalid(cut: int) -> None:
    with pytest.raises(InvalidToken, match="Reload the page"):
        read_token(make_token(claims())[:-cut], max_age=HOUR)


def test_claims_of_one_token_do_not_go_with_the_signature_of_another() -> None:
    content, _ = make_token(claims("alice")).split(":")
    _, signature = make_token(claims("bob")).split(":")
    with pytest.raises(InvalidToken):
        read_token(f"{content}:{signature}", max_age=HOUR)


def test_link_is_no_token_and_token_is_no_link() -> None:
    link = make_token(claims(), salt=LINK_SALT)
    with pytest.raises(InvalidToken):
        read_token(link, max_age=HOUR)
    with pytest.raises(InvalidToken):
        read_token(make_token(claims()), max_age=HOUR, salt=LINK_SALT)
    assert read_token(link, max_age=HOUR, salt=LINK_SALT).participant == "alice"


def test_what_the_site_signs_elsewhere_is_no_token() -> None:
    content = list(claims())
    for signed in (
        signing.dumps(content),
        signing.dumps(content, salt=TOKEN_SALT),
        signing.Signer().sign_object(content),
    ):
        with pytest.raises(InvalidToken):
            read_token(signed, max_age=HOUR)


def test_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = claims()
    token = make_token(signed)
    monkeypatch.setattr(time, "time", lambda: signed.issued + HOUR)
    assert read_token(token, max_age=HOUR) == signed
    monkeypatch.setattr(time, "time", lambda: signed.issued + HOUR + 0.01)
    with pytest.raises(InvalidToken, match=r"expired.*TOKEN_MAX_AGE"):
        read_token(token, max_age=HOUR)


def test_token_of_a_rotated_key_counts_while_that_is_a_fallback() -> None:
    with override_settings(SECRET_KEY="old"):
        token = make_token(claims())
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]):
        assert read_token(token, max_age=HOUR).participant == "alice"
    with override_settings(SECRET_KEY="new"), pytest.raises(InvalidToken):
        read_token(token, max_age=HOUR)


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        ":",
        "a:b",
        "é:é",
        "\ud800:\ud800",
        "\0",
        "." * 100,
        "x" * (MAX_TOKEN_LENGTH + 1),
        None,
        7,
        b"bytes",
        ["list"],
        {"a": 1},
    ],
)
def test_garbage_is_an_invalid_token(garbage: object) -> None:
    with pytest.raises(InvalidToken):
        read_token(garbage, max_age=HOUR)


@given(st.text(max_size=200))
def test_any_text_is_an_invalid_token(text: str) -> None:
    with pytest.raises(InvalidToken):
        read_token(text, max_age=HOUR)
    with pytest.raises(InvalidToken):
        read_token(f"{text}:{text}", max_age=HOUR)


def test_too_long_a_token_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    unsign = signing.Signer.unsign_object

    def watched(self: signing.Signer, text: str) -> Any:
        asked.append(text)
        return unsign(self, text)

    monkeypatch.setattr(signing.Signer, "unsign_object", watched)
    token = make_token(claims())
    read_token(token, max_age=HOUR)
    with pytest.raises(InvalidToken, match=str(MAX_TOKEN_LENGTH)):
        read_token(token + "A" * MAX_TOKEN_LENGTH, max_age=HOUR)
    assert asked == [token]


def test_longest_claims_still_make_a_readable_token() -> None:
    signed = Claims.now(CODE, "a" * 64, "\N{BUSTS IN SILHOUETTE}" * 64)
    token = make_token(signed)
    assert len(token) <= MAX_TOKEN_LENGTH
    assert read_token(token, max_age=HOUR) == signed


@pytest.mark.parametrize(
    "content",
    [
        None,
        "text",
        {"session": CODE},
        [],
        [CODE, "alice", "participant"],
        [CODE, "alice", "participant", 1.0, "more"],
        ["k7q2zd", "alice", "participant", 1.0],
        [CODE, "*", "participant", 1.0],
        [CODE, "a:b", "participant", 1.0],
        [CODE, 5, "participant", 1.0],
        [5, "alice", "participant", 1.0],
        [CODE, "alice", "", 1.0],
        [CODE, "alice", "a" * 65, 1.0],
        [CODE, "alice", "two\nlines", 1.0],
        [CODE, "alice", None, 1.0],
        [CODE, "alice", "participant", "1.0"],
        [CODE, "alice", "participant", None],
        [CODE, "alice", "participant", float("inf")],
        [CODE, "alice", "participant", float("nan")],
    ],
)
def test_signed_content_of_another_shape_is_invalid(content: object) -> None:
    token = signing.Signer(salt=TOKEN_SALT).sign_object(content)
    with pytest.raises(InvalidToken, match="this version"):
        read_token(token, max_age=HOUR)


@pytest.mark.parametrize(
    ("change", "max_age"),
    [({}, -1.0), ({"issued": 0.0}, HOUR), ({"role": ""}, HOUR)],
)
def test_error_never_repeats_the_token(change: dict[str, Any], max_age: float) -> None:
    token = make_token(claims(**change))
    for text in (token, token[:-1], token.upper()):
        with pytest.raises(InvalidToken) as caught:
            read_token(text, max_age=max_age)
        content, _, signature = text.partition(":")
        assert content not in str(caught.value)
        assert signature not in str(caught.value)
        # A traceback must not show it either, as the cause's message would.
        assert caught.value.__suppress_context__ or not caught.value.__context__


@pytest.mark.parametrize("role", ["", "a" * 65, "a\nb", "\ud800", None, 3, b"x"])
def test_role_that_cannot_be_signed_is_an_invalid_key(role: object) -> None:
    with pytest.raises(InvalidKey, match="is not a role"):
        tokens.check_role(role)


def test_revocation_voids_what_was_issued_until_then_to_the_instant() -> None:
    at = 1_000_000.25
    standing = Standing(ended=False, revoked_at=at)
    endless = float("inf")
    for issued in (at - 100, at - 0.001, at):
        with pytest.raises(InvalidToken, match=f"{CODE}:alice were revoked"):
            check_claims(claims(issued=issued), standing, max_age=endless)
    check_claims(claims(issued=at + 0.001), standing, max_age=endless)


def test_token_issued_right_after_a_revocation_counts() -> None:
    token = make_token(claims())
    stores.revoke(CODE, "alice")
    newer = make_token(claims())
    with pytest.raises(InvalidToken, match="revoked"):
        stands(token)
    assert stands(newer).participant == "alice"


def test_revoking_one_participant_leaves_the_others_alone() -> None:
    stores.create_session()
    token = make_token(claims("bob"))
    stores.revoke(CODE, "alice")
    assert stands(token).participant == "bob"


def test_revoking_a_session_voids_the_tokens_of_everybody_in_it() -> None:
    here = [make_token(claims(name)) for name in ("alice", "bob")]
    elsewhere = make_token(claims(session="ABC234"))
    stores.revoke(CODE)
    for token in here:
        with pytest.raises(InvalidToken, match="revoked"):
            stands(token)
    assert stands(elsewhere).session == "ABC234"


def test_token_of_an_ended_session_is_void() -> None:
    token = make_token(claims())
    assert stands(token)
    stores.end_session(CODE)
    with pytest.raises(SessionEnded, match=CODE):
        stands(token)


def test_token_of_a_session_that_the_server_has_lost_counts() -> None:
    assert stores.sessions() == []
    assert stands(make_token(claims()))


# By whose clock

OFF = (-HOUR, -1.5, 1.5, HOUR)


@contextmanager
def clock_off(seconds: float) -> Iterator[None]:
    """Be a process that has just started, on a machine whose clock is wrong."""
    right = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: right() + seconds)
        drop_backends()
        yield


@pytest.fixture
def anywhere(
    request: pytest.FixtureRequest, settings: Any
) -> Iterator[Callable[[], None]]:
    """A cache that several machines share; call it to be a process anew."""
    with cache_on(request.param, request, settings) as site:

        def start_anew() -> None:
            settings.CACHES = {**site["CACHES"]}

        yield start_anew


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("anywhere", ["valkey"], indirect=True)
def test_wrong_clock_makes_no_revoked_token_count_and_no_fresh_one_void(
    off: float, anywhere: Callable[[], None]
) -> None:
    alice = Participant(CODE, "alice")
    with clock_off(off):
        old = [
            alice.token(),
            make_token(run(tokens.issue(blocking(), CODE, "alice", "guest"))),
        ]
    stores.revoke(CODE, "alice")
    with clock_off(off):
        new = [
            alice.token(),
            make_token(run(tokens.issue(blocking(), CODE, "alice", "guest"))),
        ]
    for clock in (0.0, *OFF):
        with clock_off(clock):
            for token in old:
                with pytest.raises(InvalidToken, match="revoked"):
                    stands(token)
            for token in new:
                assert stands(token).participant == "alice"


@pytest.mark.parametrize("off", [-HOUR, HOUR])
@pytest.mark.parametrize("anywhere", ["valkey", "memcached", "postgres"], indirect=True)
def test_clock_an_hour_off_neither_ages_tokens_nor_keeps_them(
    off: float, anywhere: Callable[[], None]
) -> None:
    with clock_off(off):
        anywhere()
        fresh = Participant(CODE, "alice").token()
        stale = make_token(claims(issued=time.time() - off - HOUR))
    for clock in (0.0, off):
        with clock_off(clock):
            anywhere()
            stands(fresh, max_age=HOUR / 2)
            with pytest.raises(InvalidToken, match="expired"):
                stands(stale, max_age=HOUR / 2)


@pytest.mark.parametrize("anywhere", ["valkey"], indirect=True)
async def test_inside_a_loop_the_time_is_known_from_whoever_asked(
    anywhere: Callable[[], None],
) -> None:
    with clock_off(HOUR):
        signed = claims()
        await check_standing(
            get_backend(blocking=False), signed._replace(issued=0.0), max_age=math.inf
        )
        token = Participant(CODE, "alice").token()
    later = read_token(token, max_age=HOUR)
    backend = get_backend(blocking=False)
    # It may be dated ahead by as long as the question for the time was on its way.
    while await backend.now() <= later.issued:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.001)
    await stores.arevoke(CODE, "alice")
    with pytest.raises(InvalidToken, match="revoked"):
        await check_standing(backend, later, max_age=HOUR)


def test_without_the_cache_a_token_is_issued_by_the_clock_that_there_is(
    settings: Any,
) -> None:
    settings.CACHES = on_redis(free_port())["CACHES"]
    with clock_off(0):
        issued = read_token(Participant(CODE, "alice").token(), max_age=HOUR).issued
    assert issued == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("anywhere", ["valkey"], indirect=True)
def test_time_is_asked_for_once_a_minute_by_those_who_only_check(
    anywhere: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    backend = blocking()
    now = type(backend).now

    async def counted(self: Backend) -> float:
        asked.append(1)
        return await now(self)

    monkeypatch.setattr(type(backend), "now", counted)
    with clock_off(0):
        token = make_token(claims())
        for _ in range(5):
            stands(token)
    assert len(asked) == 1


def test_token_that_expired_while_connected_is_void() -> None:
    with pytest.raises(InvalidToken, match="expired"):
        check_claims(claims(issued=0.0), Standing(False, None), max_age=HOUR)


async def test_standing_is_asked_of_the_native_flavour_too() -> None:
    signed = claims()
    backend = get_backend(blocking=False)
    await check_standing(backend, signed, max_age=HOUR)
    await stores.arevoke(CODE, "alice")
    with pytest.raises(InvalidToken, match="revoked"):
        await check_standing(backend, signed, max_age=HOUR)
