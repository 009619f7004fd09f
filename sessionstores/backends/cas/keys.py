"""Cache keys of the compare-and-set backends: one letter for each kind of value."""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

from ... import conf
from ...keys import SESSION, StoreKey, cache_key, shared_key
from ..types import EVERYONE

# The index of all sessions is spread over so many values.
BUCKETS = 16


def _of_session(session: str, kind: str, name: str = "") -> str:
    return cache_key(conf.get().key_prefix, session, kind, name)


def record_key(key: StoreKey) -> str:
    """Return where a participant's record is, or with `"*"` the session's."""
    session, id = key
    if id == SESSION:
        return _of_session(session, "s")
    return _of_session(session, "p", id)


def session_key(session: str) -> str:
    """Return where a session's own record is."""
    return _of_session(session, "s")


def members_key(session: str) -> str:
    """Return where the ids of a session's participants are."""
    return _of_session(session, "m")


def tombstone_key(session: str) -> str:
    """Return where it is kept that, and when, a session was ended."""
    return _of_session(session, "t")


def revocations_key(session: str) -> str:
    """Return where the times of a session's revocations are."""
    return _of_session(session, "r")


def leases_key(key: StoreKey) -> str:
    """Return where the leases of a participant's connections are."""
    return _of_session(key.session, "c", key.participant)


def attendance_key(session: str) -> str:
    """Return where the ids of a session's connected participants are."""
    return _of_session(session, "a")


def notes_key(session: str) -> str:
    """Return where a session's events and its activity are."""
    return _of_session(session, "n")


def followers_key(session: str, record: str) -> str:
    """Return where the processes are that follow a record, or `EVERYONE`'s."""
    return _of_session(session, "f", record)


def quarantine_key(key: StoreKey, digest: str) -> str:
    """Return where undecodable data of this digest is kept."""
    return _of_session(key.session, "q", f"{key.participant}:{digest}")


def value_key(name: str) -> str:
    """Return where a small value is that all processes share."""
    return shared_key(conf.get().key_prefix, "v", name)


def bucket_key(session: str) -> str:
    """Return which part of the index of all sessions holds this one."""
    bucket = crc32(session.encode()) % BUCKETS
    return shared_key(conf.get().key_prefix, "reg", str(bucket))


def bucket_keys() -> list[str]:
    """Return where all parts of the index of all sessions are."""
    prefix = conf.get().key_prefix
    return [shared_key(prefix, "reg", str(bucket)) for bucket in range(BUCKETS)]


def followed_keys(key: StoreKey) -> tuple[str, ...]:
    """Return the keys whose processes follow the record."""
    return _followed_keys(conf.get().key_prefix, key)


# Every commit needs these; making them anew would take 0.9 µs of it.
@lru_cache(maxsize=1024)
def _followed_keys(prefix: str, key: StoreKey) -> tuple[str, ...]:
    session, id = key
    names = (id,) if id == SESSION else (id, EVERYONE)
    return tuple(cache_key(prefix, session, "f", name) for name in names)
