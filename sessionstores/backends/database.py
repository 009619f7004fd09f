"""Records in the table of Django's DatabaseCache: one row for each value."""

from __future__ import annotations

import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import ceil, floor
from typing import Any, ClassVar

from django.conf import settings
from django.core.cache.backends.db import BaseDatabaseCache
from django.db import IntegrityError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionDoesNotExist

from .. import conf
from ..exceptions import StoreUnavailable
from ..keys import only_ours
from .cas.backend import CasBackend
from .cas.key_value import KeyValueStore, Versioned
from .clock import ServerClock
from .configured_cache import configured_cache
from .database_deadline import DEADLINE, SCAN_DEADLINE
from .database_pool import DatabasePool, T, Work, perform_here
from .types import Finding

# Keys in one statement: some databases take at most 999 parameters.
CHUNK = 500
# What a key has room for in the table, and the longest end of one: of data set aside.
COLUMN = 255
_LONGEST = f":{{{'C' * 6}}}:q:{'P' * 64}:{'0' * 16}"
# There are no dates past the year 9999; its last second is Django's "never".
NEVER = 253_370_764_800

# Exact comparison of texts: for MySQL "a" equals "A" unless they are binary.
_SAME = {"postgresql": "%s", "sqlite": "%s", "mysql": "CAST(%s AS BINARY)"}
_CAPITAL = re.compile("[A-Z^]")
_MARKED = re.compile(r"\^(.)")

# Rows expire at whole seconds, so less makes no difference.
CLOCK_TOLERANCE = 3.0
# SQLite's file is on this machine, whose clock is ours.
_CLOCK = {
    "postgresql": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
    "mysql": "SELECT UNIX_TIMESTAMP(SYSDATE(6))",
}

_READ = "SELECT {key}, {value} FROM {table} WHERE {expires} > %s AND {key} IN ({keys})"
_INSERT = "INSERT INTO {table} ({key}, {value}, {expires}) VALUES (%s, %s, %s)"
_UPDATE = "UPDATE {table} SET {value} = %s, {expires} = %s WHERE {key} = %s"
_EXPIRED = " AND {expires} <= %s"
_UNCHANGED = " AND {expires} > %s AND {value} = {same}"
_DELETE = "DELETE FROM {table} WHERE {key} = %s"
_REMOVE = "DELETE FROM {table} WHERE {key} IN ({keys})"
# Names of other sites may begin alike.
_LIST = "SELECT {key} FROM {table} WHERE SUBSTR({key}, 1, %s) = %s"
_CURRENT = " AND {expires} > %s"


class DatabaseStore(KeyValueStore):
    """Rows are compared by value: a value's text is its own token.

    A value that changed and changed back counts as unchanged. That is harmless: each
    record carries a rev with random bits, which never comes again, and all else that is
    stored (index, leases, revocations) follows from the value it replaces alone.

    The blocking flavour works on the caller's thread and its connection in Django.
    """

    shared: ClassVar[bool] = True
    in_memory: ClassVar[bool] = False

    def __init__(
        self, alias: str, *, blocking: bool, clock: Callable[[], float] | None = None
    ) -> None:
        self._server_clock = ServerClock(tolerance=CLOCK_TOLERANCE)
        super().__init__(blocking=blocking, clock=clock or self._server_clock)
        self.table = table_of(alias)
        self._pool: DatabasePool | None = None

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """See `Backend.problem`."""
        table: object = table_of(alias)
        if not table or not isinstance(table, str):
            return (
                f"CACHES[{alias!r}]['LOCATION'] is {table!r}, not the name of a table. "
                "Name one, and make it with manage.py createcachetable."
            )
        db = database_of(table)
        try:
            connection = connections[db]
        except ConnectionDoesNotExist:
            return (
                f"CACHES[{alias!r}] is in the database {db!r}, which DATABASES lacks. "
                "DATABASE_ROUTERS choose it for the app 'django_cache'."
            )
        if connection.vendor not in _SAME:
            return (
                f"CACHES[{alias!r}] is in the database {db!r}, of the kind "
                f"{connection.vendor!r}. Records can be kept in PostgreSQL, MySQL, "
                "MariaDB and SQLite: have a router choose one of these."
            )
        if connection.settings_dict["NAME"] == ":memory:":
            return (
                f"CACHES[{alias!r}] is in the database {db!r}, of which each thread "
                "has its own, in memory. Use a LocMemCache, or a file."
            )
        prefix = conf.get().key_prefix
        if len(row(connection, prefix + _LONGEST)) > COLUMN:
            return (
                f"CACHES[{alias!r}] is in MySQL, where a capital takes two of the "
                f"{COLUMN} characters of a key, and {prefix!r}, which the keys of "
                "sessionstores begin with, leaves too few. Shorten the KEY_PREFIX of "
                "the cache or of SESSIONSTORES."
            )
        return None

    async def read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        """See `KeyValueStore.read`."""
        return await self._call(lambda connection: self._select(connection, keys))

    async def cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        """See `KeyValueStore.cas`."""
        text = b64encode(value).decode("ascii")

        def put(connection: BaseDatabaseWrapper) -> str | None:
            is_written = (
                self._insert(connection, key, text, ttl)
                if token is None
                else self._replace(connection, key, token, text, ttl)
            )
            return text if is_written else None

        return await self._call(put)

    async def delete(self, key: str, token: Any) -> bool:
        """See `KeyValueStore.delete`."""

        def delete(connection: BaseDatabaseWrapper) -> bool:
            given = [row(connection, key), self._now(connection), token]
            return self._execute(connection, _DELETE + _UNCHANGED, given) == 1

        return await self._call(delete)

    async def list_keys(self) -> list[str]:
        """See `KeyValueStore.list_keys`."""

        def keys(connection: BaseDatabaseWrapper) -> list[str]:
            return self._keys(connection, _CURRENT, self._now(connection))

        return await self._call(keys, seconds=SCAN_DEADLINE)

    async def clear(self) -> None:
        """See `Backend.clear`."""

        def delete(connection: BaseDatabaseWrapper) -> None:
            names = [row(connection, key) for key in self._keys(connection)]
            for some in in_chunks(names):
                places = ", ".join(["%s"] * len(some))
                self._execute(connection, _REMOVE, some, places)

        await self._call(delete, seconds=SCAN_DEADLINE)

    async def examine(self) -> list[Finding]:
        """See `Backend.examine`."""
        try:
            return await self._call(self._examined, seconds=SCAN_DEADLINE)
        except StoreUnavailable as error:
            return [Finding("error", str(error))]

    async def _call(self, work: Work[T], *, seconds: float = DEADLINE) -> T:
        db = database_of(self.table)
        if self.blocking:
            here = connections[db]
            return perform_here(here, self._synchronise, work, seconds=seconds)
        if self._pool is None or self._pool.is_inherited:
            self._pool = DatabasePool(db)
        return await self._pool.run(self._synchronise, work)

    def _synchronise(self, connection: BaseDatabaseWrapper) -> None:
        query = _CLOCK.get(connection.vendor)
        if query and self._server_clock.is_due():
            with connection.cursor() as cursor:
                cursor.execute(query)
                self._server_clock.synchronise(float(cursor.fetchone()[0]))

    # Statements. An expired row counts as absent, whether or not it is still there.

    def _select(
        self, connection: BaseDatabaseWrapper, keys: Sequence[str]
    ) -> dict[str, Versioned]:
        now = self._now(connection)
        by_row = {row(connection, key): key for key in keys}
        found = {}
        for asked in in_chunks(list(by_row)):
            places = ", ".join(["%s"] * len(asked))
            with connection.cursor() as cursor:
                cursor.execute(self._sql(connection, _READ, places), [now, *asked])
                for name, text in cursor.fetchall():
                    found[by_row[name]] = Versioned(decoded(text), text)
        return found

    def _insert(
        self, connection: BaseDatabaseWrapper, key: str, text: str, ttl: float | None
    ) -> bool:
        name, expires = row(connection, key), self._expires(connection, ttl)
        try:
            self._execute(connection, _INSERT, [name, text, expires])
        except IntegrityError:
            # Of those who find it expired, the first renews it.
            given = [text, expires, name, self._now(connection)]
            return self._execute(connection, _UPDATE + _EXPIRED, given) == 1
        return True

    def _replace(
        self,
        connection: BaseDatabaseWrapper,
        key: str,
        token: str,
        text: str,
        ttl: float | None,
    ) -> bool:
        expires, now = self._expires(connection, ttl), self._now(connection)
        given = [text, expires, row(connection, key), now, token]
        return self._execute(connection, _UPDATE + _UNCHANGED, given) == 1

    def _examined(self, connection: BaseDatabaseWrapper) -> list[Finding]:
        started = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            trip = (time.perf_counter() - started) * 1_000
        held = len(self._keys(connection))
        expired = len(self._keys(connection, _EXPIRED, self._now(connection)))
        version = ".".join(map(str, connection.get_database_version()))
        return [
            Finding("ok", f"{connection.display_name} {version}, {connection.alias!r}"),
            Finding("ok", f"A round trip takes {trip:.1f} ms."),
            Finding(
                "ok",
                f"The table {self.table!r} holds {held} rows of ours, "
                f"{expired} of them expired.",
            ),
        ]

    def _keys(
        self, connection: BaseDatabaseWrapper, condition: str = "", *given: Any
    ) -> list[str]:
        """Return the keys of this site, or those of them that a condition holds for."""
        prefix = conf.get().key_prefix
        start = row(connection, f"{prefix}:")
        with connection.cursor() as cursor:
            sql = self._sql(connection, _LIST + condition)
            cursor.execute(sql, [len(start), start, *given])
            names = (key_of(connection, name) for (name,) in cursor.fetchall())
            return only_ours(prefix, names)

    def _execute(
        self,
        connection: BaseDatabaseWrapper,
        template: str,
        given: Sequence[Any],
        keys: str = "",
    ) -> int:
        with connection.cursor() as cursor:
            cursor.execute(self._sql(connection, template, keys), given)
            count: int = cursor.rowcount
        return count

    def _sql(
        self, connection: BaseDatabaseWrapper, template: str, keys: str = ""
    ) -> str:
        quote = connection.ops.quote_name
        return template.format(
            table=quote(self.table).replace("%", "%%"),
            key=quote("cache_key"),
            value=quote("value"),
            expires=quote("expires"),
            same=_SAME[connection.vendor],
            keys=keys,
        )

    # Times, in whole seconds, as Django's cache writes them.

    def _now(self, connection: BaseDatabaseWrapper) -> Any:
        return moment(connection, floor(self.clock()))

    def _expires(self, connection: BaseDatabaseWrapper, ttl: float | None) -> Any:
        if ttl is None:
            return moment(connection, None)
        return moment(connection, ceil(min(self.clock() + ttl, NEVER)))


class DatabaseBackend(CasBackend):
    """Records that all processes share, in the table of a DatabaseCache."""

    def __init__(
        self, alias: str, *, blocking: bool, clock: Callable[[], float] | None = None
    ) -> None:
        super().__init__(DatabaseStore(alias, blocking=blocking, clock=clock))

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """See `Backend.problem`."""
        return DatabaseStore.problem(alias)


def table_of(alias: str) -> str:
    """Return the name of the table of a DatabaseCache."""
    name: str = configured_cache(alias)._table
    return name


def database_of(table: str) -> str:
    """Return the alias of the database that a cache's table is in.

    Reads go there too, since a replica is behind.
    """
    return router.db_for_write(BaseDatabaseCache(table, {}).cache_model_class)


def moment(connection: BaseDatabaseWrapper, seconds: int | None) -> Any:
    """Return a time as the `expires` column takes it; None: the last possible one."""
    if seconds is None or seconds >= NEVER:
        time = datetime.max.replace(microsecond=0)
    else:
        time = datetime.fromtimestamp(seconds, tz=UTC)
        if not (settings.USE_TZ or connection.features.supports_timezones):
            # Still UTC: local clocks go back once a year.
            time = time.replace(tzinfo=None)
    return connection.ops.adapt_datetimefield_value(time)


def row(connection: BaseDatabaseWrapper, key: str) -> str:
    """Return the `cache_key` of a key: capitals marked, where "a" equals "A"."""
    return _CAPITAL.sub(r"^\g<0>", key) if connection.vendor == "mysql" else key


def key_of(connection: BaseDatabaseWrapper, name: str) -> str:
    """Return the key whose `cache_key` this is."""
    return _MARKED.sub(r"\1", name) if connection.vendor == "mysql" else name


def in_chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield names in parts that fit into one statement."""
    for start in range(0, len(names), CHUNK):
        yield names[start : start + CHUNK]


def decoded(text: str) -> bytes:
    """Return a value's bytes; of a text that is not base64, its own."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return text.encode()
