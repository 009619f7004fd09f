"""`manage.py sessionstores_doctor` on servers that are healthy, failing and stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from django.core.management import call_command
from django.test import override_settings

from sessionstores.backends.locmem import LocMemBackend
from sessionstores.backends.redis.server import RedisServer
from sessionstores.management.commands import sessionstores_doctor
from tests.servers import Valkey, free_port

ROOT = Path(__file__).parents[3]
LAYER = "channel layer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"

SITE = """
from tests.settings_deploy import *

CACHES = {{
    "default": {{
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "{url}",
        "OPTIONS": {{"serializer": "django.core.signing.JSONSerializer"}},
    }}
}}
CHANNEL_LAYERS = {{
    "default": {{
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {{"hosts": ["{url}"]}},
    }}
}}
"""


class GarblingLayer(InMemoryChannelLayer):
    async def receive(self, channel: str) -> dict[str, Any]:
        return {**await super().receive(channel), "body": "?"}


class ForgetfulBackend(LocMemBackend):
    async def swap_value(self, *args: Any, **kwargs: Any) -> bool:
        return True


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey as it should be, which a test may reconfigure, pause and stop."""
    server = Valkey(appendonly="yes")
    server.start()
    yield server
    server.stop()


def consult(*arguments: str, **settings: Any) -> tuple[int, list[str]]:
    """Return the exit code and the lines of a report under other settings."""
    out = StringIO()
    code = 0
    with override_settings(**settings):
        try:
            call_command("sessionstores_doctor", *arguments, stdout=out)
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue().splitlines()


def all_findings(**settings: Any) -> list[dict[str, str]]:
    code, (line,) = consult("--json", **settings)
    report = json.loads(line)
    assert report["ok"] is (code == 0)
    found: list[dict[str, str]] = report["findings"]
    return found


def findings(**settings: Any) -> list[tuple[str, str, str]]:
    """Return level, source and text of the findings about cache and layer."""
    return [
        (finding["level"], finding["source"], finding["text"])
        for finding in all_findings(**settings)
        if finding["source"] in ("cache", "channel layer")
    ]


def layer(backend: str, *hosts: object) -> dict[str, Any]:
    return {"default": {"BACKEND": backend, "CONFIG": {"hosts": list(hosts)}}}


def redis(url: str) -> dict[str, Any]:
    backend = "django.core.cache.backends.redis.RedisCache"
    return {"default": {"BACKEND": backend, "LOCATION": url}}


def closed_url() -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


def command(
    folder: Path, url: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the doctor as a process, on a site whose cache and layer are at `url`."""
    (folder / "site_settings.py").write_text(SITE.format(url=url))
    return subprocess.run(
        [sys.executable, "manage.py", "sessionstores_doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "site_settings",
            "PYTHONPATH": os.fspath(folder),
        },
    )


# The report


def test_site_in_one_process_is_well_but_not_for_deployment() -> None:
    code, lines = consult()
    assert code == 0
    assert [line.split()[:2] for line in lines if not line.startswith(" ")] == [
        ["note", "sessionstores.W004"],
        ["note", "sessionstores.W005"],
        ["ok", "cache"],
        ["ok", "channel"],
        ["ok", "WebSocket"],
        ["All", "is"],
    ]
    assert "seen by this process alone" in lines[4]
    assert "reaches this process alone" in lines[5]
    assert lines[-1] == "All is well, 2 notes."
    code, lines = consult("--deploy")
    assert code == 1
    assert lines[0].startswith("warning  sessionstores.W004")
    assert lines[-1] == "2 warnings."


def test_columns_are_aligned_and_hints_stand_below_their_text() -> None:
    _, lines = consult()
    column = lines[0].index("The cache")
    assert lines[1][:column].isspace()
    assert lines[1][column:].startswith("Set SESSIONSTORES")
    assert lines[4][column:].startswith("LocMemBackend")


def test_silenced_check_is_not_reported() -> None:
    silenced = ["sessionstores.W004", "sessionstores.W005"]
    code, lines = consult("--deploy", SILENCED_SYSTEM_CHECKS=silenced)
    assert code == 0
    assert lines[0].split()[:3] == ["ok", "settings", "The"]
    assert lines[-1] == "All is well."


@pytest.mark.parametrize(
    ("settings", "id"),
    [
        ({"SESSIONSTORES": {"IDLE_TIMEOU": 5}}, "E001"),
        ({"SESSIONSTORES": {"CACHE": "elsewhere"}}, "E002"),
    ],
)
def test_settings_that_cannot_be_used_are_errors_and_no_cache_is_asked(
    settings: dict[str, Any], id: str
) -> None:
    code, lines = consult(**settings)
    assert code == 1
    assert lines[0].startswith(f"error    sessionstores.{id}")
    assert lines[-1].startswith("1 error")
    assert [(level, source) for level, source, _ in findings(**settings)] == [
        ("note", "cache"),
        ("ok", "channel layer"),
    ]


@pytest.mark.parametrize("quietly", [["--quiet"], ["-v", "0"]])
def test_quiet_report_tells_of_trouble_only(quietly: list[str]) -> None:
    assert consult(*quietly) == (0, [])
    assert consult(*quietly, "--json") == (0, ['{"ok": true, "findings": []}'])
    code, lines = consult(*quietly, "--deploy")
    assert code == 1
    shown = [line.split()[1] for line in lines if line.startswith("warning")]
    assert shown == ["sessionstores.W004", "sessionstores.W005"]
    assert lines[-1] == "2 warnings."
    assert len(lines) == 5


def test_report_is_coloured_for_terminals_only() -> None:
    assert "\x1b[" not in "".join(consult()[1])
    assert "\x1b[" in "".join(consult("--force-color")[1])


def test_json_is_one_object_with_each_finding() -> None:
    code, lines = consult("--json")
    assert code == 0
    report = json.loads("".join(lines))
    assert report["ok"] is True
    assert [finding["level"] for finding in report["findings"]] == [
        "note",
        "note",
        "ok",
        "ok",
        "ok",
    ]
    for finding in report["findings"]:
        assert list(finding) == ["level", "text", "hint", "source"]
        assert bool(finding["hint"]) is (finding["level"] != "ok")


# The cache


def test_what_the_server_reports_about_itself_is_shown(own_valkey: Valkey) -> None:
    with own_valkey.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    found = findings(CACHES=redis(own_valkey.url))
    assert found[0][:2] == ("ok", "cache")
    assert "RedisBackend wrote and read" in found[0][2]
    assert "seen by all processes" in found[0][2]
    (warning,) = [text for level, _, text in found if level == "warning"]
    assert "allkeys-lru" in warning


def test_server_that_answers_nothing_is_an_error(own_valkey: Valkey) -> None:
    with own_valkey.paused():
        found = findings(CACHES=redis(own_valkey.url))
    assert "written" not in found[0][2]
    assert [entry[:2] for entry in found] == [
        ("error", "cache"),
        ("ok", "channel layer"),
    ]


@pytest.mark.parametrize(("slow", "level"), [(1, "ok"), (1_000, "warning")])
def test_a_slow_server_is_a_warning_and_a_busy_moment_is_not(
    slow: int, level: str, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def far(self: RedisServer) -> float:
        nonlocal asked
        asked += 1
        if asked <= slow:
            time.sleep(0.011)  # noqa: ASYNC251 - it blocks, as a busy process does
        return 0.0

    monkeypatch.setattr(RedisServer, "now", far)
    found = findings(CACHES=redis(own_valkey.url))
    assert [entry[0] for entry in found if "ound trip" in entry[2]] == [level]


def test_full_server_is_an_error_with_a_hint(own_valkey: Valkey) -> None:
    with own_valkey.client() as client:
        info: Any = client.info("memory")
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", info["used_memory"] - 100_000)
    found = findings(CACHES=redis(own_valkey.url))
    assert found[0][:2] == ("error", "cache")
    assert "raise maxmemory" in found[0][2]
    # It says what it is all the same.
    assert any("Valkey" in text and level == "ok" for level, _, text in found)


def test_round_trip_leaves_nothing_that_stays(own_valkey: Valkey) -> None:
    findings(CACHES=redis(own_valkey.url))
    most = sessionstores_doctor.VALUE_SECONDS * 1000
    with own_valkey.client() as client:
        keys: Any = client.keys("*")
        assert keys
        assert all(0 < client.pttl(key) <= most for key in keys)


def test_cache_that_keeps_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sessionstores_doctor,
        "get_backend",
        lambda *, blocking: ForgetfulBackend("default", blocking=blocking),
    )
    level, source, text = findings()[0]
    assert (level, source) == ("error", "cache")
    assert "updates would be lost" in text


# The channel layer


@pytest.mark.parametrize("backend", [PUBSUB, CORE])
def test_layer_that_processes_share_delivers(redis_url: str, backend: str) -> None:
    level, source, text = findings(CHANNEL_LAYERS=layer(backend, redis_url))[-1]
    assert (level, source) == ("ok", "channel layer")
    assert "it reaches all processes" in text


@pytest.mark.parametrize("backend", [PUBSUB, CORE])
def test_layer_whose_server_is_stopped_is_an_error(backend: str) -> None:
    url = closed_url()
    level, source, text = findings(CHANNEL_LAYERS=layer(backend, url))[-1]
    assert (level, source) == ("error", "channel layer")
    assert "does not deliver" in text


@pytest.mark.parametrize("backend", [PUBSUB, CORE])
def test_layer_that_answers_nothing_is_an_error(
    own_valkey: Valkey, backend: str
) -> None:
    with own_valkey.paused():
        level, source, text = findings(CHANNEL_LAYERS=layer(backend, own_valkey.url))[
            -1
        ]
    assert (level, source) == ("error", "channel layer")
    assert "no answer within 1 s" in text


def test_layer_that_cannot_be_made_is_an_error() -> None:
    layers = {"default": {"BACKEND": "no.such.Layer"}}
    (row,) = [r for r in all_findings(CHANNEL_LAYERS=layers) if r["source"] == LAYER]
    assert row["level"] == "error"
    assert "no.such" in row["hint"]


def test_layer_that_changes_messages_is_an_error() -> None:
    garbling = {"default": {"BACKEND": f"{__name__}.GarblingLayer"}}
    level, _, text = findings(CHANNEL_LAYERS=garbling)[-1]
    assert level == "error"
    assert "arrived as" in text


def test_site_without_a_layer_gets_one_warning() -> None:
    code, lines = consult(CHANNEL_LAYERS={})
    assert code == 1
    assert lines[0].startswith("warning  sessionstores.W002")
    assert [source for _, source, _ in findings(CHANNEL_LAYERS={})] == ["cache"]


# As a process


def test_recommended_site_is_well(own_valkey: Valkey, tmp_path: Path) -> None:
    finished = command(tmp_path, own_valkey.url, "--deploy")
    assert (finished.returncode, finished.stderr) == (0, ""), finished.stdout
    assert finished.stdout.splitlines()[-1] == "All is well."


def test_stopped_server_is_two_errors_and_no_traceback(tmp_path: Path) -> None:
    finished = command(tmp_path, closed_url(), "--deploy")
    assert (finished.returncode, finished.stderr) == (1, "")
    lines = finished.stdout.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("error")] == [
        ["error", "cache"],
        ["error", "channel"],
    ]
    assert lines[-1] == "2 errors."


def test_unknown_argument_ends_with_2(tmp_path: Path) -> None:
    finished = command(tmp_path, closed_url(), "--cure")
    assert finished.returncode == 2
    assert "--cure" in finished.stderr


# The WebSocket


def test_a_site_without_the_route_is_not_well() -> None:
    found = all_findings(ASGI_APPLICATION="django.core.asgi.get_asgi_application")
    assert [each["level"] for each in found if each["source"] == "WebSocket"] == [
        "error"
    ]
    # W001 says it already.
    found = all_findings(ASGI_APPLICATION=None)
    assert "WebSocket" not in [each["source"] for each in found]
