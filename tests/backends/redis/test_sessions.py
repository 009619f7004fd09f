"""Eviction of participants, where the server fails between two steps."""

from __future__ import annotations

import pytest

from sessionstores.backends.base import run
from sessionstores.backends.redis.backend import RedisBackend
from sessionstores.backends.redis.sessions import REMOVAL_BATCH
from sessionstores.exceptions import StoreUnavailable
from sessionstores.keys import StoreKey
from tests.backends.driven import BOARD, CODE, Clock
from tests.backends.redis.clocked import CountingScripts


def test_what_was_evicted_is_reported_though_a_later_step_fails(
    backend: RedisBackend, scripts: CountingScripts, clock: Clock
) -> None:
    count = 2 * REMOVAL_BATCH + 10
    for number in range(count):
        run(backend.open(StoreKey(CODE, f"p{number:03d}"), BOARD))
    clock.advance(100)
    # From here on the server has the script of that time, which is one command then.
    nobody = backend.evict_idle(CODE, idle_for=100, limit=1, participant="nobody")
    assert run(nobody) == []
    # The second script's reply is lost, and with it what that removed.
    scripts.sent, scripts.loses = 0, 2
    removed = run(backend.evict_idle(CODE, idle_for=100, limit=count))
    assert len(removed) == REMOVAL_BATCH
    assert all(final.states == BOARD for final in removed)
    # The third command moves the registry on.
    scripts.sent, scripts.loses = 0, 2
    assert len(run(backend.evict_idle(CODE, idle_for=100, limit=count))) == 10
    scripts.sent, scripts.loses = 0, 1
    with pytest.raises(StoreUnavailable):
        run(backend.evict_idle(CODE, idle_for=100, limit=count))
