"""Sweepers against people who come back, each other, and clocks that are wrong."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import pytest
from django.db import connections

from sessionstores import signals
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.database_pool import close_connections
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.sessions.sweeper import sweep
from sessionstores.state.declaration import registry
from tests.caches import KINDS, cache_on

from . import sweeps
from .counts import count
from .sites import Site
from .sweeps import Ended, Life
from .writers import Writer

Tell = Callable[..., None]

# A record's last use is written when that is older than a tenth of this; after twice
# this, it expires by itself.
TIMEOUT = 2.5
# How many come back how often, each about so long after the last time.
RACES = {"locmem": 10_000, "valkey": 10_000, "memcached": 3_000}
CROWD = {"locmem": 200, "valkey": 200, "memcached": 60}
IDLE_FOR = {"postgres": 1.0, "sqlite": 1.0}


class Threaded:
    """What `Writer` is, but in a thread of this process, whose memory it shares."""

    def __init__(
        self, site: Site, program: Callable[..., object], *arguments: Any
    ) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.thread = threading.Thread(target=self._run, args=(theirs, *arguments))
        self.program = program
        self.thread.start()

    def _run(self, pipe: Connection, *arguments: Any) -> None:
        # At its end too, so that nobody waits for what will not be said.
        with pipe:
            self.program(pipe, *arguments)

    def hear(self) -> Any:
        """See `Writer.hear`."""
        assert self.pipe.poll(240), "it fell silent"
        return self.pipe.recv()

    def say(self, word: str) -> None:
        """See `Writer.say`."""
        self.pipe.send(word)

    def kill(self) -> None:
        """Let it end: a sweeper does when it hears anything."""
        with suppress(OSError):
            self.pipe.send("stop")
        self.thread.join(240)


def declaring_writer(
    site: Site, program: Callable[..., object], *arguments: Any
) -> Writer:
    """A process that runs `program`, and in which `Life` is declared."""
    return Writer(site, sweeps.declaring_life, program, *arguments)


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, settings: Any) -> Iterator[tuple[str, Site]]:
    """The kind of cache, and the settings with which other processes use it."""
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": TIMEOUT, "AUTO_SWEEP": False}
    with cache_on(request.param, request, settings) as made:
        yield request.param, made | {"SESSIONSTORES": settings.SESSIONSTORES}
        close_connections()


def test_nobody_who_came_back_is_swept_and_each_removal_is_told_once(
    site: tuple[str, Site], code: str, tell: Tell
) -> None:
    kind, own = site
    make: Any = Threaded if kind == "locmem" else declaring_writer
    races, crowd = count(RACES.get(kind, 1_000)), CROWD.get(kind, 40)
    idle_for = IDLE_FOR.get(kind, 0.5)
    ids = [f"p{number}" for number in range(crowd)]
    halves = [ids[: crowd // 2], ids[crowd // 2 :]]
    crew: list[Any] = []
    with registry.isolated(Life):
        try:
            sweepers = [make(own, sweeps.sweep, idle_for) for _ in range(2)]
            crew += sweepers
            comers = [
                make(own, sweeps.come_back, code, half, races // 2, idle_for)
                for half in halves
            ]
            crew += comers
            came: Counter[str] = Counter()
            for comer in comers:
                came.update(comer.hear())
            for sweeper in sweepers:
                sweeper.say("stop")
            ended = [Ended(*each) for s in sweepers for each in s.hear()]
            looking = make(own, sweeps.look, code)
            crew.append(looking)
            lives: dict[str, tuple[str, int]] = looking.hear()
        finally:
            for each in crew:
                each.kill()
    # Each coming is in the life that is there, or in the end of just one other.
    found = Counter({id: times for id, (_, times) in lives.items()})
    for end in ended:
        found[end.participant] += end.times
    assert {end.reason for end in ended} == {"idle"}
    lost = (came - found).total()
    doubled = (found - came).total()
    tell("sweep, return", kind, races, lost=lost, doubled=doubled)
    assert (lost, doubled) == (0, 0)
    told = Counter((end.participant, end.id) for end in ended)
    assert set(told.values()) == {1}
    assert not told.keys() & {(id, life) for id, (life, _) in lives.items()}
    # Nobody was taken before they were idle; and the race was a race: some came back
    # to what they had left, some did not.
    assert min(end.unused for end in ended) >= idle_for - TIMEOUT / 10
    assert len(told) > races / 100
    times = [end.times for end in ended] + [times for _, times in lives.values()]
    assert max(times) > 1


@pytest.mark.parametrize("going", ["end_session", "cleanup_session"])
def test_of_a_session_that_goes_beside_sweeps_each_participant_is_told_once(
    site: tuple[str, Site], code: str, tell: Tell, going: str
) -> None:
    kind, _ = site
    crowd = [f"p{number:03d}" for number in range(150)]
    told: Counter[tuple[str, bool]] = Counter()
    gone = threading.Event()
    failures: list[Exception] = []

    def note(sender: Any, participant: str, states: object, **named: Any) -> None:
        told[participant, states is not None] += 1

    def sweep_on() -> None:
        try:
            while not gone.is_set():
                stores.sweep(idle_for=600, orphans=True)
        except Exception as error:  # noqa: BLE001 - raised again below
            failures.append(error)
        finally:
            connections.close_all()

    with registry.isolated(Life):
        backend = get_backend(blocking=True)
        for id in crowd:
            run(backend.open(StoreKey(code, id), {"life": b"1:{}"}))
        signals.participant_removed.connect(note)
        sweeper = threading.Thread(target=sweep_on)
        try:
            sweeper.start()
            getattr(stores, going)(code)
        finally:
            gone.set()
            sweeper.join()
            signals.participant_removed.disconnect(note)
    assert failures == []
    doubled = told.total() - len(crowd)
    tell(f"sweep, {going.split('_')[0]}", kind, len(crowd), doubled=doubled)
    assert told == Counter({(id, True): 1 for id in crowd})


@pytest.mark.parametrize("hours", [-1, 1])
# Not of SQLite: its file is on the worker's machine, whose clock is the only one.
@pytest.mark.parametrize("kind", ["valkey", "memcached", "postgres"])
def test_worker_whose_clock_is_an_hour_off_sweeps_nobody_early(
    kind: str, hours: int, request: pytest.FixtureRequest, settings: Any
) -> None:
    settings.SESSIONSTORES = {"AUTO_SWEEP": False}
    right = time.time
    with cache_on(kind, request, settings):
        backend = get_backend(blocking=True)
        for number in range(5):
            run(backend.open(StoreKey("K7Q2ZD", f"p{number}"), {"life": b"1:{}"}))
        run(backend.create_session("KEPT23", label="", keep=600))
        before = run(backend.summaries())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: right() + hours * 3_600)
            # As a process that has just started there.
            elsewhere: Any = type(backend)
            worker = elsewhere("default", blocking=True)
            done = run(sweep(worker, orphans=True))
            assert run(worker.now()) == pytest.approx(right(), abs=5)
        assert done.is_quiet
        assert run(backend.summaries()) == before
