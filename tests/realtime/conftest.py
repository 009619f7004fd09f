"""Tabs for the tests of the realtime package."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sessionstores.realtime.hub import current_hub
from tests.sockets import Opener, opening_tabs


@pytest.fixture
async def tab() -> AsyncIterator[Opener]:
    """Opens tabs that have said hello; all are dropped after the test."""
    async with opening_tabs() as open_tab:
        yield open_tab
    hub = current_hub()
    assert not hub.connections
    assert not hub.following
    # One may come back within `LEAVE_GRACE`; that is waited for.
    names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
    assert len(names) - names.count("Roster._reap") == 1, (
        "a task outlived its connection"
    )
