"""Sessions and browsers for the tests of participants."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from sessionstores.backends.locmem import LocMemStore
from sessionstores.manager import stores
from tests.participants.browsers import Browser


@pytest.fixture
def code() -> str:
    return stores.create_session(keep=3600)


@pytest.fixture
def browser() -> Browser:
    return Browser()


@pytest.fixture
def ended() -> str:
    code = stores.create_session()
    stores.end_session(code)
    return code


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the calls that reach the cache, by kind and number of keys."""
    counted: Counter[str] = Counter()
    for name in ("read", "cas", "delete"):
        monkeypatch.setattr(LocMemStore, name, _counting(name, counted))
    return counted


def _counting(name: str, counted: Counter[str]) -> Any:
    real = getattr(LocMemStore, name)

    async def call(self: LocMemStore, keys: Any, *args: Any) -> Any:
        counted[f"{name} {1 if isinstance(keys, str) else len(keys)}"] += 1
        return await real(self, keys, *args)

    return call
