"""Connection pool of memcached servers, with threads for coroutines."""

from __future__ import annotations

import asyncio
import os
import re
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from pymemcache.client.base import (  # type: ignore[import-untyped]
    Client,
    normalize_server_spec,
)
from pymemcache.exceptions import (  # type: ignore[import-untyped]
    MemcacheClientError,
    MemcacheError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
)

from ..concurrency.thread_pool import thread_pool
from ..concurrency.threads import socket_home
from .clock import ServerClock
from .configured_cache import configured_cache
from .errors import NotSent

T = TypeVar("T")
Address: TypeAlias = tuple[str, int] | str

# Seconds to connect, and again to answer; less for a while after a call that waited so
# long in vain, so that undoing a creation without an answer does not double the wait.
# Not for longer: a server that is just slow would never be heard again.
TIMEOUT = 1.0
SILENT_TIMEOUT = 0.3
SILENT_FOR = 1.0
# Calls of coroutines that are under way at once, and how much longer they may wait.
THREADS = 64
GRACE = 0.2
# It counts whole seconds, and reads its clock once in each.
CLOCK_TOLERANCE = 3.0
# Idle connections that are kept to one server.
MAX_IDLE = 64

_CLOSED = (ConnectionError, MemcacheUnexpectedCloseError)


class ReplyLine(NamedTuple):
    """A connection, and the run of the server at its other end."""

    client: Any
    boot: tuple[int, int]


class MemcachedServer:
    """One memcached, with its connections and threads.

    Any thread may call it, and so may a forked child, which starts with neither. Each
    server has threads of its own, so that a dead one delays no other.
    """

    def __init__(self, address: Address, clock: ServerClock) -> None:
        self.address = address
        self.clock = clock
        # Until when calls wait less.
        self._silent_until = 0.0
        self._start_afresh()

    def __str__(self) -> str:
        if isinstance(self.address, str):
            return self.address
        host, port = self.address
        return f"{host}:{port}"

    def _start_afresh(self) -> None:
        self._process = os.getpid()
        # By the thread that they belong to, where there is one.
        self._lines: defaultdict[int, deque[ReplyLine]] = defaultdict(deque)
        self._threads = thread_pool(THREADS, "sessionstores-memcached")

    @property
    def _idle(self) -> deque[ReplyLine]:
        return self._lines[socket_home()]

    def _check_process(self) -> None:
        if self._process != os.getpid():
            self.hang_up()
            self._start_afresh()

    def hang_up(self) -> None:
        """Close the idle connections, where they can be."""
        idle = self._idle
        with suppress(IndexError):
            while True:
                idle.pop().client.close()

    @property
    def _patience(self) -> float:
        return SILENT_TIMEOUT if time.monotonic() < self._silent_until else TIMEOUT

    def call(self, command: Callable[[ReplyLine], T], *, repeat: bool = False) -> T:
        """Run `command` on a connection that no other caller uses meanwhile.

        With `repeat`, again on a new one if an idle one turns out to be closed, as they
        are after a restart. Raises OSError, `NotSent` among them, and MemcacheError.
        """
        self._check_process()
        try:
            line = self._idle.pop()
        except IndexError:
            return self._do(command, None)
        try:
            return self._do(command, line)
        except _CLOSED as error:
            if isinstance(error, NotSent):
                may_repeat = isinstance(error.reason, _CLOSED)
            else:
                may_repeat = repeat
            if not may_repeat:
                raise
        return self._do(command, None)

    def _do(self, command: Callable[[ReplyLine], T], line: ReplyLine | None) -> T:
        is_ready = False
        patience = self._patience
        try:
            if line is None:
                line = self._dial(patience)
            line.client.sock.settimeout(patience)
            if self.clock.is_due():
                self.clock.synchronise(line.client.stats()[b"time"])
            is_ready = True
            result = command(line)
        except BaseException as error:
            # An answer may yet come; the next caller must not take it for its own.
            if line is not None:
                line.client.close()
            if isinstance(error, TimeoutError):
                if patience == TIMEOUT:
                    self._silent_until = time.monotonic() + SILENT_FOR
            elif isinstance(error, _CLOSED):
                self.hang_up()
            if not is_ready and isinstance(error, (OSError, MemcacheError)):
                raise NotSent(error) from error
            raise
        self._silent_until = 0.0
        # Kept first, then counted: of many threads at once, none counts too few.
        idle = self._idle
        idle.append(line)
        if len(idle) > MAX_IDLE:
            with suppress(IndexError):
                idle.popleft().client.close()
        return result

    def _dial(self, patience: float) -> ReplyLine:
        client = Client(
            self.address, connect_timeout=patience, timeout=patience, no_delay=True
        )
        stats = client.stats()
        # `time` and `uptime` tick together, so this is when it started.
        return ReplyLine(client, (stats[b"pid"], stats[b"time"] - stats[b"uptime"]))

    async def acall(
        self, command: Callable[[ReplyLine], T], *, repeat: bool = False
    ) -> T:
        """Run `call` in one of the server's threads."""
        self._check_process()
        task = self._threads.submit(partial(self.call, command, repeat=repeat))
        future = asyncio.wrap_future(task)
        try:
            # Not `wait_for`, which drops an answer that comes as time runs out.
            await asyncio.wait([future], timeout=self._patience + GRACE)
            if not future.done():
                late = TimeoutError("timed out")
                # It still waits for a thread, and will not begin.
                raise NotSent(late) if task.cancel() else late
            return future.result()
        finally:
            future.cancel()


def is_refused(error: Exception) -> bool:
    """Return whether a call that raised this is certain to have had no effect."""
    if isinstance(error, MemcacheUnexpectedCloseError):
        return False
    refusals = NotSent, MemcacheServerError, MemcacheClientError
    return isinstance(error, refusals)


def addresses(alias: str) -> list[Address]:
    """Return the addresses of a cache's servers, in one order for every process.

    Raises `ImproperlyConfigured`.
    """
    given: Any = settings.CACHES[alias].get("LOCATION") or []
    try:
        places = configured_cache(alias)._servers or []
    except ImproperlyConfigured as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        # The client that it needs is missing; ours is another.
        places = re.split("[;,]", given) if isinstance(given, str) else given
    try:
        found = {_address(place) for place in places} if places != [""] else set()
        if not found:
            raise ValueError("it names no server")
    except ValueError as error:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}]['LOCATION'] is {given!r}: {error}. It takes "
            "'host:port' or 'unix:/path', or a list of them."
        ) from error
    return sorted(found, key=str)


def _address(place: object) -> Address:
    if not isinstance(place, str):
        raise ValueError(f"{place!r} is not a text")
    address: Address = normalize_server_spec(place.strip())
    if isinstance(address, str):
        return address
    host, port = address
    # As a look-up does: raises ValueError for a malformed name.
    if "/" in host or not host.encode("idna") or not 0 < port < 65_536:
        raise ValueError(f"{place!r} is not an address")
    return host, port


class MemcachedPool:
    """The servers of a cache, and their clock."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        # One estimate times all sessions, whichever server they are on.
        self.clock = ServerClock(tolerance=CLOCK_TOLERANCE)
        self.servers = [MemcachedServer(address, self.clock) for address in addresses]
        weakref.finalize(self, _hang_up, self.servers)


def _hang_up(servers: Sequence[MemcachedServer]) -> None:
    for server in servers:
        server.hang_up()


_pools: weakref.WeakValueDictionary[tuple[Address, ...], MemcachedPool]
_pools = weakref.WeakValueDictionary()


def pool(addresses: Sequence[Address]) -> MemcachedPool:
    """Return the pool for these servers; all who hold it at a time share it."""
    known = _pools.get(tuple(addresses)) or MemcachedPool(addresses)
    return _pools.setdefault(tuple(addresses), known)
