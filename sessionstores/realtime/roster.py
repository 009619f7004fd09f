"""Who is present in the sessions that have tabs here, as these tabs are shown it.

The backend's leases are the truth. The roster looks at them again when it is told that
something has changed, and at each heartbeat; what differs is shown to the tabs.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol

from .. import conf
from ..backends import get_backend
from ..backends.base import Lease
from ..exceptions import StoreUnavailable
from ..keys import StoreKey
from ..sessions import presence
from . import protocol
from .bulkhead import Bulkhead
from .channel_layer import end

logger = logging.getLogger("sessionstores.presence")

# From one look at a session to the next, and likewise for what others are told.
LOOK_SECONDS = 0.25

_numbers = itertools.count()


class RosterView:
    """Who was present at one look, and what their connections showed. Immutable."""

    __slots__ = ("_frame", "metas", "number")

    def __init__(self, metas: dict[str, tuple[bytes, ...]]) -> None:
        self.metas = metas
        self.number = next(_numbers)
        # The frame that was asked for last: all tabs of a session need the same. By
        # number, since views that hold each other would never be freed.
        self._frame = (-1, "")

    def frame(self, before: RosterView) -> str:
        """Return the frame that leads a tab from what it was shown to this view."""
        if self._frame[0] != before.number:
            known = before.metas
            joined = {
                id: metas for id, metas in self.metas.items() if known.get(id) != metas
            }
            left = [id for id in known if id not in self.metas]
            self._frame = before.number, protocol.presence(joined, left)
        return self._frame[1]


# What a tab has been shown before it is shown anything.
NOBODY = RosterView({})


class Tab(Protocol):
    """What a roster needs of a connection."""

    @property
    def key(self) -> StoreKey:
        """Whose tab it is."""

    def attend(self, view: RosterView) -> None:
        """Show who is present; nothing happens if the tab was shown this view."""


class _Room:
    """A session with tabs here, and what is to be done about it."""

    __slots__ = (
        "asked",
        "changed",
        "code",
        "looks",
        "ready_at",
        "shown",
        "tabs",
        "task",
        "tell",
        "timer",
        "view",
    )

    def __init__(self, code: str) -> None:
        self.code = code
        self.tabs: set[Tab] = set()
        self.view: RosterView | None = None
        # Looks are numbered, so that none is taken for newer than one begun after it.
        self.looks = self.shown = 0
        # Tabs whose leases are to be entered anew, and whether others are to be told.
        self.changed: set[Tab] = set()
        self.asked = self.tell = False
        self.ready_at = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Look no more, unless it is being done."""
        self.asked = False
        if self.timer is not None:
            self.timer.cancel()

    def look(self) -> int:
        """Return the number of a look that begins."""
        self.looks += 1
        return self.looks

    def show(self, look: int, leases: Sequence[Lease]) -> None:
        """Show the tabs what a look has found, if it is the latest that has ended."""
        if look < self.shown:
            return
        self.shown = look
        metas = presence.metas_of(leases)
        if self.view is None or self.view.metas != metas:
            self.view = RosterView(metas)
        for tab in self.tabs:
            tab.attend(self.view)


class Roster:
    """The rooms of one event loop. `lease` enters or renews the leases of tabs."""

    def __init__(self, lease: Callable[[Collection[Any]], Awaitable[None]]) -> None:
        self._lease = lease
        self._rooms: dict[str, _Room] = {}
        # The times at which sessions are to be reaped.
        self._due: set[tuple[str, int]] = set()
        self._looking: set[asyncio.Task[None]] = set()
        self._reaping: set[asyncio.Task[None]] = set()
        self._reaps = Bulkhead("who left is not noticed")
        self._looks = Bulkhead("who is present is not seen")
        # The name of this process, which need not be told what it tells others.
        self.process = ""

    def enter(self, tab: Tab) -> None:
        """Take in a tab that has been leased; it and the others are soon shown it."""
        code = tab.key.session
        room = self._rooms.get(code)
        if room is None:
            room = self._rooms[code] = _Room(code)
        room.tabs.add(tab)
        self._attend(room, tell=True)

    def leave(self, tab: Tab) -> bool:
        """Forget a tab; False if it had not been taken in."""
        room = self._rooms.get(tab.key.session)
        if room is None or tab not in room.tabs:
            return False
        room.tabs.discard(tab)
        room.changed.discard(tab)
        if not room.tabs:
            del self._rooms[room.code]
            room.close()
        return True

    def change(self, tab: Tab) -> None:
        """Enter a tab's lease anew, since it shows something else, and tell others."""
        room = self._rooms.get(tab.key.session)
        if room is not None and tab in room.tabs:
            room.changed.add(tab)
            self._attend(room, tell=True)

    def look(self, code: str) -> None:
        """Look soon at who is present in a session, if it has tabs here."""
        room = self._rooms.get(code)
        if room is not None:
            self._attend(room)

    async def announce(self, code: str) -> None:
        """Tell the other processes, and the tabs here, to look at a session again."""
        room = self._rooms.get(code)
        if room is not None:
            self._attend(room, tell=True)
        else:
            await presence.tell(get_backend(blocking=False), code)

    def reap_later(self, code: str) -> None:
        """Reap a session when `LEAVE_GRACE` is over; the hub may be gone by then.

        From a task that is being cancelled this does nothing: mostly the loop ends,
        which would leave a new task undone. A sweep, or who is still there, reaps.
        """
        loop = asyncio.get_running_loop()
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            return
        # In steps, so that tabs which close together do not have one each.
        step = int((loop.time() + conf.get().leave_grace) / LOOK_SECONDS) + 1
        if (code, step) not in self._due:
            self._due.add((code, step))
            # Not a timer, which may fire while the loop is being closed: what it begins
            # nobody ends.
            task = loop.create_task(self._reap(code, step))
            self._reaping.add(task)
            task.add_done_callback(self._reaping.discard)

    async def beat(self, *, besides: Collection[str] = ()) -> None:
        """Reap and look at the sessions that have tabs here, in two round trips.

        Not at those `besides`. Without the cache, the tabs go on to show what they do.
        """
        rooms = [room for code, room in self._rooms.items() if code not in besides]
        codes = [room.code for room in rooms]
        backend = get_backend(blocking=False)
        found: dict[str, list[Lease]] = {}

        async def look(some: Sequence[str]) -> None:
            found.update(await backend.connections_of(some))

        try:
            await self._reaps.each(self._reap_now, codes, str)
            looks = [room.look() for room in rooms]
            await self._looks.each(look, codes, str)
        except StoreUnavailable as error:
            logger.warning("Who is present stays as it is shown: %s", error)
            return
        for room, number in zip(rooms, looks, strict=True):
            if room.code in found:
                room.show(number, found[room.code])
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Stop looking; what is due after `LEAVE_GRACE` is done all the same."""
        for room in self._rooms.values():
            room.close()
        self._rooms.clear()
        await end(list(self._looking))

    @property
    def _besides(self) -> frozenset[str]:
        return frozenset({self.process})

    def _attend(self, room: _Room, *, tell: bool = False) -> None:
        """Look at a room at once or when it is time, and tell others if asked to."""
        room.tell |= tell
        room.asked = True
        if room.task is None and room.timer is None:
            loop = asyncio.get_running_loop()
            at = max(room.ready_at, loop.time())
            room.timer = loop.call_at(at, self._start, room)

    def _start(self, room: _Room) -> None:
        room.timer = None
        room.task = asyncio.get_running_loop().create_task(self._look(room))
        self._looking.add(room.task)
        room.task.add_done_callback(self._looking.discard)

    async def _look(self, room: _Room) -> None:
        room.asked = False
        tell, room.tell = room.tell, False
        changed, room.changed = room.changed, set()
        backend = get_backend(blocking=False)
        try:
            if changed:
                await self._lease(changed)
            if tell:
                await presence.tell(backend, room.code, besides=self._besides)
            look = room.look()
            found = await backend.connections_of([room.code])
            room.show(look, found.get(room.code, ()))
        except StoreUnavailable as error:
            logger.info(
                "%s: who is present is seen at the next beat: %s", room.code, error
            )
        except Exception:
            logger.exception("%s: looking at who is present failed", room.code)
        finally:
            room.task = None
            room.ready_at = asyncio.get_running_loop().time() + LOOK_SECONDS
            if room.asked and room.tabs:
                self._attend(room)

    async def _reap(self, code: str, step: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(step * LOOK_SECONDS - loop.time())
        self._due.discard((code, step))

        async def reap(codes: Sequence[str]) -> None:
            if await self._reap_now(codes):
                self.look(code)

        try:
            await self._reaps.each(reap, [code], str)
        except StoreUnavailable as error:
            logger.info("%s: who left is told at a later beat: %s", code, error)

    async def _reap_now(self, codes: Sequence[str]) -> list[StoreKey]:
        backend = get_backend(blocking=False)
        return await presence.reap(backend, codes, besides=self._besides)
