"""A site below a path of its host: pages and sockets alike, on real servers."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.demo_process import PATIENCE, ROOT, until
from tests.servers import free_port

SITE = """
from tests.settings import *

FORCE_SCRIPT_NAME = {forced!r}
ROOT_URLCONF = "sub_path_urls"
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
"""
URLS = """
from django.http import JsonResponse
from django.urls import path

from sessionstores import join, stores


def page(request):
    return JsonResponse(join(request, stores.create_session()).config())


urlpatterns = [path("page/", page)]
"""
SERVERS = {
    "uvicorn": ["-m", "uvicorn", "tests.asgi:application", "--lifespan", "off"],
    "daphne": ["-m", "daphne", "tests.asgi:application"],
    "granian": ["-m", "granian", "--interface", "asginl", "tests.asgi:application"],
}


@contextmanager
def served(
    folder: Path, server: str, *options: str, forced: str | None
) -> Iterator[str]:
    """Run the test site; yield the authority at which it answers."""
    (folder / "sub_path_settings.py").write_text(SITE.format(forced=forced))
    (folder / "sub_path_urls.py").write_text(URLS)
    authority = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, *SERVERS[server], "--port", authority[10:], *options],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "sub_path_settings",
            "PYTHONPATH": os.pathsep.join(map(os.fspath, (folder, ROOT))),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert process.poll() is None
        try:
            with urllib.request.urlopen(f"http://{authority}/", timeout=PATIENCE):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    try:
        until(answers, f"{server} to answer")
        yield authority
    finally:
        process.terminate()
        process.wait(PATIENCE)


# What the proxy before it hands on: the whole path, or what follows the sub-path.
KEPT, STRIPPED = "/app", ""
ROOT_PATH = ("--root-path", "/app")


@pytest.mark.parametrize(
    ("server", "options", "forced", "handed_on"),
    [
        ("uvicorn", (), None, ""),
        ("uvicorn", (), "/app", KEPT),
        ("uvicorn", (), "/app", STRIPPED),
        # It puts its root path before each path, so the proxy has to strip it.
        ("uvicorn", ROOT_PATH, None, STRIPPED),
        ("uvicorn", ROOT_PATH, "/app", STRIPPED),
        ("daphne", (), "/app", KEPT),
        ("daphne", (), "/app", STRIPPED),
        ("daphne", ROOT_PATH, None, KEPT),
        ("daphne", ROOT_PATH, None, STRIPPED),
        ("granian", (), "/app", KEPT),
        ("granian", ("--url-path-prefix", "/app"), None, KEPT),
        ("granian", ("--url-path-prefix", "/app"), None, STRIPPED),
    ],
)
def test_pages_and_sockets_are_found_below_a_path(
    tmp_path: Path,
    server: str,
    options: tuple[str, ...],
    forced: str | None,
    handed_on: str,
) -> None:
    with served(tmp_path, server, *options, forced=forced) as authority:
        page = f"http://{authority}{handed_on}/page/"
        with urllib.request.urlopen(page, timeout=PATIENCE) as response:
            config = response.read().decode()
        sub_path = "/app" if options or forced else ""
        assert f'"url": "{sub_path}/ws/sessionstores/"' in config
        with connect(
            f"ws://{authority}{handed_on}/ws/sessionstores/",
            origin=f"http://{authority}",  # type: ignore[arg-type]
            subprotocols=["sessionstores.v1"],  # type: ignore[list-item]
            proxy=None,
        ) as socket:
            assert socket.subprotocol == "sessionstores.v1"
