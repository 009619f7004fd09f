"""Servers that fall silent, lose everything, or come back older than they were."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Self

import pytest

from sessionstores.exceptions import Conflict, StoreUnavailable
from sessionstores.manager import stores
from sessionstores.state.revisions import Rev
from sessionstores.store.store import Store
from tests.servers import Valkey

from . import writers
from .counts import count
from .progress import ProgressClock
from .proxy import Proxy
from .sites import on_redis
from .writers import Ledger, Roll, Writer

pytestmark = pytest.mark.usefixtures("ledgers")

Start = Callable[..., Writer]
Tell = Callable[..., None]
Silence = Callable[[], AbstractContextManager[None]]
Dispatch = Callable[..., Any]

flavours = pytest.mark.parametrize("flavour", ["sync", "async"])

CALLERS = 50
# Seconds until a call has failed.
DEADLINE = 1.5


@pytest.fixture
def mortal() -> Iterator[Valkey]:
    """A Valkey that a test may stop."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def proxy(mortal: Valkey, settings: Any) -> Iterator[Proxy]:
    """What stands between this process and `mortal`."""
    with Proxy(mortal.port) as between:
        settings.CACHES = on_redis(between.port)["CACHES"]
        yield between


@pytest.fixture(params=["swallowed", "stopped"])
def silence(request: pytest.FixtureRequest, mortal: Valkey, proxy: Proxy) -> Silence:
    """Return how the server falls silent, with every connection open."""
    return proxy.swallowing if request.param == "swallowed" else mortal.paused


@pytest.fixture
def dispatch(flavour: str) -> Iterator[Dispatch]:
    """Dispatch in one flavour, with one loop for all calls."""
    with asyncio.Runner() as runner:

        def of_a_store(store: Store[Any], *action: Any) -> Any:
            if flavour == "sync":
                return store.dispatch(*action)
            return runner.run(store.adispatch(*action))

        yield of_a_store


class Callers:
    """Fifty of them, each with a store of its own, who call at the same time."""

    def __init__(self, code: str, flavour: str) -> None:
        self.stores = [stores.get(Ledger, code, f"p{n}") for n in range(CALLERS)]
        self.flavour = flavour
        self.threads = ThreadPoolExecutor(CALLERS)
        self.runner = asyncio.Runner()
        self.clock = ProgressClock()

    def __enter__(self) -> Self:
        self.clock.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.clock.__exit__(*error)
        self.threads.shutdown()
        self.runner.close()

    def add(self, number: int) -> list[tuple[bool, float]]:
        """Let each add `number`; return whether it is in, and after how long."""
        return self.runner.run(self._all(self.stores, number))

    def add_at_last(self, number: int) -> list[float]:
        """Let each add `number`, and again until it is in; return how long that took.

        Where the machine has no time for so many at once, some are told that they are
        late; those go on in the next round.
        """
        left, seconds = self.stores, dict.fromkeys(self.stores, 0.0)
        while left:
            told = self.runner.run(self._all(left, number))
            for store, (_, took) in zip(left, told, strict=True):
                seconds[store] += took
            left = [store for store in left if store.state.last.get("caller") != number]
        return list(seconds.values())

    async def _all(
        self, callers: list[Store[Ledger]], number: int
    ) -> list[tuple[bool, float]]:
        return await asyncio.gather(*(self._one(each, number) for each in callers))

    async def _one(self, store: Store[Ledger], number: int) -> tuple[bool, float]:
        if self.flavour == "sync":
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.threads, self._call, store, number)
        started = self.clock.now()
        try:
            await store.adispatch(Ledger.add, "caller", number)
        except StoreUnavailable:
            return False, self.clock.now() - started
        return True, self.clock.now() - started

    def _call(self, store: Store[Ledger], number: int) -> tuple[bool, float]:
        # From here, not from where it was handed to the pool, which is ours.
        started = self.clock.now()
        try:
            store.dispatch(Ledger.add, "caller", number)
        except StoreUnavailable:
            return False, self.clock.now() - started
        return True, self.clock.now() - started


@flavours
def test_many_callers_of_a_silent_server_are_each_told_in_time(
    silence: Silence, flavour: str, code: str, tell: Tell
) -> None:
    with Callers(code, flavour) as callers:
        callers.add_at_last(1)
        with silence():
            told = callers.add(2)
        recovered = callers.add_at_last(3)
        states = [store.state for store in callers.stores]
    # Of the second, nobody knew whether it was in.
    unknown = sum(not done for done, _ in told)
    lost = sum(state.last != {"caller": 3} for state in states)
    doubled = sum(state.total + state.lost - 3 for state in states)
    slowest = max(seconds for _, seconds in told)
    tell(
        f"{silence.__name__}, {CALLERS} {flavour} callers, slowest {slowest:.2f} s",
        "valkey",
        CALLERS,
        lost=lost,
        doubled=doubled,
        unknown=unknown,
    )
    assert (unknown, lost, doubled) == (CALLERS, 0, 0)
    assert slowest < DEADLINE
    # Nothing is to be waited for, once it answers again.
    assert max(recovered) < DEADLINE


@flavours
def test_a_commit_to_a_silent_server_is_in_once_or_not_at_all(
    silence: Silence, dispatch: Dispatch, flavour: str, code: str, tell: Tell
) -> None:
    store = stores.get(Roll, code, "alice")

    def enter(roll: Roll, number: int, outage: ExitStack) -> None:
        roll.numbers.append(number)
        outage.enter_context(silence())

    slowest = 0.0
    times = count(10)
    with ProgressClock() as clock:
        for number in range(times):
            started = clock.now()
            with ExitStack() as outage, pytest.raises(StoreUnavailable):
                dispatch(store, enter, number, outage)
            slowest = max(slowest, clock.now() - started)
            dispatch(store, lambda roll: roll.numbers.append(-1))
    numbers = store.state.numbers
    late = [number for number in numbers if number >= 0]
    doubled = len(late) - len(set(late))
    tell(
        f"{silence.__name__} before a commit, {flavour}, slowest {slowest:.2f} s",
        "valkey",
        times,
        lost=times - numbers.count(-1),
        doubled=doubled,
        unknown=times,
    )
    assert numbers.count(-1) == times
    assert not doubled
    assert slowest < DEADLINE


def counter(rev: str) -> int:
    return Rev.parse(rev).counter


def flush(server: Valkey) -> None:
    """Let the server forget everything."""
    with server.client() as client:
        client.flushall()


def restart(server: Valkey) -> None:
    """Let the server crash; it comes back with the last dump, if there is any."""
    server.kill()
    server.start()


@pytest.mark.parametrize(
    ("loss", "kept"),
    [(flush, 0), (restart, 0), (restart, 3)],
    ids=["flushed", "restarted empty", "restarted older"],
)
def test_a_commit_never_lands_on_a_history_that_is_not_its_own(
    loss: Callable[[Valkey], None],
    kept: int,
    mortal: Valkey,
    proxy: Proxy,
    start: Start,
    code: str,
    request: pytest.FixtureRequest,
    tell: Tell,
) -> None:
    tries = 0

    def lose_one(participant: str) -> None:
        nonlocal tries
        store = stores.get(Ledger, code, participant)
        for number in range(1, 6):
            store.dispatch(Ledger.add, "us", number)
            if number == kept:
                mortal.save_dump()
        base = store.snapshot()
        seen: list[dict[str, int]] = []

        def add(ledger: Ledger) -> None:
            seen.append(dict(ledger.last))
            if len(seen) == 1:
                loss(mortal)
                overtake(participant)
                newest = store.peek()
                assert newest
                assert counter(newest.rev) == counter(base.rev)
            ledger.add("us", ledger.last.get("us", 0) + 1)

        store.dispatch(add)
        before, after = seen
        assert before == {"us": 5}
        assert after == {"they": 5 - kept} | ({"us": kept} if kept else {})
        assert store.state.last == {**after, "us": kept + 1}
        with pytest.raises(Conflict):
            store.replace(base.state, base=base.rev)
        tries += len(seen)

    def overtake(participant: str) -> None:
        # As far as counters tell, the record is then where it was.
        others = start(
            on_redis(mortal.port), writers.write, code, [participant], "they", 5 - kept
        )
        others.say("go")
        others.hear()

    times = count(50)
    for n in range(times):
        lose_one(f"p{n}")
    tell(f"{request.node.callspec.id}, then overtaken", "valkey", times, tries=tries)


@pytest.mark.parametrize("fault", ["SCRIPT FLUSH", "CLIENT KILL TYPE normal"])
@flavours
def test_lost_scripts_and_connections_are_replaced_without_an_error(
    fault: str,
    mortal: Valkey,
    proxy: Proxy,
    dispatch: Dispatch,
    flavour: str,
    code: str,
    tell: Tell,
) -> None:
    times = count(500)
    store = stores.get(Ledger, code, "alice")
    with mortal.client() as client:

        def add(ledger: Ledger, number: int) -> None:
            # Now before the read, now before the commit.
            if number % 2:
                client.execute_command(fault)
            ledger.add("us", number)

        for number in range(1, times + 1):
            if not number % 2:
                client.execute_command(fault)
            dispatch(store, add, number)
    ledger = store.state
    tell(
        f"{fault}, {flavour}",
        "valkey",
        times,
        lost=times - ledger.last["us"],
        doubled=ledger.doubled,
        torn=int(ledger.torn),
    )
    assert ledger.last == {"us": times}
    assert (ledger.doubled, ledger.torn) == (0, False)
