"""A backend under test, in either flavour, with a clock that the test sets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, ClassVar

import msgspec
import pytest

from sessionstores.backends.base import Backend, run
from sessionstores.backends.types import Committed, Lease, Record
from sessionstores.keys import SESSION, StoreKey, cache_key

CODE = "K7Q2ZD"
ALICE = StoreKey(CODE, "alice")
BOB = StoreKey(CODE, "bob")
OWN = StoreKey.of_session(CODE)
ELSEWHERE = StoreKey("ELSE23", "alice")
BOARD = {"board": b'1:{"deck":["ace"]}'}
MORE = {"board": b'1:{"deck":["ace","two"]}'}
START = 1_700_000_000.0

# Corrupt values: not msgpack, other msgpack, a malformed rev.
JUNK = (
    b"",
    b"\x00",
    b"\xc1",
    b"junk",
    b"\x93\x01\x02\x03",
    b"\x80",
    b"\xff" * 50,
    msgspec.msgpack.encode(["7f3a", 1, b"", START, START, 0, None, {}, {}]),
    msgspec.msgpack.encode(["7f3a", 1, b"12345", START, START, 0, None, {}, {}]),
)


class Clock:
    """The time of the backend under test."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


class Driven:
    """A backend of either flavour, its coroutines driven to their results."""

    def __init__(
        self, backend: Backend, drive: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        self.backend = backend
        self.drive = drive

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.backend, name)
        return lambda *args, **kwargs: self.drive(method(*args, **kwargs))

    def read_record(self, key: StoreKey) -> Record:
        """Return the record that must be at `key`, untouched."""
        record = self.read(key, touch=False)
        assert isinstance(record, Record)
        return record

    def commit_next(self, base: Record, states: Mapping[str, bytes | None]) -> Record:
        """Return the record after a commit that must succeed."""
        answer = self.commit(base, base.rev.next(), states)
        assert isinstance(answer, Committed)
        return answer.record


def lease(
    key: StoreKey = ALICE,
    connection: str = "c1",
    process: str = "web-1",
    follows: tuple[str, ...] | None = None,
) -> Lease:
    records = (key.participant, SESSION) if follows is None else follows
    return Lease(connection, key, process, "tab", frozenset(records))


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Do `work` in that many threads at once; raise what one of them raises."""
    barrier = threading.Barrier(count)
    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            barrier.wait(10)
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


class BackendTests:
    """A subclass implements the first three methods for its backend."""

    THREADS: ClassVar[int] = 8
    COMMITS: ClassVar[int] = 2_500
    RACES: ClassVar[int] = 50
    # The letter of the key that holds a session's participants.
    INDEX: ClassVar[str] = "m"
    LISTS_KEYS: ClassVar[bool] = True

    def make_backend(self, *, blocking: bool, clock: Clock) -> Backend:
        """Return a backend that goes by `clock`; all of one test share their data."""
        raise NotImplementedError

    def plant(self, key: str, value: bytes, clock: Clock) -> None:
        """Put raw bytes at a cache key, as another program might."""
        raise NotImplementedError

    def lose(self, key: str, clock: Clock) -> None:
        """Remove a cache key, as a server out of memory might."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def blocking(self, clock: Clock) -> Iterator[Backend]:
        """The blocking flavour, for tests with threads."""
        backend = self.make_backend(blocking=True, clock=clock)
        run(backend.clear())
        yield backend
        run(backend.clear())

    @pytest.fixture(params=["blocking", "async"])
    def backend(
        self, request: pytest.FixtureRequest, blocking: Backend, clock: Clock
    ) -> Iterator[Driven]:
        if request.param == "blocking":
            yield Driven(blocking, run)
        else:
            with asyncio.Runner() as runner:
                backend = self.make_backend(blocking=False, clock=clock)
                # Runner.run handles SIGINT anew each time: a third of what this takes.
                yield Driven(backend, runner.get_loop().run_until_complete)

    def key_of(self, key: StoreKey) -> str:
        if key.is_session:
            return cache_key("ss", key.session, "s")
        return cache_key("ss", key.session, "p", key.participant)

    def lose_record(self, key: StoreKey, clock: Clock) -> None:
        self.lose(self.key_of(key), clock)

    def lose_index(self, session: str, clock: Clock) -> None:
        self.lose(cache_key("ss", session, self.INDEX), clock)
