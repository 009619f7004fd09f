"""What every test can rely on: isolation, and a browser where one is needed."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
from django.conf import settings
from django.test import override_settings

from sessionstores import conf
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.monitoring import alerts
from tests.servers import (
    Memcached,
    Nginx,
    Postgres,
    Server,
    Valkey,
    ValkeyCluster,
    missing,
)
from tests.skips import pytest_terminal_summary as pytest_terminal_summary

T = TypeVar("T", bound=Server)

TESTS = Path(__file__).parent
BROWSER_TESTS = TESTS / "browser"
# Files that take over twenty seconds, then those over five: begun last, they would keep
# one process busy while the others have nothing left to do.
LONGEST = (
    "browser/test_admin",
    "browser/test_workshop",
    "backends/redis",
    "backends/test_database",
    "backends/test_memcached",
    "faults/test_crowd",
    "faults/test_servers",
    "integration/test_nginx",
)
LONG = (
    "browser",
    "faults",
    "project",
    "management",
    "integration",
    "testing/test_plugin",
)
# One for each test that asks for one; a server makes them as they are used.
DATABASES = 10_000
unused_databases = itertools.count(1)
# A CI run must not pass by skipping.
IN_CI = os.environ.get("CI") == "true"

# How long one example takes says more about the machine than about the code.
hypothesis.settings.register_profile(
    "sessionstores", hypothesis.settings(), deadline=None
)
# pytest --hypothesis-profile thorough: looks for what a hundred examples may not show.
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings(), deadline=None, max_examples=3_000
)
hypothesis.settings.load_profile("sessionstores")


# After the plugin that shuffles, whose order stays but for this.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(BROWSER_TESTS):
            item.add_marker(pytest.mark.browser)
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    name = item.nodeid.removeprefix("tests/")
    return 0 if name.startswith(LONGEST) else 1 if name.startswith(LONG) else 2


def pytest_collection_finish() -> None:
    """Leave all that the tests are made of out of garbage collections.

    One that goes through seven thousand of them stops the threads of this process for
    so long that servers seem to be silent to them, on a machine that is busy.
    """
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("browser") and shutil.which("chromium") is None:
        complain = pytest.fail if IN_CI else pytest.skip
        complain("chromium is not installed (Debian: apt install chromium)")


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
        yield


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let operations count as slow only where a test sets its own SLOW_OPERATION_MS.

    On a busy machine any operation may be, and tests that list warnings would see it.
    """
    warn_slow = alerts.warn_slow

    async def warn_if_set(*args: Any) -> None:
        if conf.get().slow_operation_ms != conf.Conf().slow_operation_ms:
            await warn_slow(*args)

    monkeypatch.setattr(alerts, "warn_slow", warn_if_set)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of the browser that browser tests drive."""
    path = shutil.which("chromium")
    assert path is not None
    return path


def require(server: type[Server]) -> None:
    """Without its program, skip the test, but in a CI run fail it."""
    if lack := missing(server):
        complain = pytest.fail if IN_CI else pytest.skip
        complain(lack)


def started(server: type[T], **options: str) -> Iterator[T]:
    """Run a server that is required."""
    require(server)
    running = server(**options)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    """A Valkey that all tests of this process share; none may stop it.

    Its database 0 is for fixtures that outlive a test.
    """
    yield from started(Valkey, databases=str(DATABASES))


@pytest.fixture
def valkey(valkey_server: Valkey) -> Iterator[Valkey]:
    """A database of that Valkey which no other test uses, empty."""
    database = valkey_server.database(next(unused_databases))
    yield database
    with database.client() as client:
        client.flushdb()


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """The database under test: SESSIONSTORES_TEST_REDIS_URL if given, else a Valkey's.

    Tests own all of the one that is given, and empty it.
    """
    given = os.environ.get("SESSIONSTORES_TEST_REDIS_URL")
    url: str = given or request.getfixturevalue("valkey").url
    return url


@pytest.fixture
def redis_site(redis_url: str) -> Iterator[None]:
    """Keep this process's records there, empty at first."""
    backend = "django.core.cache.backends.redis.RedisCache"
    cache = {"BACKEND": backend, "LOCATION": redis_url}
    with override_settings(CACHES={"default": cache}):
        run(get_backend(blocking=True).clear())
        yield


@pytest.fixture(scope="session")
def cluster() -> Iterator[ValkeyCluster]:
    """A cluster of three Valkeys that all tests of this process share."""
    running = ValkeyCluster()
    try:
        running.start()
        yield running
    finally:
        running.stop()


# It starts in no time, and has no databases that could be told apart.
@pytest.fixture
def memcached() -> Iterator[Memcached]:
    """A memcached that the test has to itself, empty."""
    yield from started(Memcached)


@pytest.fixture
def nginx() -> Iterator[Callable[[str], Nginx]]:
    """Run an nginx of the test's own for each site that is given, PORT its port."""
    require(Nginx)
    with ExitStack() as running:
        start = contextmanager(started)
        yield lambda site: running.enter_context(start(Nginx, site=site))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that all tests of this process share; none may stop it."""
    yield from started(Postgres)
