"""Cache keys of the compare-and-set backends: one letter for each kind of value."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from zlib import crc32

from ... import conf
from ...keys import SESSION, StoreKey, cache_key, shared_key
from ..types import EVERYONE

# Values over which the index of all sessions is spread.
BUCKETS = 16


def _of_session(session: str, kind: str, name: str = "") -> str:
    return cache_key(conf.get().key_prefix, session, kind, name)


def record_key(key: StoreKey) -> str:
    """Key of a participant's record, or with `"*"` of the session's."""
    session, id = key
    if id == SESSION:
        return _of_session(session, "s")
    return _of_session(session, "p", id)


def record_keys(session: str, ids: Iterable[str]) -> dict[StoreKey, str]:
    """Keys of the records of a session's participants, whose ids are known to be ids.

    Of the index, for example: checking each again would take twice as long. `"*"` is
    the session's own.
    """
    prefix, own = _of_session(session, "p"), _of_session(session, "s")
    return {
        StoreKey._make((session, id)): own if id == SESSION else prefix + id
        for id in ids
    }


def session_key(session: str) -> str:
    """Key of a session's own record."""
    return _of_session(session, "s")


def members_key(session: str) -> str:
    """Key of the ids of a session's participants."""
    return _of_session(session, "m")


def tombstone_key(session: str) -> str:
    """Key of the time at which a session was ended."""
    return _of_session(session, "t")


def revocations_key(session: str) -> str:
    """Key of the times of a session's revocations."""
    return _of_session(session, "r")


def kicks_key(session: str) -> str:
    """Key of the people whom a session keeps out."""
    return _of_session(session, "x")


def leases_keys(keys: Iterable[StoreKey]) -> dict[StoreKey, str]:
    """Keys of the leases of participants."""
    prefix = conf.get().key_prefix
    return {key: cache_key(prefix, key.session, "c", key.participant) for key in keys}


def leases_key(key: StoreKey) -> str:
    """Key of the leases of a participant."""
    return _of_session(key.session, "c", key.participant)


def attendance_key(session: str) -> str:
    """Key of the ids of a session's connected participants."""
    return _of_session(session, "a")


def notes_key(session: str) -> str:
    """Key of a session's events and activity."""
    return _of_session(session, "n")


def followers_key(session: str, record: str) -> str:
    """Key of the processes that follow a record, or `EVERYONE`."""
    return _of_session(session, "f", record)


def quarantine_key(key: StoreKey, digest: str) -> str:
    """Key of undecodable data with this digest."""
    return _of_session(key.session, "q", f"{key.participant}:{digest}")


def value_key(name: str) -> str:
    """Key of a small value that all processes share."""
    return shared_key(conf.get().key_prefix, "v", name)


def bucket_key(session: str) -> str:
    """Key of the part of the index of all sessions that holds this one."""
    bucket = crc32(session.encode()) % BUCKETS
    return shared_key(conf.get().key_prefix, "reg", str(bucket))


def bucket_keys() -> list[str]:
    """Keys of all parts of the index of all sessions."""
    prefix = conf.get().key_prefix
    return [shared_key(prefix, "reg", str(bucket)) for bucket in range(BUCKETS)]


def followed_keys(key: StoreKey) -> tuple[str, ...]:
    """Keys of the processes that follow a record: by its id, and by `EVERYONE`."""
    return _followed_keys(conf.get().key_prefix, key)


# Every commit needs these; making them anew would take 0.9 µs of it.
@lru_cache(maxsize=1024)
def _followed_keys(prefix: str, key: StoreKey) -> tuple[str, ...]:
    session, id = key
    own = cache_key(prefix, session, "f", id)
    if id == SESSION:
        return (own,)
    return own, cache_key(prefix, session, "f", EVERYONE)
