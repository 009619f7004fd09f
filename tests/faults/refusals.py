"""Servers that refuse: each way in which one says no to a write, and then no more."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections
from pymemcache import Client
from pymemcache.exceptions import MemcacheServerError

from sessionstores.backends.database import database_of
from sessionstores.backends.database_pool import close_connections
from tests.demo_process import until
from tests.servers import Memcached, Postgres, Valkey, free_port

Refusal = Callable[[Any], AbstractContextManager[None]]

# Of this size, a server that is full has no room for one more.
PAGE = b"x" * 5_000


# Valkey


@contextmanager
def configured(server: Valkey, **options: Any) -> Iterator[None]:
    with server.client() as client:
        names = {name: name.replace("_", "-") for name in options}
        before = {n: client.config_get(n)[n] for n in names.values()}
        for name, value in options.items():
            client.config_set(names[name], value)
        try:
            yield
        finally:
            for name, value in before.items():
                client.config_set(name, value)


@contextmanager
def full(server: Valkey) -> Iterator[None]:
    with configured(server, maxmemory="1mb"):
        yield


@contextmanager
def a_replica(server: Valkey, stale: str = "yes") -> Iterator[None]:
    with configured(server, replica_serve_stale_data=stale), server.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def a_replica_without_primary(server: Valkey) -> Iterator[None]:
    with a_replica(server, stale="no"):
        yield


@contextmanager
def without_replicas(server: Valkey) -> Iterator[None]:
    with configured(server, min_replicas_to_write=2):
        yield


@contextmanager
def unable_to_save(server: Valkey) -> Iterator[None]:
    with server.client() as client:
        shutil.rmtree(server.directory)
        client.config_set("save", "3600 1")
        client.bgsave()
        until(
            lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
            "the dump to fail",
        )
        try:
            yield
        finally:
            client.config_set("save", "")
            server.directory.mkdir()


def forbidding(*rules: str) -> Refusal:
    @contextmanager
    def forbidden(server: Valkey) -> Iterator[None]:
        with server.client() as client:
            client.execute_command("ACL SETUSER default", *rules)
            try:
                yield
            finally:
                client.execute_command("ACL SETUSER default +@all allkeys")

    return forbidden


# memcached


@contextmanager
def full_of_pages(server: Memcached) -> Iterator[None]:
    """Fill it to where it takes no value of that size, though it evicts nothing."""
    with closing(Client(("127.0.0.1", server.port), default_noreply=False)) as client:
        for number in range(10_000):
            try:
                client.set(f"page-{number}", PAGE)
            except MemcacheServerError:
                break
        yield
        for each in range(number):
            client.delete(f"page-{each}")


# Databases


def hang_up() -> None:
    """Close this thread's connection to the database, and those for coroutines."""
    connections[database_alias()].close()
    close_connections()


def database_alias() -> str:
    """Return the alias of the database that the records are in."""
    return database_of(_table())


def _table() -> str:
    table: str = settings.CACHES["default"]["LOCATION"]
    return table


@contextmanager
def locked(site: Any) -> Iterator[None]:
    name = connections[database_alias()].settings_dict["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def altered(setting: str) -> Refusal:
    """Let new connections to the database begin with a setting."""

    @contextmanager
    def database(server: Postgres) -> Iterator[None]:
        with closing(outside(server, "postgres")) as other:
            other.execute(f"ALTER DATABASE sessionstores {setting}")
            hang_up()
            try:
                yield
            finally:
                other.execute("ALTER DATABASE sessionstores RESET ALL")
                other.execute("ALTER DATABASE sessionstores ALLOW_CONNECTIONS true")
                hang_up()

    return database


@contextmanager
def row_held(server: Postgres) -> Iterator[None]:
    short = altered("SET lock_timeout = '200ms'")
    with short(server), closing(outside(server)) as other, other.transaction():
        other.execute(f"UPDATE {_table()} SET value = value")
        yield


def outside(
    server: Postgres, database: str = "sessionstores"
) -> psycopg.Connection[tuple[Any, ...]]:
    """Return a connection that the site knows nothing of."""
    return psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user="postgres",
        dbname=database,
        autocommit=True,
    )


REFUSALS: dict[tuple[str, str], Refusal] = {
    ("valkey", "OOM"): full,
    ("valkey", "READONLY"): a_replica,
    ("valkey", "MASTERDOWN"): a_replica_without_primary,
    ("valkey", "NOREPLICAS"): without_replicas,
    ("valkey", "MISCONF"): unable_to_save,
    ("valkey", "NOPERM for scripts"): forbidding("-evalsha", "-eval"),
    ("valkey", "NOPERM in a script"): forbidding("-hset"),
    ("valkey", "NOPERM to read in a script"): forbidding("-hget", "-hmget"),
    ("valkey", "NOPERM for keys"): forbidding("resetkeys", "~other:*"),
    ("memcached", "out of memory"): full_of_pages,
    ("sqlite", "locked"): locked,
    ("postgres", "read-only"): altered("SET default_transaction_read_only = on"),
    ("postgres", "lock timeout"): row_held,
    ("postgres", "no connections"): altered("ALLOW_CONNECTIONS false"),
}


def stored(kind: str, server: Any, key: str) -> object:
    """Return what is stored at a key, as another program sees it."""
    if kind == "valkey":
        with server.client() as client:
            return client.hgetall(key)
    if kind == "memcached":
        with closing(Client(("127.0.0.1", server.port))) as client:
            return client.get(key)
    sql = f"SELECT value FROM {_table()} WHERE cache_key = '{key}'"
    if kind == "postgres":
        with closing(outside(server)) as other:
            return other.execute(sql).fetchall()
    name = connections[database_alias()].settings_dict["NAME"]
    with closing(sqlite3.connect(name)) as lite:
        return lite.execute(sql).fetchall()
