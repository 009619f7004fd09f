"""Groups of updates of one value from one event loop, which share their writes.

Everybody who joins a session enters their id in one value. Each for itself, n of them
at once would lose about n²/2 races against one another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

import msgspec

from .key_value import Versioned

Change = Callable[[bytes], bytes]
# Replaces the value at a key by a change of it, and returns the replaced one.
Update = Callable[[str, Change, float | None, Versioned | None], Awaitable[bytes]]
Place = tuple[asyncio.AbstractEventLoop, str]


class PendingUpdate(msgspec.Struct, eq=False):
    """A change of one caller, who waits for `future`: the value that it was made to."""

    change: Change
    ttl: float | None
    future: asyncio.Future[bytes]
    before: bytes = b""
    error: Exception | None = None

    def apply(self, value: bytes) -> bytes:
        """Return the changed value; one whose change raises leaves it as it is."""
        self.before, self.error = value, None
        try:
            return self.change(value)
        except Exception as error:  # noqa: BLE001 - it is raised to its own caller
            self.error = error
            return value

    def settle(self, error: Exception | None = None) -> None:
        """Let the caller go on, unless it was cancelled."""
        if self.future.done():
            return
        if error := error or self.error:
            self.future.set_exception(error)
        else:
            self.future.set_result(self.before)


class UpdateGroups:
    """The updates that wait, by event loop and key; `update` makes one of many."""

    def __init__(self, update: Update) -> None:
        self._update = update
        self._waiting: dict[Place, list[PendingUpdate]] = {}
        # A loop holds its tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    async def update(
        self, key: str, change: Change, ttl: float | None, found: Versioned | None
    ) -> bytes:
        """Make a change, with all that come while another of the key is on its way.

        Each is made to the value that the one before has left, and returns that value.
        """
        loop = asyncio.get_running_loop()
        pending = PendingUpdate(change, ttl, loop.create_future())
        place = loop, key
        if place in self._waiting:
            self._waiting[place].append(pending)
        else:
            self._waiting[place] = [pending]
            # In no caller's context: it goes on for others when that one is cancelled.
            task = loop.create_task(self._run(place, found), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await pending.future

    async def _run(self, place: Place, found: Versioned | None) -> None:
        waiting = self._waiting[place]
        try:
            while waiting:
                ttl = waiting[0].ttl
                group = [each for each in waiting if each.ttl == ttl]
                waiting[:] = [each for each in waiting if each.ttl != ttl]
                await self._make(place[1], group, ttl, found)
                found = None
        finally:
            del self._waiting[place]
            for each in waiting:
                each.future.cancel()

    async def _make(
        self,
        key: str,
        group: list[PendingUpdate],
        ttl: float | None,
        found: Versioned | None,
    ) -> None:
        def change(value: bytes) -> bytes:
            for each in group:
                value = each.apply(value)
            return value

        try:
            await self._update(key, change, ttl, found)
        except Exception as error:  # noqa: BLE001 - it is raised to each caller
            for each in group:
                each.settle(error)
        except BaseException:
            # The loop ends.
            for each in group:
                each.future.cancel()
            raise
        for each in group:
            each.settle()
