"""The server as a whole: its figures, its settings, and values that processes share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from ... import conf
from ...exceptions import StoreUnavailable
from ...keys import only_ours
from ..types import MEASURED_TRIPS, Finding, ServerInfo, Value
from .errors import error_code
from .scripts import ScriptRunner
from .serializers import registry_key, value_key

# A round trip to a server nearby takes a tenth of that.
SLOW_MS = 10
# Hashes, scripts that write after asking for the time, and UNLINK.
OLDEST_VERSION = (6, 2)
# The name of every run of a server that does not tell.
NO_RUN = "0"
NO_INFO = Finding(
    "warning",
    "The server's ACL does not allow INFO to this user: its version, memory and "
    "persistence are unknown, and so is whether it has restarted.",
    "Allow it: ACL SETUSER <user> +info. All else works without.",
)
# The share of its memory from which a server counts as nearly full.
NEARLY_FULL = 0.9


class RedisServer:
    """The part of the contract for the server as a whole; see `Backend`.

    Methods that have the name of a method of `Backend` fulfil its contract.
    """

    def __init__(self, scripts: ScriptRunner) -> None:
        self._scripts = scripts

    async def now(self) -> float:
        """Return the server's time."""
        return float(await self._scripts.call("now", (registry_key(),), ()))

    async def values(self, names: Sequence[str]) -> dict[str, Value]:
        """Return shared values in one trip. The token is the value, marked."""
        wanted = list(dict.fromkeys(names))
        # To MGET, a value of another type is none; it will be replaced.
        stored = await self._scripts.send_all(
            [("MGET", value_key(name)) for name in wanted]
        )
        return {
            name: Value(data, b"-" if data is None else b"+" + data)
            for name, (data,) in zip(wanted, stored, strict=True)
        }

    async def swap_value(
        self, name: str, token: Any, data: bytes, *, seconds: float
    ) -> bool:
        """Write a shared value if it is still as `token` says."""
        keys, arguments = (value_key(name),), (token, data, seconds)
        return bool(await self._scripts.call("swap", keys, arguments, retry=False))

    async def examine(self) -> list[Finding]:
        """Return findings about the server, or each of the cluster's primaries."""
        took = min([await self._trip_ms() for _ in range(MEASURED_TRIPS)])
        infos = await self._infos()
        found = [NO_INFO] if infos is None else [f for i in infos for f in findings(i)]
        speed = Finding("ok", f"Round trip {took:.1f} ms")
        if took > SLOW_MS:
            speed = Finding(
                "warning",
                f"A round trip takes {took:.0f} ms; each dispatch is one.",
                "Put the server nearer to the workers.",
            )
        return [*found, speed]

    async def _trip_ms(self) -> float:
        started = time.monotonic()
        await self.now()
        return (time.monotonic() - started) * 1000

    async def server(self) -> ServerInfo | None:
        """Return the server's figures, or those of the cluster's primaries together.

        None if the user may not ask for them.
        """
        infos = await self._infos()
        return None if infos is None else totals(infos)

    async def run_name(self) -> str:
        """Name the server's present run, or those of all the cluster's primaries.

        Always the same if the user may not ask for it.
        """
        infos = await self._infos("server")
        if infos is None:
            return NO_RUN
        runs = sorted(info["run_id"] for info in infos)
        return blake2b(" ".join(runs).encode(), digest_size=4).hexdigest()

    async def clear(self) -> None:
        """Remove all keys of ours."""
        found = await self._scripts.scan("*")
        keys = only_ours(
            conf.get().key_prefix, (key.decode("latin-1") for key in found)
        )
        await self._scripts.send_all(
            [("UNLINK", key.encode("latin-1")) for key in keys]
        )

    async def _infos(self, *sections: str) -> list[Mapping[str, Any]] | None:
        """Return INFO of the server, or of each of the cluster's primaries.

        None if its ACL does not let the user ask: all else works without.
        """
        try:
            replies = await self._scripts.send_to_each("INFO", *sections)
        except StoreUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, Exception) and error_code(cause) == "NOPERM":
                return None
            raise
        return [parse_info(reply) for reply in replies]


def parse_info(reply: bytes) -> dict[str, Any]:
    """Return the fields of a reply to INFO, numbers as such."""
    text = reply.decode(errors="replace")
    lines = (line.partition(":") for line in text.splitlines())
    return {
        name: int(value) if value.isdecimal() else value
        for name, mark, value in lines
        if mark
    }


def findings(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield findings about a server, given its INFO.

    Two settings lose data: an eviction policy takes the records of live participants,
    and a server without persistence loses all of them at a restart.
    """
    yield _version(info)
    yield _eviction(info)
    if info.get("maxmemory"):
        yield _memory(info)
    yield _persistence(info)
    if info.get("role") not in ("master", None):
        yield Finding(
            "error",
            f"The server is a {info['role']}, which takes no writes.",
            "Give the primary's address, or its sentinels in SESSIONSTORES['REDIS'].",
        )


def totals(infos: Sequence[Mapping[str, Any]]) -> ServerInfo:
    """Return the figures of a server, or of several together, from their INFO."""
    limits = [int(info.get("maxmemory", 0)) for info in infos]
    return ServerInfo(
        _name(infos[0]),
        sum(int(info.get("used_memory", 0)) for info in infos),
        # If one has no limit, together they have none.
        sum(limits) if all(limits) else None,
        sum(int(info.get("evicted_keys", 0)) for info in infos),
        infos[0].get("maxmemory_policy"),
    )


def _name(info: Mapping[str, Any]) -> str:
    return f"{str(info.get('server_name', 'redis')).title()} {_number(info)}"


def _number(info: Mapping[str, Any]) -> str:
    return str(info.get("valkey_version") or info.get("redis_version", "0.0"))


def _version(info: Mapping[str, Any]) -> Finding:
    text = _name(info)
    if tuple(int(part) for part in _number(info).split(".")[:2]) < OLDEST_VERSION:
        return Finding(
            "error",
            f"{text} is older than {OLDEST_VERSION[0]}.{OLDEST_VERSION[1]}.",
            "Upgrade the server: the scripts need what that version introduced.",
        )
    return Finding("ok", text)


def _eviction(info: Mapping[str, Any]) -> Finding:
    policy, limit = info.get("maxmemory_policy"), info.get("maxmemory")
    if not policy:
        return Finding("ok", "maxmemory-policy: the server does not report it.")
    if policy == "noeviction":
        return Finding(
            "ok", "maxmemory-policy noeviction: when full, it refuses writes."
        )
    evicted = int(info.get("evicted_keys", 0))
    if evicted:
        return Finding(
            "error",
            f"maxmemory-policy {policy} has evicted {evicted} keys: live records "
            "may be among them.",
            "Set maxmemory-policy noeviction, or use a server of its own.",
        )
    when = "once maxmemory is reached" if limit else "if a maxmemory is ever set"
    return Finding(
        "warning",
        f"maxmemory-policy {policy} removes live records {when}.",
        "Set maxmemory-policy noeviction, or use a server of its own.",
    )


def _memory(info: Mapping[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info["maxmemory"])
    text = f"{used / 2**20:.0f} of {limit / 2**20:.0f} MiB in use"
    if used > NEARLY_FULL * limit:
        return Finding("warning", f"{text}: nearly full.", "Raise maxmemory.")
    return Finding("ok", text)


def _persistence(info: Mapping[str, Any]) -> Finding:
    if int(info.get("aof_enabled", 0)):
        if info.get("aof_last_write_status", "ok") != "ok":
            return Finding(
                "error", "The append-only file could not be written.", "See its log."
            )
        return Finding("ok", "appendonly yes: a restart loses a second at most.")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        return Finding(
            "error",
            "The last dump failed, so the server may refuse writes.",
            "See the server's log; usually its disk is full.",
        )
    return Finding(
        "warning",
        "appendonly no: a restart goes back to the last dump, or to nothing. Tabs get "
        "a reset, but what was done since is lost.",
        "Set appendonly yes, unless sessions may be lost.",
    )
