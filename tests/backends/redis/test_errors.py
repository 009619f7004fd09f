"""Errors of a Redis or Valkey server, each with what to change."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from pytest_django import Settings

from sessionstores.backends.base import run
from sessionstores.backends.redis.backend import RedisBackend
from sessionstores.backends.redis.errors import error_code
from sessionstores.backends.types import Committed, Stale
from sessionstores.exceptions import LimitReached, StateCorrupt, StoreUnavailable
from sessionstores.keys import StoreKey
from tests.backends.driven import ALICE, BOARD, CODE, MORE, Driven, lease
from tests.demo_process import until
from tests.faults.proxy import Proxy
from tests.servers import PATIENCE, Valkey, free_port

RECORD = f"ss:{{{CODE}}}:p:alice"


@pytest.fixture
def own() -> Iterator[Valkey]:
    """A Valkey that the test may break."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def proxy(own: Valkey) -> Iterator[Proxy]:
    """The proxy between the backend and that Valkey."""
    with Proxy(own.port) as between:
        yield between


@pytest.fixture(params=["blocking", "async"])
def backend(
    request: pytest.FixtureRequest, settings: Settings, proxy: Proxy
) -> Iterator[Driven]:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{proxy.port}/0",
        }
    }
    if request.param == "blocking":
        yield Driven(RedisBackend("default", blocking=True), run)
        return
    with asyncio.Runner() as runner:
        yield Driven(RedisBackend("default", blocking=False), runner.run)


def refuse(server: Valkey, word: str) -> None:
    """Bring a server that holds a record to where it answers with that word."""
    with server.client() as client:
        match word:
            case "OOM":
                client.config_set("maxmemory", "1mb")
            case "READONLY" | "MASTERDOWN":
                serves = "yes" if word == "READONLY" else "no"
                client.config_set("replica-serve-stale-data", serves)
                client.replicaof("127.0.0.1", str(free_port()))
            case "NOPERM":
                client.execute_command("ACL SETUSER default -evalsha -eval")
            case "NOPERM ACL failure in script:":
                client.execute_command("ACL SETUSER default -hset -zadd")
            case "NOAUTH":
                client.config_set("requirepass", "secret")
                client.execute_command("AUTH secret")
                client.client_kill_filter(_type="normal", skipme=True)
            case "NOREPLICAS":
                client.config_set("min-replicas-to-write", "2")


@pytest.mark.parametrize(
    ("word", "way_out"),
    [
        ("OOM", "raise maxmemory"),
        ("READONLY", "the primary's address"),
        ("MASTERDOWN", "the primary's address"),
        ("NOPERM", r"in the ACL .*docs/caches\.md.* the keys ~ss:\*,"),
        (
            "NOPERM ACL failure in script:",
            r"in the ACL .*docs/caches\.md.* the keys ~ss:\*,",
        ),
        ("NOAUTH", "username and password"),
        ("NOREPLICAS", "min-replicas-to-write"),
    ],
)
def test_what_the_server_refuses_says_what_to_change(
    word: str, way_out: str, backend: Driven, own: Valkey
) -> None:
    record = backend.open(ALICE, BOARD).record
    refuse(own, word)
    with pytest.raises(StoreUnavailable, match=f"refused.*{word} .*{way_out}"):
        backend.commit(record, record.rev.next(), MORE)
    with pytest.raises(StoreUnavailable, match=f"refused.*{word} .*{way_out}"):
        backend.lease([lease()])


@contextmanager
def loading(server: Valkey, seconds: float) -> Iterator[None]:
    """Restart a server, which takes that long to load what it holds.

    If it is not ready when the block ends, it starts once more, and loads at once.
    """
    with server.client() as client:
        # It answers between two of them.
        client.mset({f"other:{n}": os.urandom(2_000) for n in range(3_000)})
    server.save_dump()
    server.kill()
    server.options |= {
        "key_load_delay": str(int(seconds * 1e6 / 3_000)),
        "loading_process_events_interval_bytes": "1024",
    }

    def start() -> None:
        # It is killed meanwhile.
        with suppress(AssertionError, AttributeError):
            server.start()

    starting = threading.Thread(target=start)
    starting.start()
    try:
        until(lambda: is_loading(server), "the server to load")
        yield
    finally:
        was_loading = is_loading(server)
        if was_loading:
            server.kill()
        starting.join()
        if was_loading:
            server.options["key_load_delay"] = "0"
            server.start()


def is_loading(server: Valkey) -> bool:
    # Not by redis-py, which waits until it has loaded.
    with suppress(ConnectionError):
        stream = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        with stream:
            stream.sendall(b"PING\r\n")
            return stream.recv(100).startswith(b"-LOADING")
    return False


def test_a_commit_waits_for_a_server_that_loads_for_a_moment(
    backend: Driven, own: Valkey
) -> None:
    record = backend.open(ALICE, BOARD).record
    backend.sessions()
    # On a busy machine, a moment takes seconds.
    scripts = backend.backend._scripts  # type: ignore[attr-defined]
    scripts.location = scripts.location._replace(reply_seconds=PATIENCE)
    with loading(own, 0.3):
        try:
            record = backend.commit_next(record, MORE)
        except StoreUnavailable as error:
            # The connection was lost while it was away.
            if "LOADING" in str(error):
                raise
            record = backend.commit_next(record, MORE)
        assert backend.sessions() == [CODE]
    assert backend.read_record(ALICE).states == {**BOARD, **MORE}


def test_a_server_that_loads_for_long_has_refused(backend: Driven, own: Valkey) -> None:
    record = backend.open(ALICE, BOARD).record
    with loading(own, 60):
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable) as caught:
                backend.commit(record, record.rev.next(), MORE)
            assert time.monotonic() - started < 10
        assert caught.value.refused
        assert "LOADING" in str(caught.value)
        with pytest.raises(StoreUnavailable, match="LOADING"):
            backend.sessions()
    assert backend.read_record(ALICE).states == BOARD


def test_any_other_refusal_is_an_outage_too(backend: Driven, own: Valkey) -> None:
    backend.open(ALICE, BOARD)
    with own.client() as client:
        client.execute_command("ACL SETUSER default -@all +config")
    with pytest.raises(StoreUnavailable, match="NOPERM"):
        backend.sessions()
    assert backend.server() is None
    with pytest.raises(StoreUnavailable, match="NOPERM"):
        backend.orphans()


def test_a_server_that_cannot_be_reached_is_named_with_the_reason(
    backend: Driven, own: Valkey, proxy: Proxy
) -> None:
    backend.open(ALICE, BOARD)
    where = f"The server at 127.0.0.1:{proxy.port}"
    with own.paused(), pytest.raises(StoreUnavailable, match=f"{where} did not answer"):
        backend.read(ALICE)
    own.kill()
    with pytest.raises(StoreUnavailable, match=f"{where} cannot be reached"):
        backend.read(ALICE)


def test_the_words_of_older_servers_are_found_in_what_they_say_of_scripts() -> None:
    said = (
        "ERR Error running script (call to f_a1b2): @user_script:3: @user_script: 3: "
        "-OOM command not allowed when used memory > 'maxmemory'."
    )
    assert error_code(ValueError(said)) == "OOM"
    assert error_code(ValueError("WRONGTYPE Operation against")) == "WRONGTYPE"


def test_a_commit_is_in_though_the_server_is_full_when_it_marks_the_record(
    backend: Driven, own: Valkey, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 1}
    record = backend.open(ALICE, BOARD).record
    time.sleep(0.15)
    scripts = backend.backend._scripts
    call = scripts.call

    async def full(name: str, *arguments: Any, **how: Any) -> Any:
        if name == "touch":
            refuse(own, "OOM")
        return await call(name, *arguments, **how)

    monkeypatch.setattr(scripts, "call", full)
    assert isinstance(backend.commit(record, record.rev.next(), MORE), Committed)


# Replies that are lost


def test_a_release_returns_that_it_was_the_last_though_a_reply_was_lost(
    backend: Driven, proxy: Proxy
) -> None:
    backend.open(ALICE, BOARD)
    backend.lease([lease()])
    proxy.cut(replies=1)
    assert backend.release(lease()) is True
    assert proxy.cuts == 1
    assert backend.release(lease()) is False
    # Nor by another call, whose reply is lost when there is nothing to release.
    proxy.cut(replies=1)
    assert backend.release(lease()) is False
    assert backend.reap([CODE]) == []


@pytest.mark.parametrize("method", ["end_session", "delete_session"])
def test_removed_participants_are_reported_when_others_cannot_be_removed(
    method: str, backend: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [StoreKey(CODE, f"p{number:03d}") for number in range(150)]
    for key in keys:
        backend.open(key, BOARD)
    runner, count = backend.backend._scripts, 0
    run_script = runner.run

    async def failing(name: str, *arguments: Any, **how: Any) -> Any:
        nonlocal count
        count += name == "remove"
        if count == 2:
            raise StoreUnavailable("away for a moment")
        return await run_script(name, *arguments, **how)

    monkeypatch.setattr(runner, "run", failing)
    first = [final.key for final in getattr(backend, method)(CODE)]
    assert len(first) == 100
    monkeypatch.undo()
    rest = [final.key for final in getattr(backend, method)(CODE)]
    assert sorted(first + rest) == sorted([*keys, StoreKey.of_session(CODE)])


# Values of other programs


def test_a_clients_entry_that_cannot_be_read_is_forgotten_and_the_record_kept(
    backend: Driven, own: Valkey, settings: Settings
) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 1}
    backend.open(ALICE, BOARD)
    with own.client() as client:
        client.hset(RECORD, "c:short", b"zz")
        client.hset(RECORD, "c:junk", struct.pack("<dd", time.time(), 1) + b"\xc1")
    record = backend.read_record(ALICE)
    assert (record.states, record.clients) == (BOARD, {})
    time.sleep(0.15)
    assert backend.commit_next(record, MORE).states == {**BOARD, **MORE}
    with own.client() as client:
        assert not client.hexists(RECORD, "c:short")


@pytest.mark.parametrize("junk", [b"", b"short", b"x" * 41])
def test_an_invalid_head_is_corrupt_to_a_commit(
    junk: bytes, backend: Driven, own: Valkey
) -> None:
    record = backend.open(ALICE, BOARD).record
    with own.client() as client:
        client.hset(RECORD, "h", junk)
    with pytest.raises(StateCorrupt):
        backend.commit(record, record.rev.next(), MORE)
    assert backend.set_aside(ALICE, None, None) is True
    assert isinstance(backend.commit(record, record.rev.next(), MORE), Stale)


@pytest.mark.parametrize("letter", "iecdogf")
def test_a_key_of_another_type_is_said_to_be_corrupt_and_can_be_set_aside(
    letter: str, backend: Driven, own: Valkey
) -> None:
    name = f"ss:{{{CODE}}}:{letter}:"
    record = backend.open(ALICE, BOARD).record
    backend.lease([lease()])
    backend.note(CODE, [{"event": 1}])
    with own.client() as client:
        client.delete(name)
        client.set(name, "what is it?")
    # A commit asks for none of them, so as to be in or not.
    record = backend.commit_next(record, MORE)
    # It does not matter here which of them needs it.
    for ask in (
        lambda: backend.participants(CODE),
        lambda: backend.session(CODE),
        lambda: backend.lease([lease(connection="c2")]),
        lambda: backend.release(lease(), grace=1),
    ):
        with suppress(StateCorrupt):
            ask()
            continue
        break
    else:
        pytest.fail("Nothing was found to be corrupt.")
    assert backend.set_aside(ALICE, None, None) is True
    assert backend.set_aside(ALICE, None, None) is False
    backend.lease([lease()])
    assert backend.read_record(ALICE).rev == record.rev
    with own.client() as client:
        (aside,) = client.scan_iter(f"ss:{{{CODE}}}:q:*")
        assert client.get(aside) == b"what is it?"


def test_a_session_that_is_kept_without_end_takes_commits(
    backend: Driven, own: Valkey
) -> None:
    key = StoreKey.of_session(CODE)
    record = backend.open(key, BOARD).record
    with own.client() as client:
        client.hset(f"ss:{{{CODE}}}:s:", "k", "inf")
    record = backend.commit_next(record, MORE)
    assert backend.update_session(CODE, label="for good").label == "for good"


def test_a_code_that_has_ended_is_taken_though_there_is_room_for_no_other(
    backend: Driven, settings: Settings
) -> None:
    settings.SESSIONSTORES = {"MAX_SESSIONS": 1}
    backend.open(ALICE, BOARD)
    backend.end_session(CODE)
    backend.open(StoreKey("OTHER2", "bob"), BOARD)
    assert backend.create_session(CODE, label="", keep=0) is False
    with pytest.raises(LimitReached):
        backend.create_session("OTHER3", label="", keep=0)


# A primary that was demoted


def test_a_primary_that_was_demoted_is_left_by_every_connection(
    backend: Driven, own: Valkey, proxy: Proxy
) -> None:
    """As behind a name that moves to the next primary."""
    backend.open(ALICE, BOARD)
    other = Valkey()
    other.start()
    try:
        with other.client() as client:
            client.replicaof("127.0.0.1", str(own.port))
            until(
                lambda: client.info("replication")["master_link_status"] == "up",
                "the replica to follow",
            )
            client.replicaof("NO", "ONE")
        with own.client() as client:
            client.replicaof("127.0.0.1", str(other.port))
        proxy.target = other.port
        with pytest.raises(StoreUnavailable, match="READONLY"):
            backend.delete(ALICE)
        assert backend.delete(ALICE).states == BOARD
    finally:
        other.stop()
