"""Records in memcached, by `gets` and `cas` over connections of our own."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from math import ceil
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar
from zlib import crc32

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from pymemcache.client.base import (  # type: ignore[import-untyped]
    Client,
    normalize_server_spec,
)
from pymemcache.exceptions import (  # type: ignore[import-untyped]
    MemcacheError,
    MemcacheUnexpectedCloseError,
)

from .. import conf
from ..exceptions import SessionStoresError, StateTooLarge, StoreUnavailable
from .cas import CasBackend
from .primitive import Versioned
from .values import Finding

T = TypeVar("T")
Address: TypeAlias = tuple[str, int] | str

# Seconds to connect, and again to answer; less while the server's last call timed out,
# so that the read that follows a commit without an answer does not double the wait.
TIMEOUT = 1.0
SILENT_TIMEOUT = 0.3
# Of what coroutines ask, so much is under way at once, and waits so much longer.
THREADS = 64
GRACE = 0.2
# Connections to one server that are kept though nobody uses them now.
MAX_IDLE = 64
# Keys in one `gets`, so that a server's answer is a matter of milliseconds.
BATCH = 500

# An item is at most 1 MiB (-I), its key and header included.
MAX_VALUE = 1_048_576 - 512
# What a record holds beside its states: its clients and events.
RESERVE = 131_072
LONGEST_LINE = 65
# From here on an expiry counts as a time since the epoch; it is a signed 32-bit number.
ABSOLUTE = 30 * 86_400
LATEST = 2**31 - 1

_CLOSED = (ConnectionError, MemcacheUnexpectedCloseError)
_UNSUPPORTED = ("username", "password", "tls_context")


class Token(NamedTuple):
    """The number that a server gave to what was written, and which run of it did.

    A server starts anew at 1, so a number of an earlier run may come up again.
    """

    unique: bytes
    boot: tuple[int, int]


# What `cas` answers does not include the new number. This one matches nothing.
UNTOLD = Token(b"", (0, 0))


class Line(NamedTuple):
    """A connection to a server, and which run of it is at the other end."""

    client: Any
    boot: tuple[int, int]


class Server:
    """One memcached, with the connections and threads that reach it.

    Any thread may call it, and so may a forked child, which starts with none of both.
    Each server has threads of its own, so that a dead one holds up no other.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._silent = False
        self._start_afresh()

    def __str__(self) -> str:
        if isinstance(self.address, str):
            return self.address
        host, port = self.address
        return f"{host}:{port}"

    def _start_afresh(self) -> None:
        self._process = os.getpid()
        self._idle: deque[Line] = deque()
        self._threads = ThreadPoolExecutor(THREADS, "sessionstores-memcached")

    def _check_process(self) -> None:
        if self._process != os.getpid():
            self.hang_up()
            self._start_afresh()

    def hang_up(self) -> None:
        """Close the connections that nobody uses now."""
        with suppress(IndexError):
            while True:
                self._idle.pop().client.close()

    @property
    def _patience(self) -> float:
        return SILENT_TIMEOUT if self._silent else TIMEOUT

    def call(self, command: Callable[[Line], T], *, repeat: bool = False) -> T:
        """Do `command` on a connection that nobody else uses meanwhile.

        With `repeat`, once more on a new one if a kept one turns out to be closed, as
        they are after a restart. Raises OSError and MemcacheError.
        """
        self._check_process()
        try:
            line = self._idle.pop()
        except IndexError:
            return self._do(command, None)
        try:
            return self._do(command, line)
        except _CLOSED:
            if not repeat:
                raise
        return self._do(command, None)

    def _do(self, command: Callable[[Line], T], line: Line | None) -> T:
        try:
            if line is None:
                line = self._dial()
            line.client.sock.settimeout(self._patience)
            result = command(line)
        except BaseException as error:
            # An answer may yet come; the next to ask must not take it for theirs.
            if line is not None:
                line.client.close()
            if isinstance(error, TimeoutError):
                self._silent = True
            elif isinstance(error, _CLOSED):
                self.hang_up()
            raise
        self._silent = False
        if len(self._idle) < MAX_IDLE:
            self._idle.append(line)
        else:
            line.client.close()
        return result

    def _dial(self) -> Line:
        patience = self._patience
        client = Client(
            self.address, connect_timeout=patience, timeout=patience, no_delay=True
        )
        told = client.stats()
        # `time` and `uptime` tick as one, so this is when it started.
        return Line(client, (told[b"pid"], told[b"time"] - told[b"uptime"]))

    async def acall(self, command: Callable[[Line], T], *, repeat: bool = False) -> T:
        """Do `call` in one of the server's threads."""
        self._check_process()
        future = asyncio.get_running_loop().run_in_executor(
            self._threads, partial(self.call, command, repeat=repeat)
        )
        try:
            # Not `wait_for`, which gives away an answer that comes as time runs out.
            await asyncio.wait([future], timeout=self._patience + GRACE)
            if not future.done():
                raise TimeoutError("timed out")
            return future.result()
        finally:
            future.cancel()


class MemcachedBackend(CasBackend):
    """Each key has its one server, and no other takes over when that fails.

    Commits are classic `cas`: a meta set that the server has no memory for removes
    what stood there (memcached 1.6.18), a classic one leaves it.
    """

    shared: ClassVar[bool] = True
    in_memory: ClassVar[bool] = False

    def __init__(
        self,
        alias: str,
        *,
        blocking: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(blocking=blocking, clock=clock)
        self._servers = servers(alias)

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """See `Backend.problem`."""
        try:
            addresses(alias)
        except ImproperlyConfigured as error:
            return str(error)
        for option in _UNSUPPORTED:
            if option in settings.CACHES[alias].get("OPTIONS", {}):
                return (
                    f"CACHES[{alias!r}]['OPTIONS'] has {option!r}, but sessionstores "
                    "speaks to memcached in the clear and without a password. Use one "
                    "on a private network or a Unix socket, or Redis."
                )
        needed = {
            "MAX_STATE_BYTES": conf.get().max_state_bytes + RESERVE,
            "MAX_PARTICIPANTS": conf.get().max_participants * LONGEST_LINE,
        }
        for name, size in needed.items():
            if size > MAX_VALUE:
                return (
                    f"SESSIONSTORES[{name!r}] lets a value grow to {size} bytes, but "
                    f"memcached (CACHES[{alias!r}]) takes at most {MAX_VALUE}. Lower "
                    "it, or use Redis."
                )
        return None

    def _server(self, key: str) -> Server:
        # What belongs to one session is one trip away, and at risk as a whole.
        _, brace, rest = key.partition("{")
        place = rest.partition("}")[0] if brace else key
        return self._servers[crc32(place.encode()) % len(self._servers)]

    async def _ask(
        self, server: Server, command: Callable[[Line], T], *, repeat: bool = False
    ) -> T:
        try:
            if self.blocking:
                return server.call(command, repeat=repeat)
            return await server.acall(command, repeat=repeat)
        except (OSError, MemcacheError) as error:
            raise failure(server, error) from error

    async def _read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        wanted: dict[Server, list[str]] = {}
        for key in keys:
            wanted.setdefault(self._server(key), []).append(key)
        found: dict[str, Versioned] = {}
        for server, here in wanted.items():
            for start in range(0, len(here), BATCH):
                some = here[start : start + BATCH]
                found |= await self._ask(server, partial(gets, some), repeat=True)
        return found

    async def _cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        if len(value) > MAX_VALUE:
            raise StateTooLarge(
                f"{key} would take {len(value)} bytes, and memcached takes at most "
                f"{MAX_VALUE} in one value. Nothing was changed. Keep less in it, or "
                "use Redis."
            )
        command = partial(put, key, token, value, expiry(ttl))
        return UNTOLD if await self._ask(self._server(key), command) else None

    async def _delete(self, key: str, token: Any) -> bool:
        # There is no conditional `delete`; what is written with -1 is gone at once.
        return await self._ask(self._server(key), partial(put, key, token, b"", -1))

    async def examine(self) -> list[Finding]:
        """See `Backend.examine`."""
        findings: list[Finding] = []
        for server in self._servers:
            told = await self._ask(server, stats, repeat=True)
            started = time.perf_counter()
            await self._ask(server, lambda line: line.client.version(), repeat=True)
            took = (time.perf_counter() - started) * 1_000
            findings += report(f"memcached at {server}", told, took)
        return findings

    async def clear(self) -> None:
        """Empty the servers whole: what others keep there goes too."""
        for server in self._servers:
            await self._ask(server, lambda line: line.client.flush_all(noreply=False))


# Commands, each one trip


def gets(keys: Sequence[str], line: Line) -> dict[str, Versioned]:
    """Return what stands at `keys`."""
    found = {}
    for key, (value, unique) in line.client.gets_many(keys).items():
        if unique == b"0":
            raise MemcacheError("it runs with -C, which turns off compare-and-set")
        found[key] = Versioned(value, Token(unique, line.boot))
    return found


def put(key: str, token: Token | None, value: bytes, expire: int, line: Line) -> bool:
    """Write if the key is still as `token` says."""
    if token is None:
        return bool(line.client.add(key, value, expire, noreply=False))
    if token.boot != line.boot:
        return False
    return bool(line.client.cas(key, value, token.unique, expire, noreply=False))


def stats(line: Line) -> dict[str, Any]:
    """Return what the server says of its state and its settings."""
    told = line.client.stats("settings") | line.client.stats()
    return {name.decode(): value for name, value in told.items()}


def expiry(ttl: float | None) -> int:
    """Return `ttl` seconds in memcached's terms: at least that long."""
    if ttl is None:
        return 0
    # It counts whole seconds, of which the first may be nearly over.
    seconds = ceil(ttl) + 1
    if seconds > ABSOLUTE:
        seconds += ceil(time.time())
    return min(seconds, LATEST)


def failure(server: Server, error: Exception) -> SessionStoresError:
    """Return our error for what a call raised."""
    if "object too large" in str(error):
        return StateTooLarge(
            f"memcached at {server} refused a value as too large for one item. Nothing "
            "was changed. Start it with a larger -I, or keep less in the state."
        )
    return StoreUnavailable(
        f"memcached at {server} did not do it ({type(error).__name__}: {error}). What "
        "was being written may or may not be in; read before you try again."
    )


def report(name: str, told: Mapping[str, Any], took: float) -> list[Finding]:
    """Return what a server's figures mean; `took` is a round trip in milliseconds."""
    version, uptime = told["version"].decode(), timedelta(seconds=told["uptime"])
    used, limit = told["bytes"], told["limit_maxbytes"]
    evicted, largest = told["evictions"], told["item_size_max"]
    needed = conf.get().max_state_bytes + RESERVE
    findings = [Finding("ok", f"{name}: version {version}, up {uptime}.")]
    warnings = {
        f"{name}: a round trip took {took:.1f} ms.": took > conf.get().slow_operation_ms
        and "Bring the server closer, or give it a core to itself.",
        f"{name}: {used} of {limit} bytes are in use.": used > 0.8 * limit
        and "Give it more memory (-m), before it evicts records or refuses them.",
        f"{name}: {evicted} items were evicted since it started.": evicted
        and "Live states may be among them; their tabs were reset. Give it more "
        "memory (-m), and nothing else to keep.",
    }
    for text, hint in warnings.items():
        findings.append(Finding("warning" if hint else "ok", text, hint or ""))
    if largest < needed:
        text = (
            f"{name}: an item holds at most {largest} bytes, a record up to {needed}."
        )
        hint = f"Start it with -I {needed} at least, or lower MAX_STATE_BYTES."
        findings.append(Finding("error", text, hint))
    if told["cas_enabled"] != b"yes":
        text = f"{name}: compare-and-set is off, so nothing can be committed."
        findings.append(Finding("error", text, "Start it without -C."))
    return findings


# Servers of an alias


def addresses(alias: str) -> list[Address]:
    """Return where the servers of a cache are, in the same order for every process.

    Raises `ImproperlyConfigured`.
    """
    given: Any = settings.CACHES[alias].get("LOCATION") or []
    places = re.split("[;,]", given) if isinstance(given, str) else given
    try:
        found = {_address(place) for place in places}
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
        raise ValueError(f"{place!r} is no text")
    address: Address = normalize_server_spec(place.strip())
    if isinstance(address, str):
        return address
    host, port = address
    # As a lookup does: it raises a ValueError.
    if not host.encode("idna") or not 0 < port < 65_536:
        raise ValueError(f"{place!r} is no address")
    return host, port


_known: dict[str, Sequence[Server]] = {}


def servers(alias: str) -> Sequence[Server]:
    """Return the servers of a cache; both flavours of the backend share them."""
    known = _known.get(alias)
    return known or _known.setdefault(alias, tuple(map(Server, addresses(alias))))


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: Any) -> None:
    if setting == "CACHES":
        for server in itertools.chain(*_known.values()):
            server.hang_up()
        _known.clear()
