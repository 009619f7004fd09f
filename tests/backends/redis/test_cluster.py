"""A cluster whose nodes fail, fail over, and move slots to one another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from pytest_django import Settings
from redis.crc import key_slot

from sessionstores.backends.base import run
from sessionstores.backends.redis.backend import RedisBackend
from sessionstores.backends.redis.client import connect_loops, connect_threads
from sessionstores.backends.redis.cluster import SLOTS, SlotTable, slot_of
from sessionstores.backends.redis.location import Address, Location
from sessionstores.exceptions import StoreUnavailable
from sessionstores.keys import StoreKey
from tests.backends.driven import BOARD
from tests.demo_process import until
from tests.faults.counts import FULL
from tests.servers import ValkeyCluster

CALLERS = 50
# Seconds until a call has failed; more where other tests take the machine's time.
DEADLINE = 1.5 if FULL else 2.5

flavours = pytest.mark.parametrize("flavour", ["blocking", "async"])


@pytest.fixture
def own(settings: Settings) -> Iterator[ValkeyCluster]:
    """A cluster that the test may break."""
    cluster = ValkeyCluster()
    try:
        cluster.start()
        # What one of them serves is no matter of the others' either.
        for node in cluster.nodes:
            with node.client() as client:
                client.config_set("cluster-require-full-coverage", "no")
        settings.SESSIONSTORES = {"REDIS": {"cluster": cluster.nodes[0].url}}
        yield cluster
    finally:
        cluster.stop()


def codes_of(node: int, count: int) -> list[str]:
    """Return codes of sessions that the node of that number serves."""
    codes = (f"S{number:05d}" for number in range(100_000))
    served = (c for c in codes if key_slot(f"{{{c}}}".encode()) * 3 // SLOTS == node)
    return [next(served) for _ in range(count)]


class Callers:
    """Many who call one backend of either flavour at the same time."""

    def __init__(self, flavour: str) -> None:
        self.flavour = flavour
        self.runner = asyncio.Runner()
        self.threads = ThreadPoolExecutor(CALLERS)
        self.renew()

    def __enter__(self) -> Callers:
        return self

    def __exit__(self, *error: object) -> None:
        self.threads.shutdown()
        self.runner.close()

    def renew(self) -> None:
        """Go on with a backend that knows nothing, as in a new process."""
        self.backend = RedisBackend("default", blocking=self.flavour == "blocking")

    def open(self, codes: Sequence[str]) -> list[tuple[bool, float]]:
        """Open a record of each session; tell whether it worked, and how soon."""
        return self.runner.run(self._all(codes))

    def until_served(self, codes: Sequence[str]) -> None:
        """Wait until nodes have found one another again, and all is served."""
        until(lambda: all(done for done, _ in self.open(codes)), "all to be served")

    async def _all(self, codes: Sequence[str]) -> list[tuple[bool, float]]:
        return await asyncio.gather(*map(self._one, codes))

    async def _one(self, code: str) -> tuple[bool, float]:
        started = time.monotonic()
        opening = self.backend.open(StoreKey(code, "alice"), BOARD)
        try:
            if self.flavour == "blocking":
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self.threads, run, opening)
            else:
                await opening
        except StoreUnavailable:
            return False, time.monotonic() - started
        return True, time.monotonic() - started


@flavours
def test_a_silent_node_is_no_matter_of_what_the_others_serve(
    flavour: str, own: ValkeyCluster
) -> None:
    silent, served = codes_of(0, 10), codes_of(1, 10) + codes_of(2, 10)
    with Callers(flavour) as callers:
        assert all(done for done, _ in callers.open(silent + served))
        with own.nodes[0].paused():
            for _ in range(3):
                told = callers.open(silent + served)
                assert not any(done for done, _ in told[:10])
                assert all(done for done, _ in told[10:])
                assert max(seconds for _, seconds in told[:10]) < DEADLINE
                # While some wait for the silent one, the others wait for nothing.
                assert max(seconds for _, seconds in told[10:]) < DEADLINE / 2
        callers.until_served(silent + served)


@flavours
def test_many_callers_of_a_silent_cluster_are_each_told_in_time(
    flavour: str, own: ValkeyCluster
) -> None:
    codes = [code for node in range(3) for code in codes_of(node, 17)][:CALLERS]
    with Callers(flavour) as callers:
        assert all(done for done, _ in callers.open(codes))
        with ExitStack() as outage:
            for node in own.nodes:
                outage.enter_context(node.paused())
            for renewed in (False, False, True, False):
                if renewed:
                    callers.renew()
                told = callers.open(codes)
                assert not any(done for done, _ in told)
                assert max(seconds for _, seconds in told) < DEADLINE
        callers.until_served(codes)


@flavours
def test_a_cluster_that_is_away_is_an_outage_until_it_is_back(
    flavour: str, own: ValkeyCluster
) -> None:
    codes = [*codes_of(0, 1), *codes_of(1, 1), *codes_of(2, 1)]
    with Callers(flavour) as callers:
        drive = run if flavour == "blocking" else callers.runner.run
        callers.open(codes)
        for node in own.nodes:
            node.kill()
        for renewed in (False, True):
            if renewed:
                callers.renew()
            assert not any(done for done, _ in callers.open(codes))
            for asking in ("sessions", "server", "run_name", "orphans", "summaries"):
                with pytest.raises(StoreUnavailable, match="cannot be reached"):
                    drive(getattr(callers.backend, asking)())
        # Empty, but they know one another.
        for node in own.nodes:
            node.start()
        callers.until_served(codes)


@flavours
def test_one_node_that_is_away_leaves_the_others_to_a_new_process(
    flavour: str, own: ValkeyCluster, settings: Settings
) -> None:
    own.nodes[2].kill()
    with Callers(flavour) as callers:
        codes = codes_of(0, 3) + codes_of(1, 3)
        assert all(done for done, _ in callers.open(codes))
        assert not any(done for done, _ in callers.open(codes_of(2, 3)))
        assert all(done for done, _ in callers.open(codes))


# Slots that move


def at(cluster: ValkeyCluster, node: int, *command: Any) -> Any:
    with cluster.nodes[node].client() as client:
        return client.execute_command(*command)


@pytest.fixture(params=["blocking", "async"])
def send(
    request: pytest.FixtureRequest, own: ValkeyCluster
) -> Iterator[Callable[..., Any]]:
    """Send a command, in one flavour."""
    location = Location(cluster=own.nodes[0].url)
    if request.param == "blocking":
        yield connect_threads(location).send
        return
    loops = connect_loops(location)

    async def awaited(*command: Any) -> Any:
        return await loops.current().send(*command)

    with asyncio.Runner() as runner:
        yield lambda *command: runner.run(awaited(*command))


def test_a_slot_is_followed_while_it_moves_and_when_it_has(
    own: ValkeyCluster, send: Callable[..., Any]
) -> None:
    (code,) = codes_of(0, 1)
    old, new = f"{{{code}}}:old", f"{{{code}}}:new"
    slot = key_slot(old.encode())
    names = [at(own, node, "CLUSTER", "MYID") for node in range(3)]
    assert send("SET", old, "before") == b"OK"
    at(own, 1, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
    at(own, 0, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
    # Where it is for now, and where what is new goes.
    assert send("GET", old) == b"before"
    assert send("SET", new, "meanwhile") == b"OK"
    assert send("GET", new) == b"meanwhile"
    at(own, 0, "MIGRATE", "127.0.0.1", own.nodes[1].port, old, 0, 1000)
    for node in (1, 0, 2):
        at(own, node, "CLUSTER", "SETSLOT", slot, "NODE", names[1])
    for _ in range(2):
        assert send("GET", old) == b"before"
        assert send("GET", new) == b"meanwhile"


# Who serves what


@pytest.mark.parametrize(
    "key", ["ss:{K7Q2ZD}:p:alice", "ss:reg:", "{}:a", "a{b", "a{{b}}c", "{a}{b}", "é"]
)
def test_a_key_has_the_slot_that_servers_give_it(key: str) -> None:
    slot = key_slot(key.encode())
    assert slot_of(("GET", key)) == slot_of(("UNLINK", key.encode())) == slot
    assert slot_of(("EVALSHA", "0" * 40, 2, key, "other")) == slot
    assert slot_of(("GET", b"\xff{\xfe}")) == key_slot(b"\xfe")


def test_nodes_that_do_not_know_their_name_are_where_they_were_asked() -> None:
    def remap(address: Address) -> Address:
        return ("outside", address[1])

    slots = SlotTable(("seed", 1), remap)
    assert not slots
    reply = [[0, 8_000, [b"", 1], [b"10.0.0.9", 9]], [8_001, 16_000, [b"10.0.0.2", 2]]]
    slots.learn(reply, ("seed", 1))
    assert slots
    assert slots.primaries == [("seed", 1), ("outside", 2)]
    assert slots.nodes == [("seed", 1), ("outside", 9), ("outside", 2)]
    slots.demote(("seed", 1))
    assert slots.nodes[-1] == ("seed", 1)
    # Nobody serves the last slots; who was asked first will say so.
    keys = {key_slot(str(number).encode()): str(number) for number in range(50_000)}
    served = (("seed", 1), ("outside", 2), ("seed", 1))
    for slot, node in zip((8_000, 8_001, 16_001), served, strict=True):
        assert slots.owner(("GET", keys[slot])) == node
