"""What a Redis or Valkey server's refusals and silence mean, and what to change."""

from __future__ import annotations

from ...exceptions import StateCorrupt, StoreUnavailable
from .location import ANSWER_SECONDS

_CREDENTIALS = (
    "Give the right username and password in the URL of CACHES, or in "
    "SESSIONSTORES['REDIS']."
)
_FAILOVER = (
    "It passes once the failover or the start is through. If it stays, give the "
    "primary's address, or its sentinels or the cluster in SESSIONSTORES['REDIS']."
)
_SLOTS = "It passes while slots move; if it stays, see CLUSTER INFO of its nodes."
_UNKNOWN = "Look whether it is a Redis or Valkey of version 6.2 or later; see its log."
_DOUBT = "What was being written may or may not be in; read before you try again."

# By the first word of what a server answers while it cannot do what it was asked.
WAYS_OUT = {
    "OOM": (
        "Its memory is full: raise maxmemory, end sessions that are over, or give "
        "sessions a server of their own."
    ),
    "NOPERM": (
        "Allow its user in the ACL +@read +@write +@scripting +@connection +info on "
        "the keys of SESSIONSTORES['KEY_PREFIX'], or give another user."
    ),
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
    "MISCONF": "It cannot write to its disk: see its log; mostly the disk is full.",
    "BUSY": "A script of another user's keeps it: see its log, or SCRIPT KILL.",
}


def refused(server: str, word: str, said: str) -> StoreUnavailable:
    """Return the error for an answer of the server's that it cannot."""
    if not said.startswith(word):
        said = f"{word} {said}"
    way_out = WAYS_OUT.get(word, _UNKNOWN)
    return StoreUnavailable(f"{server} refused ({said.rstrip('.')}). {way_out}")


def silent(server: str) -> StoreUnavailable:
    """Return the error for an answer that did not come in time."""
    return StoreUnavailable(
        f"{server} did not answer within {ANSWER_SECONDS:g} s. {_DOUBT}"
    )


def lost(server: str, reason: str) -> StoreUnavailable:
    """Return the error for a connection that cannot be had, or was lost."""
    # What redis-py adds of each sentinel fills pages.
    reason = reason.split(" : <", 1)[0]
    return StoreUnavailable(
        f"{server} cannot be reached ({reason.rstrip('.')}). {_DOUBT}"
    )


def wrong_type(server: str, key: str) -> StateCorrupt:
    """Return the error for what somebody else has put in the place of a key of ours."""
    return StateCorrupt(
        f"{server} holds at {key}, or at another key of that session, what is not of "
        "sessionstores. Delete it, and give whatever wrote it other keys, or "
        "SESSIONSTORES another KEY_PREFIX."
    )
