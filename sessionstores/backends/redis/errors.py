"""Errors of Redis and Valkey servers, translated into ours, each with a hint."""

from __future__ import annotations

import re

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
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
    "Give the right username and password in the URL of CACHES, or in "
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
    error: Exception, server: str, key: str, seconds: float
) -> SessionStoresError:
    """Return the error to raise for one of redis-py's or of the network.

    `server` is its name for people, `key` the first that the command named, and
    `seconds` the time within which a reply was expected.
    """
    code = error_code(error)
    is_unsent = isinstance(error, NotSent)
    cause = error.reason if isinstance(error, NotSent) else error
    if code == "WRONGTYPE":
        return _wrong_type(server, key)
    if code in _WAYS_OUT or isinstance(cause, ResponseError):
        return _refused(server, code, str(error), is_unsent=is_unsent)
    outcome = _UNCHANGED if is_unsent else _OUTCOME
    if isinstance(cause, RedisTimeoutError | TimeoutError):
        text = f"{server} did not answer within {seconds:g} s. {outcome}"
    else:
        # redis-py appends a description of each sentinel, which fills pages.
        reason = str(error).split(" : <", 1)[0].rstrip(".")
        text = f"{server} cannot be reached ({reason}). {outcome}"
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
    text = f"{server} refused ({reply.rstrip('.')}). {_way_out(code)}"
    return StoreUnavailable(text, refused=is_unsent or code in _WAYS_OUT)


def _way_out(code: str) -> str:
    text = _WAYS_OUT.get(code, _UNKNOWN)
    return text.replace("{prefix}", conf.get().key_prefix)


def _wrong_type(server: str, key: str) -> StateCorrupt:
    return StateCorrupt(
        f"{server} holds at {key}, or at another key of that session, a value that is "
        "not of sessionstores. Delete it, and give whatever wrote it other keys, or "
        "SESSIONSTORES another KEY_PREFIX."
    )
