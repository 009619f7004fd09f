"""pytest plugin: fresh stores in memory for every test, without a line of set-up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import pytest
from django.apps import apps
from django.conf import settings

from ..exceptions import InsideTransaction
from .stores import OUTSIDE_ATOMIC, is_table, isolated_stores, no_stores

MARKER = "sessionstores_cache"
# Fixtures by which pytest-django opens the database to a test.
_DATABASE = {"db", "transactional_db", "django_db_reset_sequences", "live_server"}


def pytest_configure(config: pytest.Config) -> None:
    """Document the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}: keep the stores of this test in the site's own cache, under a key "
        "prefix that no other test and no other process uses, and clean it afterwards. "
        "Where the cache is a table of a database, the test also needs "
        "django_db(transaction=True).",
    )


def _is_used() -> bool:
    return settings.configured and apps.ready and apps.is_installed("sessionstores")


@pytest.fixture(scope="session", autouse=True)
def _of_run() -> Iterator[None]:
    """Refuse stores outside of tests."""
    with no_stores() if _is_used() else nullcontext():
        yield


@pytest.fixture(scope="class", autouse=True)
def _of_class() -> Iterator[None]:
    """Have what `setUpClass` and `setUpTestData` create be there in each test."""
    with isolated_stores() if _is_used() else nullcontext():
        yield


@pytest.fixture(autouse=True)
def _of_test(request: pytest.FixtureRequest) -> Iterator[None]:
    if not _is_used():
        yield
    elif request.node.get_closest_marker(MARKER) is None:
        with isolated_stores():
            yield
    else:
        _open_database(request)
        with _in_cache():
            yield


@contextmanager
def _in_cache() -> Iterator[None]:
    refused = ""
    with ExitStack() as stack:
        try:
            stack.enter_context(isolated_stores(cache=True))
        except InsideTransaction as error:
            refused = str(error)
        if refused:
            # Outside of the handler, so that it is said once.
            pytest.fail(refused, pytrace=False)
        yield


def _open_database(request: pytest.FixtureRequest) -> None:
    """Open the database, if the test has one, before the stores are used."""
    asked = request.node.get_closest_marker("django_db") is not None
    if asked or not _DATABASE.isdisjoint(request.fixturenames):
        request.getfixturevalue("db")
    elif is_table() and not _is_of_django(request):
        pytest.fail(OUTSIDE_ATOMIC, pytrace=False)


def _is_of_django(request: pytest.FixtureRequest) -> bool:
    """Whether the test's class is one of Django's, which open the database themselves.

    By its name: `django.test` is long to import, for runs that do without.
    """
    classes = getattr(request.cls, "__mro__", ())
    return any(cls.__module__ == "django.test.testcases" for cls in classes)
