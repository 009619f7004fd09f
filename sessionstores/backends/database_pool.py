"""Database calls: on the caller's connection, or in a thread pool for coroutines."""

from __future__ import annotations

import asyncio
import atexit
import os
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Generic, TypeVar

from django.db import Error, OperationalError, ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..concurrency.thread_pool import thread_pool
from ..exceptions import InsideTransaction, StoreUnavailable
from .database_deadline import (
    BUSY_SECONDS,
    CONNECT_SECONDS,
    DEADLINE,
    LOCK_SECONDS,
    opening_in_time,
    perform_when_unlocked,
    short_waits,
    watchdog,
)

T = TypeVar("T")
Work = Callable[[BaseDatabaseWrapper], T]

# Threads of a pool.
THREADS = 8
# CONN_MAX_AGE 0 means "for one request", but threads serve no requests: this applies.
DEFAULT_MAX_AGE = 60
# They keep a thread of ours from waiting much longer than its coroutine does.
_OPTIONS: dict[str, dict[str, Any]] = {
    "postgresql": {"connect_timeout": CONNECT_SECONDS},
    "sqlite": {"timeout": BUSY_SECONDS},
    "mysql": {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": 2,
        "write_timeout": 2,
    },
}
_BOUND = {
    "postgresql": f"SET statement_timeout = {LOCK_SECONDS * 1000:.0f}",
    "mysql": "SET innodb_lock_wait_timeout = 1",
}


class DatabaseCall(Generic[T]):
    """Work on a connection, prepared first, which another thread may abort."""

    def __init__(self, prepare: Work[None], work: Work[T]) -> None:
        self._prepare = prepare
        self._work = work
        self._lock = threading.Lock()
        self._connection: BaseDatabaseWrapper | None = None
        self._has_begun = False
        self.is_aborted = False

    def run(self, connection: BaseDatabaseWrapper) -> T:
        """Do the work; once this has returned, it can no longer be aborted."""
        with self._lock:
            self._connection = connection
        try:
            return perform(connection, self._begin, self._work)
        finally:
            with self._lock:
                self._connection = None

    def _begin(self, connection: BaseDatabaseWrapper) -> None:
        self._prepare(connection)
        with self._lock:
            if self.is_aborted:
                raise OperationalError(f"no connection within {DEADLINE:g} s")
            self._has_begun = True

    def abort(self) -> bool:
        """Free the thread if it waits for a server that does not answer.

        Returns whether the work has not begun; then it will not.
        """
        with self._lock:
            self.is_aborted = True
            connection = self._connection
            raw: Any = connection and connection.connection
            if connection is not None and hasattr(raw, "fileno"):
                with suppress(OSError, Error), connection.wrap_database_errors:
                    stream = socket.socket(fileno=os.dup(raw.fileno()))
                    with stream:
                        stream.shutdown(socket.SHUT_RDWR)
            return not self._has_begun


class DatabasePool:
    """Threads for coroutines, with connections of their own.

    The connections of the site's threads may be inside a transaction.
    """

    def __init__(self, db: str) -> None:
        self._db = db
        self._process = os.getpid()
        self._threads = thread_pool(THREADS, "sessionstores-database")
        self._idle: list[BaseDatabaseWrapper] = []
        _pools.add(self)
        weakref.finalize(self, _close_unused, self._idle, self._process)

    async def run(self, prepare: Work[None], work: Work[T]) -> T:
        """Return the result of `work`; raise `StoreUnavailable` if it is late."""

        def renew_first(connection: BaseDatabaseWrapper) -> None:
            renew(connection)
            prepare(connection)

        call = DatabaseCall(renew_first, work)
        # Work that still waits for a thread when its time is over never begins.
        future = self._threads.submit(self._serve, call)
        try:
            async with asyncio.timeout(DEADLINE):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            refused = call.abort()
            text = f"The database {self._db!r} did not answer within {DEADLINE:g} s."
            raise _unavailable(text, refused=refused) from error

    def _serve(self, call: DatabaseCall[T]) -> T:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open()
        try:
            return call.run(connection)
        except StoreUnavailable:
            # The idle connections are most likely broken too.
            self.close()
            raise
        finally:
            if call.is_aborted:
                connection.close()
            self._idle.append(connection)

    def _open(self) -> BaseDatabaseWrapper:
        connection = connections.create_connection(self._db)
        given = connection.settings_dict
        options = given["OPTIONS"] | _OPTIONS.get(connection.vendor, {})
        # Connections of Django's pool return to the site, with our settings on them.
        options.pop("pool", None)
        age = given["CONN_MAX_AGE"]
        connection.settings_dict = given | {
            "AUTOCOMMIT": True,
            "CONN_MAX_AGE": DEFAULT_MAX_AGE if age == 0 else age,
            "OPTIONS": options,
        }
        # With DEBUG, Django keeps each statement until a request begins.
        connection.queries_log = deque(maxlen=0)
        # Threads use it one at a time, but not always the same one.
        connection.inc_thread_sharing()
        return connection

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked since: threads are left behind then."""
        return self._process != os.getpid()

    def close(self) -> None:
        """Close the idle connections; after a fork they are the parent's."""
        while self._idle and not self.is_inherited:
            with suppress(IndexError):
                self._idle.pop().close()


# In a forked child: the connections of its parent, kept from garbage collection. Some
# drivers would then log out, and the server would end the parent's session.
_inherited: list[BaseDatabaseWrapper] = []


def _close_unused(idle: list[BaseDatabaseWrapper], process: int) -> None:
    """Close the connections of a pool that was garbage-collected.

    That may happen inside a coroutine, where Django's own `close` refuses to work.
    """
    if process != os.getpid():
        _inherited.extend(idle)
        return
    while idle:
        connection = idle.pop()
        raw: Any = connection.connection
        if raw is not None:
            with suppress(Error), connection.wrap_database_errors:
                raw.close()


_pools: weakref.WeakSet[DatabasePool] = weakref.WeakSet()


@atexit.register
def close_connections() -> None:
    """Close the idle connections of all pools; more open on demand."""
    for each in list(_pools):
        each.close()


def perform_here(
    connection: BaseDatabaseWrapper,
    prepare: Work[None],
    work: Work[T],
    *,
    seconds: float = DEADLINE,
) -> T:
    """Do `work` on the caller's own connection, within `seconds`.

    Raises `InsideTransaction` if a write could still be rolled back.
    """

    def refuse_first(connection: BaseDatabaseWrapper) -> None:
        if not connection.in_atomic_block:
            connection.close_if_health_check_failed()
        refuse_transaction(connection)
        if connection.vendor == "sqlite":
            stack.enter_context(short_waits(connection))
        prepare(connection)

    call = DatabaseCall(refuse_first, work)
    with ExitStack() as stack:
        stack.enter_context(watchdog.watching(call, seconds))
        stack.enter_context(opening_in_time(connection))
        return call.run(connection)


def perform(connection: BaseDatabaseWrapper, prepare: Work[None], work: Work[T]) -> T:
    """Do `work` on a prepared connection; after an error it is closed."""
    has_begun = False
    try:
        prepare(connection)
        has_begun = True
        return perform_when_unlocked(connection, work)
    except Error as error:
        connection.close()
        hint = ""
        if isinstance(error, ProgrammingError) or "no such table" in str(error):
            hint = " If the table is missing, manage.py createcachetable makes it."
        text = (
            f"The database {connection.alias!r} failed ({type(error).__name__}: "
            f"{str(error).strip()})."
        )
        refused = not has_begun or is_refused(connection.vendor, error)
        raise _unavailable(text, hint, refused=refused) from error


def _unavailable(text: str, hint: str = "", *, refused: bool) -> StoreUnavailable:
    outcome = (
        "Nothing was changed."
        if refused
        else "What was being written may or may not be stored; read before you try "
        "again."
    )
    return StoreUnavailable(f"{text} {outcome}{hint}", refused=refused)


# SQLSTATE: the connection failed; it was ended, perhaps after a commit; unknown.
_UNCERTAIN_STATES = ("08", "57P", "40003")
# SQLite's SQLITE_IOERR: it may have failed after a write.
_UNCERTAIN_RESULT = 10
# MySQL: shutdown; lost packets; connection killed. The client's own are 2000 to 2999.
_UNCERTAIN_NUMBERS = frozenset({1053, *range(1152, 1162), 1927})


def is_refused(vendor: str, error: Error) -> bool:
    """Return whether the server said that a statement has failed, so has no effect."""
    cause: Any = error.__cause__
    if vendor == "postgresql":
        # The one is psycopg's name of it, the other psycopg2's.
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        return state is not None and not state.startswith(_UNCERTAIN_STATES)
    if vendor == "sqlite":
        result = getattr(cause, "sqlite_errorcode", None)
        return result is not None and result & 0xFF != _UNCERTAIN_RESULT
    number = cause.args[0] if cause is not None and cause.args else None
    return (
        isinstance(number, int)
        and (1000 <= number < 2000 or number >= 3000)
        and number not in _UNCERTAIN_NUMBERS
    )


def renew(connection: BaseDatabaseWrapper) -> None:
    """Open one of our connections if it is closed, broken or too old."""
    connection.close_if_unusable_or_obsolete()
    if connection.connection is None:
        connection.ensure_connection()
        bound = _BOUND.get(connection.vendor)
        # A site sets this where a pooler gives each transaction another connection of
        # the server: then our limit would hold for others' statements.
        if bound and not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
            with connection.cursor() as cursor:
                cursor.execute(bound)


def refuse_transaction(connection: BaseDatabaseWrapper) -> None:
    """Raise `InsideTransaction` if a write could still be rolled back."""
    if connection.in_atomic_block or not connection.get_autocommit():
        raise InsideTransaction(
            "Session stores were used inside an open transaction on their database, "
            f"{connection.alias!r}. A rollback would undo what has been acknowledged, "
            "and until the transaction ends other writers would wait. Call them from "
            "transaction.on_commit(), or take the view out of ATOMIC_REQUESTS with "
            "@transaction.non_atomic_requests."
        )
