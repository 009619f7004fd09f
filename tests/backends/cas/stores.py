"""Key-value stores over a dict, one of which lets things happen at chosen steps."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from itertools import chain
from math import inf
from types import coroutine
from typing import Any, ClassVar

from sessionstores.backends.base import run
from sessionstores.backends.cas.backend import CasBackend
from sessionstores.backends.cas.index import RECHECK_AFTER
from sessionstores.backends.cas.key_value import ABSENT, KeyValueStore, Versioned
from sessionstores.backends.cas.serializers import codes_in, ids_in
from sessionstores.backends.types import Record
from sessionstores.exceptions import SessionStoresError
from sessionstores.keys import StoreKey
from tests.backends.driven import ALICE, BOARD, CODE, ELSEWHERE, OWN

Call = Callable[[CasBackend], Coroutine[Any, Any, Any]]


class DictStore(KeyValueStore):
    shared: ClassVar[bool] = False
    in_memory: ClassVar[bool] = True

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(blocking=True, clock=clock)
        # Each value with the time of its expiry.
        self.items: dict[str, tuple[Versioned, float]] = {}

    def at(self, key: str) -> Versioned:
        item, deadline = self.items.get(key, (ABSENT, inf))
        return item if deadline > self.clock() else ABSENT

    async def read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        return {key: item for key in keys if (item := self.at(key)) is not ABSENT}

    async def cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        if self.at(key).token is not token:
            return None
        deadline = inf if ttl is None else self.clock() + ttl
        self.items[key] = Versioned(value, object()), deadline
        return self.at(key).token

    async def delete(self, key: str, token: Any) -> bool:
        return self.at(key).token is token and bool(self.items.pop(key))

    async def list_keys(self) -> list[str]:
        return list(self.items)

    async def clear(self) -> None:
        self.items.clear()

    def plant(self, key: str, value: bytes) -> None:
        """Put raw bytes at a key, as another program might."""
        self.items[key] = Versioned(value, object()), self.clock() + 600

    def lose(self, key: str) -> None:
        """Remove a key, as a server out of memory might."""
        del self.items[key]

    def values(self) -> dict[str, bytes]:
        """Return all that has not expired."""
        found = {key: self.at(key) for key in self.items}
        return {key: item.value for key, item in found.items() if item is not ABSENT}


class SteppedStore(DictStore):
    """Another's items, with something that happens at chosen steps.

    A step is one operation: `before` and `after` are called with its number, from 0 on,
    and its name.
    """

    def __init__(self, store: DictStore) -> None:
        super().__init__(store.clock)
        self.items = store.items
        self.steps = 0
        self.before: Callable[[int, str], None] = lambda step, what: None
        self.after: Callable[[int, str], None] = lambda step, what: None

    async def read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        step = self._begin("read")
        found = await super().read(keys)
        self.after(step, "read")
        return found

    async def cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        step = self._begin("cas")
        answer = await super().cas(key, token, value, ttl)
        self.after(step, "cas")
        return answer

    async def delete(self, key: str, token: Any) -> bool:
        step = self._begin("delete")
        answer = await super().delete(key, token)
        self.after(step, "delete")
        return answer

    def _begin(self, what: str) -> int:
        step, self.steps = self.steps, self.steps + 1
        self.before(step, what)
        return step


class TurnStore(DictStore):
    """Another's items, whose operations wait for their turn: see `in_turns`."""

    in_memory: ClassVar[bool] = False

    def __init__(self, store: DictStore) -> None:
        super().__init__(store.clock)
        self.items = store.items

    async def read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        await turn()
        return await super().read(keys)

    async def cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        await turn()
        return await super().cas(key, token, value, ttl)

    async def delete(self, key: str, token: Any) -> bool:
        await turn()
        return await super().delete(key, token)


@coroutine
def turn() -> Generator[None]:
    """Let others go on."""
    yield


def in_turns(
    calls: Sequence[Coroutine[Any, Any, Any]], turns: Iterable[int]
) -> list[Any]:
    """Run calls at once, a step of one or another at each turn; then one by one.

    Returns what they returned, or the error of this package that they raised.
    """
    outcomes: dict[int, Any] = {}
    while len(outcomes) < len(calls):
        for number in chain(turns, range(len(calls))):
            number %= len(calls)
            if number not in outcomes:
                try:
                    calls[number].send(None)
                except StopIteration as end:
                    outcomes[number] = end.value
                except SessionStoresError as error:
                    outcomes[number] = error
        turns = ()
    return [outcomes[number] for number in range(len(calls))]


class RejectingStore(DictStore):
    """Another writer is always first."""

    def __init__(self, store: DictStore) -> None:
        super().__init__(store.clock)
        self.items = store.items

    async def cas(self, *args: Any) -> None:
        return None

    async def delete(self, *args: Any) -> bool:
        return False


class DictBackend(CasBackend):
    """A backend over a dict, which never waits for its rivals."""

    store: DictStore

    def __init__(self, store: DictStore) -> None:
        super().__init__(store)
        self._values.pause = no_pause


class Stepwise(DictBackend):
    """A backend over the same items, that lets something happen at chosen steps."""

    store: SteppedStore

    def __init__(self, store: DictStore) -> None:
        super().__init__(SteppedStore(store))


async def no_pause(seconds: float) -> None:
    pass


class Turns(DictBackend):
    """A backend over the same items, whose calls go on by turns: see `in_turns`."""

    store: TurnStore

    def __init__(self, store: DictStore) -> None:
        super().__init__(TurnStore(store))
        # Many turns: whoever waits for the others lets them go on.
        self._values.pause = self._pause

    async def _pause(self, seconds: float) -> None:
        for _ in range(100 if seconds >= RECHECK_AFTER else 1):
            await turn()


def fail_at(
    backend: Stepwise, *steps: int, after: bool = False, error: type[OSError] = OSError
) -> None:
    """Let it fail at these steps, before or after they have taken effect."""

    def fail(step: int, what: str) -> None:
        if step in steps:
            raise error(f"at step {step}")

    store = backend.store
    store.steps = 0
    store.before = store.after = lambda step, what: None
    if after:
        store.after = fail
    else:
        store.before = fail


def record(backend: CasBackend, key: StoreKey = ALICE) -> Record:
    found = run(backend.read(key, touch=False))
    assert isinstance(found, Record)
    return found


def check_index(backend: DictBackend) -> None:
    """Check that index, sessions and records say the same."""
    there = backend.store.values()
    records = {key for key in there if ":p:" in key}
    listed = {
        key.replace(":m:", f":p:{id}")
        for key, value in there.items()
        if ":m:" in key
        for id in ids_in(value)
    }
    assert listed == records
    sessions = {key[4:10] for key in there if key.endswith(":s:")}
    assert {key[4:10] for key in records} <= sessions
    registered = {
        code
        for key, value in there.items()
        if key.startswith("ss:reg:")
        for code in codes_in(value)
    }
    assert registered == sessions
    assert not sessions & {key[4:10] for key in there if key.endswith(":t:")}
    connected = {key.replace(":c:", ":") for key in there if ":c:" in key}
    attending = {
        key.replace(":a:", f":{id}")
        for key, value in there.items()
        if ":a:" in key
        for id in ids_in(value)
    }
    assert connected <= attending


CREATIONS: dict[str, Call] = {
    "a participant": lambda backend: backend.open(ALICE, BOARD),
    "a session": lambda backend: backend.open(OWN, BOARD),
    "a claim": lambda backend: backend.create_session(CODE, label="", keep=60),
    "a participant elsewhere": lambda backend: backend.open(ELSEWHERE, BOARD),
}
