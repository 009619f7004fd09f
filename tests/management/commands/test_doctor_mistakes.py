"""`manage.py sessionstores_doctor` on mistakes: it names each, and the way out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from tests.backends.redis.test_client import Sentinel
from tests.servers import PATIENCE, Memcached, Server, Valkey, free_port

CACHE = "django.core.cache.backends."
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
# Of a server that listens, and of the whole report.
RUNNING = "Is the server running"
PASSWORD = "hunter2"


class Servers(NamedTuple):
    """Ports at which something listens, and one at which nothing does."""

    plain: int
    locked: int
    clustered: int
    sentinel: int
    locked_sentinel: int
    memcached: int
    nothing: int


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    plain, locked = Valkey(), Valkey()
    locked_sentinel = Sentinel(plain.port)
    with locked_sentinel.configuration.open("a") as file:
        file.write(f"requirepass {PASSWORD}\n")
    running: list[Server] = [
        plain,
        locked,
        Valkey(**{"cluster-enabled": "yes"}),
        Sentinel(plain.port),
        locked_sentinel,
        Memcached(),
    ]
    with ExitStack() as stack:
        for server in running:
            stack.callback(server.stop)
            server.start()
        with locked.client() as client:
            client.config_set("requirepass", PASSWORD)
        yield Servers(*(server.port for server in running), free_port())


def rows(source: str, **settings: Any) -> list[dict[str, str]]:
    """Return the rows of the report about one thing under other settings."""
    out = StringIO()
    with override_settings(**settings), pytest.raises(SystemExit):
        call_command("sessionstores_doctor", "--json", stdout=out)
    found = json.loads(out.getvalue())["findings"]
    return [row for row in found if row["source"] == source]


def row_that_says(said: str, source: str, **settings: Any) -> dict[str, str]:
    """Return the only row about one thing, when a busy machine has answered in time.

    Servers have a second for that, and sentinels a share of it.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        (row,) = rows(source, **settings)
        if said in row["text"] or time.monotonic() > deadline:
            return row


class Mistake(NamedTuple):
    """`SESSIONSTORES["REDIS"]`, or an alias; and what is said of it."""

    given: dict[str, Any]
    said: str
    hint: str


def redis(said: str, hint: str, **given: Any) -> Mistake:
    return Mistake({"SESSIONSTORES": {"REDIS": given}}, said, hint)


def alias(said: str, hint: str, backend: str, place: str, **options: Any) -> Mistake:
    cache = {"BACKEND": CACHE + backend, "LOCATION": place, "OPTIONS": options}
    return Mistake({"CACHES": {"default": cache}}, said, hint)


HERE = "It is the one in SESSIONSTORES['REDIS']."
THERE = "It is the one in CACHES['default']."
ASKED = "Is the server running, at the address in SESSIONSTORES['REDIS']?"
SENTINEL_PASSWORD = "The sentinels want a password of their own"
CREDENTIALS = "Give the right username and password in the URL or the OPTIONS of CACHES"

CACHES = {
    "nobody": redis("cannot be reached", ASKED, url="redis://127.0.0.1:{nothing}"),
    "password": redis(
        CREDENTIALS, HERE, url="redis://127.0.0.1:{locked}", password="wrong"
    ),
    "no password": alias(
        CREDENTIALS, THERE, "redis.RedisCache", "redis://127.0.0.1:{locked}"
    ),
    "database": alias(
        "correct the number after the / in the URL",
        THERE,
        "redis.RedisCache",
        "redis://127.0.0.1:{plain}/99",
    ),
    "no cluster": redis(
        "It is no cluster: in SESSIONSTORES['REDIS'], give 'url'",
        HERE,
        cluster="redis://127.0.0.1:{plain}",
    ),
    "database of a cluster": redis(
        "correct the number after the /", HERE, url="redis://127.0.0.1:{clustered}/99"
    ),
    "no sentinel": redis(
        "It is no sentinel", HERE, sentinels=[("127.0.0.1", "{plain}")], service="main"
    ),
    "other service": redis(
        "No master found for 'other'",
        ASKED,
        sentinels=[("127.0.0.1", "{sentinel}")],
        service="other",
    ),
    "sentinels' password": redis(
        SENTINEL_PASSWORD,
        HERE,
        sentinels=[("127.0.0.1", "{locked_sentinel}")],
        service="main",
    ),
    "memcached": redis(
        "Is that the port of a Redis or Valkey",
        HERE,
        url="redis://127.0.0.1:{memcached}",
    ),
    "TLS": redis(
        "Does it speak TLS, as rediss:// says", ASKED, url="rediss://127.0.0.1:{plain}"
    ),
    "no memcached": alias(
        "memcached at 127.0.0.1:{nothing} failed",
        "Is the server running, at the address in CACHES['default']?",
        "memcached.PyMemcacheCache",
        "127.0.0.1:{nothing}",
    ),
}


def filled(value: Any, servers: Servers) -> Any:
    """Return settings with the ports of the servers."""
    if isinstance(value, dict):
        return {name: filled(each, servers) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [filled(each, servers) for each in value]
    return value.format(**servers._asdict()) if isinstance(value, str) else value


@pytest.mark.parametrize("name", CACHES)
def test_a_server_that_is_not_what_the_settings_say_is_told_apart(
    servers: Servers, name: str
) -> None:
    given, said, hint = filled(CACHES[name], servers)
    row = row_that_says(said, "cache", **given)
    assert row["level"] == "error"
    assert said in row["text"]
    assert row["hint"] == hint
    assert PASSWORD not in row["text"]


TABLE = """
from tests.settings import *

DATABASES["default"]["NAME"] = {name!r}
BACKEND = "django.core.cache.backends.db.DatabaseCache"
CACHES = {{"default": {{"BACKEND": BACKEND, "LOCATION": "no_such_table"}}}}
"""


def test_a_missing_table_is_one_error(tmp_path: Path) -> None:
    text = TABLE.format(name=os.fspath(tmp_path / "cache.sqlite3"))
    (tmp_path / "table_settings.py").write_text(text)
    finished = subprocess.run(
        [sys.executable, "manage.py", "sessionstores_doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "table_settings",
            "PYTHONPATH": os.fspath(tmp_path),
        },
    )
    found = json.loads(finished.stdout)["findings"]
    (row,) = [row for row in found if row["level"] == "error"]
    assert "manage.py createcachetable makes it" in row["text"]
    assert row["hint"].startswith("It is the one in DATABASES")


def on_redis(said: str, hint: str, *hosts: object, backend: str = PUBSUB) -> Mistake:
    config = {"hosts": list(hosts)} if hosts else {}
    return Mistake({"BACKEND": backend, "CONFIG": config}, said, hint)


def layer(said: str, hint: str, **given: Any) -> Mistake:
    return Mistake(given, said, hint)


CONFIG = "Correct the BACKEND of CHANNEL_LAYERS['default'], or its CONFIG"
LAYERS = {
    "backend": layer("can be made", "'no.such.Layer'", BACKEND="no.such.Layer"),
    "empty": layer("can be made", "must be a dict with a 'BACKEND'"),
    "key": layer(
        "unexpected keyword argument 'host'",
        CONFIG,
        BACKEND="channels.layers.InMemoryChannelLayer",
        CONFIG={"host": "x"},
    ),
    "hosts": layer("can be made", "a list", BACKEND=CORE, CONFIG={"hosts": "redis:"}),
    "no URL": on_redis("Redis URL must specify", CONFIG, "127.0.0.1:1", backend=CORE),
    "password": on_redis(
        "invalid username-password pair",
        "Its server was reached. Give the right username and password",
        f"redis://:{PASSWORD}x@127.0.0.1:{{locked}}",
    ),
    "no password": on_redis(
        "uthenticat",
        "Its server was reached. Give the right username and password",
        "redis://127.0.0.1:{locked}",
        backend=CORE,
    ),
    "database": on_redis(
        "DB index is out of range",
        "Its server was reached, and refused that",
        "redis://127.0.0.1:{plain}/99",
    ),
    "nobody": on_redis(
        "connecting to 127.0.0.1",
        "Is its server running, at the address in CHANNEL_LAYERS?",
        "redis://127.0.0.1:{nothing}",
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_wrong_with_a_layer_is_told_apart(servers: Servers, name: str) -> None:
    given, said, hint = filled(LAYERS[name], servers)
    row = row_that_says(said, "channel layer", CHANNEL_LAYERS={"default": given})
    assert row["level"] == "error"
    assert said in row["text"]
    assert hint in row["hint"]
    assert PASSWORD not in row["text"]


@pytest.mark.parametrize(
    ("given", "sources"),
    [
        ({"SESSIONSTORES": {"CACH": "x"}}, ["cache", "WebSocket"]),
        ({"SESSIONSTORES": {"CACHE": "x"}}, ["cache"]),
        ({"SESSIONSTORES": {"REDIS": {"url": "x"}}}, ["cache"]),
    ],
)
def test_what_cannot_be_tried_is_said_to_be_left_out(
    given: dict[str, Any], sources: list[str]
) -> None:
    skipped = [row for source in sources for row in rows(source, **given)]
    assert [row["level"] for row in skipped] == ["note"] * len(sources)
    for row in skipped:
        assert row["text"] == "Not tried: correct the settings first."
        assert row["hint"]


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"ASGI_APPLICATION": "tests.broken.application"}, "No module named 'tests.br"),
        ({"MIDDLEWARE": ["tests.midleware.Own"]}, "No module named 'tests.midleware'"),
    ],
)
def test_why_the_application_cannot_be_loaded_is_said(
    given: dict[str, Any], cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is loaded once in a process.
    monkeypatch.delitem(sys.modules, "tests.asgi", raising=False)
    (row,) = rows("WebSocket", **given)
    assert "cannot be loaded" in row["text"]
    assert f"(ModuleNotFoundError: {cause}" in row["text"]


@pytest.mark.parametrize(
    "command",
    [
        ("storestats", "--session", "K7Q2ZD"),
        ("storestats", "--js"),
        ("sweepstores", "--dry"),
        ("sweepstores", "--orphans"),
        ("sessionstores_doctor", "--dep"),
        ("sessionstores_types", "--out", "states.ts"),
    ],
)
def test_an_abbreviation_is_no_option_of_any_command(command: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=f"unrecognized arguments: {command[1]}"):
        call_command(*command)


def test_options_of_all_commands_are_taken_by_their_names_from_code() -> None:
    out = StringIO()
    call_command("storestats", json=True, sessions=3, stdout=out, stderr=StringIO())
    assert json.loads(out.getvalue())["sessions"] == 0
    out = StringIO()
    call_command("sessionstores_doctor", quiet=True, verbosity=1, stdout=out)
    assert out.getvalue() == ""


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--orphans-only", "--idle", "5"], "--idle has no effect with --orphans-only"),
        (["--orphans-only"], ""),
        (["--idle", "5"], ""),
    ],
)
def test_an_option_without_effect_is_said_to_have_none(
    servers: Servers, options: list[str], told: str
) -> None:
    errors = StringIO()
    cache = {"BACKEND": f"{CACHE}redis.RedisCache", "LOCATION": "redis://127.0.0.1:"}
    cache["LOCATION"] += str(servers.plain)
    with override_settings(CACHES={"default": cache}):
        call_command("sweepstores", *options, stdout=StringIO(), stderr=errors)
    assert errors.getvalue().strip().rstrip(".") == told
