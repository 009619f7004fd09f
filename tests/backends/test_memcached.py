"""The backend for memcached, against real servers."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.exceptions import ImproperlyConfigured
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheServerError
from pytest_django import Settings

from sessionstores.backends import get_backend, memcached_pool, problem
from sessionstores.backends.base import Backend, run
from sessionstores.backends.cas.backend import CasBackend
from sessionstores.backends.cas.key_value import Versioned
from sessionstores.backends.client_entries import has_run
from sessionstores.backends.memcached import (
    MAX_VALUE,
    MemcachedBackend,
    MemcachedStore,
    expiry,
)
from sessionstores.backends.memcached_pool import (
    MAX_IDLE,
    TIMEOUT,
    MemcachedServer,
    ReplyLine,
)
from sessionstores.backends.types import Attempt, Committed, Record, Stale
from sessionstores.exceptions import ActionRejected, StateTooLarge, StoreUnavailable
from sessionstores.keys import StoreKey
from tests.contract.contract import (
    ALICE,
    BOARD,
    CODE,
    MORE,
    BackendContract,
    Clock,
    in_threads,
    lease,
)
from tests.servers import PATIENCE, Memcached

FULL = os.environ.get("SESSIONSTORES_FAULTS") == "full"
MANY = 50
T = TypeVar("T")
PYMEMCACHE = "django.core.cache.backends.memcached.PyMemcacheCache"
PYLIBMC = "django.core.cache.backends.memcached.PyLibMCCache"


async def once_heard(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Call until a server that goes on answers in time: the machine may be busy."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await call()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise


def point_at(settings: Settings, *servers: Memcached) -> None:
    """Let the default cache be these servers."""
    places = [f"127.0.0.1:{server.port}" for server in servers]
    settings.CACHES = {"default": {"BACKEND": PYMEMCACHE, "LOCATION": places}}


class Timed(MemcachedStore):
    """Goes by the test's clock too, since memcached's own cannot be moved."""

    deadlines: ClassVar[dict[str, float]] = {}

    def is_over(self, key: str) -> bool:
        return self.deadlines.get(key, inf) <= self.clock()

    async def read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        found = await super().read(keys)
        for key in [key for key in found if self.is_over(key)]:
            await super().delete(key, found.pop(key).token)
        return found

    async def cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        if self.is_over(key):
            await self.read([key])
        answer = await super().cas(key, token, value, ttl)
        if answer is not None:
            self.deadlines[key] = inf if ttl is None else self.clock() + ttl
        return answer

    async def clear(self) -> None:
        await super().clear()
        self.deadlines.clear()


class TestMemcached(BackendContract):
    THREADS = 4
    COMMITS = 500 if FULL else 60
    RACES = 50 if FULL else 10
    LISTS_KEYS = False

    @pytest.fixture(autouse=True)
    def server(self, settings: Settings, memcached: Memcached) -> None:
        self.port = memcached.port
        point_at(settings, memcached)

    def make_backend(self, *, blocking: bool, clock: Clock) -> CasBackend:
        return CasBackend(Timed("default", blocking=blocking, clock=clock))

    def plant(self, key: str, value: bytes, clock: Clock) -> None:
        client = Client(("127.0.0.1", self.port))
        client.set(key, value, 600, noreply=False)
        client.close()
        Timed.deadlines[key] = clock() + 600

    def lose(self, key: str, clock: Clock) -> None:
        client = Client(("127.0.0.1", self.port))
        assert client.delete(key, noreply=False)
        client.close()


class Flagged(Memcached):
    """Started with more flags."""

    def __init__(self, *flags: str) -> None:
        super().__init__()
        self.flags = flags

    def command(self) -> list[str]:
        return [*super().command(), *self.flags]

    def client(self) -> Client:
        return Client(("127.0.0.1", self.port), timeout=20, default_noreply=False)


Start = Callable[..., Flagged]


@pytest.fixture
def start(memcached: Memcached) -> Iterator[Start]:
    """Start servers that a test has to itself and may stop."""
    running: list[Flagged] = []

    def one(*flags: str) -> Flagged:
        server = Flagged(*flags)
        running.append(server)
        server.start()
        return server

    yield one
    for server in running:
        server.stop()


@pytest.fixture
def own(start: Start, settings: Settings) -> Flagged:
    server = start()
    point_at(settings, server)
    return server


@pytest.fixture
def blocking(own: Flagged) -> MemcachedBackend:
    return MemcachedBackend("default", blocking=True)


def opened(backend: Backend, key: StoreKey = ALICE) -> Record:
    return run(backend.open(key, BOARD)).record


# Expiry


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [(None, 0), (0.2, 2), (1, 2), (59.5, 61), (2_591_999, 2_592_000)],
)
def test_an_expiry_is_in_whole_seconds_and_never_too_soon(
    ttl: float | None, seconds: int
) -> None:
    assert expiry(ttl) == seconds


def test_an_expiry_in_more_than_a_month_is_a_time_since_the_epoch() -> None:
    before = time.time()
    assert before < expiry(2_592_000) - 2_592_000 < time.time() + 3
    assert expiry(1e12) == 2**31 - 1


def test_the_server_keeps_each_value_for_its_ttl(
    own: Flagged, blocking: MemcachedBackend
) -> None:
    for key, ttl in {"hour": 3_600.0, "season": 1e7, "good": None}.items():
        assert run(blocking.store.cas(key, None, b"x", ttl)) is not None
    client = own.client()
    left = {
        key: int(client.raw_command(f"mg {key} t").removeprefix(b"HD t"))
        for key in ("hour", "season", "good")
    }
    client.close()
    assert left["good"] == -1
    assert 3_590 < left["hour"] <= 3_602
    assert 1e7 - 10 < left["season"] <= 1e7 + 3


# Sizes


def test_the_largest_value_fits_under_the_longest_key(
    blocking: MemcachedBackend,
) -> None:
    key, value = "k" * 250, os.urandom(MAX_VALUE)
    assert run(blocking.store.cas(key, None, value, 60)) is not None
    assert run(blocking.store.read([key]))[key].value == value


def test_a_value_no_item_can_hold_is_refused_and_changes_nothing(
    blocking: MemcachedBackend,
) -> None:
    large = {"board": b"x" * MAX_VALUE}
    with pytest.raises(StateTooLarge, match=str(MAX_VALUE)):
        run(blocking.open(ALICE, large))
    assert run(blocking.sessions()) == []
    record = opened(blocking)
    with pytest.raises(StateTooLarge, match=str(MAX_VALUE)):
        run(blocking.commit(record, record.rev.next(), large))
    assert run(blocking.read(ALICE)).states == BOARD


def test_what_clients_take_up_never_makes_a_record_too_large(
    blocking: MemcachedBackend,
) -> None:
    own = StoreKey.of_session(CODE)
    record = run(blocking.open(own, BOARD)).record
    attempts = [
        Attempt(f"{person:064}/{tab:016}", 1, {}, resent=True)
        for person in range(1_000)
        for tab in range(6)
    ]
    # They fit beside a small state, and not beside a large one.
    for states in (MORE, {"board": b"x" * 900_000}):
        answer = run(blocking.commit(record, record.rev.next(), states, attempts))
        assert isinstance(answer, Committed)
        record, attempts = answer.record, attempts[:1]
    stored = run(blocking.read(own))
    assert isinstance(stored, Record)
    assert (stored.states, stored.clients) == (record.states, record.clients)
    assert 1_000 < len(stored.clients) < 3_000
    assert has_run(stored.clients, attempts[0])
    # Of those that are gone, it is unknown.
    with pytest.raises(ActionRejected, match="no longer known"):
        has_run(stored.clients, Attempt(f"{1:064}/{1:016}", 1, {}, resent=True))


def test_a_server_of_smaller_items_refuses_and_keeps_what_stood_there(
    start: Start, settings: Settings
) -> None:
    point_at(settings, start("-I", "512k"))
    settings.SESSIONSTORES = {"MAX_STATE_BYTES": 500_000}
    backend = MemcachedBackend("default", blocking=True)
    record = opened(backend)
    with pytest.raises(StateTooLarge, match="-I"):
        run(backend.commit(record, record.rev.next(), {"board": b"x" * 600_000}))
    assert run(backend.read(ALICE)).states == BOARD
    errors = [found for found in run(backend.examine()) if found.level == "error"]
    assert [("524288" in error.text, "-I" in error.hint) for error in errors] == [
        (True, True)
    ]


# Memory


def fill(server: Flagged) -> None:
    """Put in other values until it has to refuse or evict some."""
    client = server.client()
    for number in range(10_000):
        try:
            client.set(f"page-{number}", b"x" * 5_000)
        except MemcacheServerError:
            break
        if number % 100 == 0 and client.stats()[b"evictions"]:
            break
    else:
        pytest.fail("The server did not fill up.")
    client.close()


def test_a_full_server_that_evicts_nothing_keeps_what_stood_there(
    start: Start, settings: Settings
) -> None:
    server = start("-M", "-m", "2")
    point_at(settings, server)
    backend = MemcachedBackend("default", blocking=True)
    record = opened(backend)
    fill(server)
    with pytest.raises(StoreUnavailable, match="out of memory"):
        run(backend.commit(record, record.rev.next(), {"board": b"x" * 5_000}))
    assert run(backend.read(ALICE)).states == BOARD


def test_evictions_are_found_and_what_was_evicted_is_absent(
    start: Start, settings: Settings
) -> None:
    # The oldest first, however often it was read; else a thread of its decides.
    server = start("-m", "2", "-o", "no_lru_maintainer")
    point_at(settings, server)
    backend = MemcachedBackend("default", blocking=True)
    run(backend.open(ALICE, {"board": b"x" * 5_000}))
    fill(server)
    assert run(backend.read(ALICE)) is None
    warnings = [found for found in run(backend.examine()) if found.level == "warning"]
    assert any("evicted" in found.text and "-m" in found.hint for found in warnings)


# Compare-and-set


def test_a_delete_on_an_older_token_deletes_nothing(
    blocking: MemcachedBackend,
) -> None:
    run(blocking.store.cas("k", None, b"one", 60))
    old = run(blocking.store.read(["k"]))["k"].token
    assert run(blocking.store.cas("k", old, b"two", 60)) is not None
    assert not run(blocking.store.delete("k", old))
    found = run(blocking.store.read(["k"]))["k"]
    assert found.value == b"two"
    assert run(blocking.store.delete("k", found.token))
    assert run(blocking.store.read(["k"])) == {}
    assert not run(blocking.store.delete("k", found.token))


def test_of_writers_and_deleters_with_one_token_a_single_one_wins(
    blocking: MemcachedBackend,
) -> None:
    for _ in range(20):
        assert run(blocking.store.cas("k", None, b"0", 60)) is not None
        token = run(blocking.store.read(["k"]))["k"].token
        won: list[int] = []

        def work(number: int, token: Any = token, won: list[int] = won) -> None:
            if number % 2:
                done: Any = run(blocking.store.delete("k", token))
            else:
                done = run(blocking.store.cas("k", token, b"%d" % number, 60))
            if done:
                won.append(number)

        in_threads(8, work)
        left = run(blocking.store.read(["k"]))
        assert len(won) == 1
        if won[0] % 2:
            assert left == {}
        else:
            assert left["k"].value == b"%d" % won[0]
            assert run(blocking.store.delete("k", left["k"].token))


def test_the_answer_to_a_write_is_not_a_token(blocking: MemcachedBackend) -> None:
    told = run(blocking.store.cas("k", None, b"one", 60))
    assert told is not None
    assert run(blocking.store.cas("k", told, b"two", 60)) is None
    assert not run(blocking.store.delete("k", told))
    assert run(blocking.store.read(["k"]))["k"].value == b"one"


def test_a_token_of_an_earlier_run_of_the_server_matches_nothing(
    own: Flagged, blocking: MemcachedBackend
) -> None:
    run(blocking.store.cas("k", None, b"old", 60))
    token = run(blocking.store.read(["k"]))["k"].token
    own.kill()
    own.start()
    client = own.client()
    client.set("k", b"new")
    assert client.gets("k") == (b"new", token.unique)
    client.close()
    assert run(blocking.store.read(["k"]))["k"].value == b"new"
    assert run(blocking.store.cas("k", token, b"old on new", 60)) is None
    assert not run(blocking.store.delete("k", token))
    assert run(blocking.store.read(["k"]))["k"].value == b"new"


def test_a_server_without_compare_and_set_is_refused(
    start: Start, settings: Settings
) -> None:
    point_at(settings, start("-C"))
    backend = MemcachedBackend("default", blocking=True)
    with pytest.raises(StoreUnavailable, match="-C"):
        run(backend.open(ALICE, BOARD))
    errors = [found for found in run(backend.examine()) if found.level == "error"]
    assert "-C" in errors[0].hint


def test_a_server_that_does_not_list_its_keys_says_so_and_keeps_them(
    start: Start, settings: Settings
) -> None:
    point_at(settings, start("-o", "no_lru_crawler"))
    backend = MemcachedBackend("default", blocking=True)
    run(backend.clear())
    opened(backend)
    with pytest.raises(
        StoreUnavailable, match=r"its keys: CLIENT_ERROR lru.*Nothing was"
    ):
        run(backend.clear())
    assert run(backend.sessions()) == [CODE]


def test_several_clear_a_server_at_once_and_others_keys_stay(
    start: Start, settings: Settings
) -> None:
    # It lists keys for one caller at a time; there are more than fit into one reply.
    server = start()
    point_at(settings, server)
    backend = MemcachedBackend("default", blocking=True)
    with closing(server.client()) as client:
        client.set_many({f"other:{'x' * 150}:{n}": b"x" for n in range(1_000)})
        opened(backend)
        in_threads(4, lambda number: run(backend.clear()))
        assert run(backend.sessions()) == []
        assert client.stats()[b"curr_items"] == 1_000


# Outages


def both(work: Callable[[Backend], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Do it in the one flavour, then in the other."""
    return [
        run(work(MemcachedBackend("default", blocking=True))),
        asyncio.run(work(MemcachedBackend("default", blocking=False))),
    ]


def test_a_server_that_is_down_is_not_an_empty_store(own: Flagged) -> None:
    async def read(backend: Backend) -> object:
        with pytest.raises(StoreUnavailable, match=str(own.port)):
            await backend.read(ALICE)
        with pytest.raises(StoreUnavailable):
            await backend.examine()
        with pytest.raises(StoreUnavailable):
            await backend.clear()

    opened(MemcachedBackend("default", blocking=True))
    own.kill()
    both(read)


def test_a_restart_is_noticed_without_an_error(
    own: Flagged, blocking: MemcachedBackend
) -> None:
    async def read(backend: Backend) -> object:
        return await backend.read(ALICE)

    record = opened(blocking)
    warm_up(blocking, 4)
    own.kill()
    own.start()
    assert both(read) == [None, None]
    assert run(blocking.commit(record, record.rev.next(), MORE)) == Stale(None)
    assert run(blocking.open(ALICE, BOARD)).created


def test_a_commit_right_after_a_restart_finds_no_record(
    own: Flagged, blocking: MemcachedBackend
) -> None:
    record = opened(blocking)
    own.kill()
    own.start()
    assert run(blocking.commit(record, record.rev.next(), MORE)) == Stale(None)


def warm_up(backend: MemcachedBackend, count: int) -> None:
    """Let that many connections lie idle."""
    in_threads(count, lambda number: run(backend.read(ALICE)) and None)


@pytest.mark.parametrize("warm", [False, True])
def test_threads_that_call_a_stuck_server_all_get_an_error(
    own: Flagged, blocking: MemcachedBackend, warm: bool
) -> None:
    record = opened(blocking)
    if warm:
        warm_up(blocking, MANY)

    def work(number: int) -> None:
        call: Coroutine[Any, Any, Any]
        if number % 2:
            call = blocking.read(ALICE)
        else:
            call = blocking.commit(record, record.rev.next(), MORE)
        with pytest.raises(StoreUnavailable) as caught:
            run(call)
        errors.append(caught.value)

    errors: list[StoreUnavailable] = []
    started = time.monotonic()
    with own.paused():
        in_threads(MANY, work)
    assert time.monotonic() - started < 5
    # A new connection is told nothing, so nothing was sent over it.
    refused = [error.refused for error in errors]
    assert not all(refused) if warm else any(refused)
    for error in errors:
        outcome = "Nothing was changed" if error.refused else "read before you try"
        assert outcome in str(error)
    assert run(once_heard(lambda: blocking.read(ALICE))) is not None


@pytest.mark.parametrize("count", [MANY, 4 * MANY])
def test_coroutines_that_call_a_stuck_server_all_get_an_error(
    own: Flagged, count: int
) -> None:
    async def scenario() -> None:
        backend = MemcachedBackend("default", blocking=False)
        record = (await backend.open(ALICE, BOARD)).record
        started = time.monotonic()
        with own.paused():
            answers = await asyncio.gather(
                *(
                    backend.read(ALICE)
                    if number % 2
                    else backend.commit(record, record.rev.next(), MORE)
                    for number in range(count)
                ),
                return_exceptions=True,
            )
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert time.monotonic() - started < 5
        assert isinstance(await once_heard(lambda: backend.read(ALICE)), Record)

    asyncio.run(scenario())


def test_calls_wait_less_only_for_a_while_after_one_that_waited_in_vain(
    own: Flagged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memcached_pool, "SILENT_FOR", 0.0)
    backend = MemcachedBackend("default", blocking=True)
    run(backend.open(ALICE, BOARD))
    with own.paused():
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                run(backend.read(ALICE))
            assert time.monotonic() - started >= TIMEOUT
        monkeypatch.setattr(memcached_pool, "SILENT_FOR", 600.0)
        monkeypatch.setattr(memcached_pool, "SILENT_TIMEOUT", 0.01)
        for least, most in ((TIMEOUT, 60.0), (0.0, TIMEOUT)):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                run(backend.read(ALICE))
            assert least <= time.monotonic() - started < most
    monkeypatch.setattr(memcached_pool, "SILENT_TIMEOUT", 60.0)
    run(backend.read(ALICE))


def test_an_answer_that_comes_late_is_nobody_elses(own: Flagged) -> None:
    async def scenario(backend: MemcachedBackend) -> None:
        a, b = "ss:v:a", "ss:v:b"
        for key in (a, b):
            await backend.store.cas(key, None, key.encode(), 60)
        with own.paused(), pytest.raises(StoreUnavailable):
            await backend.store.read([a])
        found = await once_heard(lambda: backend.store.read([b]))
        assert found[b].value == b.encode()
        await backend.clear()

    both(scenario)


def test_a_coroutine_that_is_cancelled_leaves_nobody_its_answer(own: Flagged) -> None:
    async def scenario() -> None:
        backend = MemcachedBackend("default", blocking=False)
        for key in ("a", "b"):
            await backend.store.cas(key, None, key.encode(), 60)
        with own.paused(), pytest.raises(TimeoutError):
            await asyncio.wait_for(backend.store.read(["a"]), 0.01)
        for _ in range(10):
            found = await once_heard(lambda: backend.store.read(["b"]))
            assert found["b"].value == b"b"

    asyncio.run(scenario())


def test_a_commit_without_an_answer_takes_effect_once(
    own: Flagged, blocking: MemcachedBackend
) -> None:
    record = opened(blocking)
    rev = record.rev.next()
    with own.paused(), pytest.raises(StoreUnavailable):
        run(blocking.commit(record, rev, MORE))
    # It waits less for a while; a try that is late too is repeated as well.
    again = lambda: blocking.commit(record, rev, MORE, repeated=True)  # noqa: E731
    answer = run(once_heard(again))
    assert isinstance(answer, Committed)
    assert answer.record.rev == rev
    assert run(blocking.read(ALICE)).history == record.history.extend(rev)


# Time


def test_a_process_whose_clock_is_off_removes_nothing_early(
    own: Flagged, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = MemcachedBackend("default", blocking=True)
    run(right.open(ALICE, BOARD))
    run(right.lease([lease()]))
    local = time.time
    for off in (3_600, -3_600):
        point_at(settings, own)
        wrong = MemcachedBackend("default", blocking=True)
        monkeypatch.setattr(time, "time", lambda off=off: local() + off)
        assert run(wrong.reap([CODE])) == []
        assert run(wrong.evict_idle(CODE, idle_for=300, limit=9)) == []
        assert len(run(wrong.connections(ALICE))) == 1
        assert abs(run(wrong.now()) - local()) < 3
        monkeypatch.undo()


def test_the_servers_tell_their_figures(blocking: MemcachedBackend) -> None:
    figures = run(blocking.server())
    assert figures is not None
    assert re.fullmatch(r"memcached \d+\.\d+\.\d+.*", figures.name)
    assert figures.used is not None
    assert figures.limit is not None
    assert 0 <= figures.used < figures.limit
    assert (figures.evicted, figures.policy) == (0, None)


# Connections


def test_both_flavours_and_all_event_loops_share_the_connections(
    blocking: MemcachedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are closed only when no backend of this server is left."""

    async def read(backend: Backend) -> object:
        return await backend.read(ALICE)

    dialled: list[ReplyLine] = []
    dial = MemcachedServer._dial

    def counted(server: MemcachedServer, patience: float) -> ReplyLine:
        dialled.append(dial(server, patience))
        return dialled[-1]

    # The server's own count lags behind: its threads take connections one by one.
    monkeypatch.setattr(MemcachedServer, "_dial", counted)
    for _ in range(20):
        both(read)
    assert len(dialled) == 1


def test_no_more_connections_are_kept_than_may_lie_idle(
    own: Flagged, blocking: MemcachedBackend
) -> None:
    warm_up(blocking, 100)
    (server,) = blocking.store.servers
    gate = threading.Barrier(100)
    in_threads(100, lambda number: server.call(lambda line: gate.wait(20)) and None)
    with closing(own.client()) as client:
        # The server's own count lags behind: it hears later of those that are closed.
        deadline = time.monotonic() + PATIENCE
        while (count := client.stats()[b"curr_connections"]) > MAX_IDLE + 2:
            assert time.monotonic() < deadline, count


def in_child(work: Callable[[], None]) -> int:
    """Do it in a forked process; return its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - must not go on as another test run
            traceback.print_exc()
            os._exit(1)
    return pid


def test_a_forked_process_has_connections_and_threads_of_its_own(
    blocking: MemcachedBackend,
) -> None:
    patient = MemcachedBackend("default", blocking=False)
    warm_up(blocking, 4)
    asyncio.run(patient.read(ALICE))

    def work(name: str) -> None:
        async def scenario(backend: Backend) -> None:
            key = StoreKey(CODE, name)
            record = (await backend.open(key, BOARD)).record
            for number in range(100):
                states = {"board": f"{name} {number}".encode()}
                answer = await backend.commit(record, record.rev.next(), states)
                assert isinstance(answer, Committed)
                found = await backend.read(key)
                assert isinstance(found, Record)
                assert found.states == states
                record = found

        run(scenario(blocking))
        asyncio.run(scenario(patient))

    children = [in_child(lambda name=name: work(name)) for name in ("one", "two")]
    work("parent")
    ends = [os.waitpid(child, 0)[1] for child in children]
    assert [os.waitstatus_to_exitcode(end) for end in ends] == [0, 0]


# Several servers

CODES = [f"CODE{n:02d}" for n in range(40)]


def is_unavailable(backend: Backend, key: StoreKey) -> bool:
    try:
        assert isinstance(run(backend.read(key)), Record)
    except StoreUnavailable:
        return True
    return False


def test_a_session_is_on_one_server_and_stays_there_when_that_is_down(
    start: Start, settings: Settings
) -> None:
    first, second = start(), start()
    point_at(settings, first, second)
    backend = MemcachedBackend("default", blocking=True)
    keys = [StoreKey(code, "alice") for code in CODES]
    for key in keys:
        opened(backend, key)
    assert run(backend.sessions()) == CODES
    second.kill()
    lost = [key for key in keys if is_unavailable(backend, key)]
    assert 0 < len(lost) < len(keys)
    for key in lost:
        with pytest.raises(StoreUnavailable, match=str(second.port)):
            run(backend.open(key, BOARD))
    second.start()
    for key in keys:
        found = run(backend.read(key))
        assert (found is None) == (key in lost)


def test_the_order_of_the_servers_makes_no_difference(
    start: Start, settings: Settings
) -> None:
    first, second = start(), start()
    point_at(settings, first, second)
    for code in CODES:
        opened(MemcachedBackend("default", blocking=True), StoreKey(code, "alice"))
    point_at(settings, second, first)
    turned = MemcachedBackend("default", blocking=True)
    assert all(run(turned.read(StoreKey(code, "alice"))) for code in CODES)


def test_many_keys_are_read_at_once(start: Start, settings: Settings) -> None:
    point_at(settings, start(), start())
    backend = MemcachedBackend("default", blocking=True)
    values = {f"ss:v:k{n}": b"%d" % n for n in range(1_500)}
    for key, value in values.items():
        run(backend.store.cas(key, None, value, 60))
    run(backend.store.cas("ss", None, b"another program's", 60))
    found = run(backend.store.read([*values, "absent"]))
    assert {key: held.value for key, held in found.items()} == values
    run(backend.clear())
    assert list(run(backend.store.read([*values, "ss"]))) == ["ss"]


# The doctor


def test_a_healthy_server_is_found_well_in_both_flavours(own: Flagged) -> None:
    async def examine(backend: Backend) -> object:
        return await backend.examine()

    for findings in both(examine):
        assert {(found.level, found.hint) for found in findings} == {("ok", "")}
        words = " ".join(found.text for found in findings)
        for part in (str(own.port), "version", "up 0:00", " ms", "bytes", "evicted"):
            assert part in words


def test_a_slow_answer_is_a_warning(
    blocking: MemcachedBackend, settings: Settings
) -> None:
    settings.SESSIONSTORES = {"SLOW_OPERATION_MS": 0}
    (slow,) = [found for found in run(blocking.examine()) if found.level == "warning"]
    assert "round trip" in slow.text
    assert slow.hint


# Settings


@pytest.mark.parametrize("path", [PYMEMCACHE, PYLIBMC])
@pytest.mark.parametrize("separator", [";", ",", ", "])
def test_either_of_djangos_caches_is_taken_for_its_servers(
    settings: Settings, path: str, separator: str
) -> None:
    location = separator.join(["cache-2:11212", "cache-1", "unix:/run/memcached"])
    settings.CACHES = {"default": {"BACKEND": path, "LOCATION": location}}
    assert problem("default") is None
    backend = get_backend(blocking=True)
    assert isinstance(backend, MemcachedBackend)
    assert (backend.shared, backend.in_memory) == (True, False)
    assert list(map(str, backend.store.servers)) == [
        "cache-1:11211",
        "cache-2:11212",
        "/run/memcached",
    ]


class Counted:
    """A mixin of the shape of django-prometheus's: it counts what is read."""

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        value: Any = super().get(key, None, version)  # type: ignore[misc]
        return default if value is None else value


class CountedCache(Counted, PyMemcacheCache):
    pass


class FixedCache(PyMemcacheCache):
    """Knows its server, and so needs no LOCATION."""

    def __init__(self, server: object, params: dict[str, Any]) -> None:
        super().__init__(["fixed.example:11300"], params)


@pytest.mark.parametrize(
    ("cache", "servers"),
    [
        # Django's cache framework, Memcached.
        ({"LOCATION": "127.0.0.1:11211"}, ["127.0.0.1:11211"]),
        ({"LOCATION": "unix:/tmp/memcached.sock"}, ["/tmp/memcached.sock"]),
        (
            {"LOCATION": ["172.19.26.240:11211", "172.19.26.242:11211"]},
            ["172.19.26.240:11211", "172.19.26.242:11211"],
        ),
        (
            {
                "LOCATION": "127.0.0.1:11211",
                "OPTIONS": {
                    "no_delay": True,
                    "ignore_exc": True,
                    "max_pool_size": 4,
                    "use_pooling": True,
                },
            },
            ["127.0.0.1:11211"],
        ),
        (
            {"BACKEND": f"{__name__}.CountedCache", "LOCATION": "cache-1"},
            ["cache-1:11211"],
        ),
        ({"BACKEND": f"{__name__}.FixedCache"}, ["fixed.example:11300"]),
    ],
)
def test_the_servers_are_those_that_the_cache_package_makes_of_the_alias(
    settings: Settings, cache: dict[str, Any], servers: list[str]
) -> None:
    settings.CACHES = {"default": {"BACKEND": PYMEMCACHE, **cache}}
    assert problem("default") is None
    backend = get_backend(blocking=True)
    assert isinstance(backend, MemcachedBackend)
    assert list(map(str, backend.store.servers)) == servers


class OnSocket(Flagged):
    """Listens at a Unix socket only."""

    @property
    def path(self) -> Path:
        return self.directory / "socket"

    def command(self) -> list[str]:
        return [*super().command(), "-s", str(self.path)]

    def ready(self) -> bool:
        client = Client(str(self.path))
        try:
            client.version()
        except OSError:
            return False
        else:
            return True
        finally:
            client.close()


@pytest.mark.parametrize("prefix", ["unix:", ""])
def test_a_unix_socket_is_reached_like_any_server(
    memcached: Memcached, settings: Settings, prefix: str
) -> None:
    server = OnSocket()
    try:
        server.start()
        location = f"{prefix}{server.path}"
        settings.CACHES = {"default": {"BACKEND": PYMEMCACHE, "LOCATION": location}}
        backend = MemcachedBackend("default", blocking=True)
        opened(backend)
        server.kill()
        with pytest.raises(StoreUnavailable, match=str(server.path)):
            run(backend.read(ALICE))
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (None, "no server"),
        ([], "no server"),
        ("", "no server"),
        ("cache:port", "port"),
        ("cache:0", "not an address"),
        ("cache:65536", "not an address"),
        ("memcached://127.0.0.1:11211", "not an address"),
        (":11211", "not an address"),
        ("one..two:11211", "label"),
        ("cache-1;;cache-2", "not an address"),
        ([("cache", 11211)], "not a text"),
    ],
)
def test_a_location_that_names_no_server_is_refused(
    settings: Settings, location: object, reason: str
) -> None:
    settings.CACHES = {"default": {"BACKEND": PYMEMCACHE, "LOCATION": location}}
    words = problem("default")
    assert words is not None
    assert "LOCATION" in words
    assert reason in words
    assert "host:port" in words
    with pytest.raises(ImproperlyConfigured, match="LOCATION"):
        get_backend(blocking=True)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"MAX_STATE_BYTES": 1_000_000}, "MAX_STATE_BYTES"),
        ({"MAX_PARTICIPANTS": 20_000}, "MAX_PARTICIPANTS"),
    ],
)
def test_limits_that_no_item_can_hold_are_refused(
    settings: Settings, given: dict[str, int], name: str
) -> None:
    settings.CACHES = {"default": {"BACKEND": PYMEMCACHE, "LOCATION": "cache"}}
    assert problem("default") is None
    settings.SESSIONSTORES = given
    words = problem("default")
    assert words is not None
    assert name in words
    assert str(MAX_VALUE) in words


@pytest.mark.parametrize("option", ["username", "password", "tls_context"])
def test_options_that_would_be_ignored_at_a_risk_are_refused(
    settings: Settings, option: str
) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": PYLIBMC,
            "LOCATION": "cache",
            "OPTIONS": {option: "secret"},
        }
    }
    words = problem("default")
    assert words is not None
    assert option in words
    assert "secret" not in words
