"""The `SESSIONSTORES` setting."""

from __future__ import annotations

import math
import random
import re
import threading
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from sessionstores import conf
from sessionstores.backends import get_backend, problem
from sessionstores.backends.base import run
from sessionstores.keys import StoreKey, cache_key, shared_key
from tests.checking import found, ids

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
SECRET = "redis://:hunter2@cache:6379"


def test_everything_has_a_default(settings: Settings) -> None:
    settings.SESSIONSTORES = {}
    assert conf.get() == conf.Conf()
    assert (conf.get().cache, conf.get().idle_timeout) == ("default", 300)
    assert conf.problems({}) == []


def test_the_setting_need_not_exist(settings: Settings) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 1}
    del settings.SESSIONSTORES
    assert conf.get() == conf.Conf()


def test_what_is_given_replaces_the_default_and_only_that(settings: Settings) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 60, "RATE_LIMIT": [5, 10]}
    assert conf.get() == conf.Conf(idle_timeout=60, rate_limit=(5, 10))


def test_a_change_is_seen_at_the_next_use() -> None:
    with override_settings(SESSIONSTORES={"MAX_SESSIONS": 5}):
        assert conf.get().max_sessions == 5
        with override_settings(SESSIONSTORES={"MAX_SESSIONS": 7}):
            assert conf.get().max_sessions == 7
        with override_settings(CACHES={}):
            assert conf.get().max_sessions == 5
        assert conf.get().max_sessions == 5


def test_the_object_cannot_be_changed(settings: Settings) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        conf.get().idle_timeout = 5  # type: ignore[misc]


def test_reading_twice_gives_the_same_object() -> None:
    assert conf.get() is conf.get()


def test_the_rate_limit_can_be_switched_off(settings: Settings) -> None:
    settings.SESSIONSTORES = {"RATE_LIMIT": None}
    assert conf.problems(settings.SESSIONSTORES) == []
    assert conf.get().rate_limit is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "must be a dict, not None."),
        ([("CACHE", "x")], "must be a dict, not list"),
        ({"IDLE_TIMOUT": 5}, "unknown key 'IDLE_TIMOUT'. Did you mean 'IDLE_TIMEOUT'?"),
        ({"cache": "x"}, "Did you mean 'CACHE'?"),
        ({"QUUX": 5}, "unknown key 'QUUX'."),
        ({5: 5}, "unknown key 5."),
        ({"IDLE_TIMEOUT": 0}, "'IDLE_TIMEOUT'] must be a number above 0, not 0"),
        ({"IDLE_TIMEOUT": -5}, "not -5"),
        ({"IDLE_TIMEOUT": "300"}, "not '300'"),
        ({"IDLE_TIMEOUT": math.inf}, "not inf"),
        ({"HEARTBEAT": math.nan}, "'HEARTBEAT'] must be a number above 0, not nan"),
        ({"PRESENCE_LEASE": None}, "not None"),
        ({"TOKEN_MAX_AGE": True}, "not True"),
        ({"LEAVE_GRACE": "5"}, "'LEAVE_GRACE'] must be a number from 0 up, not '5'"),
        ({"LEAVE_GRACE": -1}, "not -1"),
        ({"SLOW_OPERATION_MS": "50"}, "must be a number from 0 up, not '50'"),
        ({"MAX_SESSIONS": True}, "must be a whole number above 0, not True"),
        ({"MAX_SESSIONS": None}, "not None"),
        ({"MAX_CONNECTIONS": 2.5}, "not 2.5"),
        ({"MAX_STATE_BYTES": 0}, "not 0"),
        ({"AUTO_SWEEP": "no"}, "'AUTO_SWEEP'] must be True, False or None, not 'no'"),
        ({"AUTO_SWEEP": 1}, "not 1"),
        ({"ADMIN_READONLY": None}, "must be True or False, not None"),
        ({"CACHE": ["default"]}, "must be the name of an alias of CACHES, not ['def"),
        ({"KEY_PREFIX": "a b"}, "none of them a space or a brace, not 'a b'"),
        ({"KEY_PREFIX": "{x}"}, "not '{x}'"),
        ({"KEY_PREFIX": "a\n"}, "ASCII"),
        ({"KEY_PREFIX": "é"}, "must be up to 32 ASCII characters"),
        ({"KEY_PREFIX": "x" * 33}, "up to 32"),
        ({"KEY_PREFIX": b"x"}, "not b'x'"),
        ({"RATE_LIMIT": 5}, "None or (actions a second, burst)"),
        ({"RATE_LIMIT": (5,)}, "not (5,)"),
        ({"RATE_LIMIT": (0, 5)}, "not (0, 5)"),
        ({"RATE_LIMIT": (5, 0.5)}, "not (5, 0.5)"),
        ({"RATE_LIMIT": ("5", 5)}, "not ('5', 5)"),
        ({"RATE_LIMIT": (5, math.nan)}, "not (5, nan)"),
        ({"REDIS": SECRET}, "None or a dict with a 'url'"),
        ({"REDIS": {"url": [SECRET]}}, "['REDIS']['url'] must be a URL such as 'redis"),
        ({"REDIS": {"url": None}}, "such as 'redis://host:6379/0', not None."),
        ({"REDIS": {"cluster": ["a"]}}, "['cluster'] must be the URL of any node"),
        ({"REDIS": {"sentinels": SECRET, "service": "x"}}, "pairs of a host and the"),
        ({"REDIS": {"sentinels": ["a:1"], "service": "x"}}, "('a', 1), not 'a:1'."),
        ({"REDIS": {"sentinels": ["a"], "service": "x"}}, "('a', 26379), not 'a'."),
        ({"REDIS": {"sentinels": [("a", "x")], "service": "x"}}, "the number of its"),
        ({"REDIS": {"sentinels": [("a", None)], "service": "x"}}, "the number of its"),
        ({"REDIS": {"sentinels": [("a", 99_999)], "service": "x"}}, "not list."),
        ({"REDIS": {"sentinels": [SECRET], "service": "x"}}, "not list."),
        ({"REDIS": {"service": 5}}, "the name by which the sentinels know the primary"),
        ({"REDIS": {"sentinel_kwargs": SECRET}}, "a dict of arguments of the sentin"),
        ({"REDIS": {1: SECRET}}, "not a dict with the key 1."),
        ({"STATS_TOKEN": SECRET.encode()}, "must be None or text, not bytes"),
    ],
)
def test_what_cannot_be_used_is_named_and_refused(
    settings: Settings, given: Any, words: str
) -> None:
    found = conf.problems(given)
    assert len(found) == 1
    assert words in found[0]
    assert SECRET not in found[0]
    settings.SESSIONSTORES = given
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.get()
    assert words in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(conf.problems({"QUUX": 1, "IDLE_TIMEOUT": 0, "RATE_LIMIT": 3})) == 3


@pytest.mark.parametrize(
    "given",
    [
        {"LEAVE_GRACE": 0, "SLOW_OPERATION_MS": 0, "KEY_PREFIX": ""},
        {"REDIS": {"url": "redis://x"}},
        {"REDIS": {"sentinels": [("a", 1), ["b", "2"]], "service": "x"}},
        {"REDIS": {"password": "x", "socket_timeout": None}},
        {"AUTO_SWEEP": True, "ADMIN_READONLY": True, "STATS_TOKEN": ""},
    ],
)
def test_what_can_be_used_is_taken(settings: Settings, given: Any) -> None:
    settings.SESSIONSTORES = given
    assert conf.problems(given) == []
    conf.get()


def test_every_key_is_a_field_in_capitals() -> None:
    assert set(conf.KEYS) == {name.upper() for name in conf.Conf.__struct_fields__}
    for key in conf.KEYS:
        default = getattr(conf.Conf(), conf.KEYS[key])
        assert conf.problems({key: default}) == []


def test_what_is_read_while_settings_change_is_not_kept(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSIONSTORES = {"HEARTBEAT": 1}
    read = conf._read

    def slow() -> conf.Conf:
        taken = read()
        # As another thread does it, before this one has kept what it read.
        monkeypatch.setattr(conf, "_read", read)
        settings.SESSIONSTORES = {"HEARTBEAT": 2}
        return taken

    monkeypatch.setattr(conf, "_read", slow)
    assert conf.get().heartbeat == 2
    assert conf.get().heartbeat == 2


# The prefix, by the cache's alias


def shout(key: str, prefix: str, version: int) -> str:
    return f"{prefix.upper()}!{key}!{version}"


def of_two_sites(key: str, prefix: str, version: int) -> str:
    return f"{random.random()}:{key}"


def of_no_text(key: str, prefix: str, version: int) -> bytes:
    return key.encode()


def broken(key: str, prefix: str, version: int) -> str:
    raise LookupError("no tenant")


def by_alias(**given: Any) -> dict[str, Any]:
    """Return CACHES whose alias has these settings too."""
    return {"default": {"BACKEND": LOCMEM, **given}}


@pytest.mark.parametrize(
    ("given", "prefix"),
    [
        ({}, "ss"),
        ({"KEY_PREFIX": "", "VERSION": 1, "KEY_FUNCTION": None}, "ss"),
        ({"VERSION": "1", "TIMEOUT": None, "OPTIONS": {"MAX_ENTRIES": 1}}, "ss"),
        ({"KEY_FUNCTION": "django.core.cache.backends.base.default_key_func"}, "ss"),
        ({"KEY_PREFIX": "live"}, "live:1:ss"),
        ({"VERSION": 2}, ":2:ss"),
        ({"KEY_PREFIX": "live", "VERSION": "x"}, "live:x:ss"),
        ({"KEY_PREFIX": "live", "KEY_FUNCTION": shout}, "LIVE!ss!1"),
        ({"KEY_FUNCTION": f"{__name__}.shout", "VERSION": 7}, "!ss!7"),
        ({"KEY_PREFIX": "a:b|c~[*]?\\"}, "a:b|c~[*]?\\:1:ss"),
    ],
)
def test_the_prefix_is_what_the_alias_makes_of_it(
    settings: Settings, given: dict[str, Any], prefix: str
) -> None:
    settings.CACHES = by_alias(**given)
    assert conf.get().key_prefix == prefix
    assert ids(CACHES=settings.CACHES) == []
    # It counts under REDIS too, of whose server the alias knows nothing.
    settings.SESSIONSTORES = {"REDIS": {"url": "redis://nowhere"}, "KEY_PREFIX": "ss"}
    assert conf.get().key_prefix == prefix
    settings.SESSIONSTORES = {"KEY_PREFIX": "own"}
    assert conf.get().key_prefix == prefix.replace("ss", "own")


def test_a_change_of_the_alias_is_seen_at_the_next_use(settings: Settings) -> None:
    for prefix in ("a", "b"):
        settings.CACHES = by_alias(KEY_PREFIX=prefix)
        assert conf.get().key_prefix == f"{prefix}:1:ss"
    settings.CACHES = {**by_alias(), "other": {"BACKEND": LOCMEM, "VERSION": 5}}
    assert conf.get().key_prefix == "ss"
    settings.SESSIONSTORES = {"CACHE": "other"}
    assert conf.get().key_prefix == ":5:ss"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"KEY_PREFIX": "my site"}, "(KEY_PREFIX 'my site') makes 'my site:1:ss'"),
        ({"KEY_PREFIX": "{live}"}, "'{live}:1:ss'"),
        ({"KEY_PREFIX": "ü"}, "'ü:1:ss'"),
        ({"KEY_PREFIX": "a\n"}, "'a\\n:1:ss'"),
        ({"KEY_PREFIX": "a\x7f"}, "up to 157 ASCII characters"),
        ({"KEY_PREFIX": "x" * 153}, f"makes '{'x' * 153}:1:ss'"),
        ({"VERSION": "1 0"}, "VERSION '1 0'"),
        ({"KEY_FUNCTION": of_no_text}, "makes b'ss' of 'ss'"),
        ({"KEY_FUNCTION": broken}, "LookupError: no tenant. Correct its KEY_FUNCTION"),
        ({"KEY_FUNCTION": "no.such.function"}, "No module named 'no'"),
        ({"KEY_FUNCTION": "plain"}, "doesn't look like a module path"),
        ({"KEY_FUNCTION": of_two_sites}, "always makes the same"),
    ],
)
def test_a_prefix_that_no_key_may_begin_with_is_an_error_and_refused(
    settings: Settings, given: dict[str, Any], words: str
) -> None:
    caches = by_alias(**given)
    (message,) = found(CACHES=caches)
    assert message.id == "sessionstores.E002"
    assert message.is_serious()
    assert words in message.msg
    assert "'default'" in message.msg
    settings.CACHES = caches
    # Settings can be read all the same.
    assert conf.get().idle_timeout == 300
    for blocking in (True, False):
        with pytest.raises(ImproperlyConfigured, match=re.escape(message.msg[:20])):
            get_backend(blocking=blocking)


def test_what_could_not_be_made_at_first_is_made_when_it_can_be(
    settings: Settings,
) -> None:
    is_ready = False

    def late(key: str, prefix: str, version: int) -> str:
        if not is_ready:
            raise RuntimeError("Apps are not loaded yet.")
        return f"late:{key}"

    settings.CACHES = by_alias(KEY_FUNCTION=late)
    assert conf.get().key_prefix == "ss"
    with pytest.raises(ImproperlyConfigured, match="not loaded yet"):
        get_backend(blocking=True)
    is_ready = True
    assert problem("default") is None
    get_backend(blocking=True)
    assert conf.get().key_prefix == "late:ss"


anything = st.text(max_size=200) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126), max_size=200
)


@given(anything, st.integers() | st.text(max_size=5), st.sampled_from([None, shout]))
def test_any_prefix_makes_keys_that_every_cache_takes_or_is_refused(
    prefix: str, version: object, function: Any
) -> None:
    caches = by_alias(KEY_PREFIX=prefix, VERSION=version, KEY_FUNCTION=function)
    with override_settings(CACHES=caches):
        reason = problem("default")
        made = conf.site_prefix("default", "ss") if reason is None else ""
    if reason is not None:
        assert "makes" in reason
        assert "KEY_PREFIX" in reason
        return
    id = "p" * 64
    longest = cache_key(made, "K7Q2ZD", "q", f"{id}:{'f' * 16}")
    for key in (longest, shared_key(made, "v", f"gone:K7Q2ZD:{id}")):
        assert len(key) <= 250
        assert re.fullmatch(r"[!-~]+", key)
    assert re.findall(r"\{(.*?)\}", longest) == ["K7Q2ZD"]


def test_another_cache_is_that_of_one_thread_for_a_while(settings: Settings) -> None:
    settings.CACHES = {**by_alias(), "old": {"BACKEND": LOCMEM, "KEY_PREFIX": "old"}}
    elsewhere: list[tuple[str, str]] = []

    def look() -> None:
        elsewhere.append((conf.get().cache, conf.get().key_prefix))

    def ask_a_thread() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    run(get_backend(blocking=True).open(StoreKey("K7Q2ZD", "alice"), {}))
    with conf.using_cache("old"), conf.using_cache("old"):
        look()
        ask_a_thread()
        look()
        assert run(get_backend(blocking=True).sessions()) == []
    look()
    with conf.using_cache(None), conf.using_cache("default"):
        look()
    assert elsewhere == [
        ("old", "old:1:ss"),
        ("default", "ss"),
        ("old", "old:1:ss"),
        ("default", "ss"),
        ("default", "ss"),
    ]
    assert conf.get() is conf.get()
    assert run(get_backend(blocking=True).sessions()) == ["K7Q2ZD"]


def test_settings_are_read_once_though_their_cache_is_missing(settings: Any) -> None:
    settings.SESSIONSTORES = {"CACHE": "elsewhere"}
    assert conf.get() is conf.get()
    settings.CACHES = {**settings.CACHES, "elsewhere": {"KEY_PREFIX": "a"}}
    assert conf.get().key_prefix == "a:1:ss"
