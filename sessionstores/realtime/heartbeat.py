"""Heartbeat of one event loop's tabs: renew leases, check tokens, ping with heads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import Context
from operator import attrgetter

from .. import conf
from ..backends import get_backend
from ..backends.types import Standing
from ..event_bus import Removal
from ..exceptions import InvalidToken, Kicked, SessionEnded, StoreUnavailable
from ..keys import StoreKey
from ..monitoring.history import write_figures
from ..monitoring.log_limiter import log_limiter
from ..participants.tokens import check_claims
from ..state.revisions import Rev
from ..store import removals
from .bulkhead import Bulkhead
from .channel_layer import Channel, end
from .connection import Connection
from .protocol import Close
from .roster import Roster
from .timeline import write_timeline
from .token_renewal import renew_token
from .watch_beats import WatchBeats

logger = logging.getLogger("sessionstores.delivery")

# How long pings wait for leases, in seconds: commits after both reach the tab.
PING_WAIT_SECONDS = 0.5
# Leases or pings in a row, before other tasks have their turn.
STRIDE = 64
# In heartbeats: a tab whose pong is overdue for longer is closed.
PATIENCE = 2.5

# Assumed of a participant while the cache does not answer.
GOOD = Standing(ended=False, revoked_at=None)

_session_of = attrgetter("session")
_session_of_tab = attrgetter("key.session")


class Heartbeat:
    """Beats for all connections of one event loop together.

    `connections` and `following` are the hub's own; `lease` renews leases, and
    `remove` closes the tabs of a removed record.
    """

    def __init__(
        self,
        connections: Mapping[str, Connection],
        following: Mapping[StoreKey, Collection[Connection]],
        *,
        channel: Channel,
        roster: Roster,
        watching: WatchBeats,
        lease: Callable[[Collection[Connection]], Awaitable[None]],
        remove: Callable[[Removal], None],
    ) -> None:
        # The present run of the cache server; see `Backend.run_name`.
        self.run = ""
        self._connections = connections
        self._following = following
        self._channel = channel
        self._roster = roster
        self._watching = watching
        self._lease = lease
        self._remove = remove
        self._beating: asyncio.Task[None] | None = None
        self._checks: set[asyncio.Task[None]] = set()
        self._leasing = Bulkhead("the leases of its tabs cannot be renewed")
        self._standing = Bulkhead("whether its tokens are valid cannot be checked")
        self._heading = Bulkhead("the heads of its records cannot be read")

    @property
    def is_running(self) -> bool:
        """Whether `start` has been called, and `stop` has not."""
        return self._beating is not None

    async def start(self) -> None:
        """Beat from here on, in a task; raise `StoreUnavailable`."""
        self.run = await get_backend(blocking=False).run_name()
        # In no tab's context, the first one's: with its language.
        self._beating = asyncio.get_running_loop().create_task(
            self._beat(), context=Context()
        )

    async def stop(self) -> None:
        """Beat no more, and return when what was being done has ended."""
        beating = [self._beating] if self._beating else []
        self._beating = None
        await end([*beating, *self._checks])

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            # After one that took longer than a heartbeat the next comes at once.
            due = max(due + conf.get().heartbeat, loop.time())
            await asyncio.sleep(due - loop.time())
            # Concurrently: in an outage each takes its time, and pings must go on.
            results = await asyncio.gather(
                self._channel.probe(),
                self.pulse(),
                write_timeline(),
                write_figures(get_backend(blocking=False)),
                return_exceptions=True,
            )
            for error in results:
                if isinstance(error, BaseException):
                    text = "A heartbeat failed; the next one is scheduled"
                    logger.error(text, exc_info=error)
            log_limiter(get_backend(blocking=False)).flush()

    async def pulse(self) -> None:
        """Renew leases, check tokens, and ping every tab with the heads it follows.

        Pings wait up to `PING_WAIT_SECONDS` for the leases. Then tabs are shown who is
        present, and participants whose leases have expired are announced as left; last,
        tabs that watch others are shown what they lack.
        """
        async with asyncio.TaskGroup() as group:
            connections = list(self._connections.values())
            leasing = group.create_task(self._renew_leases(connections))
            await asyncio.wait([leasing], timeout=PING_WAIT_SECONDS)
            await self._ping_all(connections)
        # A lease that we could not renew does not mean that its participant has left.
        await self._roster.beat(besides=leasing.result())
        await self._watching.beat()

    def check_soon(self, connections: Sequence[Connection]) -> None:
        """Close those tabs, in a task, whose tokens are no longer valid."""
        check = asyncio.get_running_loop().create_task(self._check(connections))
        self._checks.add(check)
        check.add_done_callback(self._checks.discard)

    async def _check(self, connections: Sequence[Connection]) -> None:
        try:
            standings = await self._standings(connections)
        except StoreUnavailable:
            return  # The next heartbeat checks again.
        for connection in connections:
            enforce_token_validity(connection, standings.get(connection.key, GOOD))

    async def _standings(
        self, connections: Sequence[Connection]
    ) -> dict[StoreKey, Standing]:
        """Return the standings of participants, but for those of corrupt sessions."""
        backend = get_backend(blocking=False)
        standings: dict[StoreKey, Standing] = {}

        async def ask(keys: Sequence[StoreKey]) -> None:
            standings.update(await backend.standings(keys))

        keys = list({connection.key for connection in connections})
        await self._standing.each(ask, keys, _session_of)
        return standings

    async def _renew_leases(self, connections: Sequence[Connection]) -> set[str]:
        """Renew the leases of tabs that answer pings; return sessions lacking some.

        The lease of a tab that does not answer is left to expire. An outage may affect
        some sessions only, so the others are tried, for up to a heartbeat.
        """
        loop = asyncio.get_running_loop()
        lacking: set[str] = set()
        outage: StoreUnavailable | None = None
        until = loop.time() + conf.get().heartbeat
        for start in range(0, len(connections), STRIDE):
            answering = [
                connection
                for connection in connections[start : start + STRIDE]
                if connection.id in self._connections
                and not missed_pongs(connection, 1)
            ]
            sessions = set(map(_session_of_tab, answering))
            if outage is None or loop.time() < until:
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
        """Ping tabs, with heads if the cache answers."""
        sent = [connection.revs() for connection in connections]
        backend = get_backend(blocking=False)
        heads: dict[StoreKey, Rev | None] | None = None
        standings: dict[StoreKey, Standing] = {}
        found: dict[StoreKey, Rev | None] = {}

        async def ask(keys: Sequence[StoreKey]) -> None:
            found.update(await backend.heads(keys))

        try:
            self.run = await backend.run_name()
            await self._heading.each(ask, list(self._following), _session_of)
            heads = found
            missing = [key for key, head in found.items() if head is None]
            await self._close_tabs_of(missing)
            standings = await self._standings(connections)
        except StoreUnavailable as error:
            logger.warning("A heartbeat could not read the cache: %s", error)
        for number, (connection, revs) in enumerate(
            zip(connections, sent, strict=True), 1
        ):
            connection.run = self.run
            if connection.id in self._connections and connection.closing is None:
                ping(connection, revs, heads, standings.get(connection.key))
            if not number % STRIDE:
                await asyncio.sleep(0)

    async def _close_tabs_of(self, missing: Sequence[StoreKey]) -> None:
        """Close the tabs of records whose removal was not announced to this process."""
        if missing:
            found = await removals.removal_reasons(get_backend(blocking=False), missing)
            for key, reason in found.items():
                self._remove(Removal(key, reason))


def missed_pongs(connection: Connection, beats: float) -> bool:
    """Whether a ping has been unanswered for more than `beats` heartbeats."""
    asked = connection.outbox.asked
    if asked is None:
        return False
    return asyncio.get_running_loop().time() - asked > beats * conf.get().heartbeat


def enforce_token_validity(connection: Connection, standing: Standing) -> bool:
    """Close the connection unless its token is valid; return whether it is."""
    max_age = conf.get().token_max_age
    try:
        check_claims(connection.claims, standing, max_age=max_age)
    except SessionEnded:
        connection.end(Close.ENDED, "ended")
    except Kicked:
        connection.kick()
    except InvalidToken as error:
        connection.refuse(Close.TOKEN, error)
    else:
        return True
    return False


def ping(
    connection: Connection,
    revs: Mapping[str, Rev | None],
    heads: Mapping[StoreKey, Rev | None] | None,
    standing: Standing | None,
) -> None:
    """Ping a tab, or close it if its token is invalid or it has stopped answering.

    `revs` is what was on its way to it when the heads were read. `heads` and
    `standing` are None if the cache did not answer.
    """
    if not enforce_token_validity(connection, standing or GOOD):
        return
    if missed_pongs(connection, PATIENCE):
        connection.give_up("This tab answered no ping for too long.")
        return
    if standing is not None:
        renew_token(connection)
    shown = None if heads is None else _heads_for(connection, revs, heads)
    connection.outbox.ask(shown)


def _heads_for(
    connection: Connection,
    revs: Mapping[str, Rev | None],
    heads: Mapping[StoreKey, Rev | None],
) -> dict[str, str]:
    """Return the heads for a tab's ping; queue snapshots of what it needs anew."""
    shown = {}
    for name, document in connection.names.items():
        head = heads.get(document.key)
        if document.owed:
            # The tab has nothing yet: its first snapshot is still to come.
            connection.outbox.refresh(name)
            continue
        # What was sent since the heads were read is newer than they are.
        if document.rev != revs[name] or document.key not in heads:
            continue
        if head is None:
            document.missing = document.shown is not None
            connection.refresh(document)
        else:
            shown[name] = str(head)
    return shown
