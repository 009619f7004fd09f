"""Writers in processes of their own: many at once, killed, paused, forked."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import Record
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from tests.demo_process import until
from tests.servers import Valkey

from . import writers
from .counts import count
from .sites import Site, on_database, on_memcached, on_redis
from .writers import Ledger, Tally, Writer, unbroken

pytestmark = pytest.mark.usefixtures("ledgers")

Start = Callable[..., Writer]
Tell = Callable[..., None]

# Longer than any timeout of the store layer.
PAUSE = 1.5


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, start: Start
) -> Callable[[str], Site]:
    """Return the settings of a site whose states are kept by the server of a name."""

    def at(server: str) -> Site:
        if server == "valkey":
            valkey = request.getfixturevalue("valkey")
            return on_redis(valkey.port, valkey.number)
        if server == "memcached":
            return on_memcached(request.getfixturevalue("memcached").port)
        file = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}
        postgres = server == "postgres" and request.getfixturevalue("postgres")
        made = on_database(postgres.database if postgres else file)
        assert start(made, writers.create_table).hear() == "made"
        return made

    return at


@pytest.mark.parametrize(
    ("server", "processes", "dispatches", "participants"),
    [
        ("valkey", 8, 2_500, 1),
        ("valkey", 8, 2_500, 50),
        ("memcached", 4, 500, 1),
        ("postgres", 4, 500, 1),
        ("sqlite", 4, 500, 1),
    ],
)
def test_writers_in_many_processes_lose_and_double_nothing(
    server: str,
    processes: int,
    dispatches: int,
    participants: int,
    site: Callable[[str], Site],
    start: Start,
    code: str,
    tell: Tell,
) -> None:
    settings, times = site(server), count(dispatches)
    ids = [f"p{n}" for n in range(participants)]
    crew = [
        start(settings, writers.write, code, ids, f"w{n}", times)
        for n in range(processes)
    ]
    for writer in crew:
        writer.say("go")
    told = [writer.hear() for writer in crew]
    links = [link for _, links, _, _ in told for link in links]
    ledgers = start(settings, writers.look, code, ids).hear()
    missing = sum(
        added[participant] - ledger.last.get(f"w{n}", 0)
        for participant, ledger in zip(ids, ledgers, strict=True)
        for n, (added, _, _, _) in enumerate(told)
    )
    lost = missing + sum(ledger.lost for ledger in ledgers)
    doubled = sum(ledger.doubled for ledger in ledgers)
    torn = sum(ledger.torn for ledger in ledgers)
    tell(
        f"{processes} writers, {participants} store{'s' * (participants > 1)}",
        server,
        processes * times,
        lost=lost,
        doubled=doubled,
        torn=torn,
        conflicts=sum(conflicts for _, _, conflicts, _ in told),
        tries=sum(tries for _, _, _, tries in told),
    )
    assert (lost, doubled, torn) == (0, 0, 0)
    assert sum(ledger.total for ledger in ledgers) == processes * times
    assert len(links) == processes * times
    assert unbroken(links)


def test_a_killed_writer_tears_nothing_and_nothing_acknowledged_is_lost(
    site: Callable[[str], Site],
    start: Start,
    code: str,
    rng: random.Random,
    settings: Any,
    tell: Tell,
) -> None:
    own, times = site("valkey"), count(200)
    settings.CACHES = own["CACHES"]
    store = stores.get(Ledger, code, "alice")
    acknowledged: dict[str, int] = {}
    crew: dict[str, Writer] = {}
    for n in range(times):
        while len(crew) < 4:
            name = f"w{n}-{len(crew)}"
            crew[name] = start(own, writers.pour, code, "alice", name)
        name = rng.choice(list(crew))
        writer = crew.pop(name)
        for _ in range(rng.randint(1, 20)):
            acknowledged[name] = writer.hear()
        # Another moment of its next dispatch each time.
        time.sleep(rng.uniform(0, 0.003))
        writer.kill()
        with suppress(EOFError):
            while True:
                acknowledged[name] = writer.hear()
        assert not store.state.torn
    for writer in crew.values():
        writer.kill()
    ledger = store.state
    last = {name: ledger.last.get(name, 0) for name in acknowledged}
    lost = ledger.lost + sum(max(0, n - last[name]) for name, n in acknowledged.items())
    # One that was killed may have been in, and not yet told.
    surplus = sum(max(0, last[name] - n - 1) for name, n in acknowledged.items())
    doubled = ledger.doubled + surplus
    tell("kill -9", "valkey", times, lost=lost, doubled=doubled, torn=int(ledger.torn))
    assert (lost, doubled) == (0, 0)
    assert ledger.total == sum(ledger.last.values())
    record = run(get_backend(blocking=True).read(StoreKey(code, "alice")))
    assert isinstance(record, Record)
    assert record.history.ring.hex().endswith(record.rev.tail)


def test_a_writer_paused_between_read_and_commit_overwrites_nothing(
    site: Callable[[str], Site],
    start: Start,
    code: str,
    settings: Any,
    tell: Tell,
) -> None:
    own, times = site("valkey"), count(50)
    settings.CACHES = own["CACHES"]
    names = [f"w{n}" for n in range(times)]
    crew = [start(own, writers.ponder, code, "alice", name) for name in names]
    for writer in crew:
        assert writer.hear() == "in the action"
        writer.signal(signal.SIGSTOP)
    meanwhile = Tally()
    others, until = 0, time.monotonic() + PAUSE
    while time.monotonic() < until:
        others += 1
        meanwhile.add(code, "alice", "other", others)
    for writer in crew:
        writer.say("go on")
        writer.signal(signal.SIGCONT)
    told = [writer.hear() for writer in crew]
    ledger = stores.get(Ledger, code, "alice").state
    lost = sum(name not in ledger.last for name in names) + ledger.lost
    tell(
        f"SIGSTOP for {PAUSE} s",
        "valkey",
        times,
        lost=lost,
        doubled=ledger.doubled,
        torn=int(ledger.torn),
        conflicts=sum(conflicts for _, conflicts, _ in told),
        tries=sum(tries for _, _, tries in told),
    )
    assert (lost, ledger.doubled, ledger.torn) == (0, 0, False)
    assert ledger.total == times + others
    # Each was refused at first, since others had committed while it was stopped.
    assert all(tries >= 2 for _, _, tries in told)
    assert unbroken([link for links, _, _ in told for link in links] + meanwhile.links)


@pytest.mark.parametrize("server", ["valkey", "memcached"])
def test_a_process_that_used_a_store_may_fork(
    server: str,
    site: Callable[[str], Site],
    start: Start,
    code: str,
    tell: Tell,
) -> None:
    own, times = site(server), count(500)
    assert start(own, writers.fork, code, "alice", times).hear() == [0, 0, 0, 0]
    (ledger,) = start(own, writers.look, code, ["alice"]).hear()
    due = {"parent": 2 * times} | {f"child{n}": times for n in range(4)}
    lost = sum(times - ledger.last.get(name, 0) for name, times in due.items())
    figures = {"lost": lost + ledger.lost, "doubled": ledger.doubled}
    tell("fork into four", server, 6 * times, **figures, torn=int(ledger.torn))
    assert ledger.last == due
    assert (ledger.lost, ledger.doubled, ledger.torn) == (0, 0, False)
    assert ledger.total == 6 * times


def test_loops_that_have_ended_leave_no_connection_open(
    site: Callable[[str], Site], valkey: Valkey, code: str, settings: Any
) -> None:
    settings.CACHES = site("valkey")["CACHES"]
    store = stores.get(Ledger, code, "alice")
    store.dispatch(Ledger.add, "sync", 1)
    with valkey.client() as client:

        def connected() -> int:
            return client.info("clients")["connected_clients"]

        before = connected()
        for number in range(1, 21):
            asyncio.run(store.adispatch(Ledger.add, "async", number))
        until(lambda: connected() == before, "the connections to be closed")
    assert store.state.last == {"sync": 1, "async": 20}
