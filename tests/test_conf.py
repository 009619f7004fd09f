"""The `SESSIONSTORES` setting."""

from __future__ import annotations

import math
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from pytest_django import Settings

from sessionstores import conf

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
        (None, "must be a dict, not NoneType"),
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
        ({"REDIS": {"url": [SECRET]}}, "not this dict"),
        ({"REDIS": {"sentinels": SECRET, "service": "x"}}, "pairs of host and port"),
        ({"REDIS": {"sentinels": ["a:1"], "service": "x"}}, "pairs of host and port"),
        ({"REDIS": {1: SECRET}}, "not this dict"),
        ({"STATS_TOKEN": SECRET.encode()}, "must be None or text, not this bytes"),
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
