"""How long database calls wait for others' locks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections
from pytest_django import DjangoDbBlocker

from sessionstores.backends import database_deadline
from sessionstores.backends.database_deadline import (
    BUSY_SECONDS,
    perform_when_unlocked,
    short_waits,
)
from sessionstores.backends.database_pool import perform
from sessionstores.exceptions import StoreUnavailable
from tests.databases import database

WAIT = 20.0


@pytest.fixture
def connection(
    tmp_path: Path, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Any]:
    """A connection of the site's, which waits long, to a file that is SQLite's."""
    entry = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": tmp_path / "stores.sqlite3",
        "OPTIONS": {"timeout": WAIT},
    }
    with django_db_blocker.unblock(), database("own", entry):
        connections["own"].ensure_connection()
        yield connections["own"]


@pytest.fixture
def rival(connection: Any) -> Iterator[sqlite3.Connection]:
    """Another connection to it, which holds the lock."""
    name = connection.settings_dict["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def write(connection: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO own VALUES ('key', 'value', '2099-01-01')")
    return "written"


def test_a_lock_is_asked_for_again_until_it_is_free(
    connection: Any, rival: sqlite3.Connection
) -> None:
    calls = 0

    def work(connection: Any) -> str:
        nonlocal calls
        calls += 1
        if calls == 4:
            rival.execute("ROLLBACK")
        return write(connection)

    with short_waits(connection):
        assert perform_when_unlocked(connection, work) == "written"
    assert calls == 4


@pytest.mark.usefixtures("rival")
def test_a_lock_that_stays_is_a_refusal(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_deadline, "LOCK_SECONDS", 2 * BUSY_SECONDS)

    def write_soon(connection: Any) -> str:
        with short_waits(connection):
            return write(connection)

    with pytest.raises(StoreUnavailable, match="locked") as failure:
        perform(connection, lambda connection: None, write_soon)
    assert failure.value.refused


def test_another_failure_is_not_tried_again(connection: Any) -> None:
    calls = 0

    def work(connection: Any) -> None:
        nonlocal calls
        calls += 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM own")

    with pytest.raises(OperationalError, match="no_such_column"):
        perform_when_unlocked(connection, work)
    assert calls == 1


def test_sqlite_waits_shortly_and_the_site_as_before(connection: Any) -> None:
    def patience() -> float:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout")
            milliseconds: int = cursor.fetchone()[0]
        return milliseconds / 1000

    assert patience() == WAIT
    with short_waits(connection):
        assert patience() == BUSY_SECONDS
    assert patience() == WAIT
