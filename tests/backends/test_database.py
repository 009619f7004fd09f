"""Records in a table of Django's DatabaseCache, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from pytest_django import DjangoDbBlocker, Settings

from sessionstores.backends import get_backend, problem
from sessionstores.backends.base import run
from sessionstores.backends.cas.backend import CasBackend
from sessionstores.backends.database import (
    DatabaseBackend,
    DatabaseStore,
    database_of,
    key_of,
    row,
)
from sessionstores.backends.database_deadline import DEADLINE
from sessionstores.backends.database_pool import THREADS, T, Work, close_connections
from sessionstores.backends.types import Committed, Record, Stale
from sessionstores.checks.caches import check_database_cache
from sessionstores.exceptions import InsideTransaction, StateCorrupt, StoreUnavailable
from sessionstores.keys import StoreKey, cache_key
from tests.conftest import started
from tests.contract.contract import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    MORE,
    BackendContract,
    Clock,
    in_threads,
    lease,
)
from tests.databases import SQLITE_OPTIONS, Router, database
from tests.servers import PATIENCE, Postgres

FULL = os.environ.get("SESSIONSTORES_FAULTS") == "full"


@pytest.fixture(scope="module", autouse=True)
def unblocked(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory, unblocked: None) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("sqlite") / "stores.sqlite3"
    entry = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": SQLITE_OPTIONS,
    }
    with database("lite", entry):
        yield path


@pytest.fixture(scope="module")
def postgresql(postgres: Postgres, unblocked: None) -> Iterator[Postgres]:
    with database("pg", postgres.database):
        yield postgres


@pytest.fixture
def fragile(unblocked: None) -> Iterator[Postgres]:
    """A PostgreSQL of one test's own, to be stopped."""
    for server in started(Postgres):
        with database("fragile", server.database):
            yield server
            close_connections()


@pytest.fixture(autouse=True)
def cache_settings(settings: Settings) -> None:
    cache = {"BACKEND": "django.core.cache.backends.db.DatabaseCache"}
    settings.DATABASE_ROUTERS = [Router()]
    settings.CACHES = settings.CACHES | {
        name: cache | {"LOCATION": name} for name in ("lite", "pg", "fragile")
    }


@pytest.fixture(autouse=True)
def no_connection_stays() -> Iterator[None]:
    """Close what threads leave open: Django has views close theirs, after a request."""
    opened: list[tuple[threading.Thread, Any]] = []
    lock = threading.Lock()

    def follow(*, connection: Any, **kwargs: Any) -> None:
        if connection.alias == "default":
            # In memory, and other tests go on with it.
            return
        with lock:
            for thread, raw in opened.copy():
                if not thread.is_alive():
                    raw.close()
                    opened.remove((thread, raw))
            opened.append((threading.current_thread(), connection.connection))

    connection_created.connect(follow)
    yield
    connection_created.disconnect(follow)
    close_connections()
    for alias in ("lite", "pg"):
        if alias in connections.settings:
            connections[alias].close()
    for _, raw in opened:
        raw.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


class PatientStore(DatabaseStore):
    """Tries again what was refused, as callers do.

    On a busy machine a thread may be kept waiting while it holds the lock of SQLite's
    file, or a PostgreSQL for longer than a call has for its answer; what is refused
    meanwhile is refused as it should be.
    """

    async def _call(self, work: Work[T], *, seconds: float = DEADLINE) -> T:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return await super()._call(work, seconds=seconds)
            except StoreUnavailable as error:
                if not error.refused or time.monotonic() >= until:
                    raise


class PatientBackend(DatabaseBackend):
    def __init__(self, alias: str, *, blocking: bool, clock: Clock) -> None:
        CasBackend.__init__(self, PatientStore(alias, blocking=blocking, clock=clock))


@pytest.fixture(params=["lite", "pg"])
def alias(request: pytest.FixtureRequest) -> str:
    """The alias of a cache and its database, whose table is empty."""
    request.getfixturevalue({"lite": "sqlite", "pg": "postgresql"}[request.param])
    alias = str(request.param)
    run(DatabaseBackend(alias, blocking=True).clear())
    return alias


@pytest.fixture
def backend(alias: str, clock: Clock) -> DatabaseBackend:
    return PatientBackend(alias, blocking=True, clock=clock)


def execute(alias: str, sql: str, *given: Any) -> list[tuple[Any, ...]]:
    """Run SQL from outside; `{table}` stands for the table."""
    with connections[alias].cursor() as cursor:
        cursor.execute(sql.format(table=alias), given)
        return cursor.fetchall() if cursor.description else []


def eventually(works: Callable[[], object]) -> None:
    """Wait until a call no longer raises `StoreUnavailable`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            works()
        except StoreUnavailable:
            assert time.monotonic() < deadline
        else:
            return


def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class DatabaseContract(BackendContract):
    THREADS: ClassVar[int] = 4
    COMMITS: ClassVar[int] = 500 if FULL else 100
    RACES: ClassVar[int] = 50 if FULL else 15
    ALIAS: ClassVar[str]

    def make_backend(self, *, blocking: bool, clock: Clock) -> DatabaseBackend:
        return PatientBackend(self.ALIAS, blocking=blocking, clock=clock)

    def plant(self, key: str, value: bytes, clock: Clock) -> None:
        backend = self.make_backend(blocking=True, clock=clock)
        found = run(backend.store.read([key])).get(key)
        token = found.token if found else None
        assert run(backend.store.cas(key, token, value, 600)) is not None

    def lose(self, key: str, clock: Clock) -> None:
        store = self.make_backend(blocking=True, clock=clock).store
        assert run(store.delete(key, run(store.read([key]))[key].token))


@pytest.mark.usefixtures("sqlite")
class TestSqlite(DatabaseContract):
    ALIAS: ClassVar[str] = "lite"


@pytest.mark.usefixtures("postgresql")
class TestPostgres(DatabaseContract):
    ALIAS: ClassVar[str] = "pg"


# What a site of its own does with a table that it shares: its settings, its work.
SITE = """
import asyncio, json, logging, os, sys
import django
from django.conf import settings

# Not of callbacks that took long, as they do on a busy machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)
settings.configure(
    USE_TZ=True,
    DATABASES={"default": json.loads(sys.argv[1])},
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": sys.argv[2],
        }
    },
)
django.setup()

from sessionstores.backends import get_backend
from sessionstores.backends.types import Committed
from sessionstores.keys import StoreKey

ALICE = StoreKey("K7Q2ZD", "alice")


async def count(backend, times):
    record = (await backend.open(ALICE, {"count": b"0"})).record
    while times:
        number = int(record.states["count"]) + 1
        states = {"count": str(number).encode()}
        answer = await backend.commit(record, record.rev.next(), states)
        times -= isinstance(answer, Committed)
        record = answer.record
"""


def in_a_site(alias: str, code: str) -> subprocess.Popen[str]:
    """Run code in a process of its own, with the same table as this one."""
    given = connections.settings[alias]
    entry = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in given.items()
        if name != "TEST"
    }
    program = [sys.executable, "-X", "dev", "-c", SITE + code, json.dumps(entry), alias]
    return subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def told(site: subprocess.Popen[str]) -> str:
    """Return what a site printed, once it has ended without complaint."""
    output, complaints = site.communicate(timeout=PATIENCE)
    assert (site.returncode, complaints) == (0, "")
    return output


def test_two_processes_on_one_table_lose_no_commit(alias: str) -> None:
    backend = DatabaseBackend(alias, blocking=True)
    run(backend.clear())
    code = """
run_count = {
    "blocking": lambda: count(get_backend(blocking=True), 100).send(None),
    "async": lambda: asyncio.run(count(get_backend(blocking=False), 100)),
}
try:
    run_count[FLAVOUR]()
except StopIteration:
    pass
"""
    sites = [
        in_a_site(alias, f"FLAVOUR = {flavour!r}" + code)
        for flavour in ("blocking", "async")
    ]
    for site in sites:
        told(site)
    record = run(backend.read(ALICE))
    assert isinstance(record, Record)
    assert record.states == {"count": b"200"}
    assert record.rev.counter == 201
    run(backend.clear())


def test_a_forked_process_opens_connections_of_its_own(alias: str) -> None:
    run(DatabaseBackend(alias, blocking=True).clear())
    code = """
import gc, warnings
# Our threads know how to fork; the interpreter warns of any.
warnings.simplefilter("ignore", DeprecationWarning)
backend = get_backend(blocking=False)
asyncio.run(count(backend, 1))
child = os.fork()
if not child:
    asyncio.run(count(backend, 1))
    # What the parent goes on with is not closed here.
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
asyncio.run(count(backend, 1))
print(asyncio.run(backend.read(ALICE)).states["count"].decode())
"""
    assert told(in_a_site(alias, code)).strip() == "3"


# Transactions


def test_it_is_refused_inside_a_transaction_and_works_after_it(
    backend: DatabaseBackend, alias: str
) -> None:
    run(backend.open(ALICE, BOARD))
    with transaction.atomic(using=alias):
        with pytest.raises(InsideTransaction, match="on_commit") as refused:
            run(backend.open(BOB, BOARD))
        with pytest.raises(InsideTransaction, match=alias):
            run(backend.read(ALICE))
        transaction.on_commit(lambda: run(backend.open(BOB, BOARD)), using=alias)
    assert refused.value.code == "inside_transaction"
    assert isinstance(refused.value, RuntimeError)
    assert [info.id for info in run(backend.participants(CODE))] == ["alice", "bob"]


def test_a_transaction_on_another_database_does_not_matter(
    backend: DatabaseBackend, alias: str
) -> None:
    with transaction.atomic(using="default"):
        assert run(backend.open(ALICE, BOARD)).created


def test_it_is_refused_without_autocommit(backend: DatabaseBackend, alias: str) -> None:
    transaction.set_autocommit(False, using=alias)
    try:
        with pytest.raises(InsideTransaction):
            run(backend.open(ALICE, BOARD))
    finally:
        transaction.set_autocommit(True, using=alias)
    assert run(backend.open(ALICE, BOARD)).created


async def test_coroutines_stay_out_of_the_transactions_of_threads(
    sqlite: Path, clock: Clock
) -> None:
    backend = DatabaseBackend("lite", blocking=False, clock=clock)
    await backend.clear()

    def begin() -> None:
        with transaction.atomic(using="lite"):
            execute("lite", "SELECT COUNT(*) FROM {table}")
            inside.set()
            assert done.wait(PATIENCE)

    inside, done = threading.Event(), threading.Event()
    thread = asyncio.create_task(asyncio.to_thread(begin))
    assert await asyncio.to_thread(inside.wait, PATIENCE)
    try:
        assert (await backend.open(ALICE, BOARD)).created
    finally:
        done.set()
        await thread
    await backend.clear()


# Rows


def test_of_many_threads_one_takes_the_place_of_an_expired_row(
    backend: DatabaseBackend, clock: Clock
) -> None:
    for _ in range(10):
        assert run(backend.store.cas("ss:v:race", None, b"old", 10)) is not None
        clock.advance(11)
        won: list[int] = []

        def work(number: int, won: list[int] = won) -> None:
            value = str(number).encode()
            if run(backend.store.cas("ss:v:race", None, value, 10)) is not None:
                won.append(number)

        in_threads(8, work)
        found = run(backend.store.read(["ss:v:race"]))["ss:v:race"]
        assert won == [int(found.value)]
        clock.advance(11)


def test_an_expired_value_can_be_neither_replaced_nor_deleted(
    backend: DatabaseBackend, clock: Clock
) -> None:
    token = run(backend.store.cas("ss:v:x", None, b"old", 10))
    clock.advance(10)
    assert run(backend.store.cas("ss:v:x", token, b"new", 10)) is None
    assert not run(backend.store.delete("ss:v:x", token))
    assert run(backend.store.read(["ss:v:x"])) == {}


def test_the_same_value_again_gives_it_a_new_time(
    backend: DatabaseBackend, clock: Clock
) -> None:
    token = run(backend.store.cas("ss:v:x", None, b"same", 10))
    clock.advance(9)
    assert run(backend.store.cas("ss:v:x", token, b"same", 10)) == token
    clock.advance(9)
    assert run(backend.store.read(["ss:v:x"]))["ss:v:x"].value == b"same"


def test_a_value_stays_for_all_of_its_time(
    backend: DatabaseBackend, clock: Clock
) -> None:
    clock.advance(0.9)
    run(backend.store.cas("ss:v:x", None, b"x", 1))
    clock.advance(0.9)
    assert "ss:v:x" in run(backend.store.read(["ss:v:x"]))
    clock.advance(1.2)
    assert run(backend.store.read(["ss:v:x"])) == {}


@pytest.mark.parametrize("ttl", [None, 1e12])
def test_what_is_kept_for_good_stays(
    backend: DatabaseBackend, clock: Clock, ttl: float | None
) -> None:
    run(backend.store.cas("ss:v:x", None, b"x", ttl))
    clock.advance(1e9)
    assert "ss:v:x" in run(backend.store.read(["ss:v:x"]))


@pytest.mark.parametrize("zone", ["UTC", "America/Chicago", "Asia/Kolkata"])
def test_times_hold_without_time_zones(
    backend: DatabaseBackend, clock: Clock, settings: Settings, zone: str
) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = zone
    run(backend.open(ALICE, BOARD))
    clock.advance(599)
    assert run(backend.read(ALICE, touch=False)) is not None
    with asyncio.Runner() as runner:
        other = DatabaseBackend(backend.store.table, blocking=False, clock=clock)
        assert runner.run(other.read(ALICE, touch=False)) is not None
        clock.advance(2)
        assert runner.run(other.read(ALICE, touch=False)) is None
    assert run(backend.read(ALICE, touch=False)) is None


def test_times_hold_without_time_zones_while_clocks_go_back(
    backend: DatabaseBackend, clock: Clock, settings: Settings
) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "Europe/Berlin"
    # 02:50 in summer; an hour later, it is 02:50 in winter. In spring, 02:50 is 03:50.
    for turn in (1_761_439_800.0, 1_774_745_400.0):
        clock.time = turn - 1_800
        run(backend.open(ALICE, BOARD))
        for _ in range(10):
            record = run(backend.read(ALICE, touch=False))
            assert isinstance(record, Record)
            run(backend.commit(record, record.rev.next(), MORE))
            assert run(backend.read(ALICE, touch=False)) is not None
            clock.advance(599)
        assert run(backend.read(ALICE, touch=False)) is not None
        clock.advance(2)
        assert run(backend.read(ALICE, touch=False)) is None


def test_ids_that_differ_in_case_are_different_participants(
    backend: DatabaseBackend,
) -> None:
    run(backend.open(ALICE, BOARD))
    assert run(backend.open(StoreKey(CODE, "Alice"), MORE)).created
    record = run(backend.read(ALICE))
    assert isinstance(record, Record)
    assert record.states == BOARD


def test_more_keys_are_read_than_one_statement_takes(backend: DatabaseBackend) -> None:
    keys = [f"ss:v:{number}" for number in range(1_200)]
    for key in (keys[0], keys[600], keys[-1]):
        run(backend.store.cas(key, None, key.encode(), 60))
    found = run(backend.store.read(keys))
    assert {key: held.value for key, held in found.items()} == {
        key: key.encode() for key in (keys[0], keys[600], keys[-1])
    }


@pytest.mark.parametrize("text", ["no base64!", "gAJ9cQAu", "ümlaut"])
def test_a_row_of_another_program_is_corrupt_and_can_be_set_aside(
    backend: DatabaseBackend, alias: str, text: str
) -> None:
    run(backend.open(ALICE, BOARD))
    name = cache_key("ss", CODE, "p", "alice")
    change = "UPDATE {table} SET value = %s WHERE cache_key = %s"
    execute(alias, change, text, name)
    with pytest.raises(StateCorrupt):
        run(backend.read(ALICE))
    run(backend.set_aside(ALICE, None, None))
    assert run(backend.open(ALICE, MORE)).created


def test_clear_leaves_rows_of_others(
    backend: DatabaseBackend, alias: str, settings: Settings
) -> None:
    caches[alias].set("page", "x")
    run(backend.open(ALICE, BOARD))
    run(backend.clear())
    assert run(backend.summaries()) == []
    assert caches[alias].get("page") == "x"
    rows = execute(alias, "SELECT cache_key FROM {table}")
    assert rows == [(":1:page",)]
    caches[alias].clear()


# Outages


def test_a_missing_table_is_named_with_the_way_to_make_it(
    alias: str, settings: Settings
) -> None:
    execute(alias, "ALTER TABLE {table} RENAME TO gone")
    try:
        backend = DatabaseBackend(alias, blocking=True)
        with pytest.raises(StoreUnavailable, match="createcachetable"):
            run(backend.read(ALICE))
        found = asyncio.run(DatabaseBackend(alias, blocking=False).examine())
        assert [finding.level for finding in found] == ["error"]
        assert "createcachetable" in found[0].text
    finally:
        execute(alias, f"ALTER TABLE gone RENAME TO {alias}")
    assert run(backend.open(ALICE, BOARD)).created
    run(backend.clear())


async def test_a_locked_sqlite_is_unavailable_until_it_is_not(
    sqlite: Path, clock: Clock
) -> None:
    backend = DatabaseBackend("lite", blocking=False, clock=clock)
    await backend.clear()
    with closing(sqlite3.connect(sqlite, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            await backend.open(ALICE, BOARD)
        assert await backend.read(ALICE) is None
        other.execute("ROLLBACK")
    assert (await backend.open(ALICE, BOARD)).created
    await backend.clear()


def test_a_process_whose_clock_is_off_removes_nothing_early(
    postgresql: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = DatabaseBackend("pg", blocking=True)
    run(right.open(ALICE, BOARD))
    run(right.lease([lease()]))
    local = time.time
    for off in (3_600, -3_600):
        wrong = DatabaseBackend("pg", blocking=True)
        monkeypatch.setattr(time, "time", lambda off=off: local() + off)
        assert run(wrong.reap([CODE])) == []
        assert run(wrong.evict_idle(CODE, idle_for=300, limit=9)) == []
        assert len(run(wrong.connections(ALICE))) == 1
        assert abs(run(wrong.now()) - local()) < 3
        monkeypatch.undo()
    run(right.clear())


def test_keys_are_listed_unchanged_though_capitals_are_marked() -> None:
    class Mysql:
        vendor = "mysql"

    for key in ("ss:{K7Q2ZD}:p:aA^b", "ss:reg:0"):
        assert key_of(Mysql(), row(Mysql(), key)) == key


def test_a_prefix_that_leaves_too_few_characters_in_mysql_is_a_problem(
    settings: Settings, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = settings.CACHES[alias]
    for prefix, is_taken in (("P" * 44, True), ("P" * 45, False), ("p" * 89, True)):
        settings.CACHES = {alias: {**cache, "KEY_PREFIX": prefix}}
        settings.SESSIONSTORES = {"CACHE": alias, "KEY_PREFIX": ""}
        assert problem(alias) is None
        with monkeypatch.context() as patched:
            db = database_of(cache["LOCATION"])
            patched.setattr(connections[db], "vendor", "mysql")
            reason = problem(alias)
        assert (reason is None) is is_taken
        assert is_taken or f"'{prefix}:1:'" in str(reason)


async def test_a_commit_that_a_held_row_kept_waiting_is_not_tried_once_more(
    postgresql: Postgres, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = DatabaseBackend("pg", blocking=False, clock=clock)
    await backend.clear()
    record = (await backend.open(ALICE, BOARD)).record
    # The first one also reads whom the session keeps out.
    first = await backend.commit(record, record.rev.next(), BOARD)
    assert isinstance(first, Committed)
    record = first.record
    asked = []
    call = DatabaseStore._call

    async def count(self: DatabaseStore, work: Any, **how: Any) -> Any:
        asked.append(work)
        return await call(self, work, **how)

    monkeypatch.setattr(DatabaseStore, "_call", count)
    with closing(await asyncio.to_thread(connect, postgresql)) as other:
        other.execute("BEGIN")
        other.execute("UPDATE pg SET value = value")
        with pytest.raises(StoreUnavailable):
            await backend.commit(record, record.rev.next(), MORE)
        assert len(asked) == 1
        other.execute("ROLLBACK")
    await backend.clear()


async def test_a_row_that_somebody_holds_is_unavailable_and_nobody_keeps_waiting(
    postgresql: Postgres, clock: Clock
) -> None:
    backend = DatabaseBackend("pg", blocking=False, clock=clock)
    await backend.clear()
    record = (await backend.open(ALICE, BOARD)).record
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with closing(await asyncio.to_thread(connect, postgresql)) as other:
        other.execute("BEGIN")
        other.execute("UPDATE pg SET value = value")
        answers = await asyncio.gather(
            *(backend.commit(record, record.rev.next(), MORE) for _ in range(20)),
            return_exceptions=True,
        )
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        await asyncio.to_thread(until, lambda: not other.execute(waiting).fetchall())
        other.execute("ROLLBACK")
    answer = await backend.commit(record, record.rev.next(), MORE)
    if isinstance(answer, Stale):
        # Of those that nobody was told of, one may have got in at last.
        assert answer.record is not None
        answer = await backend.commit(answer.record, answer.record.rev.next(), MORE)
    assert isinstance(answer, Committed)
    await backend.clear()


@contextmanager
def silenced(server: Postgres) -> Iterator[None]:
    """Pause a server with the processes that serve its connections."""
    with closing(connect(server)) as other:
        rows = other.execute("SELECT pid FROM pg_stat_activity").fetchall()
        try:
            for (pid,) in rows:
                os.kill(pid, signal.SIGSTOP)
            with server.paused():
                yield
        finally:
            for (pid,) in rows:
                os.kill(pid, signal.SIGCONT)


def connect(server: Postgres) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=server.port, user="postgres", dbname="sessionstores"
    )


@pytest.mark.parametrize("blocking", [True, False])
def test_a_server_that_crashed_is_used_again_when_it_is_back(
    fragile: Postgres, clock: Clock, blocking: bool
) -> None:
    backend = DatabaseBackend("fragile", blocking=blocking, clock=clock)
    with asyncio.Runner() as runner:
        drive = run if blocking else runner.run
        drive(backend.open(ALICE, BOARD))
        fragile.kill()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                drive(backend.read(ALICE))
        fragile.start()
        eventually(lambda: drive(backend.read(ALICE)))
        record = drive(backend.read(ALICE))
        assert isinstance(record, Record)
        assert isinstance(
            drive(backend.commit(record, record.rev.next(), MORE)), Committed
        )


async def test_a_silent_server_is_unavailable_to_fifty_coroutines_at_once(
    fragile: Postgres, clock: Clock
) -> None:
    backend = DatabaseBackend("fragile", blocking=False, clock=clock)
    await backend.open(ALICE, BOARD)
    with silenced(fragile):
        for _ in range(2):
            async with asyncio.timeout(PATIENCE):
                answers = await asyncio.gather(
                    *(backend.read(ALICE) for _ in range(50)), return_exceptions=True
                )
            assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert len(backend.store._pool._threads._threads) <= THREADS
    await asyncio.to_thread(eventually, lambda: asyncio.run(backend.read(ALICE)))
    assert isinstance(await backend.read(ALICE), Record)


# Settings and the doctor


def test_the_settings_choose_it(alias: str, settings: Settings) -> None:
    settings.SESSIONSTORES = {"CACHE": alias}
    assert problem(alias) is None
    backend = get_backend(blocking=False)
    assert isinstance(backend, DatabaseBackend)
    assert (backend.shared, backend.in_memory) == (True, False)


class FixedCache(DatabaseCache):
    """Knows its table, and so needs no LOCATION."""

    def __init__(self, table: str, params: dict[str, Any]) -> None:
        super().__init__("lite", params)


def test_the_table_is_that_of_a_subclass(settings: Settings, sqlite: Path) -> None:
    settings.CACHES = settings.CACHES | {"own": {"BACKEND": f"{__name__}.FixedCache"}}
    settings.SESSIONSTORES = {"CACHE": "own"}
    assert problem("own") is None
    backend = get_backend(blocking=True)
    assert isinstance(backend, DatabaseBackend)
    run(backend.clear())
    assert isinstance(run(backend.open(ALICE, BOARD)).record, Record)
    assert [each.id for each in check_database_cache(None)] == [
        "sessionstores.W008"
    ] * 2
    run(backend.clear())


@pytest.mark.parametrize(
    ("location", "engine", "name", "reason"),
    [
        ("", "sqlite3", "x", "not the name of a table"),
        (None, "sqlite3", "x", "not the name of a table"),
        ("elsewhere", "sqlite3", "x", "'elsewhere', which DATABASES lacks"),
        ("odd", "sqlite3", ":memory:", "in memory"),
        ("odd", "dummy", "x", "of the kind 'unknown'"),
    ],
)
def test_what_cannot_hold_records_is_refused_with_the_reason(
    settings: Settings, location: object, engine: str, name: str, reason: str
) -> None:
    path = f"django.db.backends.{engine}"
    odd = {"default": {}, "odd": {"ENGINE": path, "NAME": name}}
    connections.settings["odd"] = connections.configure_settings(odd)["odd"]
    cache = settings.CACHES["lite"] | {"LOCATION": location}
    settings.CACHES = settings.CACHES | {"lite": cache}
    settings.SESSIONSTORES = {"CACHE": "lite"}
    try:
        words = problem("lite")
        with pytest.raises(ImproperlyConfigured, match="lite"):
            get_backend(blocking=True)
    finally:
        if hasattr(connections._connections, "odd"):
            del connections["odd"]
        del connections.settings["odd"]
    assert words is not None
    assert reason in words


def test_the_doctor_learns_what_the_database_is(
    backend: DatabaseBackend, clock: Clock
) -> None:
    run(backend.open(ALICE, BOARD))
    run(backend.store.cas("ss:v:old", None, b"x", 10))
    clock.advance(11)
    found = run(backend.examine())
    assert {finding.level for finding in found} == {"ok"}
    texts = " ".join(finding.text for finding in found)
    assert "SQLite 3." in texts or "PostgreSQL 1" in texts
    assert "5 rows of ours, 1 of them expired" in texts
