"""Pages served by workers that have replaced threads by greenlets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from sessionstores.backends import get_backend
from tests.caches import cache_on
from tests.conftest import IN_CI
from tests.servers import PATIENCE, Server, Valkey
from tests.sockets import CODE, Socket

SITE = "tests.integration.greenlet_site"


class Greenlets(Server):
    """A WSGI server whose worker serves each request in a greenlet."""

    # It imports Django and the site, half a second's work on an idle machine.
    patience = 60.0

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def command(self) -> list[str]:
        """See `Server.command`."""
        warned = [sys.executable, "-W", "ignore"]
        if self.kind == "eventlet":
            server = "tests.integration.eventlet_server"
            return [*warned, "-m", server, str(self.port)]
        address = f"127.0.0.1:{self.port}"
        worker = ["-k", "gevent", "-b", address, "--no-control-socket"]
        return [*warned, "-m", "gunicorn", *worker, f"{SITE}:application"]

    def get(self, path: str = "") -> str:
        """Return the text of a page; raises for any answer but a 200."""
        url = f"http://127.0.0.1:{self.port}/{path}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
        return text

    def ready(self) -> bool:
        """See `Server.ready`."""
        try:
            return self.get() == ""
        except OSError:
            return False


@pytest.fixture
def site(
    cache: str,
    request: pytest.FixtureRequest,
    settings: Settings,
    valkey: Valkey,
    tmp_path: Path,
) -> Iterator[dict[str, Any]]:
    """The settings of a site whose processes share their records and their layer."""
    layer = "channels_redis.pubsub.RedisPubSubChannelLayer"
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": layer, "CONFIG": {"hosts": [valkey.url]}}
    }
    # A tab hears of a change by a hint, or not in time.
    settings.SESSIONSTORES = {
        "AUTO_SWEEP": False,
        "HEARTBEAT": 300,
        "PRESENCE_LEASE": 900,
    }
    file = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}
    with cache_on(cache, request, settings) as found:
        yield {
            "SECRET_KEY": settings.SECRET_KEY,
            "USE_TZ": True,
            "ROOT_URLCONF": SITE,
            "ALLOWED_HOSTS": ["127.0.0.1"],
            "DATABASES": {"default": file},
            "INSTALLED_APPS": ["sessionstores", "tests.workshop"],
            "CHANNEL_LAYERS": settings.CHANNEL_LAYERS,
            "SESSIONSTORES": {"AUTO_SWEEP": False, "HEARTBEAT": 0.5},
            **found,
        }


@pytest.fixture
def greenlets(kind: str, site: dict[str, Any]) -> Iterator[Greenlets]:
    """A server of that site."""
    needed = ["gevent", "gunicorn"] if kind == "gevent" else ["eventlet"]
    for name in needed:
        if find_spec(name) is None:
            complain = pytest.fail if IN_CI else pytest.skip
            complain(f"{name} is not installed (pip install {name})")
    server = Greenlets(kind)
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    # gunicorn leaves the working directory alone.
    # Its resolver takes longer to import than all else.
    environment = {**os.environ, "EVENTLET_NO_GREENDNS": "yes"}
    environment["SITE"] = json.dumps(site, default=str)
    try:
        server.start(env={**environment, "PYTHONPATH": paths})
        yield server
    finally:
        server.stop()


async def whom_events_concern(code: str) -> set[str]:
    """Return the ids in a session's timeline."""
    info = await get_backend(blocking=False).session(code)
    return {event["who"] for event in info.events} if info else set()


@pytest.mark.parametrize(
    ("kind", "cache"),
    [
        ("gevent", "valkey"),
        ("gevent", "memcached"),
        ("gevent", "sqlite"),
        ("eventlet", "valkey"),
    ],
)
async def test_greenlets_use_stores_and_the_database_by_turns(
    greenlets: Greenlets,
) -> None:
    tab = await Socket().hello()

    def visit(number: int) -> str:
        who = "alice" if number == 0 else f"p{number % 4}"
        return greenlets.get(f"act/{CODE}/{who}/{number}/")

    with ThreadPoolExecutor(8) as pool:
        loop = asyncio.get_running_loop()
        visits = [loop.run_in_executor(pool, visit, number) for number in range(24)]
        assert {*await asyncio.gather(*visits)} == {"well"}
    frame = await tab.expect("patch")
    assert [op["value"] for op in frame["ops"]] == ["0"]
    await tab.drop()
    # What the site did is written beside its requests.
    async with asyncio.timeout(PATIENCE):
        while "p1" not in await whom_events_concern(CODE):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    assert greenlets.process is not None
    greenlets.signal(signal.SIGTERM if greenlets.kind == "gevent" else signal.SIGINT)
    await asyncio.to_thread(greenlets.process.wait, PATIENCE)
    assert "Traceback" not in greenlets.log()
    assert "cannot switch" not in greenlets.log()
    assert "A shared lock" not in greenlets.log()
