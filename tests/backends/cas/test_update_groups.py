"""Updates of one value that come at once share their writes; each is as if alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.backends.cas.key_value import Versioned
from sessionstores.backends.cas.values import Values
from sessionstores.exceptions import LimitReached, StoreUnavailable
from tests.backends.cas.stores import DictStore

MANY = 300


class FarStore(DictStore):
    """One whose operations let others run, as over a network; `failing`: they fail."""

    in_memory: ClassVar[bool] = False

    def __init__(self, clock: Callable[[], float] = lambda: 1_000.0) -> None:
        super().__init__(clock)
        self.blocking = False
        self.reads = self.writes = 0
        self.failing = False

    async def read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        self.reads += 1
        await asyncio.sleep(0)
        return await super().read(keys)

    async def cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        self.writes += 1
        await asyncio.sleep(0)
        if self.failing:
            raise ConnectionResetError
        return await super().cas(key, token, value, ttl)


def entering(line: bytes) -> Callable[[bytes], bytes]:
    return lambda value: value + line + b"\n"


def refuse(value: bytes) -> bytes:
    raise LimitReached("Full.")


async def test_all_that_come_at_once_are_in_by_two_writes() -> None:
    store = FarStore()
    values = Values(store)
    lines = [b"%d" % number for number in range(MANY)]
    before = await asyncio.gather(
        *(values.update("k", entering(line), 60) for line in lines)
    )
    assert store.values()["k"].split() == lines
    # Each is told the value that it changed.
    assert [len(value.split()) for value in before] == list(range(MANY))
    assert store.writes <= 2
    assert store.reads <= 2


@given(
    # Each by the process it comes from, its key, and how long it lasts.
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from("kl"), st.sampled_from([60, 90])),
        max_size=12,
    ),
    st.sets(st.integers(0, 11)),
    st.sets(st.integers(0, 11)),
)
def test_each_is_in_once_whoever_else_fails_or_goes_away(
    calls: list[tuple[int, str, float]], refused: set[int], cancelled: set[int]
) -> None:
    store = FarStore()
    processes = [Values(store), Values(store)]

    async def call(number: int, process: int, key: str, ttl: float) -> bytes:
        change = refuse if number in refused else entering(b"%d" % number)
        return await processes[process].update(key, change, ttl)

    async def main() -> list[Any]:
        tasks = [
            asyncio.create_task(call(number, *each))
            for number, each in enumerate(calls)
        ]
        await asyncio.sleep(0)
        for number in cancelled & set(range(len(tasks))):
            tasks[number].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        # What was cancelled may still be on its way.
        await asyncio.gather(
            *(
                task
                for task in asyncio.all_tasks()
                if task is not asyncio.current_task()
            )
        )
        return found

    found = asyncio.run(main())
    told: dict[str, list[int]] = {"k": [], "l": []}
    stored = {key: store.values().get(key, b"").split() for key in told}
    for number, (answer, (_, key, _)) in enumerate(zip(found, calls, strict=True)):
        times = stored[key].count(b"%d" % number)
        if number in cancelled:
            assert isinstance(answer, asyncio.CancelledError | LimitReached | bytes)
            assert times <= 1
        elif number in refused:
            assert isinstance(answer, LimitReached)
            assert times == 0
        else:
            assert times == 1
            # Right behind what it was told that it changed.
            assert stored[key].index(b"%d" % number) == len(answer.split())
    assert sum(map(len, stored.values())) <= len(calls) - len(
        refused & set(range(len(calls)))
    )


async def test_a_store_that_fails_is_told_to_all_and_the_next_begin_anew() -> None:
    store = FarStore()
    values = Values(store)
    store.failing = True
    updates = [values.update("k", entering(b"x"), 60) for _ in range(3)]
    found = await asyncio.gather(*updates, return_exceptions=True)
    assert [type(each) for each in found] == [StoreUnavailable] * 3
    store.failing = False
    assert await values.update("k", entering(b"y"), 60) == b""
    assert store.values() == {"k": b"y\n"}


def test_a_loop_that_ends_keeps_nobody_waiting_in_the_next() -> None:
    store = FarStore()
    values = Values(store)

    async def leave() -> None:
        tasks = [
            asyncio.create_task(values.update("k", entering(b"x"), 60))
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)

    asyncio.run(leave())
    asyncio.run(values.update("k", entering(b"y"), 60))
    assert store.values()["k"].split()[-1] == b"y"
    assert not values._groups._waiting
    assert not values._groups._tasks


@pytest.mark.parametrize("value", [b"", b"x\n"])
async def test_a_value_that_was_read_before_is_not_read_again(value: bytes) -> None:
    store = FarStore()
    if value:
        store.plant("k", value)
    values = Values(store)
    before = await values.update_all({"k": entering(b"y")}, 60)
    assert (before, store.reads, store.writes) == ({"k": value}, 1, 1)
