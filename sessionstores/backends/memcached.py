"""Records in memcached, with `gets` and `cas` over connections of our own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from math import ceil
from typing import Any, ClassVar, NamedTuple, TypeVar
from urllib.parse import unquote
from zlib import crc32

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from pymemcache.exceptions import (  # type: ignore[import-untyped]
    MemcacheClientError,
    MemcacheError,
    MemcacheUnexpectedCloseError,
)

from .. import conf
from ..exceptions import SessionStoresError, StateTooLarge, StoreUnavailable
from ..keys import only_ours
from . import types
from .base import pause
from .cas.backend import CasBackend
from .cas.key_value import KeyValueStore, Versioned
from .errors import NotSent
from .memcached_pool import (
    MemcachedServer,
    ReplyLine,
    addresses,
    is_refused,
    pool,
)
from .types import Finding

T = TypeVar("T")

# Keys in one `gets`, so that a server answers within milliseconds.
BATCH = 500

# It crawls for one caller at a time, and on its own account, for milliseconds.
CRAWL_SECONDS = 0.01

# An item is at most 1 MiB (-I), its key and header included.
MAX_VALUE = 1_048_576 - 512
# Room for what a record holds beside its states: its clients.
RESERVE = 131_072
LONGEST_LINE = 65
# From here on an expiry counts as a time since the epoch; it is a signed 32-bit number.
ABSOLUTE = 30 * 86_400
LATEST = 2**31 - 1

_UNSUPPORTED = ("username", "password", "tls_context")


class CasToken(NamedTuple):
    """The number that a server gave to a write, and the run of it that did.

    A server starts again at 1, so a number of an earlier run may come up again.
    """

    unique: bytes
    boot: tuple[int, int]


# The reply to `cas` does not include the new number. This one matches nothing.
UNKNOWN = CasToken(b"", (0, 0))


class MemcachedStore(KeyValueStore):
    """Each key has one server, and no other takes over when that fails.

    Writes are classic `cas`: a meta set that the server has no memory for removes the
    old value (memcached 1.6.18), a classic one leaves it.
    """

    shared: ClassVar[bool] = True
    in_memory: ClassVar[bool] = False
    max_bytes: ClassVar[int | None] = MAX_VALUE

    def __init__(
        self,
        alias: str,
        *,
        blocking: bool,
        clock: Callable[[], float] | None = None,
    ) -> None:
        # Held by both flavours, and closed when neither is there any more.
        self._pool = pool(addresses(alias))
        self.servers = self._pool.servers
        super().__init__(blocking=blocking, clock=clock or self._pool.clock)

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

    def _server(self, key: str) -> MemcachedServer:
        # All of a session is on one server: one round trip away, and lost as a whole.
        _, brace, rest = key.partition("{")
        place = rest.partition("}")[0] if brace else key
        return self.servers[crc32(place.encode()) % len(self.servers)]

    async def _ask(
        self,
        server: MemcachedServer,
        command: Callable[[ReplyLine], T],
        *,
        repeat: bool = False,
    ) -> T:
        try:
            if self.blocking:
                return server.call(command, repeat=repeat)
            return await server.acall(command, repeat=repeat)
        except (OSError, MemcacheError) as error:
            raise failure(server, error) from error

    async def read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        """See `KeyValueStore.read`."""
        wanted: dict[MemcachedServer, list[str]] = {}
        for key in keys:
            wanted.setdefault(self._server(key), []).append(key)
        found: dict[str, Versioned] = {}
        for server, here in wanted.items():
            for start in range(0, len(here), BATCH):
                some = here[start : start + BATCH]
                found |= await self._ask(server, partial(gets, some), repeat=True)
        return found

    async def cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        """See `KeyValueStore.cas`."""
        if len(value) > MAX_VALUE:
            raise StateTooLarge(
                f"{key} would take {len(value)} bytes, and memcached takes at most "
                f"{MAX_VALUE} in one value. Nothing was changed. Keep less in it, or "
                "use Redis."
            )
        command = partial(put, key, token, value, expiry(ttl))
        return UNKNOWN if await self._ask(self._server(key), command) else None

    async def delete(self, key: str, token: Any) -> bool:
        """See `KeyValueStore.delete`."""
        # There is no conditional `delete`; a value written with -1 expires at once.
        return await self._ask(self._server(key), partial(put, key, token, b"", -1))

    async def examine(self) -> list[Finding]:
        """See `Backend.examine`."""
        findings: list[Finding] = []
        for server in self.servers:
            figures = await self._ask(server, stats, repeat=True)
            took = min(
                [await self._trip_ms(server) for _ in range(types.MEASURED_TRIPS)]
            )
            findings += report(f"memcached at {server}", figures, took)
        return findings

    async def _trip_ms(self, server: MemcachedServer) -> float:
        started = time.perf_counter()
        await self._ask(server, lambda line: line.client.version(), repeat=True)
        return (time.perf_counter() - started) * 1_000

    async def server(self) -> types.ServerInfo | None:
        """See `Backend.server`."""
        figures = [
            await self._ask(server, stats, repeat=True) for server in self.servers
        ]
        used, limit, evicted = (
            sum(one[name] for one in figures)
            for name in ("bytes", "limit_maxbytes", "evictions")
        )
        version = figures[0]["version"].decode()
        # It always evicts what was least recently used; there is no choice.
        return types.ServerInfo(f"memcached {version}", used, limit, evicted, None)

    async def clear(self) -> None:
        """See `Backend.clear`. Other programs and sites keep what they have there."""
        for server in self.servers:
            while (listed := await self._ask(server, keys_of, repeat=True)) is None:
                await pause(CRAWL_SECONDS, blocking=self.blocking)
            keys = only_ours(conf.get().key_prefix, listed)
            for start in range(0, len(keys), BATCH):
                some = keys[start : start + BATCH]
                await self._ask(server, partial(remove, some), repeat=True)


class MemcachedBackend(CasBackend):
    """Records that all processes share, on memcached."""

    def __init__(
        self, alias: str, *, blocking: bool, clock: Callable[[], float] | None = None
    ) -> None:
        super().__init__(MemcachedStore(alias, blocking=blocking, clock=clock))

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """See `Backend.problem`."""
        return MemcachedStore.problem(alias)


# Commands, each one round trip


def gets(keys: Sequence[str], line: ReplyLine) -> dict[str, Versioned]:
    """Return what is stored at `keys`."""
    found = {}
    for key, (value, unique) in line.client.gets_many(keys).items():
        if unique == b"0":
            raise MemcacheError("it runs with -C, which turns off compare-and-set")
        found[key] = Versioned(value, CasToken(unique, line.boot))
    return found


def put(
    key: str, token: CasToken | None, value: bytes, expire: int, line: ReplyLine
) -> bool:
    """Write if the key is unchanged since `token`."""
    if token is None:
        return bool(line.client.add(key, value, expire, noreply=False))
    if token.boot != line.boot:
        return False
    return bool(line.client.cas(key, value, token.unique, expire, noreply=False))


def keys_of(line: ReplyLine) -> list[str] | None:
    """Return the keys of all programs; None while it crawls for another caller."""
    if not line.client.stats()[b"curr_items"]:
        # To know that takes 14 ms otherwise.
        return []
    # pymemcache keeps only the end of a reply that comes in several parts.
    sock, reply = line.client.sock, b""
    # Not "all", which may miss new items.
    sock.sendall(b"lru_crawler metadump hash\r\n")
    while not is_whole(reply):
        part = sock.recv(65_536)
        if not part:
            raise MemcacheUnexpectedCloseError
        reply += part
    if reply.startswith(b"BUSY"):
        return None
    *lines, end = reply.split()
    if end != b"END":
        text = reply.decode(errors="replace").strip()
        raise MemcacheClientError(f"it does not list its keys: {text}")
    names = (each.removeprefix(b"key=") for each in lines if each.startswith(b"key="))
    return [unquote(name.decode()) for name in names]


def is_whole(listing: bytes) -> bool:
    """Return whether no more follows: after END, or what is not a list of keys."""
    if listing.startswith(b"key="):
        return listing.endswith(b"END\r\n")
    return listing.endswith(b"\r\n")


def remove(keys: Sequence[str], line: ReplyLine) -> None:
    """Remove keys, whatever they hold."""
    line.client.delete_many(keys, noreply=False)


def stats(line: ReplyLine) -> dict[str, Any]:
    """Return the server's statistics and settings."""
    figures = line.client.stats("settings") | line.client.stats()
    return {name.decode(): value for name, value in figures.items()}


def expiry(ttl: float | None) -> int:
    """Return memcached's expiry for `ttl` seconds, at the least."""
    if ttl is None:
        return 0
    # It counts whole seconds, the first of which may be nearly over.
    seconds = ceil(ttl) + 1
    if seconds > ABSOLUTE:
        seconds += ceil(time.time())
    return min(seconds, LATEST)


def failure(server: MemcachedServer, error: Exception) -> SessionStoresError:
    """Return our error for one that a call raised."""
    if "object too large" in str(error):
        return StateTooLarge(
            f"memcached at {server} refused a value as too large for one item. Nothing "
            "was changed. Start it with a larger -I, or keep less in the state."
        )
    refused = is_refused(error)
    outcome = (
        "Nothing was changed."
        if refused
        else "What was being written may or may not be stored; read before you try "
        "again."
    )
    cause = error.reason if isinstance(error, NotSent) else error
    return StoreUnavailable(
        f"memcached at {server} failed ({type(cause).__name__}: {cause}). {outcome}",
        refused=refused,
    )


def report(name: str, figures: Mapping[str, Any], took: float) -> list[Finding]:
    """Return findings from a server's statistics; `took`: a round trip in ms."""
    version, uptime = figures["version"].decode(), timedelta(seconds=figures["uptime"])
    used, limit = figures["bytes"], figures["limit_maxbytes"]
    evicted, largest = figures["evictions"], figures["item_size_max"]
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
    if figures["cas_enabled"] != b"yes":
        text = f"{name}: compare-and-set is off, so nothing can be committed."
        findings.append(Finding("error", text, "Start it without -C."))
    return findings
