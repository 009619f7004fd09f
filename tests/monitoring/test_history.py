"""History: one sample for each slot from all processes, and the alerts with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings

from sessionstores import signals
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.locmem import LocMemBackend
from sessionstores.backends.types import ServerInfo
from sessionstores.exceptions import StateCorrupt, StoreUnavailable
from sessionstores.manager import stores
from sessionstores.monitoring import history
from sessionstores.monitoring.history import (
    KEPT,
    NAME,
    SAMPLE_SECONDS,
    decode_series,
    sample,
)
from sessionstores.monitoring.samples import Totals
from tests.backends.driven import Clock
from tests.sockets import CODE, Socket, until
from tests.workshop.states import Board


class Site:
    """Backends as several processes have them, over one memory and one clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.backend = self.process()

    def sample(self) -> bool:
        """Take the sample, as a process that has not asked for it yet."""
        return run(sample(self.process()))

    def process(self, *, blocking: bool = True) -> LocMemBackend:
        return LocMemBackend("default", blocking=blocking, clock=self.clock)

    @property
    def samples(self) -> tuple[Totals, ...]:
        held = run(self.backend.value(NAME))
        return decode_series(held.data, self.clock.time).samples


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The codes that `store_warning` brings during a test."""
    seen: list[str] = []

    def receive(warning: str, **kwargs: Any) -> None:
        seen.append(warning)

    signals.store_warning.connect(receive)
    yield seen
    signals.store_warning.disconnect(receive)


def test_a_slot_gets_one_sample_whoever_takes_it(site: Site) -> None:
    assert [site.sample() for _ in range(3)] == [True, False, False]
    site.clock.advance(SAMPLE_SECONDS)
    assert [site.sample() for _ in range(3)] == [True, False, False]
    assert [each.at for each in site.samples] == [
        site.clock.time - SAMPLE_SECONDS,
        site.clock.time,
    ]


def test_of_many_at_once_one_takes_the_sample(site: Site) -> None:
    barrier = threading.Barrier(8)
    answers = []

    def take() -> None:
        backend = site.process()
        barrier.wait(10)
        answers.append(run(sample(backend)))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]
    assert len(site.samples) == 1


def test_a_process_asks_no_more_until_the_slot_is_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(sample(site.backend)) is True
    # Another slot, but the time for that has not come.
    site.clock.advance(SAMPLE_SECONDS)

    async def refuse(names: object) -> None:
        raise AssertionError("the cache was asked")

    with monkeypatch.context() as patch:
        patch.setattr(site.backend, "values", refuse)
        assert run(sample(site.backend)) is False
        now = time.monotonic()
        patch.setattr(history, "time", SimpleNamespace(monotonic=lambda: now + 31))
        with pytest.raises(AssertionError):
            run(sample(site.backend))


async def test_a_sample_holds_the_totals() -> None:
    for number in range(3):
        await stores.get(Board, CODE, f"p{number}").adispatch(Board.note, "x" * number)
    await stores.acreate_session(keep=60)
    sockets = [await Socket().hello("p1", client=f"c{n}") for n in range(2)]
    backend = get_backend(blocking=False)
    assert await sample(backend)
    (taken,) = decode_series(
        (await backend.value(NAME)).data, await backend.now()
    ).samples
    for socket in sockets:
        await socket.drop()
    total = sum(each.bytes for each in await backend.summaries())
    assert taken[1:] == (2, 3, 1, 2, total, None)
    assert total > 0


def test_an_hour_is_kept(site: Site) -> None:
    for _ in range(130):
        assert site.sample()
        site.clock.advance(SAMPLE_SECONDS)
    assert len(site.samples) <= KEPT / SAMPLE_SECONDS
    assert site.samples[0].at > site.clock.time - KEPT
    held = run(site.backend.value(NAME)).data
    assert held is not None
    assert len(held) < 10_000


def test_a_clock_that_goes_back_does_not_stop_the_series(site: Site) -> None:
    assert site.sample()
    site.clock.advance(-1_000)
    assert site.sample()
    assert [each.at for each in site.samples] == [site.clock.time]


@pytest.mark.parametrize("data", [b"", b"\xff\xff", b"\x93\x01\x02\x03"])
def test_what_cannot_be_read_is_begun_anew(site: Site, data: bytes) -> None:
    held = run(site.backend.value(NAME))
    assert run(site.backend.swap_value(NAME, held.token, data, seconds=KEPT))
    assert site.samples == ()
    assert site.sample()
    assert len(site.samples) == 1


def test_the_site_is_warned_once_in_a_while_by_one_of_its_processes(
    site: Site, warnings: list[str]
) -> None:
    run(site.backend.create_session(CODE, label="", keep=0))
    # Long enough to expire, and for that to be two warnings.
    site.clock.advance(1_000)
    told = []
    with override_settings(SESSIONSTORES={"IDLE_TIMEOUT": 300, "AUTO_SWEEP": False}):
        for _ in range(20):
            # Each time as another process, which has not warned yet.
            assert site.sample()
            told.append(len(warnings))
            site.clock.advance(SAMPLE_SECONDS)
    assert warnings == ["unswept", "orphans"] * 2
    assert told[0] == 2
    assert told.index(4) == 10


def test_evictions_are_noticed_when_they_rise(
    site: Site, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evicted = 40

    async def server() -> ServerInfo:
        return ServerInfo("Valkey 9.1.2", 1_000, None, evicted, "allkeys-lru")

    monkeypatch.setattr(LocMemBackend, "server", lambda backend: server())
    assert site.sample()
    assert warnings == []
    evicted = 41
    site.clock.advance(SAMPLE_SECONDS)
    assert site.sample()
    assert warnings == ["evicting"]
    assert [each.server for each in site.samples] == [1_000, 1_000]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StateCorrupt("junk")])
def test_without_an_answer_there_is_no_sample_and_no_error(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def failing(self: LocMemBackend) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(LocMemBackend, "summaries", failing)
        patch.setattr(LocMemBackend, "sessions", failing)
        assert site.sample() is False
    assert site.sample() is True


async def test_a_heartbeat_takes_the_sample() -> None:
    with override_settings(SESSIONSTORES={"HEARTBEAT": 0.01, "AUTO_SWEEP": False}):
        socket = await Socket().hello("alice")
        held = get_backend(blocking=True)
        await until(lambda: run(held.value(NAME)).data, "a sample")
        await socket.drop()
    backend = get_backend(blocking=False)
    (taken,) = decode_series(
        (await backend.value(NAME)).data, await backend.now()
    ).samples
    assert (taken.participants, taken.online, taken.connections) == (1, 1, 1)


def test_a_sweep_takes_the_sample() -> None:
    stores.sweep()
    backend = get_backend(blocking=True)
    data = run(backend.value(history.NAME)).data
    assert len(decode_series(data, run(backend.now())).samples) == 1
