"""Caches of every kind on real servers, for tests that run on each of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import pytest

from sessionstores import StoreUnavailable
from sessionstores.backends.database_pool import close_connections
from tests.databases import SQLITE_OPTIONS, Router, database
from tests.faults.sites import Site, on_database, on_memcached, on_redis
from tests.servers import PATIENCE

SHARED = ("valkey", "memcached", "sqlite", "postgres")
KINDS = ("locmem", *SHARED)

T = TypeVar("T")


def when_reached(call: Callable[[], T]) -> T:
    """Call until a server takes it: a busy machine may keep one from that for a second.

    Raises what else `call` raises: that the outcome is unknown, or `StoreUnavailable`
    after `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except StoreUnavailable as error:
            if not error.refused or time.monotonic() > deadline:
                raise


@contextmanager
def cache_on(
    kind: str, request: pytest.FixtureRequest, settings: Any
) -> Iterator[Site]:
    """Let this process keep its records there: where no other test has any.

    Yields the settings by which another process keeps its records there too.
    """
    with ExitStack() as stack:
        if kind == "locmem":
            site = {"CACHES": settings.CACHES}
        elif kind == "valkey":
            valkey = request.getfixturevalue("valkey")
            site = on_redis(valkey.port, valkey.number)
        elif kind == "memcached":
            site = on_memcached(request.getfixturevalue("memcached").port)
        else:
            # First, since a connection in memory that is open stays what it is.
            request.getfixturevalue("django_db_setup")
            stack.enter_context(request.getfixturevalue("django_db_blocker").unblock())
            entry = _entry(kind, request)
            # A name of its own: a connection that is still in use may outlive its test.
            table = f"cache_{secrets.token_hex(4)}"
            site = on_database(entry, table)
            # Here the site's own database stays, and a router leads to this one.
            stack.enter_context(database(table, entry))
            stack.callback(close_connections)
            settings.DATABASE_ROUTERS = [Router()]
        settings.CACHES = site["CACHES"]
        yield site


def _entry(kind: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    if kind == "postgres":
        entry: dict[str, Any] = request.getfixturevalue("postgres").database
        return entry
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(request.getfixturevalue("tmp_path") / "cache.sqlite3"),
        "OPTIONS": SQLITE_OPTIONS,
    }
