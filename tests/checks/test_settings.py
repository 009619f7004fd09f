"""Each system check reports what it should, with a hint."""

from __future__ import annotations

import math
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.management import call_command
from django.db import OperationalError
from django.test import override_settings

import sessionstores
from sessionstores.middleware import ParticipantMiddleware
from sessionstores.participants.participant import Participant
from sessionstores.state.declaration import State, action, field, registry
from tests.checking import found, ids, run

SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "sessionstores.middleware.ParticipantMiddleware"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"

PACKAGE = Path(sessionstores.__file__).parent
PAGE = PACKAGE.parent / "docs" / "checks.md"


class SitesOwnMiddleware(ParticipantMiddleware):
    pass


def test_site_that_is_right_has_no_findings() -> None:
    assert run() == []
    call_command("check", "--fail-level", "WARNING")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"IDLE_TIMEOU": 5}, "Did you mean 'IDLE_TIMEOUT'"),
        ({"IDLE_TIMEOUT": 0}, "IDLE_TIMEOUT"),
        ({"RATE_LIMIT": "fast"}, "RATE_LIMIT"),
        ({"KEY_PREFIX": "a b"}, "KEY_PREFIX"),
        ({"CACHE": ["default"]}, "CACHE"),
        ({"REDIS": "redis://cache"}, "REDIS"),
        ({"HEARTBEAT": float("nan")}, "HEARTBEAT"),
        ([], "must be a dict, not list."),
        (None, "must be a dict, not None."),
    ],
)
def test_unusable_settings_are_an_error(given: object, said: str) -> None:
    # Deployment checks as well: none may fail over settings that E001 refuses.
    messages = found(deploy=True, SESSIONSTORES=given)
    first = messages[0]
    assert first.id == "sessionstores.E001"
    assert first.is_serious()
    assert said in first.msg
    # Where there are no keys, none is to be left out.
    assert ("leave the key out" in str(first.hint)) is isinstance(given, dict)


def test_each_unusable_setting_is_named() -> None:
    assert ids(SESSIONSTORES={"A": 1, "B": 2, "HEARTBEAT": -1}) == ["E001"] * 3


@pytest.mark.parametrize(
    "backend",
    [
        "django.core.cache.backends.dummy.DummyCache",
        "django.core.cache.backends.filebased.FileBasedCache",
        "no.such.Cache",
    ],
)
def test_cache_that_cannot_hold_records_is_an_error(backend: str) -> None:
    messages = found(
        deploy=True, CACHES={"default": {"BACKEND": backend, "LOCATION": "x"}}
    )
    assert messages[0].id == "sessionstores.E002"
    assert messages[0].is_serious()
    assert "sessionstores.W004" not in [message.id for message in messages]


def test_alias_that_does_not_exist_is_an_error() -> None:
    assert ids(SESSIONSTORES={"CACHE": "elsewhere"}) == ["E002"]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"CACHE": "elsewhere"}, "SESSIONSTORES['CACHE'] names the alias 'elsewhere'"),
        ({"REDIS": {"url": "cache"}}, "SESSIONSTORES['REDIS'] says which server"),
        ({}, "Records are kept in CACHES['default'] unless SESSIONSTORES['CACHE']"),
    ],
)
def test_error_of_the_cache_hints_at_the_setting_that_leads_there(
    given: dict[str, Any], hint: str
) -> None:
    dummy = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    (message,) = found(SESSIONSTORES=given, CACHES=dummy)
    assert message.id == "sessionstores.E002"
    assert str(message.hint).startswith(hint)
    elsewhere = str(message.hint).replace(hint, "")
    assert ("REDIS" in f"{hint}{elsewhere}") is ("REDIS" in given)


def test_two_states_of_one_name_are_an_error_that_names_both() -> None:
    with registry.isolated():

        class One(State, name="twice"):
            pass

        class Two(State, name="twice"):
            pass

        (message,) = found()
    assert message.id == "sessionstores.E003"
    assert message.is_serious()
    assert "'twice'" in message.msg
    assert "One" in message.msg
    assert "Two" in message.msg


def test_annotation_that_does_not_resolve_is_an_error() -> None:
    with registry.isolated():

        class Broken(State):
            @action
            def move(self, card: NoSuchType) -> None:  # type: ignore[name-defined] # noqa: F821
                pass

        (message,) = found()
    assert message.id == "sessionstores.E004"
    assert "NoSuchType" in message.msg


@pytest.mark.parametrize(
    ("hint", "default", "text"),
    [
        (int, "a", ".part: expected int, got str. It is the default"),
        (list[int], [1, None], ".part[1]: expected int, got None. It is the default"),
        (Any, object(), ".part: object is not a JSON value"),
        (float, math.nan, ".part: JSON has no nan. It is the default: give another."),
        (
            int,
            2**60,
            ".part: an integer beyond ±(2**53 - 1), which browsers round. It is the "
            "default: give another.",
        ),
        (
            int,
            None,
            ".part: expected int, got None. It is the default. Write int | None, or "
            "give another.",
        ),
        (
            list[str],
            5,
            ".part: expected list, got int. It is the default, which needs to be of "
            "that type.",
        ),
        (dict[str, int], {"constructor": 1}, ".part.constructor: browsers refuse"),
        (dict[tuple[int, int], int], {}, ".part: a key of type tuple has no JSON"),
    ],
)
def test_a_field_that_cannot_be_stored_is_an_error(
    hint: Any, default: Any, text: str
) -> None:
    with registry.isolated():
        type(State)(
            "Broken",
            (State,),
            {
                "__annotations__": {"good": int, "part": hint},
                "__module__": __name__,
                "good": 1,
                "part": field(default_factory=lambda: default),
            },
        )
        (message,) = found()
    assert message.id == "sessionstores.E004"
    assert message.msg.startswith(f"{__name__}.Broken{text}")
    assert message.hint


def test_a_state_of_which_none_can_be_made_is_an_error() -> None:
    with registry.isolated():

        class Broken(State):
            part: int = field(default_factory=lambda: int("x"))

        (message,) = found()
    assert message.id == "sessionstores.E004"
    assert "Broken: a fresh one cannot be made: ValueError: invalid" in message.msg
    # Not that of a type that is wrong.
    assert "annotation" not in str(message.hint)


def test_a_mistake_in_a_class_body_is_an_error_with_a_hint_of_its_own() -> None:
    with registry.isolated():

        class Broken(State, version=2):
            deck = field(default_factory=list[str])

            @classmethod
            def migrate(cls, data: Any) -> Any:  # type: ignore[override]
                return data

        messages = found()
    assert {message.id for message in messages} == {"sessionstores.E004"}
    texts = [message.msg.partition("<locals>.")[2] for message in messages]
    assert texts[0].startswith("Broken.migrate: it is called as migrate(data, from_v")
    assert texts[1].startswith("Broken.deck: it has no annotation")
    assert all("@action" in str(message.hint) for message in messages)


def test_a_default_from_a_table_that_is_not_migrated_yet_is_no_error() -> None:
    def ask() -> int:
        raise OperationalError("no such table: workshop_card")

    with registry.isolated():

        class Broken(State):
            part: int = field(default_factory=ask)

        assert found() == []


def test_participant_that_clients_could_send_is_an_error() -> None:
    with registry.isolated():

        class Broken(State):
            @action
            def move(self, by: Participant) -> None:
                pass

        assert ids() == ["E004"]


@pytest.mark.parametrize("value", [None, ""])
def test_missing_asgi_application_is_a_warning(value: object) -> None:
    (message,) = found(ASGI_APPLICATION=value)
    assert message.id == "sessionstores.W001"
    assert message.level == checks.WARNING


def test_missing_asgi_setting_is_a_warning(settings: Any) -> None:
    del settings.ASGI_APPLICATION
    assert ids() == ["W001"]


@pytest.mark.parametrize("layers", [{}, {"other": {"BACKEND": PUBSUB}}])
def test_missing_channel_layer_is_a_warning(layers: dict[str, Any]) -> None:
    (message,) = found(CHANNEL_LAYERS=layers, deploy=False)
    assert message.id == "sessionstores.W002"
    assert message.level == checks.WARNING
    assert ids(CHANNEL_LAYERS=layers, deploy=True) == ["W002", "W004"]


def test_missing_channel_layers_setting_is_a_warning(settings: Any) -> None:
    del settings.CHANNEL_LAYERS
    assert ids() == ["W002"]


def test_a_site_of_plain_pages_is_told_nothing_of_layers(settings: Any) -> None:
    del settings.ASGI_APPLICATION, settings.CHANNEL_LAYERS
    plain = [app for app in settings.INSTALLED_APPS if app != "channels"]
    assert ids(INSTALLED_APPS=plain, DEBUG=True) == ["W001"]
    # With Channels, it is thought to be on its way.
    assert sorted(map(str, ids(DEBUG=True))) == ["W001", "W002", "W019"]


DAPHNE = """
from tests.settings import *

DEBUG = True
INSTALLED_APPS = {first} + INSTALLED_APPS
"""


@pytest.mark.parametrize(("first", "warned"), [([], True), (["daphne"], False)])
def test_a_runserver_that_serves_no_websockets_is_a_warning(
    tmp_path: Path, first: list[str], warned: bool
) -> None:
    # In a process of its own: daphne's reactor and its check would stay in this one.
    (tmp_path / "daphne_settings.py").write_text(DAPHNE.format(first=first))
    checked = subprocess.run(
        [sys.executable, "manage.py", "check", "--fail-level", "WARNING"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PACKAGE.parent,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "daphne_settings",
            "PYTHONPATH": os.fspath(tmp_path),
        },
    )
    assert ("(sessionstores.W019)" in checked.stderr) is warned, checked.stderr
    assert (checked.returncode != 0) is warned
    # Where it is no server of development, nobody is told.
    assert ids(DEBUG=False) == []


@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        ([SESSION, OURS], []),
        ([OURS, SESSION], []),
        ([OURS], ["W003"]),
        ([f"{__name__}.SitesOwnMiddleware", SESSION], []),
        ([f"{__name__}.SitesOwnMiddleware"], ["W003"]),
        (["no.such.Middleware", "tests.checking.run", SESSION, OURS], []),
        ([SESSION], ["W020"]),
        ([], ["W020"]),
    ],
)
def test_middleware_that_is_missing_or_finds_no_session_is_a_warning(
    middleware: list[str], expected: list[str]
) -> None:
    assert ids(MIDDLEWARE=middleware) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"HEARTBEAT": 10, "PRESENCE_LEASE": 20}, []),
        ({"HEARTBEAT": 20}, ["W006"]),
        ({"PRESENCE_LEASE": 5}, ["W006"]),
        ({"HEARTBEAT": 10, "IDLE_TIMEOUT": 20}, []),
        ({"HEARTBEAT": 10, "IDLE_TIMEOUT": 19}, ["W017"]),
        ({"IDLE_TIMEOUT": 2}, ["W017"]),
        ({"MAX_FRAME_BYTES": 1_048_576}, []),
        ({"MAX_FRAME_BYTES": 1_048_577}, ["W007"]),
    ],
)
def test_limits_that_do_not_fit_are_warnings(
    given: dict[str, Any], expected: list[str]
) -> None:
    assert ids(SESSIONSTORES=given) == expected


@pytest.mark.parametrize(
    ("hosts", "warned"), [(["workshop.example"], False), ([".example", "*"], True)]
)
def test_hosts_that_let_every_origin_in_are_a_warning_for_deployment(
    hosts: list[str], warned: bool
) -> None:
    assert ("W016" in ids(deploy=True, ALLOWED_HOSTS=hosts)) is warned
    assert ids(ALLOWED_HOSTS=hosts) == []


def test_every_check_is_documented_and_nothing_else_is() -> None:
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    checked = re.findall(r'id="sessionstores\.([EW]\d{3})"', source)
    documented = re.findall(r"^## ([EW]\d{3})\b", PAGE.read_text(), re.MULTILINE)
    assert len(checked) == len(set(checked))
    assert documented == sorted(checked)


def test_checks_open_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: object) -> None:
        raise AssertionError("A check wants to connect.")

    monkeypatch.setattr(socket.socket, "connect", connect)
    layers = {
        "default": {"BACKEND": PUBSUB, "CONFIG": {"hosts": ["redis://x.invalid"]}}
    }
    redis = "django.core.cache.backends.redis.RedisCache"
    caches = {"default": {"BACKEND": redis, "LOCATION": "redis://x.invalid"}}
    run(deploy=True)
    with override_settings(CHANNEL_LAYERS=layers, CACHES=caches):
        run(deploy=True)
