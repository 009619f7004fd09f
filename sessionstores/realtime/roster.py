"""Roster: who is present in each session that has tabs here, shown to these tabs.

It is read from the backend's leases after each hint that presence has changed, and at
each heartbeat; tabs are sent the difference.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from .. import conf
from ..backends import get_backend
from ..backends.types import UNKNOWN, Lease, Profile
from ..exceptions import StoreUnavailable
from ..keys import StoreKey
from ..monitoring.log_limiter import log_limiter
from ..participants.participant import DEFAULT_ROLE
from ..sessions import presence
from .bulkhead import Bulkhead
from .channel_layer import end
from .people_frames import presence_frame

logger = logging.getLogger("sessionstores.presence")

# Between two reads of a session's leases, and between two hints to others.
LOOK_SECONDS = 0.25

_numbers = itertools.count()


class RosterView:
    """Who was present at one read, and what their connections showed. Immutable."""

    __slots__ = ("_frame", "metas", "number", "profiles")

    def __init__(
        self,
        metas: dict[str, tuple[bytes, ...]],
        profiles: Mapping[str, Profile] = MappingProxyType({}),
    ) -> None:
        self.metas = metas
        # Of those present whose records are known.
        self.profiles = profiles
        self.number = next(_numbers)
        # The last frame: all tabs of a session need the same. By number, since views
        # that hold each other would never be freed.
        self._frame = (-1, "")

    def frame(self, before: RosterView) -> str:
        """Return the frame that leads a tab from the view `before` to this one."""
        if self._frame[0] != before.number:
            known = before.metas
            joined = {
                id: metas for id, metas in self.metas.items() if known.get(id) != metas
            }
            left = [id for id in known if id not in self.metas]
            people = {
                id: (profile.name, profile.role or DEFAULT_ROLE)
                for id, profile in self.profiles.items()
                if id not in known or before.profiles.get(id) != profile
            }
            self._frame = before.number, presence_frame(joined, left, people)
        return self._frame[1]


# The view of a tab that has been shown nothing yet.
NOBODY = RosterView({})


class Tab(Protocol):
    """A connection, as far as a roster needs it."""

    @property
    def key(self) -> StoreKey:
        """The participant whose tab it is."""

    def show_presence(self, view: RosterView) -> None:
        """Show who is present, unless the tab was shown this view."""

    def missing_from(self, profile: Profile) -> Profile:
        """Return what the tab knows of its participant and their record does not."""


class _Room:
    """A session with tabs here: its view, and its pending work."""

    __slots__ = (
        "asked",
        "changed",
        "code",
        "hint",
        "looks",
        "outdated",
        "profiles",
        "ready_at",
        "shown",
        "tabs",
        "task",
        "timer",
        "view",
    )

    def __init__(self, code: str) -> None:
        self.code = code
        self.tabs: set[Tab] = set()
        self.view: RosterView | None = None
        # Of those present, and those of whom they are to be read again.
        self.profiles: dict[str, Profile] = {}
        self.outdated: set[str] = set()
        # Reads are numbered, so that none replaces one begun after it.
        self.looks = self.shown = 0
        # Tabs whose leases are to be renewed, and whether others are to get a hint.
        self.changed: set[Tab] = set()
        self.asked = self.hint = False
        self.ready_at = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Read no more, unless a read has begun."""
        self.asked = False
        if self.timer is not None:
            self.timer.cancel()

    def look(self) -> int:
        """Return the number of a read that begins."""
        self.looks += 1
        return self.looks

    def show(
        self, look: int, leases: Sequence[Lease], read: Mapping[StoreKey, Profile]
    ) -> None:
        """Show the tabs what a read has found, unless a later one has ended."""
        if look < self.shown:
            return
        self.shown = look
        metas = presence.metas_of(leases)
        known = self.profiles | {key.participant: read[key] for key in read}
        profiles = self.profiles = {id: known[id] for id in metas if id in known}
        view = self.view
        if view is None or (view.metas, view.profiles) != (metas, profiles):
            view = self.view = RosterView(metas, profiles)
        for tab in self.tabs:
            tab.show_presence(view)

    def unread(self, leases: Sequence[Lease]) -> list[StoreKey]:
        """Return those present whose profiles are to be read, each once."""
        keys = dict.fromkeys(lease.key for lease in leases)
        return [
            key
            for key in keys
            if key.participant not in self.profiles or key.participant in self.outdated
        ]


class Roster:
    """The sessions with tabs in one event loop. `lease` renews the leases of tabs."""

    def __init__(self, lease: Callable[[Collection[Any]], Awaitable[None]]) -> None:
        self._lease = lease
        self._rooms: dict[str, _Room] = {}
        # The times at which sessions are to be reaped.
        self._due: set[tuple[str, int]] = set()
        self._looking: set[asyncio.Task[None]] = set()
        self._reaping: set[asyncio.Task[None]] = set()
        self._reaps = Bulkhead("its expired leases cannot be removed")
        self._looks = Bulkhead("its presence cannot be read")
        # The name of this process, which needs no hints of its own.
        self.process = ""

    def enter(self, tab: Tab) -> None:
        """Add a leased tab; all tabs of the session are soon shown its participant."""
        code = tab.key.session
        room = self._rooms.get(code)
        if room is None:
            room = self._rooms[code] = _Room(code)
        room.tabs.add(tab)
        self._schedule(room, hint=True)

    def leave(self, tab: Tab) -> bool:
        """Remove a tab; False if it had not been added."""
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
        """Renew a tab's lease, since it shows something else, and send a hint."""
        room = self._rooms.get(tab.key.session)
        if room is not None and tab in room.tabs:
            room.changed.add(tab)
            self._schedule(room, hint=True)

    def look(self, code: str, *, changed: str | None = None) -> None:
        """Read soon who is present in a session, if it has tabs here.

        `changed`: the id of a participant whose profile is to be read again.
        """
        room = self._rooms.get(code)
        if room is not None:
            if changed is not None:
                room.outdated.add(changed)
            self._schedule(room)

    async def announce(self, code: str) -> None:
        """Have all processes with tabs of a session read its presence again."""
        room = self._rooms.get(code)
        if room is not None:
            self._schedule(room, hint=True)
        else:
            await presence.notify(get_backend(blocking=False), code)

    def reap_later(self, code: str, seconds: float | None = None) -> None:
        """Reap a session so much later, by default when `LEAVE_GRACE` is over.

        The hub may have stopped by then. In a task that is being cancelled it does
        nothing: mostly the loop ends, which would break off a new task. A sweep or
        another process reaps then.
        """
        loop = asyncio.get_running_loop()
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            return
        # In steps, so that tabs which close together do not have one each.
        if seconds is None:
            seconds = conf.get().leave_grace
        step = int((loop.time() + seconds) / LOOK_SECONDS) + 1
        if (code, step) not in self._due:
            self._due.add((code, step))
            # A task, not a timer: one that fires while the loop is being closed would
            # start a read that nothing ends.
            task = loop.create_task(self._reap(code, step))
            self._reaping.add(task)
            task.add_done_callback(self._reaping.discard)

    async def beat(self, *, besides: Collection[str] = ()) -> None:
        """Reap the sessions that have tabs here and read them, in three round trips.

        Sessions in `besides` are left out. In an outage, tabs keep what they show.
        """
        rooms = [room for code, room in self._rooms.items() if code not in besides]
        codes = [room.code for room in rooms]
        backend = get_backend(blocking=False)
        found: dict[str, list[Lease]] = {}
        profiles: dict[StoreKey, Profile] = {}

        async def look(some: Sequence[str]) -> None:
            leases = await backend.connections_of(some)
            present = {lease.key for held in leases.values() for lease in held}
            profiles.update(await backend.profiles(list(present)))
            found.update(leases)

        looks = []
        try:
            await self._reaps.each(self._reap_now, codes, str)
            for room in rooms:
                room.outdated.clear()
                looks.append(room.look())
            await self._looks.each(look, codes, str)
            await self._restore(rooms, profiles)
        except StoreUnavailable as error:
            logger.warning("Presence is not updated: %s", error)
            return
        for room, number in zip(rooms, looks, strict=True):
            if room.code in found:
                held = found[room.code]
                read = {lease.key: profiles[lease.key] for lease in held}
                room.show(number, held, read)
                self._expect(room, found[room.code])
            await asyncio.sleep(0)

    async def _restore(
        self, rooms: Sequence[_Room], profiles: dict[StoreKey, Profile]
    ) -> None:
        """Give records that were lost and opened again the profiles that tabs know."""
        missing: dict[StoreKey, Profile] = {}
        for room in rooms:
            for tab in room.tabs:
                if (found := profiles.get(tab.key)) is not None:
                    lacking = tab.missing_from(found)
                    if lacking != UNKNOWN:
                        missing[tab.key] = lacking
        for key, lacking in missing.items():
            restored = await get_backend(blocking=False).set_profile(
                key, lacking, "fill"
            )
            if restored is not None:
                profiles[key] = restored

    async def close(self) -> None:
        """Stop reading; what is due after `LEAVE_GRACE` is done all the same."""
        for room in self._rooms.values():
            room.close()
        self._rooms.clear()
        await end(list(self._looking))

    def _expect(self, room: _Room, leases: Sequence[Lease]) -> None:
        """Reap a session when a lease of another process expires before the next beat.

        A process that lives renews it by then: nobody sees the tabs of one that was
        killed for longer than their leases.
        """
        deadlines = [
            lease.deadline
            for lease in leases
            if lease.process != self.process and not lease.leaving
        ]
        if deadlines:
            seconds = min(deadlines) - get_backend(blocking=False).clock()
            if seconds < conf.get().heartbeat:
                self.reap_later(room.code, max(seconds, 0.0))

    @property
    def _besides(self) -> frozenset[str]:
        return frozenset({self.process})

    def _schedule(self, room: _Room, *, hint: bool = False) -> None:
        """Read a session as soon as the pace allows; `hint`: have others do so too."""
        room.hint |= hint
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
        hint, room.hint = room.hint, False
        changed, room.changed = room.changed, set()
        backend = get_backend(blocking=False)
        try:
            if changed:
                await self._lease(changed)
            if hint:
                await presence.notify(backend, room.code, besides=self._besides)
            look = room.look()
            found = await backend.connections_of([room.code])
            leases = found.get(room.code, ())
            unread = room.unread(leases)
            room.outdated.clear()
            profiles = await backend.profiles(unread) if unread else {}
            room.show(look, leases, profiles)
            self._expect(room, leases)
        except StoreUnavailable as error:
            text = "%s: presence is read at the next heartbeat: %s"
            log_limiter(backend).log(logger, logging.INFO, text, room.code, error)
        except Exception:
            logger.exception("%s: reading who is present failed", room.code)
        finally:
            room.task = None
            room.ready_at = asyncio.get_running_loop().time() + LOOK_SECONDS
            if room.asked and room.tabs:
                self._schedule(room)

    async def _reap(self, code: str, step: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(step * LOOK_SECONDS - loop.time())
        self._due.discard((code, step))

        async def reap(codes: Sequence[str]) -> None:
            # Another process may have reaped it, whose hint is lost.
            await self._reap_now(codes)
            self.look(code)

        try:
            await self._reaps.each(reap, [code], str)
        except StoreUnavailable as error:
            text = "%s: who left is announced at a later heartbeat: %s"
            limiter = log_limiter(get_backend(blocking=False))
            limiter.log(logger, logging.INFO, text, code, error)

    async def _reap_now(self, codes: Sequence[str]) -> list[StoreKey]:
        backend = get_backend(blocking=False)
        return await presence.reap(backend, codes, besides=self._besides)
