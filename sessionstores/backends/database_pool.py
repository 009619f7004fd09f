"""How the database is reached: the caller's connection, or threads with their own."""

from __future__ import annotations

import asyncio
import atexit
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

from django.core.signals import setting_changed
from django.db import Error, ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.dispatch import receiver

from ..exceptions import InsideTransaction, StoreUnavailable

T = TypeVar("T")
Work = Callable[[BaseDatabaseWrapper], T]

# Seconds that a coroutine waits for an answer, and how many wait in threads at most.
DEADLINE = 1.0
THREADS = 8
# CONN_MAX_AGE 0 means "for one request"; threads see none, so it stands for this.
KEPT = 60
# What keeps a thread of ours from waiting much longer than its coroutine does.
_OPTIONS: dict[str, dict[str, Any]] = {
    "postgresql": {"connect_timeout": 2},
    "sqlite": {"timeout": DEADLINE},
    "mysql": {"connect_timeout": 2, "read_timeout": 2, "write_timeout": 2},
}
_BOUND = {
    "postgresql": "SET statement_timeout = 1000",
    "mysql": "SET innodb_lock_wait_timeout = 1",
}


class PoolTask(Generic[T]):
    """Work in a thread, which the coroutine that waits for it may break off."""

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._connection: BaseDatabaseWrapper | None = None
        self.broken = False

    def run(self, connection: BaseDatabaseWrapper) -> T:
        """Do it. Once this has returned, nobody breaks it off any more."""
        with self._lock:
            self._connection = connection
        try:
            return perform(connection, renew, self._work)
        finally:
            with self._lock:
                self._connection = None

    def break_off(self) -> None:
        """Free the thread, should it wait for a server that does not answer."""
        with self._lock:
            connection = self._connection
            raw: Any = connection and connection.connection
            if connection is None or not hasattr(raw, "fileno"):
                return
            self.broken = True
            with suppress(OSError, Error), connection.wrap_database_errors:
                stream = socket.socket(fileno=os.dup(raw.fileno()))
                with stream:
                    stream.shutdown(socket.SHUT_RDWR)


class Pool:
    """Threads that serve this process's coroutines, and connections of their own.

    The connections of the site's threads may be in the middle of a transaction.
    """

    def __init__(self, db: str) -> None:
        self._db = db
        self._process = os.getpid()
        self._threads = ThreadPoolExecutor(THREADS, "sessionstores-database")
        self._idle: list[BaseDatabaseWrapper] = []

    async def run(self, work: Work[T]) -> T:
        """Return what `work` does; `StoreUnavailable` if that takes too long."""
        call = PoolTask(work)
        # What still waits for a thread when its time is over is never begun.
        future = self._threads.submit(self._serve, call)
        try:
            async with asyncio.timeout(DEADLINE):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            call.break_off()
            raise StoreUnavailable(
                f"The database {self._db!r} did not answer within {DEADLINE:g} s. What "
                "was being written may or may not be in; read before you try again."
            ) from error

    def _serve(self, call: PoolTask[T]) -> T:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._made()
        try:
            return call.run(connection)
        except StoreUnavailable:
            # What broke this connection has most likely broken the idle ones too.
            self.close()
            raise
        finally:
            if call.broken:
                connection.close()
            self._idle.append(connection)

    def _made(self) -> BaseDatabaseWrapper:
        connection = connections.create_connection(self._db)
        given = connection.settings_dict
        options = given["OPTIONS"] | _OPTIONS.get(connection.vendor, {})
        # Connections of Django's pool go back to the site, with what we set on them.
        options.pop("pool", None)
        age = given["CONN_MAX_AGE"]
        connection.settings_dict = given | {
            "AUTOCOMMIT": True,
            "CONN_MAX_AGE": KEPT if age == 0 else age,
            "OPTIONS": options,
        }
        # With DEBUG, Django keeps each statement until a request begins.
        connection.queries_log = deque(maxlen=0)
        # Threads use it one at a time, but not always the same one.
        connection.inc_thread_sharing()
        return connection

    def close(self) -> None:
        """Close the connections that no thread uses; after a fork, none is ours."""
        while self._idle and self._process == os.getpid():
            with suppress(IndexError):
                self._idle.pop().close()


_pools: dict[tuple[str, int], Pool] = {}


def pool(db: str) -> Pool:
    """Return this process's pool for a database: a fork takes no threads along."""
    place = db, os.getpid()
    return _pools.get(place) or _pools.setdefault(place, Pool(db))


@atexit.register
def close_connections() -> None:
    """Close the connections of all pools that are not in use; more open on demand."""
    for each in list(_pools.values()):
        each.close()


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: Any) -> None:
    if setting in {"DATABASES", "TIME_ZONE", "USE_TZ"}:
        close_connections()


def perform(connection: BaseDatabaseWrapper, prepare: Work[None], work: Work[T]) -> T:
    """Do `work` on a connection that is prepared; after an error it opens anew."""
    try:
        prepare(connection)
        return work(connection)
    except Error as error:
        connection.close()
        way_out = ""
        if isinstance(error, ProgrammingError) or "no such table" in str(error):
            way_out = " If the table is missing, manage.py createcachetable makes it."
        raise StoreUnavailable(
            f"The database {connection.alias!r} failed ({type(error).__name__}: "
            f"{str(error).strip()}). What was being written may or may not be in; read "
            f"before you try again.{way_out}"
        ) from error


def renew(connection: BaseDatabaseWrapper) -> None:
    """Open one of our connections if it is not, or no longer good."""
    connection.close_if_unusable_or_obsolete()
    if connection.connection is None:
        connection.ensure_connection()
        bound = _BOUND.get(connection.vendor)
        # Set when a pooler gives each transaction another connection of the server:
        # then what we set would meet other people's statements.
        if bound and not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
            with connection.cursor() as cursor:
                cursor.execute(bound)


def refuse_transaction(connection: BaseDatabaseWrapper) -> None:
    """Raise `InsideTransaction` if what is written could still be rolled back."""
    if connection.in_atomic_block or not connection.get_autocommit():
        raise InsideTransaction(
            "Session stores were used inside an open transaction on their database, "
            f"{connection.alias!r}. A rollback would undo what has been acknowledged, "
            "and until the transaction ends other writers would wait. Call them from "
            "transaction.on_commit(), or take the view out of ATOMIC_REQUESTS with "
            "@transaction.non_atomic_requests."
        )
