"""The sessions that the registry returns as due, and how few commands that takes."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.redis.backend import RedisBackend
from sessionstores.backends.redis.serializers import registry_key
from sessionstores.keys import StoreKey
from tests.backends.driven import ALICE, BOARD, BOB, CODE, OWN, Clock
from tests.backends.redis.clocked import CountingScripts


def due(backend: RedisBackend, idle_for: float = 100) -> list[str]:
    return run(backend.due_sessions(idle_for=idle_for, limit=100))


def sweep(backend: RedisBackend) -> int:
    """Go through all that is due; return how many were removed."""
    removed = 0
    for code in due(backend):
        removed += len(run(backend.evict_idle(code, idle_for=100, limit=100)))
        removed += run(backend.evict_empty_session(code, idle_for=100))
    return removed


def test_with_nothing_due_it_is_one_command_however_many_sessions(
    backend: RedisBackend, scripts: CountingScripts
) -> None:
    for number in range(50):
        run(backend.open(StoreKey(f"S{number:05d}", "alice"), BOARD))
    assert due(backend) == []
    scripts.sent = 0
    assert due(backend) == []
    assert scripts.sent == 1


def test_a_session_that_was_gone_through_is_let_be_until_its_next_is_due(
    backend: RedisBackend, clock: Clock
) -> None:
    run(backend.open(ALICE, BOARD))
    clock.advance(60)
    run(backend.open(BOB, BOARD))
    clock.advance(40)
    assert due(backend) == [CODE]
    assert sweep(backend) == 1
    assert due(backend) == []
    clock.advance(59)
    assert due(backend) == []
    clock.advance(1)
    assert due(backend) == [CODE]


def test_a_session_in_use_is_looked_at_once_for_each_timeout(
    backend: RedisBackend, clock: Clock
) -> None:
    run(backend.open(ALICE, BOARD))
    looked = 0
    for _ in range(100):
        clock.advance(10)
        run(backend.touch(ALICE))
        looked += len(due(backend))
        assert sweep(backend) == 0
    assert 9 <= looked <= 12


def test_a_session_that_waits_for_its_keep_is_let_be_until_then(
    backend: RedisBackend, clock: Clock
) -> None:
    run(backend.create_session(CODE, label="", keep=1_000))
    clock.advance(100)
    assert due(backend) == [CODE]
    assert sweep(backend) == 0
    clock.advance(899)
    assert due(backend, 0) == due(backend, 5_000) == []
    clock.advance(1)
    assert due(backend, 5_000) == [CODE]
    assert sweep(backend) == 1
    assert run(backend.sessions()) == []


@pytest.mark.parametrize("use", ["open", "touch", "keep"])
def test_a_session_that_waits_for_its_keep_is_due_again_once_it_is_used(
    backend: RedisBackend, clock: Clock, use: str
) -> None:
    run(backend.create_session(CODE, label="", keep=10_000))
    clock.advance(100)
    assert sweep(backend) == 0
    assert due(backend) == []
    if use == "open":
        run(backend.open(ALICE, BOARD))
    elif use == "touch":
        run(backend.touch(OWN))
    else:
        run(backend.update_session(CODE, keep=50))
    clock.advance(100)
    assert due(backend) == [CODE]
    assert sweep(backend) == (use != "touch")


def test_who_joins_while_it_is_put_off_until_its_keep_is_not_forgotten(
    backend: RedisBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(backend.create_session(CODE, label="", keep=10_000))
    clock.advance(100)
    postpone = backend._registry.postpone

    async def overtaken(session: str, score: bytes) -> None:
        await backend.open(ALICE, BOARD)
        await postpone(session, score)

    monkeypatch.setattr(backend._registry, "postpone", overtaken)
    assert not run(backend.evict_empty_session(CODE, idle_for=100))
    monkeypatch.undo()
    clock.advance(100)
    assert due(backend) == [CODE]


def test_of_more_than_fit_into_a_reply_those_due_longest_are_returned(
    backend: RedisBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionstores.backends.redis.registry.WINDOW", 3)
    for number in (5, 4, 3, 2, 1):
        run(backend.open(StoreKey(f"S{number:05d}", "alice"), BOARD))
        clock.advance(1)
    clock.advance(200)
    assert due(backend) == ["S00003", "S00004", "S00005"]
    sweep(backend)
    assert due(backend) == ["S00001", "S00002"]


@pytest.mark.parametrize("at", [1, 2])
def test_an_empty_session_that_two_evict_at_once_is_counted_once(
    at: int,
    backend: RedisBackend,
    scripts: CountingScripts,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(backend.create_session(CODE, label="", keep=0))
    clock.advance(101)
    send, send_all = scripts.send, scripts.send_all
    trips = 0
    counted: list[bool] = []

    def before() -> None:
        nonlocal trips
        trips += 1
        if trips == at:
            counted.append(run(backend.evict_empty_session(CODE, idle_for=100)))

    async def overtaken(*command: Any, **options: Any) -> Any:
        before()
        return await send(*command, **options)

    async def overtaken_all(commands: Any) -> Any:
        before()
        return await send_all(commands)

    monkeypatch.setattr(scripts, "send", overtaken)
    monkeypatch.setattr(scripts, "send_all", overtaken_all)
    counted.append(run(backend.evict_empty_session(CODE, idle_for=100)))
    assert sorted(counted) == [False, True]
    assert run(backend.sessions()) == []


def test_what_another_program_has_added_is_no_session(
    backend: RedisBackend, scripts: CountingScripts, clock: Clock
) -> None:
    run(backend.open(ALICE, BOARD))
    scripts.outside.zadd(registry_key(), {b"\xff\x00": 0})
    assert run(backend.sessions()) == [CODE]
    clock.advance(101)
    assert due(backend) == [CODE]
    assert sweep(backend) == 2
    assert run(backend.sessions()) == []
