"""The hub: this process's connections, and the one channel on which others reach them.

One task reads the channel layer and one renews leases and compares heads, for all
connections together; both end with the last connection.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from .. import conf, event_bus
from ..backends import get_backend
from ..backends.types import Standing
from ..exceptions import StoreUnavailable
from ..keys import StoreKey
from ..monitoring.history import sample
from ..sessions import presence
from ..state.revisions import Rev
from ..store import removals
from . import heartbeat, protocol, serializers
from .bulkhead import Bulkhead
from .channel_layer import Channel, end
from .connection import Connection
from .protocol import Close
from .roster import Roster
from .timeline import write_timeline

logger = logging.getLogger("sessionstores.delivery")

# Seconds that pings wait for leases; what is committed after both reaches the tab.
LEASE_SECONDS = 0.5
# So many leases or pings, then others have their turn.
STRIDE = 64

_session_of = attrgetter("session")
_session_of_tab = attrgetter("key.session")

# The running hubs of this operating-system process, by process name.
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
    a random name where there is none. Only `deliver` may be called from other threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.process = ""
        self.connections: dict[str, Connection] = {}
        self.following: dict[StoreKey, set[Connection]] = {}
        self._beating: asyncio.Task[None] | None = None
        self._checks: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        # See `Backend.run_name`.
        self._run = ""
        self._leasing = Bulkhead("the leases of its tabs cannot be renewed")
        self._standing = Bulkhead("whether its tokens count cannot be told")
        self._heading = Bulkhead("its tabs are told no heads")
        self._channel = Channel(self._rename, self._deliver)
        self._roster = Roster(self._lease)

    async def join(self, connection: Connection) -> None:
        """Take a connection in and lease what it follows; changes reach it from here.

        Raises `StoreUnavailable`; the caller then leaves.
        """
        async with self._lock:
            self.connections[connection.id] = connection
            for key in connection.documents:
                self.following.setdefault(key, set()).add(connection)
            if self._beating is None:
                await self._start()
            connection.run = self._run
        lease = connection.lease(self.process)
        connection.joined = bool(await get_backend(blocking=False).lease([lease]))

    async def admit(self, connection: Connection) -> None:
        """Tell others of a connection that has been welcomed, and it of them."""
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
        """Tell others soon of what a connection shows of itself now."""
        self._roster.change(connection)

    async def leave(self, connection: Connection, *, for_good: bool = False) -> None:
        """Let a connection go and release its lease; safe to repeat.

        It may come back within `LEAVE_GRACE`, as after a reload, unless it is
        `for_good`: only then others are told that it is gone.
        """
        if self.connections.pop(connection.id, None) is None:
            return
        for key in connection.documents:
            followers = self.following[key]
            followers.discard(connection)
            if not followers:
                del self.following[key]
        # One that nobody was told of needs no time to come back.
        if self._roster.leave(connection) and not for_good:
            connection.grace = conf.get().leave_grace
        try:
            await self._release(connection)
        except Exception:
            # A spoilt session: it must not keep the hub.
            logger.exception("%s: its leave is not told in full", connection.key)
        finally:
            async with self._lock:
                if not self.connections:
                    await self._stop()

    async def _release(self, connection: Connection) -> None:
        backend = get_backend(blocking=False)
        released = {key for key in connection.documents if key not in self.following}
        lease = connection.lease(self.process, released)
        try:
            last = await backend.release(lease, grace=connection.grace)
        except StoreUnavailable as error:
            logger.warning("%s: its lease is left to expire: %s", connection.key, error)
            return
        # Who came while that was on its way may have been released with it.
        again = {c for key in released for c in self.following.get(key, ())}
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
        await self._roster.tell(connection.key.session)

    async def _lease(self, connections: Collection[Connection]) -> None:
        """Lease connections, and tell of participants who joined by it."""
        backend = get_backend(blocking=False)
        leases = [connection.lease(self.process) for connection in connections]
        joined = await backend.lease(leases)
        await presence.joined(backend, joined)
        for code in {key.session for key in joined}:
            await self._roster.tell(code)
        for connection in connections:
            # It may have been released before it was leased.
            if connection.id not in self.connections:
                await self._release(connection)

    def deliver(self, event: serializers.Delivery) -> None:
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

    def _deliver(self, event: serializers.Delivery) -> None:
        if isinstance(event, event_bus.Removal):
            self._remove(event)
        elif isinstance(event, event_bus.Message):
            frame = protocol.message(msgspec.json.encode(event.data))
            for connection in self._of(event.key):
                connection.outbox.post(frame)
        elif isinstance(event, event_bus.Disconnection):
            for connection in self._of(event.key):
                connection.close(Close.DISCONNECTED, protocol.end("disconnected"))
        elif isinstance(event, event_bus.Revocation):
            self._check_soon(self._of(event.key))
        elif isinstance(event, event_bus.Attendance):
            self._roster.look(event.key.session)
        else:
            for connection in tuple(self.following.get(event.key, ())):
                if connection.id != event.source:
                    connection.change(event)

    def _of(self, key: StoreKey) -> list[Connection]:
        """Return the tabs of a participant, or of the whole session."""
        return [
            connection
            for connection in self.following.get(key, ())
            if key.is_session or connection.key == key
        ]

    def _remove(self, event: event_bus.Removal) -> None:
        for connection in tuple(self.following.get(event.key, ())):
            if event.reason == "lost":
                connection.refresh(connection.documents[event.key])
            elif event.key.is_session or event.key == connection.key:
                connection.close(Close.ENDED, protocol.end(event.reason))

    async def _part_from(self, missing: Sequence[StoreKey]) -> None:
        """Close the tabs of records that were cleaned up and of which no hint came."""
        if missing:
            found = await removals.removal_reasons(get_backend(blocking=False), missing)
            for key, reason in found.items():
                self._remove(event_bus.Removal(key, reason))

    def _check_soon(self, connections: list[Connection]) -> None:
        check = self.loop.create_task(self._check(connections))
        self._checks.add(check)
        check.add_done_callback(self._checks.discard)

    async def _check(self, connections: list[Connection]) -> None:
        try:
            standings = await self._standings(connections)
        except StoreUnavailable:
            return  # The next heartbeat asks again.
        for connection in connections:
            heartbeat.stands(connection, standings.get(connection.key, heartbeat.GOOD))

    async def _standings(
        self, connections: Sequence[Connection]
    ) -> dict[StoreKey, Standing]:
        """Return standings of participants, but for those of spoilt sessions."""
        backend = get_backend(blocking=False)
        standings: dict[StoreKey, Standing] = {}

        async def ask(keys: Sequence[StoreKey]) -> None:
            standings.update(await backend.standings(keys))

        keys = list({connection.key for connection in connections})
        await self._standing.each(ask, keys, _session_of)
        return standings

    async def _start(self) -> None:
        self._run = await get_backend(blocking=False).run_name()
        self._rename(f"sessionstores.local!{secrets.token_hex(8)}")
        _by_loop[self.loop] = self
        self._beating = self.loop.create_task(self._beat())
        await self._channel.open()
        event_bus.serving()

    def _rename(self, process: str) -> None:
        # Leases follow with the next heartbeat.
        hubs.pop(self.process, None)
        self.process = self._roster.process = process
        hubs[process] = self

    async def _stop(self) -> None:
        beating = [self._beating] if self._beating else []
        self._beating = None
        # First, since it may be about to take a new channel.
        await end([*beating, *self._checks])
        await self._roster.close()
        await self._channel.close()
        hubs.pop(self.process, None)
        # A hub holds its loop, so that this would keep both for good.
        _by_loop.pop(self.loop, None)
        await write_timeline()

    async def _beat(self) -> None:
        due = self.loop.time()
        while True:
            # After one that took longer than a heartbeat the next comes at once.
            due = max(due + conf.get().heartbeat, self.loop.time())
            await asyncio.sleep(due - self.loop.time())
            # Side by side: in an outage each takes its time, and pings must go on.
            ends = await asyncio.gather(
                self._channel.probe(),
                self.pulse(),
                write_timeline(),
                sample(get_backend(blocking=False)),
                return_exceptions=True,
            )
            for error in ends:
                if isinstance(error, BaseException):
                    text = "A heartbeat failed; the next one comes"
                    logger.error(text, exc_info=error)

    async def pulse(self) -> None:
        """Renew leases, check tokens, and ping every tab with the heads it follows.

        Pings wait no longer than `LEASE_SECONDS` for the leases of all to be renewed.
        Then tabs are shown who is present, and others that their connections ran out.
        """
        async with asyncio.TaskGroup() as group:
            connections = list(self.connections.values())
            leasing = group.create_task(self._renew_all(connections))
            await asyncio.wait([leasing], timeout=LEASE_SECONDS)
            await self._ping_all(connections)
        # Nobody shall be taken for gone because we could not renew their lease.
        await self._roster.beat(besides=leasing.result())

    async def _renew_all(self, connections: Sequence[Connection]) -> set[str]:
        """Renew the leases of the tabs that answer; return the sessions that lack some.

        A tab that answers no ping is let go of: its lease runs out. An outage may be
        that of some sessions only, so that others are tried, for a heartbeat.
        """
        lacking: set[str] = set()
        outage: StoreUnavailable | None = None
        until = self.loop.time() + conf.get().heartbeat
        for start in range(0, len(connections), STRIDE):
            answering = [
                connection
                for connection in connections[start : start + STRIDE]
                if connection.id in self.connections
                and not heartbeat.owes(connection, 1)
            ]
            sessions = set(map(_session_of_tab, answering))
            if outage is None or self.loop.time() < until:
                try:
                    sessions = await self._leasing.each(
                        self._lease, answering, _session_of_tab
                    )
                except StoreUnavailable as error:
                    outage = error
            lacking |= sessions
            await asyncio.sleep(0)
        if outage is not None:
            logger.warning("Leases are not renewed: %s", outage)
        return lacking

    async def _ping_all(self, connections: Sequence[Connection]) -> None:
        """Ping tabs, with heads if the cache can be asked for them."""
        sent = [connection.revs() for connection in connections]
        backend = get_backend(blocking=False)
        heads: dict[StoreKey, Rev | None] | None = None
        standings: dict[StoreKey, Standing] = {}
        found: dict[StoreKey, Rev | None] = {}

        async def ask(keys: Sequence[StoreKey]) -> None:
            found.update(await backend.heads(keys))

        try:
            self._run = await backend.run_name()
            await self._heading.each(ask, list(self.following), _session_of)
            heads = found
            await self._part_from([key for key, head in found.items() if head is None])
            standings = await self._standings(connections)
        except StoreUnavailable as error:
            logger.warning("A heartbeat goes without the cache: %s", error)
        for number, (connection, revs) in enumerate(
            zip(connections, sent, strict=True), 1
        ):
            connection.run = self._run
            if connection.id in self.connections and connection.closing is None:
                heartbeat.ping(connection, revs, heads, standings.get(connection.key))
            if not number % STRIDE:
                await asyncio.sleep(0)
