"""A cluster whose nodes fail, fail over, and move slots to one another."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from pytest_django import Settings
from redis.crc import key_slot
from redis.exceptions import ResponseError

from sessionstores.backends.base import run
from sessionstores.backends.redis.backend import RedisBackend
from sessionstores.backends.redis.client import connect_loops, connect_threads
from sessionstores.backends.redis.cluster import SLOTS, SlotTable, slot_of
from sessionstores.backends.redis.location import Address, Location, location_for
from sessionstores.backends.redis.scripts import ScriptRunner
from sessionstores.backends.types import Committed, Record
from sessionstores.exceptions import StoreUnavailable
from sessionstores.keys import StoreKey
from tests.backends.driven import BOARD, MORE, Driven
from tests.demo_process import until
from tests.faults.progress import ProgressClock
from tests.servers import Valkey, ValkeyCluster

CALLERS = 50
# Seconds until a call has failed.
DEADLINE = 1.5

flavours = pytest.mark.parametrize("flavour", ["blocking", "async"])


@pytest.fixture(scope="module")
def spare() -> Iterator[list[ValkeyCluster]]:
    """The cluster of the next test, if it has begun: it forms while another runs."""
    waiting: list[ValkeyCluster] = []
    yield waiting
    for cluster in waiting:
        cluster.stop()


@pytest.fixture
def own(settings: Settings, spare: list[ValkeyCluster]) -> Iterator[ValkeyCluster]:
    """A cluster that the test may break."""
    cluster = spare.pop() if spare else begun()
    try:
        spare.append(begun())
        cluster.form()
        # A node that fails leaves the others' slots served.
        for node in cluster.nodes:
            with node.client() as client:
                client.config_set("cluster-require-full-coverage", "no")
        settings.SESSIONSTORES = {"REDIS": {"cluster": cluster.nodes[0].url}}
        yield cluster
    finally:
        cluster.stop()


def begun() -> ValkeyCluster:
    cluster = ValkeyCluster()
    try:
        cluster.begin()
    except BaseException:
        cluster.stop()
        raise
    return cluster


def codes_of(node: int, count: int) -> list[str]:
    """Return codes of sessions that the node of that number serves."""
    codes = (f"S{number:05d}" for number in range(100_000))
    served = (c for c in codes if key_slot(f"{{{c}}}".encode()) * 3 // SLOTS == node)
    return [next(served) for _ in range(count)]


class Callers:
    """Many concurrent callers of one backend, of either flavour."""

    def __init__(self, flavour: str) -> None:
        self.flavour = flavour
        self.runner = asyncio.Runner()
        self.threads = ThreadPoolExecutor(CALLERS)
        self.clock = ProgressClock()
        self.renew()

    def __enter__(self) -> Callers:
        self.clock.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.clock.__exit__(*error)
        self.threads.shutdown()
        self.runner.close()

    def renew(self) -> None:
        """Go on with a backend that knows nothing, as in a new process."""
        self.backend = RedisBackend("default", blocking=self.flavour == "blocking")

    def open(self, codes: Sequence[str]) -> list[tuple[bool, float]]:
        """Open a record of each session; return if each worked, and the seconds."""
        return self.runner.run(self._all(codes))

    def until_served(self, codes: Sequence[str]) -> None:
        """Wait until nodes have found one another again, and all is served."""
        until(lambda: all(done for done, _ in self.open(codes)), "all to be served")

    async def _all(self, codes: Sequence[str]) -> list[tuple[bool, float]]:
        return await asyncio.gather(*map(self._one, codes))

    async def _one(self, code: str) -> tuple[bool, float]:
        started = self.clock.now()
        opening = self.backend.open(StoreKey(code, "alice"), BOARD)
        try:
            if self.flavour == "blocking":
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self.threads, run, opening)
            else:
                await opening
        except StoreUnavailable:
            return False, self.clock.now() - started
        return True, self.clock.now() - started


@flavours
def test_a_silent_node_does_not_affect_what_the_others_serve(
    flavour: str, own: ValkeyCluster
) -> None:
    silent, served = codes_of(0, 10), codes_of(1, 10) + codes_of(2, 10)
    with Callers(flavour) as callers:
        callers.until_served(silent + served)
        with own.nodes[0].paused():
            for _ in range(3):
                results = callers.open(silent + served)
                assert not any(done for done, _ in results[:10])
                assert all(done for done, _ in results[10:])
                assert max(seconds for _, seconds in results[:10]) < DEADLINE
                # While some wait for the silent one, the others wait for nothing.
                assert max(seconds for _, seconds in results[10:]) < DEADLINE / 2
        callers.until_served(silent + served)


@flavours
def test_many_callers_of_a_silent_cluster_each_fail_in_time(
    flavour: str, own: ValkeyCluster
) -> None:
    codes = [code for node in range(3) for code in codes_of(node, 17)][:CALLERS]
    with Callers(flavour) as callers:
        callers.until_served(codes)
        with ExitStack() as outage:
            for node in own.nodes:
                outage.enter_context(node.paused())
            for renewed in (False, False, True, False):
                if renewed:
                    callers.renew()
                results = callers.open(codes)
                assert not any(done for done, _ in results)
                assert max(seconds for _, seconds in results) < DEADLINE
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


@flavours
def test_a_seed_that_is_silent_is_an_outage_to_a_new_process_until_it_replies(
    flavour: str, own: ValkeyCluster
) -> None:
    codes = codes_of(1, CALLERS)
    with Callers(flavour) as callers:
        with own.nodes[0].paused():
            for _ in range(2):
                results = callers.open(codes)
                assert not any(done for done, _ in results)
                assert max(seconds for _, seconds in results) < DEADLINE
        callers.until_served(codes)


# Failover


def add_replica(cluster: ValkeyCluster) -> Valkey:
    """Start a replica of the first node; return when it has followed."""
    replica = Valkey(cluster_enabled="yes", cluster_node_timeout="2000")
    cluster.nodes.append(replica)
    replica.start()
    primary = at(cluster, 0, "CLUSTER", "MYID")
    with replica.client() as client:
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", cluster.nodes[0].port)

        def follows() -> bool:
            try:
                client.execute_command("CLUSTER", "REPLICATE", primary)
            except ResponseError:
                # It has not heard of the primary yet.
                return False
            return client.info("replication").get("master_link_status") == "up"

        until(follows, "the replica to follow")
    return replica


@flavours
@pytest.mark.parametrize("how", ["handed over", "killed"])
def test_a_promoted_replica_is_found(
    flavour: str, how: str, own: ValkeyCluster
) -> None:
    replica = add_replica(own)
    codes = [*codes_of(0, 3), *codes_of(1, 3)]
    with Callers(flavour) as callers, replica.client() as client:
        callers.until_served(codes)
        until(lambda: client.dbsize() > 0, "the replica to have the records")
        if how == "killed":
            own.nodes[0].kill()
            results = callers.open(codes)
            # What the other node serves is not affected.
            assert [done for done, _ in results] == [False] * 3 + [True] * 3
            assert max(seconds for _, seconds in results) < DEADLINE
        else:
            client.execute_command("CLUSTER", "FAILOVER")
        until(lambda: client.info("replication")["role"] == "master", "the promotion")
        callers.until_served(codes)
        before = client.dbsize()
        assert all(done for done, _ in callers.open(codes))
        assert client.dbsize() == before > 0


# Slots that move


def at(cluster: ValkeyCluster, node: int, *command: Any) -> Any:
    with cluster.nodes[node].client() as client:
        return client.execute_command(*command)


class Move:
    """The move of a session's slot from the first node to the second, step by step."""

    def __init__(self, cluster: ValkeyCluster, code: str) -> None:
        self.cluster = cluster
        self.slot = key_slot(f"{{{code}}}".encode())
        self.names = [at(cluster, node, "CLUSTER", "MYID") for node in range(3)]

    def begin(self) -> None:
        for node, how, other in ((1, "IMPORTING", 0), (0, "MIGRATING", 1)):
            name = self.names[other]
            at(self.cluster, node, "CLUSTER", "SETSLOT", self.slot, how, name)

    def transfer(self, *keys: str | bytes) -> None:
        port = self.cluster.nodes[1].port
        keys = keys or tuple(self.keys())
        at(self.cluster, 0, "MIGRATE", "127.0.0.1", port, "", 0, 1000, "KEYS", *keys)

    def keys(self) -> list[bytes]:
        """Return the keys that the first node still has."""
        found: list[bytes] = at(
            self.cluster, 0, "CLUSTER", "GETKEYSINSLOT", self.slot, 100
        )
        return found

    def end(self) -> None:
        for node in (1, 0, 2):
            name = self.names[1]
            at(self.cluster, node, "CLUSTER", "SETSLOT", self.slot, "NODE", name)


def refusals(cluster: ValkeyCluster, word: str) -> int:
    """Return how often the first two nodes replied with that error."""
    count = 0
    for node in range(2):
        with cluster.nodes[node].client() as client:
            stats = client.info("errorstats")
            count += stats.get(f"errorstat_{word}", {"count": 0})["count"]
    return count


class Writer:
    """Commits to one record again and again, in a thread of its own, until stopped."""

    def __init__(self, flavour: str, key: StoreKey) -> None:
        blocking = flavour == "blocking"
        # The machine may take its time over each step of a move.
        location = location_for("default")._replace(reply_seconds=10.0)
        scripts = ScriptRunner(location, blocking=blocking)
        self.backend = RedisBackend("default", blocking=blocking, scripts=scripts)
        self.key = key
        self.commits = 0
        self.stopped = threading.Event()
        self.threads = ThreadPoolExecutor(1)

    def __enter__(self) -> Writer:
        main = run if self.backend.blocking else asyncio.run
        self.running = self.threads.submit(main, self._write())
        self.go_on()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self.threads.shutdown()

    async def _write(self) -> Record:
        record = (await self.backend.open(self.key, BOARD)).record
        while not self.stopped.is_set():
            answer = await self.backend.commit(record, record.rev.next(), MORE)
            assert isinstance(answer, Committed)
            record = answer.record
            self.commits += 1
        return record

    def go_on(self) -> None:
        """Return when it has committed once more."""
        seen = self.commits

        def has_gone_on() -> bool:
            return self.commits > seen or self.running.done()

        until(has_gone_on, "a commit")

    def result(self) -> Record:
        """Stop; return the record as its last commit left it."""
        self.stopped.set()
        return self.running.result()


@flavours
def test_commits_to_a_slot_that_moves_are_each_in_once(
    flavour: str, own: ValkeyCluster
) -> None:
    (code,) = codes_of(0, 1)
    key, move = StoreKey(code, "alice"), Move(own, code)
    with Writer(flavour, key) as writer:
        move.begin()
        # Of a commit's two keys, only the record exists.
        until(lambda: refusals(own, "TRYAGAIN") > 0, "a commit to wait")
        move.transfer()
        until(lambda: refusals(own, "ASK") > 0, "a commit to follow")
        # What is still to come may be created at either node.
        while keys := move.keys():
            move.transfer(*keys)
        move.end()
        writer.go_on()
        record = writer.result()
    assert record.rev.counter == writer.commits + 1
    assert refusals(own, "MOVED") > 0
    fresh = RedisBackend("default", blocking=True)
    read = run(fresh.read(key))
    assert isinstance(read, Record)
    assert read.rev == record.rev


@flavours
def test_a_slot_that_no_node_serves_refuses_its_commits(
    flavour: str, own: ValkeyCluster
) -> None:
    (code,) = codes_of(0, 1)
    slot = key_slot(f"{{{code}}}".encode())
    with Callers(flavour) as callers:
        drive = run if flavour == "blocking" else callers.runner.run
        backend = Driven(callers.backend, drive)
        record = backend.open(StoreKey(code, "alice"), BOARD).record
        at(own, 0, "CLUSTER DELSLOTS", slot)
        with pytest.raises(StoreUnavailable, match=r"refused .*CLUSTERDOWN") as caught:
            backend.commit(record, record.rev.next(), MORE)
        assert caught.value.refused
        at(own, 0, "CLUSTER ADDSLOTS", slot)
        assert backend.commit_next(record, MORE).states == MORE


@flavours
def test_a_move_that_does_not_end_fails_its_commits_in_time(
    flavour: str, own: ValkeyCluster
) -> None:
    (code,) = codes_of(0, 1)
    with Callers(flavour) as callers:
        drive = run if flavour == "blocking" else callers.runner.run
        backend = Driven(callers.backend, drive)
        record = backend.open(StoreKey(code, "alice"), BOARD).record
        move = Move(own, code)
        move.begin()

        def is_named() -> bool:
            started = callers.clock.now()
            with pytest.raises(StoreUnavailable) as caught:
                backend.commit(record, record.rev.next(), MORE)
            assert callers.clock.now() - started < DEADLINE
            named = re.search("TRYAGAIN .*while slots move", str(caught.value))
            return named is not None and caught.value.refused

        # On a busy machine, the last try may be one without a reply.
        until(is_named, "the reason")
        move.transfer()
        move.end()
        assert backend.commit_next(record, MORE).states == MORE


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
    move = Move(own, code)
    assert send("SET", old, "before") == b"OK"
    move.begin()
    # Where it is for now, and where what is new goes.
    assert send("GET", old) == b"before"
    assert send("SET", new, "meanwhile") == b"OK"
    assert send("GET", new) == b"meanwhile"
    move.transfer(old)
    move.end()
    for _ in range(2):
        assert send("GET", old) == b"before"
        assert send("GET", new) == b"meanwhile"


# The nodes of slots


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
    # Nobody serves the last slots; the node that was asked replies with that error.
    keys = {key_slot(str(number).encode()): str(number) for number in range(50_000)}
    served = (("seed", 1), ("outside", 2), ("seed", 1))
    for slot, node in zip((8_000, 8_001, 16_001), served, strict=True):
        assert slots.owner(("GET", keys[slot])) == node
