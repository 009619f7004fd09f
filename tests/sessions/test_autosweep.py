"""Autosweep: its thread starts when something is created, and ends with the rest."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sessionstores import signals
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.locmem import LocMemBackend, LocMemStore
from sessionstores.backends.types import Value
from sessionstores.exceptions import StoreUnavailable
from sessionstores.manager import stores
from sessionstores.monitoring.sweeps import NAME as LAST_SWEEP
from sessionstores.monitoring.sweeps import LastSweep, Sweep, last_sweep
from sessionstores.sessions.autosweep import autosweep, draw_interval, is_wanted, wake
from tests.logs import NEVER_SLOW, records_of_ours
from tests.sockets import Socket
from tests.workshop.states import Agenda, Board

CODE = "K7Q2ZD"
ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
NAME = "sessionstores-sweeper"


@pytest.fixture(autouse=True)
def quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let records be idle, and swept, within moments.

    The cache keeps them for longer than twice that: they would be gone unswept on a
    machine that pauses for so long.
    """
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 0.2}
    cas = LocMemStore.cas

    async def cas_for_long(
        self: LocMemStore, key: str, token: Any, value: bytes, ttl: float | None
    ) -> Any:
        return await cas(self, key, token, value, None if ttl is None else ttl + 60)

    monkeypatch.setattr(LocMemStore, "cas", cas_for_long)


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.001)


def sweepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.fixture
def removed() -> Iterator[list[str]]:
    told: list[str] = []

    def receive(participant: str, reason: str, **kwargs: Any) -> None:
        told.append(f"{participant} {reason} {threading.current_thread().name}")

    signals.participant_removed.connect(receive)
    yield told
    signals.participant_removed.disconnect(receive)


# When it runs


def test_thread_starts_with_the_first_record_and_ends_when_nothing_is_left(
    removed: list[str],
) -> None:
    assert not sweepers()
    stores.get(Board, CODE, "alice").snapshot()
    assert len(sweepers()) == 1
    until(lambda: not sweepers(), "the thread to end")
    assert removed == [f"alice idle {NAME}"]
    assert stores.sessions() == []
    assert not autosweep().is_running
    stores.get(Board, CODE, "bob").snapshot()
    until(lambda: len(removed) == 2, "the next one to be swept")


def test_created_session_starts_it_and_keeps_it_running(settings: Any) -> None:
    code = stores.create_session(keep=3_600)
    assert len(sweepers()) == 1
    began = swept_at()
    until(lambda: swept_at() > began, "a pass")
    assert sweepers()
    stores.cleanup_session(code)
    until(lambda: not sweepers(), "the thread to end")


def swept_at() -> float:
    last = run(last_sweep(get_backend(blocking=True)))
    return last.at if last is not None else 0.0


async def test_coroutines_start_it_too(removed: list[str]) -> None:
    await stores.get(Board, CODE, "alice").asnapshot()
    assert len(sweepers()) == 1
    await asyncio.to_thread(until, lambda: removed, "a removal")
    assert removed == [f"alice idle {NAME}"]


def test_many_threads_start_one(settings: Any) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 60}
    barrier = threading.Barrier(8)

    def one(number: int) -> None:
        barrier.wait(10)
        stores.get(Board, CODE, f"p{number}").snapshot()

    threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sweepers()) == 1
    assert sweepers()[0].daemon


def test_last_sweep_says_that_the_server_did_it_and_when_the_next_is_due() -> None:
    stores.create_session(keep=3_600)
    until(swept_at, "a pass")
    last = run(last_sweep(get_backend(blocking=True)))
    assert last is not None
    assert last.by.startswith("server, ")
    assert last.interval == pytest.approx(0.04, rel=0.2)


def test_intervals_are_a_fraction_of_the_timeout_and_differ(settings: Any) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 300}
    drawn = [draw_interval() for _ in range(200)]
    assert all(48 <= interval <= 72 for interval in drawn)
    assert max(drawn) - min(drawn) > 12


# When it does not


def test_it_can_be_switched_off(settings: Any) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 60, "AUTO_SWEEP": False}
    stores.get(Board, CODE, "alice").snapshot()
    stores.create_session()
    assert not is_wanted()
    assert not sweepers()


def test_it_ends_when_it_is_switched_off(settings: Any) -> None:
    stores.create_session(keep=3_600)
    assert sweepers()
    settings.SESSIONSTORES = {"AUTO_SWEEP": False}
    until(lambda: not sweepers(), "the thread to end")
    assert stores.session_count() == 1


def test_shared_caches_are_left_to_the_command_unless_told_otherwise(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocMemBackend, "shared", True)
    assert not is_wanted()
    settings.SESSIONSTORES = {"AUTO_SWEEP": True}
    assert is_wanted()


def test_of_several_processes_one_sweeps_a_shared_cache(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocMemBackend, "shared", True)
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 0.05, "AUTO_SWEEP": True}
    looks: list[int] = []
    looking = LocMemBackend.value

    async def counted(self: LocMemBackend, name: str) -> Value:
        looks.append(1)
        return await looking(self, name)

    monkeypatch.setattr(LocMemBackend, "value", counted)
    # Another process swept just now, whenever it is asked.
    backend = get_backend(blocking=True)
    theirs = LastSweep(run(backend.now()) + 3_600, "another", Sweep(), interval=0.01)
    encoded = msgspec.msgpack.encode(theirs)
    run(backend.swap_value(LAST_SWEEP, None, encoded, seconds=60))
    stores.create_session(keep=3_600)
    until(lambda: len(looks) >= 3, "three passes")
    assert run(last_sweep(backend)) == theirs


async def test_process_that_serves_a_tab_sweeps_what_others_have_left(
    settings: Any, monkeypatch: pytest.MonkeyPatch, removed: list[str]
) -> None:
    monkeypatch.setattr(LocMemBackend, "shared", True)
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 0.05, "AUTO_SWEEP": False}
    await stores.get(Board, CODE, "alice").asnapshot()
    await stores.get(Agenda, CODE).asnapshot()
    await stores.get(Board, "ELSE23", "bob").asnapshot()
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 0.05, "AUTO_SWEEP": True}
    assert not sweepers()
    socket = await Socket().hello("alice")
    assert sweepers()
    await asyncio.to_thread(until, lambda: removed, "a removal")
    assert removed == [f"bob idle {NAME}"]
    await socket.drop()


def test_on_a_shared_cache_it_waits_for_what_others_create(
    settings: Any, monkeypatch: pytest.MonkeyPatch, removed: list[str]
) -> None:
    monkeypatch.setattr(LocMemBackend, "shared", True)
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 0.05, "AUTO_SWEEP": True}
    stores.get(Board, CODE, "alice").snapshot()
    until(lambda: removed, "a removal")
    began = swept_at()
    until(lambda: swept_at() > began, "a pass over nothing")
    assert stores.sessions() == []
    assert sweepers()


# What goes wrong


def test_outage_and_failure_are_logged_and_the_next_pass_comes(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    removed: list[str],
) -> None:
    errors: list[Exception] = [StoreUnavailable("nobody answers"), ValueError("odd")]
    due = LocMemBackend.due_sessions

    async def failing(self: LocMemBackend, **options: Any) -> list[str]:
        if errors:
            raise errors.pop(0)
        return await due(self, **options)

    monkeypatch.setattr(LocMemBackend, "due_sessions", failing)
    with caplog.at_level(logging.WARNING, "sessionstores.sweeper"):
        stores.get(Board, CODE, "alice").snapshot()
        until(lambda: removed, "a removal")
    told = [
        (record.levelname, record.getMessage()) for record in records_of_ours(caplog)
    ]
    assert told == [
        ("WARNING", "The cache could not be swept: nobody answers"),
        ("ERROR", "A sweep failed; the next one is scheduled"),
    ]


def test_something_created_at_the_last_moment_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, removed: list[str]
) -> None:
    counting = LocMemBackend.session_count
    late: list[str] = []

    async def creating(self: LocMemBackend) -> int:
        count = await counting(self)
        if not count and not late:
            # After the count, before the thread has ended.
            late.append("bob")
            stores.get(Board, CODE, "bob").snapshot()
        return count

    monkeypatch.setattr(LocMemBackend, "session_count", creating)
    stores.get(Board, CODE, "alice").snapshot()
    until(lambda: len(removed) == 2, "both")
    until(lambda: not sweepers(), "the thread to end")
    assert late


def test_connections_of_receivers_are_closed_after_each_pass(
    monkeypatch: pytest.MonkeyPatch, removed: list[str]
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(
        "sessionstores.sessions.autosweep.close_old_connections",
        lambda: closed.append(threading.current_thread().name),
    )
    stores.get(Board, CODE, "alice").snapshot()
    until(lambda: not sweepers(), "the thread to end")
    assert set(closed) == {NAME}


def test_stopping_ends_a_pass_with_its_batch(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 60}
    for number in range(3):
        stores.get(Board, f"CODE0{number}", "alice").snapshot()
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 0.01}
    assert not sweepers()
    reached, go_on = threading.Event(), threading.Event()
    told: list[str] = []

    def receive(session: str, **kwargs: Any) -> None:
        told.append(session)
        reached.set()
        assert go_on.wait(PATIENCE)

    signals.participant_removed.connect(receive)
    try:
        wake()
        assert reached.wait(PATIENCE)
        (thread,) = sweepers()
        closing = threading.Thread(target=autosweep().close)
        closing.start()
        until(lambda: not autosweep().is_running, "the wish to stop")
        go_on.set()
        closing.join(PATIENCE)
        thread.join(PATIENCE)
        assert not thread.is_alive()
    finally:
        signals.participant_removed.disconnect(receive)
    assert len(told) == 1
    assert stores.participant_count() == 2


# Forks and exits, in processes of their own

SCRIPT = """
import os, sys, threading, time
import django
django.setup()
from sessionstores import signals, stores
from sessionstores.sessions.autosweep import autosweep
from tests.workshop.states import Board

told = []
def receive(participant, **kwargs):
    told.append(participant)
signals.participant_removed.connect(receive)

def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)

def running():
    names = [thread.name for thread in threading.enumerate()]
    assert autosweep().is_running == (names.count("sessionstores-sweeper") == 1)
    return autosweep().is_running

stores.get(Board, "K7Q2ZD", "alice").snapshot()
"""

FORK = """
code = stores.create_session(keep=60)
child = os.fork()
if child == 0:
    assert not running()
    copied = stores.participant_count()
    stores.get(Board, "K7Q2ZD", "bob").snapshot()
    assert running()
    until(lambda: "bob" in told)
    os._exit(7)
assert running()
until(lambda: told)
assert running()
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7
assert told == ["alice"], told
print("as it should")
"""

FORK_IN_RECEIVER = """
def fork(**kwargs):
    child = os.fork()
    if child == 0:
        os._exit(5)
    _, status = os.waitpid(child, 0)
    told.append(os.waitstatus_to_exitcode(status))
signals.participant_removed.connect(fork)
until(lambda: told == ["alice", 5])
until(lambda: not running())
stores.get(Board, "K7Q2ZD", "bob").snapshot()
until(lambda: len(told) == 4)
print("as it should")
"""

EXIT = """
assert running()
print("as it should")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(
    ("body", "warnings"),
    [
        # From 3.12 on, a fork beside a living thread warns.
        (FORK, "error"),
        (FORK_IN_RECEIVER, "ignore"),
        (EXIT, "error"),
    ],
)
def test_process_may_fork_and_exit_at_any_time(
    body: str, warnings: str, tmp_path: Path
) -> None:
    options = {"IDLE_TIMEOUT": 0.2, "SLOW_OPERATION_MS": NEVER_SLOW}
    settings = f"SESSIONSTORES = {options}"
    (tmp_path / "quick.py").write_text(f"from tests.settings import *\n{settings}\n")
    finished = subprocess.run(
        [sys.executable, "-W", f"{warnings}::DeprecationWarning", "-c", SCRIPT + body],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "quick",
            "PYTHONPATH": os.pathsep.join([os.fspath(tmp_path), os.fspath(ROOT)]),
        },
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (
        0,
        "as it should\n",
        "",
    )
