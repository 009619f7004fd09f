"""A backend over a dict, and one over the same items that can be interrupted."""

from __future__ import annotations

import pytest

from sessionstores.backends.cas.values import Values
from tests.backends.cas.stores import DictBackend, DictStore, Stepwise
from tests.backends.driven import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> DictStore:
    return DictStore(clock)


@pytest.fixture
def values(store: DictStore) -> Values:
    return Values(store)


@pytest.fixture
def plain(store: DictStore) -> DictBackend:
    """The items, undisturbed."""
    return DictBackend(store)


@pytest.fixture
def stepwise(store: DictStore) -> Stepwise:
    return Stepwise(store)
