"""The pool of connections for the threads of one process."""

from __future__ import annotations

import gc
import math
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sessionstores.backends.errors import NotSent
from sessionstores.backends.redis import sync_pool as module
from sessionstores.backends.redis.client import sync_pool
from sessionstores.backends.redis.location import REPLY_SECONDS, Location
from sessionstores.backends.redis.sync_pool import SyncPool
from tests.contract.contract import in_threads
from tests.servers import Valkey, free_port

LIMIT = 3


@pytest.fixture
def own() -> Iterator[Valkey]:
    """A Valkey whose connections are those of the test, and one that counts them."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


def pool_of(server: Valkey) -> SyncPool:
    return sync_pool(Location(server.url, options={"max_connections": LIMIT}))


def connection_ids(server: Valkey) -> set[str]:
    """Return the ids of the connections, without the one that asks."""
    with server.client() as client:
        mine = client.client_id()
        listed = client.client_list()
    return {each["id"] for each in listed if int(each["id"]) != mine}


def test_answers_come_in_the_order_of_the_commands_with_errors_among_them(
    own: Valkey,
) -> None:
    pool = pool_of(own)
    answers = pool.send_all([("ECHO", "a"), ("NOVELTY",), ("ECHO", 7), ("INCR", "n")])
    assert answers[0::2] == [b"a", b"7"]
    assert isinstance(answers[1], ResponseError)
    assert answers[3] == 1
    with pytest.raises(NoScriptError):
        pool.send("EVALSHA", "0" * 40, 0)
    assert pool.send("ECHO", "next") == b"next"
    assert len(connection_ids(own)) == 1


def test_many_threads_share_few_connections(own: Valkey) -> None:
    pool = pool_of(own)

    def ask(number: int) -> None:
        for turn in range(30):
            text = f"{number}/{turn}"
            assert pool.send("ECHO", text) == text.encode()

    in_threads(4 * LIMIT, ask)
    assert 1 <= len(connection_ids(own)) <= LIMIT


def test_a_caller_that_finds_no_free_connection_fails(
    own: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL_SECONDS", 0.01)
    pool = pool_of(own)
    for _ in range(LIMIT):
        pool._permits.get()
    with pytest.raises(NotSent, match="All 3 connections"):
        pool.send("PING")


def test_a_caller_waits_on_for_a_connection_while_others_get_replies(
    own: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL_SECONDS", 0.01)
    monkeypatch.setattr(module, "MAX_POOL_SECONDS", 60)
    pool = pool_of(own)
    for _ in range(LIMIT):
        pool._permits.get()
    pool._replied_at = math.inf
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(pool.send, "ECHO", "late")
        with pytest.raises(TimeoutError):
            asked.result(20 * module.POOL_SECONDS)
        pool._permits.put(None)
        assert asked.result() == b"late"


def test_a_connection_that_the_server_closed_while_it_was_idle_opens_again(
    own: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    pool = pool_of(own)
    pool.send("PING")
    with own.client() as outside:
        outside.client_kill_filter(_type="normal", skipme=True)
    assert pool.send("ECHO", "there") == b"there"


def test_one_connection_found_lost_has_all_others_looked_at(
    own: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 3600.0)
    pool = pool_of(own)
    in_threads(LIMIT, lambda number: pool.send("BLPOP", "no", "0.1"))
    with own.client() as outside:
        outside.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(RedisConnectionError):
        pool.send("PING")
    for _ in range(2 * LIMIT):
        assert pool.send("ECHO", "there") == b"there"


def test_a_primary_that_was_demoted_is_left_by_all_connections(own: Valkey) -> None:
    pool = pool_of(own)
    in_threads(LIMIT, lambda number: pool.send("BLPOP", "no", "0.1"))
    before = connection_ids(own)
    assert len(before) == LIMIT
    with own.client() as outside:
        outside.replicaof("127.0.0.1", str(free_port()))
        with pytest.raises(ReadOnlyError):
            pool.send("SET", "key", "value")
        outside.replicaof("NO", "ONE")
    in_threads(LIMIT, lambda number: pool.send("BLPOP", "no", "0.1"))
    assert not before & connection_ids(own)
    assert len(connection_ids(own)) == LIMIT


def test_an_answer_that_came_too_late_is_nobody_elses(own: Valkey) -> None:
    pool = pool_of(own)
    pool.send("PING")
    started = time.monotonic()
    with own.paused(), pytest.raises(RedisTimeoutError):
        pool.send("ECHO", "late")
    assert time.monotonic() - started >= REPLY_SECONDS
    assert pool.send("ECHO", "next") == b"next"


def _ask(pool: SyncPool, answers: Any) -> None:
    answers.put(pool.send("CLIENT", "ID"))


def test_a_forked_process_opens_a_connection_of_its_own(own: Valkey) -> None:
    pool = pool_of(own)
    before = pool.send("CLIENT", "ID")
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_ask, args=(pool, answers))
    child.start()
    child.join()
    assert answers.get() != before
    assert pool.send("CLIENT", "ID") == before


@pytest.mark.parametrize(("waited", "left"), [(0.4, 0.6), (0.95, module.POOL_SECONDS)])
def test_time_spent_waiting_for_a_connection_is_off_that_for_the_reply(
    waited: float, left: float
) -> None:
    class Silent:
        socket_timeout = 1.0

        def send_packed_command(self, packed: Any, *, check_health: bool) -> None:
            assert packed

        def can_read(self, timeout: float) -> bool:
            assert timeout == pytest.approx(left)
            return False

    with pytest.raises(RedisTimeoutError):
        module._exchange(Silent(), [("PING",)], waited)


def test_a_pool_that_only_refers_to_itself_closes_its_connections(own: Valkey) -> None:
    pool = pool_of(own)
    pool.send("PING")
    ((connection, _),) = pool._idle
    closed = []
    connection.disconnect = lambda: closed.append(True)
    # As by an error, whose traceback leads to the pool.
    pool.itself = pool  # type: ignore[attr-defined]
    del pool
    gc.collect()
    assert closed
    del connection.disconnect
    connection.disconnect()
