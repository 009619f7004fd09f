"""Hub: the connections of one event loop, and the one channel that reaches them.

One task reads the channel layer and one beats, for all connections together; both end
with the last connection.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from .. import conf, event_bus
from ..backends import get_backend
from ..backends.types import EVERYONE
from ..exceptions import StateCorrupt, StoreUnavailable
from ..keys import StoreKey
from ..monitoring.history import write_figures
from ..monitoring.log_limiter import log_limiter
from ..monitoring.tally import tally_of
from ..sessions import presence
from ..state.revisions import Rev
from . import protocol
from .broadcast import Broadcast
from .channel_layer import Channel
from .connection import Connection
from .heartbeat import Heartbeat
from .people_frames import name_in
from .protocol import Close
from .roster import Roster
from .serializers import Delivery, RemoteChange
from .timeline import write_timeline
from .watch_beats import WatchBeats
from .watchers import Watch, Watchers

logger = logging.getLogger("sessionstores.delivery")

# The running hubs of this operating-system process, by process name. Each enters and
# leaves by itself.
hubs: dict[str, Hub] = {}
_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def current_hub() -> Hub:
    """Return the hub of the running event loop."""
    loop = asyncio.get_running_loop()
    hub = _by_loop.get(loop)
    if hub is None:
        hub = _by_loop[loop] = Hub(loop)
    return hub


class Hub:
    """The connections of one event loop; in production there is one per process.

    `process` is the name by which commits find it: a channel of the channel layer, or
    a random name without one. Only `deliver` may be called from other threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.process = ""
        self.connections: dict[str, Connection] = {}
        self.following: dict[StoreKey, set[Connection]] = {}
        self._lock = asyncio.Lock()
        self._channel = Channel(self._rename, self._deliver)
        self._roster = Roster(self._lease)
        self.watchers = Watchers(self._lease)
        self.heartbeat = Heartbeat(
            self.connections,
            self.following,
            channel=self._channel,
            roster=self._roster,
            watching=WatchBeats(self.watchers),
            lease=self._lease,
            remove=self._remove,
        )

    async def join(self, connection: Connection) -> None:
        """Add a connection and lease what it follows; changes reach it from here.

        Raises `StoreUnavailable`; the caller then calls `leave`.
        """
        async with self._lock:
            self.connections[connection.id] = connection
            tally_of(connection.backend).tabs.add(connection.id)
            for key in connection.documents:
                self.following.setdefault(key, set()).add(connection)
            if not self.heartbeat.is_running:
                await self._start()
            connection.run = self.heartbeat.run
            connection.on_view = self.watchers.look
        lease = connection.lease(self.process)
        connection.joined = bool(await get_backend(blocking=False).lease([lease]))

    async def admit(self, connection: Connection) -> None:
        """Announce a welcomed connection to the others, and show it who is present."""
        self._roster.enter(connection)
        if connection.joined:
            connection.joined = False
            await presence.joined(connection.backend, [connection.key])
        elif connection.resumed:
            event_bus.bus.publish(event_bus.Note(connection.key, "resumed"))

    async def renew(self, connection: Connection) -> None:
        """Lease again, after the connection's client id or documents changed."""
        await self._lease([connection])

    def show(self, connection: Connection) -> None:
        """Show the others soon what a connection's tab shows of itself now."""
        self._roster.change(connection)

    async def leave(self, connection: Connection, *, for_good: bool = False) -> None:
        """Remove a connection and release its lease; safe to repeat.

        Its participant has left once `LEAVE_GRACE` is over, in which a reload comes
        back, or at once if the tab leaves `for_good`.
        """
        if self.connections.pop(connection.id, None) is None:
            return
        tally_of(connection.backend).tabs.discard(connection.id)
        for key in connection.documents:
            followers = self.following[key]
            followers.discard(connection)
            if not followers:
                del self.following[key]
        self.watchers.leave(connection)
        # One that was not announced needs no time to come back.
        if self._roster.leave(connection) and not for_good:
            connection.grace = conf.get().leave_grace
        try:
            await self._release(connection)
        except Exception:
            # The session is corrupt; the hub must stop with its last tab all the same.
            logger.exception("%s: its leave was not fully announced", connection.key)
        finally:
            async with self._lock:
                if not self.connections:
                    await self._stop()

    async def _release(self, connection: Connection) -> None:
        backend = get_backend(blocking=False)
        code = connection.key.session
        released = frozenset(
            id for id in connection.follows if not any(self._followers(code, id))
        )
        lease = connection.lease(self.process, released)
        try:
            if connection.acted and not connection.has_said_so:
                with suppress(StateCorrupt):
                    await backend.touch(connection.key, acted=True)
            last = await backend.release(lease, grace=connection.grace)
        except StoreUnavailable as error:
            text = "%s: its lease is left to expire: %s"
            log_limiter(backend).log(
                logger, logging.WARNING, text, connection.key, error
            )
            return
        name = "" if connection.profile.name else name_in(connection.meta)
        if name:
            # With the tab goes what it showed, and staff look for people by it.
            with suppress(StoreUnavailable):
                await backend.remember_name(connection.key, name)
        # The leases of connections that joined meanwhile may have been released too.
        again = {c for id in released for c in self._followers(code, id)}
        if again:
            with suppress(StoreUnavailable):
                await self._lease(again)
        if connection.grace:
            self._roster.reap_later(connection.key.session)
        elif last and not connection.joined:
            await presence.left(backend, [connection.key])
        elif connection.joined and not last:
            # Another connection came in with it, so its participant has joined.
            await presence.joined(backend, [connection.key])
        await self._roster.announce(connection.key.session)

    def _followers(self, code: str, id: str) -> Iterator[Connection]:
        """Yield the connections whose leases follow an id of a session."""
        if id != EVERYONE:
            yield from self.following.get(StoreKey.stored(code, id), ())
        for connection in self.watchers.sessions.get(code, ()):
            if id in connection.watch_list.follows:
                yield connection

    async def _lease(self, connections: Collection[Connection]) -> None:
        """Lease connections, and announce the participants who have joined by it."""
        backend = get_backend(blocking=False)
        leased = list(connections)
        leases = [connection.lease(self.process) for connection in leased]
        joined = await backend.lease(leases)
        for connection, lease in zip(leased, leases, strict=True):
            connection.has_said_so |= lease.acted
        await presence.joined(backend, joined)
        for code in {key.session for key in joined}:
            await self._roster.announce(code)
        for connection in leased:
            # It may have been released before it was leased.
            if connection.id not in self.connections:
                await self._release(connection)

    def deliver(self, event: Delivery) -> None:
        """Hand an event to the connections that it concerns; from any thread."""
        try:
            running: Any = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self.loop:
            self._deliver(event)
            return
        try:
            self.loop.call_soon_threadsafe(self._deliver, event)
        except RuntimeError:
            # The loop was closed under its connections.
            hubs.pop(self.process, None)

    def _deliver(self, event: Delivery) -> None:
        # By far the most.
        if isinstance(event, event_bus.Change | RemoteChange):
            self._broadcast(event)
        elif isinstance(event, event_bus.Removal):
            self._remove(event)
        elif isinstance(event, event_bus.Message):
            frame = protocol.message(msgspec.json.encode(event.data))
            for connection in self._tabs_of(event.key):
                connection.outbox.post(frame)
        elif isinstance(event, event_bus.Disconnection):
            for connection in self._tabs_of(event.key):
                connection.end(Close.DISCONNECTED, "disconnected")
        elif isinstance(event, event_bus.Revocation):
            self.heartbeat.check_soon(self._tabs_of(event.key))
        elif isinstance(event, event_bus.Attendance):
            self._roster.look(event.key.session)
        else:
            self._roster.look(event.key.session, changed=event.key.participant)

    def _broadcast(self, event: event_bus.Change | RemoteChange) -> None:
        following = self.following.get(event.key, ())
        tabs = [each for each in following if each.id != event.source]
        watching: Iterable[Watch] = ()
        if event.key.session in self.watchers.sessions:
            watching = self.watchers.tabs_of(event.key)
        # Where there are none, nobody needs its operations.
        if tabs or watching:
            commit = Broadcast(
                event.base,
                Rev.parse(event.base),
                event.rev,
                Rev.parse(event.rev),
                None if event.reset else event.operations,
                event.restarted,
            )
            for connection in tabs:
                connection.change(commit, connection.documents[event.key])
            for watch in watching:
                self.watchers.change(watch, commit)

    def _tabs_of(self, key: StoreKey) -> list[Connection]:
        """Return the tabs of a participant, or of the whole session."""
        return [
            connection
            for connection in self.following.get(key, ())
            if key.is_session or connection.key == key
        ]

    def _remove(self, event: event_bus.Removal) -> None:
        self.watchers.remove(event)
        for connection in tuple(self.following.get(event.key, ())):
            if event.reason == "lost":
                connection.refresh(connection.documents[event.key])
            elif event.reason == "kicked":
                if event.key == connection.key:
                    connection.kick()
            elif event.key.is_session or event.key == connection.key:
                connection.end(Close.ENDED, event.reason)

    async def _start(self) -> None:
        await self.heartbeat.start()
        self._rename(f"sessionstores.local!{secrets.token_hex(8)}")
        _by_loop[self.loop] = self
        await self._channel.open()
        event_bus.bus.publish(event_bus.Serving())

    def _rename(self, process: str) -> None:
        # Leases follow with the next heartbeat.
        hubs.pop(self.process, None)
        self.process = self._roster.process = process
        hubs[process] = self

    async def _stop(self) -> None:
        # The heartbeat first, since it may be about to take a new channel.
        await self.heartbeat.stop()
        await self._roster.close()
        await self._channel.close()
        hubs.pop(self.process, None)
        # A hub holds its loop, so that this would keep both for good.
        _by_loop.pop(self.loop, None)
        await write_timeline()
        await write_figures(get_backend(blocking=False), last=True)
