"""What several tests of stores share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sessionstores.store import group_commit
from tests.caches import KINDS, cache_on
from tests.servers import PATIENCE


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, settings: Any) -> Iterator[str]:
    """Keep records on each kind of cache in turn."""
    with cache_on(request.param, request, settings):
        yield request.param


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time: a test that bounds it does so itself."""
    monkeypatch.setattr(group_commit, "RUN_SECONDS", PATIENCE)
