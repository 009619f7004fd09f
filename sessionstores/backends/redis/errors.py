"""Errors of Redis and Valkey servers, translated into ours, each with a hint."""

from __future__ import annotations

import re

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ... import conf
from ...exceptions import SessionStoresError, StateCorrupt, StoreUnavailable
from ..errors import NotSent

# The errors of redis-py and of the network for a server that did not answer.
NO_REPLY = (RedisConnectionError, RedisTimeoutError, OSError)


# An error's code is the first word of the reply, which redis-py turns into a class.
_CODES: dict[type[Exception], str] = {
    OutOfMemoryError: "OOM",
    NoPermissionError: "NOPERM",
    AuthenticationError: "NOAUTH",
    ReadOnlyError: "READONLY",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
    BusyLoadingError: "LOADING",
    TryAgainError: "TRYAGAIN",
    MovedError: "MOVED",
    AskError: "ASK",
}

# Redis 6 puts this before the code of an error inside a script.
_IN_SCRIPT = re.compile(r"^(?:ERR )?Error running script.*?: -([A-Z]+) ")

_CREDENTIALS = (
    "Give the right username and password in the URL or the OPTIONS of CACHES, or in "
    "SESSIONSTORES['REDIS']."
)
_FAILOVER = (
    "This ends with the failover or the start-up. If it does not, give the "
    "primary's address, or its sentinels or the cluster in SESSIONSTORES['REDIS']."
)
_SLOTS = (
    "This lasts while slots move; if it does not end, see CLUSTER INFO of its nodes."
)
_UNKNOWN = "Check that it is a Redis or Valkey of version 6.2 or later; see its log."
_OUTCOME = "What was being written may or may not be stored; read before you try again."
_UNCHANGED = "Nothing was sent, so nothing was changed."

_PERMISSIONS = (
    "Allow its user in the ACL the commands that docs/caches.md lists, on the keys "
    "~{prefix}:*, or give another user."
)

# By the code of a reply that says that the server cannot do what it was asked. It says
# so before it runs a command, and of a script at the first write.
_WAYS_OUT = {
    "OOM": (
        "Its memory is full: raise maxmemory, end sessions that are over, or give "
        "sessions a server of their own."
    ),
    "NOPERM": _PERMISSIONS,
    "NOAUTH": _CREDENTIALS,
    "WRONGPASS": _CREDENTIALS,
    "READONLY": _FAILOVER,
    "MASTERDOWN": _FAILOVER,
    "LOADING": _FAILOVER,
    "NOREPLICAS": "Let its replicas connect again, or lower min-replicas-to-write.",
    "CLUSTERDOWN": _FAILOVER,
    "TRYAGAIN": _SLOTS,
    "MOVED": _SLOTS,
    "ASK": _SLOTS,
    "MISCONF": "It cannot write to its disk: see its log; usually the disk is full.",
    "BUSY": "A script of another user's is blocking it: see its log, or SCRIPT KILL.",
}

# By a part of a reply, where its code says less. All are refused before a command.
_BY_REPLY = {
    "DB index is out of range": (
        "The server has fewer databases: correct the number after the / in the URL, or "
        "the 'db' beside it."
    ),
    "SELECT is not allowed in cluster mode": (
        "A cluster has database 0 only: take the number out of the URL."
    ),
    "cluster support disabled": (
        "It is no cluster: in SESSIONSTORES['REDIS'], give 'url' in the place of "
        "'cluster'."
    ),
    "unknown command 'SENTINEL'": (
        "It is no sentinel: in SESSIONSTORES['REDIS'], give the server's 'url', or the "
        "sentinels' own ports (26379)."
    ),
}
_IN_CLUSTER = (
    "It is a node of a cluster: give its URL as 'cluster' in SESSIONSTORES['REDIS']."
)
_NO_REDIS = (
    "Is that the port of a Redis or Valkey, and does a server that wants TLS have a "
    "URL that begins with rediss://?"
)
_TLS = (
    "Does it speak TLS, as rediss:// says, and with a certificate that is trusted here "
    "(ssl_ca_certs)?"
)
# Of the errors of each sentinel, which redis-py appends to its own.
_SENTINELS = {
    "Authentication": (
        "The sentinels want a password of their own: give it in the 'sentinel_kwargs' "
        "of SESSIONSTORES['REDIS'], or SENTINEL_KWARGS of OPTIONS."
    ),
    "unknown command": _BY_REPLY["unknown command 'SENTINEL'"],
}

# Ours, of a script that was refused a command after its first write.
PARTLY_DONE = "PARTLYDONE"


def error_code(error: Exception) -> str:
    """Return the first word of the reply that an error stands for, such as OOM."""
    if isinstance(error, NotSent):
        return error_code(error.reason)
    if code := _CODES.get(type(error)):
        return code
    text = str(error)
    # Valkey 9 gives it the code ERR.
    if text.removeprefix("ERR ").startswith("ACL failure in script"):
        return "NOPERM"
    inner = _IN_SCRIPT.search(text)
    return inner[1] if inner else text.split(" ", 1)[0]


def is_demoted(error: Exception) -> bool:
    """Return whether the reply says that the server is no longer the primary."""
    return error_code(error) == "READONLY"


def is_passing(error: object) -> bool:
    """Return whether the server refused for a moment only: try again soon."""
    # TRYAGAIN is as well; where there is a cluster, its `Route` waits.
    return isinstance(error, Exception) and error_code(error) == "LOADING"


def translated(
    error: Exception, server: str, key: str, seconds: float, *, tls: bool = False
) -> SessionStoresError:
    """Return the error to raise for one of redis-py's or of the network.

    `server` is its name for people, `key` the first that the command named, `seconds`
    the time within which a reply was expected, and `tls` whether it should speak that.
    """
    code = error_code(error)
    is_unsent = isinstance(error, NotSent)
    cause = error.reason if isinstance(error, NotSent) else error
    if code == "WRONGTYPE":
        return _wrong_type(server, key)
    if code in _WAYS_OUT or isinstance(cause, ResponseError):
        return _refused(server, code, str(error), is_unsent=is_unsent)
    outcome = _UNCHANGED if is_unsent else _OUTCOME
    # redis-py appends a description of each sentinel, which fills pages.
    reason, _, details = str(error).partition(" : <")
    reason = reason.rstrip(".")
    # Before anything was exchanged, it may be that.
    way_out = f" {_TLS}" if tls and is_unsent else ""
    if isinstance(cause, RedisTimeoutError | TimeoutError):
        text = f"{server} did not answer within {seconds:g} s. {outcome}{way_out}"
    elif isinstance(cause, InvalidResponse) or reason.startswith("Protocol error"):
        text = f"{server} does not speak as one ({reason}). {outcome} {_NO_REDIS}"
    else:
        way_out = next((f" {_SENTINELS[e]}" for e in _SENTINELS if e in details), "")
        if "SSL" in reason or "CERTIFICATE" in reason:
            way_out = f" {_TLS}"
        text = f"{server} cannot be reached ({reason}). {outcome}{way_out}"
    return StoreUnavailable(text, refused=is_unsent)


def _refused(
    server: str, code: str, reply: str, *, is_unsent: bool
) -> StoreUnavailable:
    if code == PARTLY_DONE:
        reply = reply.removeprefix(PARTLY_DONE).strip()
        text = f"{server} refused a part ({reply}). {_OUTCOME} {_way_out('NOPERM')}"
        return StoreUnavailable(text)
    if not reply.startswith(code):
        reply = f"{code} {reply.removeprefix('ERR ')}"
    way_out = _way_out(code, reply)
    if code in ("MOVED", "ASK", "CROSSSLOT") and not server.startswith("The cluster"):
        way_out = _IN_CLUSTER
    text = f"{server} refused ({reply.rstrip('.')}). {way_out}"
    return StoreUnavailable(text, refused=is_unsent or code in _WAYS_OUT)


def _way_out(code: str, reply: str = "") -> str:
    known = (_BY_REPLY[part] for part in _BY_REPLY if part in reply)
    text = next(known, _WAYS_OUT.get(code, _UNKNOWN))
    return text.replace("{prefix}", conf.get().key_prefix)


def _wrong_type(server: str, key: str) -> StateCorrupt:
    return StateCorrupt(
        f"{server} holds at {key}, or at another key of that session, a value that is "
        "not of sessionstores. Delete it, and give whatever wrote it other keys, or "
        "SESSIONSTORES another KEY_PREFIX."
    )
