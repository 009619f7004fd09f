"""Deadline of database calls on the caller's own thread and connection."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, Protocol, TypeVar

from django.db import Error, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")

# Seconds that a call has for its answer; one that goes through the whole table, in a
# blocking command such as a sweep, has more.
DEADLINE = 1.0
SCAN_DEADLINE = 10.0
# Seconds that SQLite waits for a lock, and PostgreSQL for a statement: so much less
# that the refusal comes before the deadline.
LOCK_SECONDS = 0.8
# Seconds after which SQLite is asked for a lock anew. While it waits itself, a writer
# keeps new readers out; this is long enough for those that read to be done.
BUSY_SECONDS = 0.02
# Drivers take no shorter time to connect.
CONNECT_SECONDS = 2


class Abortable(Protocol):
    """A call that another thread may abort."""

    def abort(self) -> object:
        """Have the call return soon."""


class Watchdog:
    """Aborts each call that takes longer than it may, from one thread for all."""

    def __init__(self) -> None:
        self._start_afresh()
        if hasattr(os, "register_at_fork"):
            # The parent's calls are not the child's, and its thread is left behind.
            os.register_at_fork(after_in_child=self._start_afresh)

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        # Each with its deadline.
        self._calls: dict[Abortable, float] = {}
        self._has_calls = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, call: Abortable, seconds: float) -> Iterator[None]:
        """Abort `call` unless it ends within `seconds`."""
        with self._lock:
            self._calls[call] = time.monotonic() + seconds
            self._has_calls.set()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="sessionstores-deadline", daemon=True
                )
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._calls.pop(call, None)

    def _run(self) -> None:
        while True:
            self._has_calls.wait()
            with self._lock:
                now = time.monotonic()
                late = [call for call, at in self._calls.items() if at <= now]
                for call in late:
                    del self._calls[call]
                if not self._calls:
                    self._has_calls.clear()
                # One that begins meanwhile has at least as long.
                pause = min([DEADLINE, *(at - now for at in self._calls.values())])
            for call in late:
                call.abort()
            time.sleep(pause)


watchdog = Watchdog()


@contextmanager
def opening_in_time(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let opening `connection`, which is the caller's, take no longer than `DEADLINE`.

    Drivers cannot be told so, and while they connect there is nothing to abort: they do
    it in another thread.
    """
    if connection.vendor == "sqlite":
        yield
        return
    deadline = time.monotonic() + DEADLINE

    def get_new_connection(params: Mapping[str, Any]) -> Any:
        given = {**params, "connect_timeout": CONNECT_SECONDS}
        return _opened(connection, given, deadline - time.monotonic())

    # Django calls it wherever it opens or reopens one. Nobody else has the connection.
    connection.get_new_connection = get_new_connection  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        # Perhaps already gone: a receiver of `connection_created` may use stores too.
        vars(connection).pop("get_new_connection", None)


def _opened(connection: Any, params: Mapping[str, Any], seconds: float) -> Any:
    future: Future[Any] = Future()
    context = copy_context()

    def connect() -> None:
        try:
            raw = context.run(type(connection).get_new_connection, connection, params)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        if future.set_running_or_notify_cancel():
            future.set_result(raw)
            return
        # Too late: nobody waits for it.
        pool = getattr(connection, "pool", None)
        with suppress(Error), connection.wrap_database_errors:
            raw.close()
            if pool:
                pool.putconn(raw)

    name = "sessionstores-connecting"
    threading.Thread(target=connect, name=name, daemon=True).start()
    try:
        return future.result(max(seconds, 0.0))
    except TimeoutError:
        if not future.cancel():
            return future.result()
    raise OperationalError(f"no connection within {DEADLINE:g} s")


@contextmanager
def short_waits(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let SQLite itself wait for a lock no longer than `BUSY_SECONDS`.

    The connection must be open.
    """
    raw: Any = connection.connection
    with connection.wrap_database_errors:
        before = raw.execute("PRAGMA busy_timeout").fetchone()[0]
        raw.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
    try:
        yield
    finally:
        if connection.connection is raw:
            raw.execute(f"PRAGMA busy_timeout = {before}")


def perform_when_unlocked(
    connection: BaseDatabaseWrapper, work: Callable[[BaseDatabaseWrapper], T]
) -> T:
    """Do `work`, again while SQLite says that others hold the lock.

    SQLite gives a lock to whoever happens to ask when it is free, and asks more and
    more rarely while it waits: those who have waited longest would come last.
    Each statement is a transaction, so one that found the lock held has done nothing.
    """
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return work(connection)
        except OperationalError as error:
            result = getattr(error.__cause__, "sqlite_errorcode", None)
            is_locked = result is not None and result & 0xFF == sqlite3.SQLITE_BUSY
            if not is_locked or time.monotonic() >= until:
                raise
