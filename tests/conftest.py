"""What every test can rely on: isolation, and a browser where one is needed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest
from django.conf import settings
from django.test import override_settings

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.monitoring.alerts import told
from sessionstores.sessions.autosweep import autosweep
from tests.servers import Memcached, Postgres, Server, Valkey, ValkeyCluster, missing

T = TypeVar("T", bound=Server)

TESTS = Path(__file__).parent
BROWSER_TESTS = TESTS / "browser"
# Files with few tests that take long: begun last, they would keep one process busy
# while the others have nothing left to do.
LONG = ("browser", "faults", "project", "management/test_sweepstores", "integration")
# A CI run must not pass by skipping.
IN_CI = os.environ.get("CI") == "true"

# How long one example takes says more about the machine than about the code.
hypothesis.settings.register_profile(
    "sessionstores", hypothesis.settings(), deadline=None
)
hypothesis.settings.load_profile("sessionstores")


# After the plugin that shuffles, whose order stays but for this.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(BROWSER_TESTS):
            item.add_marker(pytest.mark.browser)
    items.sort(key=lambda item: not item.nodeid.removeprefix("tests/").startswith(LONG))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("browser") and shutil.which("chromium") is None:
        complain = pytest.fail if IN_CI else pytest.skip
        complain("Needs chromium on the PATH (Debian: apt install chromium).")


@pytest.fixture(autouse=True)
def fresh_stores() -> Iterator[None]:
    """Give each test a backend and channel layers of its own, empty at first.

    Settings that change drop the ones before, and whatever the process remembers of
    them.
    """
    with override_settings(
        CACHES=settings.CACHES, CHANNEL_LAYERS=settings.CHANNEL_LAYERS
    ):
        run(get_backend(blocking=True).clear())
        told.clear()
        yield
        autosweep.close()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of the browser that browser tests drive."""
    path = shutil.which("chromium")
    assert path is not None
    return path


def started(server: type[T]) -> Iterator[T]:
    """Run a server; without its program, skip the test, but in a CI run fail it."""
    if lack := missing(server):
        complain = pytest.fail if IN_CI else pytest.skip
        complain(lack)
    running = server()
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A Valkey that all tests of this process share; none may stop it."""
    yield from started(Valkey)


@pytest.fixture(scope="session")
def redis_url(valkey: Valkey) -> str:
    """The server under test: `SESSIONSTORES_TEST_REDIS_URL` if given, else a Valkey.

    Tests own all of that database, and empty it.
    """
    return os.environ.get("SESSIONSTORES_TEST_REDIS_URL") or valkey.url


@pytest.fixture
def redis_site(redis_url: str) -> Iterator[None]:
    """Keep this process's records on that server, empty at first and in the end."""
    backend = "django.core.cache.backends.redis.RedisCache"
    cache = {"BACKEND": backend, "LOCATION": redis_url}
    with override_settings(CACHES={"default": cache}):
        run(get_backend(blocking=True).clear())
        yield
        run(get_backend(blocking=True).clear())


@pytest.fixture(scope="session")
def cluster() -> Iterator[ValkeyCluster]:
    """A cluster of three Valkeys that all tests of this process share."""
    running = ValkeyCluster()
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def memcached() -> Iterator[Memcached]:
    """A memcached that all tests of this process share; none may stop it."""
    yield from started(Memcached)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that all tests of this process share; none may stop it."""
    yield from started(Postgres)
