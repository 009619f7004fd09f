"""Values over a key-value store: read-modify-write, and errors translated."""

from __future__ import annotations

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.cas.values import Values
from sessionstores.exceptions import StoreUnavailable
from tests.backends.cas.stores import DictStore, RejectingStore, SteppedStore, no_pause


def add(value: bytes) -> bytes:
    return value + b"x"


def test_an_update_replaces_creates_and_removes(
    values: Values, store: DictStore
) -> None:
    assert run(values.update("k", add, 60)) == b""
    assert run(values.update("k", add, 60)) == b"x"
    assert store.values() == {"k": b"xx"}
    assert run(values.update("k", lambda _: b"", 60)) == b"xx"
    assert store.values() == {}


def test_an_update_that_lost_a_race_changes_the_newer_value(store: DictStore) -> None:
    stepped = SteppedStore(store)
    rival = Values(store)
    values = Values(stepped)
    values.pause = no_pause

    def overtake(step: int, what: str) -> None:
        if what == "cas" and step < 6:
            run(rival.update("k", lambda value: value + b"r", 60))

    stepped.before = overtake
    assert run(values.update("k", add, 60)) == b"rrr"
    assert store.values() == {"k": b"rrrx"}


def test_an_update_that_changes_nothing_writes_only_for_a_new_expiry(
    store: DictStore,
) -> None:
    stepped = SteppedStore(store)
    values = Values(stepped)
    store.plant("k", b"x")
    run(values.update("k", lambda value: value, None))
    assert stepped.steps == 1
    run(values.update("k", lambda value: value, 60))
    assert stepped.steps == 3


def test_an_update_gives_up_after_many_lost_races(store: DictStore) -> None:
    values = Values(RejectingStore(store))
    values.pause = no_pause
    with pytest.raises(StoreUnavailable, match="64 tries"):
        run(values.update("k", add, 60))


def test_nothing_is_read_for_no_keys(store: DictStore) -> None:
    stepped = SteppedStore(store)
    assert run(Values(stepped).get()) == {}
    assert stepped.steps == 0


@pytest.mark.parametrize("error", [TimeoutError, ConnectionResetError])
def test_an_error_of_the_connection_is_unavailable(
    store: DictStore, error: type[OSError]
) -> None:
    stepped = SteppedStore(store)
    values = Values(stepped)

    def fail(step: int, what: str) -> None:
        raise error("lost")

    stepped.before = fail
    for call in (
        values.get("k"),
        values.put("k", None, b"x", 60),
        values.drop("k", None),
    ):
        with pytest.raises(StoreUnavailable, match="lost") as caught:
            run(call)
        assert isinstance(caught.value.__cause__, error)
