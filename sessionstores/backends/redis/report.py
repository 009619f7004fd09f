"""What a doctor should know of a Redis or Valkey server, from its own figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..types import Finding, ServerInfo

# Hashes, scripts that write after asking for the time, and UNLINK.
OLDEST = (6, 2)
FRAGMENTED = 2.0
FULL = 0.9


def info_of(told: bytes) -> dict[str, Any]:
    """Return what a server answers to INFO, numbers as such."""
    lines = (line.partition(":") for line in told.decode(errors="replace").splitlines())
    return {
        name: int(value) if value.isdecimal() else value
        for name, mark, value in lines
        if mark
    }


def report(servers: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Return findings about servers, each given as its INFO.

    Which settings lose data here: a policy that evicts loses the records of live
    participants, and a server that keeps nothing loses all of them at a restart.
    """
    return [finding for info in servers for finding in _of_one(info)]


def server_of(servers: Iterable[Mapping[str, Any]]) -> ServerInfo:
    """Return the figures of a server, or of several taken together, from their INFO."""
    infos = list(servers)
    limits = [int(info.get("maxmemory", 0)) for info in infos]
    return ServerInfo(
        _name(infos[0]),
        sum(int(info.get("used_memory", 0)) for info in infos),
        # One without a limit is none for all of them.
        sum(limits) if all(limits) else None,
        sum(int(info.get("evicted_keys", 0)) for info in infos),
        infos[0].get("maxmemory_policy"),
    )


def _name(info: Mapping[str, Any]) -> str:
    return f"{str(info.get('server_name', 'redis')).title()} {_number(info)}"


def _number(info: Mapping[str, Any]) -> str:
    return str(info.get("valkey_version") or info.get("redis_version", "0.0"))


def _of_one(info: Mapping[str, Any]) -> Iterable[Finding]:
    yield _version(info)
    yield _policy(info)
    if info.get("maxmemory"):
        yield _room(info)
    yield _persistence(info)
    if info.get("role") not in ("master", None):
        yield Finding(
            "error",
            f"The server is a {info['role']}, which takes no writes.",
            "Give the primary's address, or its sentinels in SESSIONSTORES['REDIS'].",
        )


def _version(info: Mapping[str, Any]) -> Finding:
    text = _name(info)
    if tuple(int(part) for part in _number(info).split(".")[:2]) < OLDEST:
        return Finding(
            "error",
            f"{text} is older than {OLDEST[0]}.{OLDEST[1]}.",
            "Upgrade the server; scripts here need what that version brought.",
        )
    return Finding("ok", text)


def _policy(info: Mapping[str, Any]) -> Finding:
    policy, limit = info.get("maxmemory_policy"), info.get("maxmemory")
    if not policy:
        return Finding("ok", "maxmemory-policy: the server does not say.")
    if policy == "noeviction":
        return Finding("ok", "maxmemory-policy noeviction: full, it refuses writes.")
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


def _room(info: Mapping[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info["maxmemory"])
    text = f"{used / 2**20:.0f} of {limit / 2**20:.0f} MiB in use"
    if used > FULL * limit:
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
            "See the server's log; mostly its disk is full.",
        )
    return Finding(
        "warning",
        "appendonly no: a restart goes back to the last dump, or to nothing. Tabs are "
        "told (reset), but what was done since is gone.",
        "Set appendonly yes, unless sessions may be lost.",
    )
