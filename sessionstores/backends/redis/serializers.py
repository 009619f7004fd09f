"""Name keys, pack the arguments of scripts and unpack their replies."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import msgspec

from ... import conf
from ...exceptions import StateCorrupt
from ...keys import StoreKey, cache_key, shared_key
from ...state.revisions import History, Rev
from ..client_entries import Merge
from ..types import (
    ACTIVITY_MINUTES,
    NOBODY,
    UNKNOWN,
    ClientEntry,
    Lease,
    Profile,
    Record,
    Removed,
    removed_with,
)

T = TypeVar("T")

TIME = struct.Struct("<d")
_REV = struct.Struct("<4sd4s")
_HEAD = struct.Struct("<4sdddd")
_CLIENT = struct.Struct("<dd")
_ORDER = struct.Struct("<ddB")
_ACTIVITY = struct.Struct(f"<d{ACTIVITY_MINUTES}H")
# Fields of a participant's record: name, role and user.
_PROFILE = (b"n", b"o", b"w")
# The reply to a commit: the time, the record's last use, and whether to touch it.
COMMITTED = struct.Struct("<ddB")

_encode = msgspec.msgpack.Encoder().encode
_rejected = msgspec.msgpack.Decoder(dict[int, str]).decode
_details = msgspec.msgpack.Decoder(tuple[str, str, list[str], bytes]).decode


# Keys


def session_key(session: str) -> str:
    """Return the key of a session's own record; its slot is that of all its keys."""
    return cache_key(conf.get().key_prefix, session, "s")


def record_key(key: StoreKey) -> str:
    """Return the key of a participant's record, or of the session's own."""
    if key.is_session:
        return session_key(key.session)
    return cache_key(conf.get().key_prefix, key.session, "p", key.participant)


def index_key(session: str) -> str:
    """Return the key of a session's index of participants."""
    return cache_key(conf.get().key_prefix, session, "i")


def followers_key(session: str) -> str:
    """Return the key of the lists of processes that follow a session's records."""
    return cache_key(conf.get().key_prefix, session, "f")


def tombstone_key(session: str) -> str:
    """Return the key that keeps the code of an ended session closed."""
    return cache_key(conf.get().key_prefix, session, "t")


def quarantine_key(session: str, suffix: str) -> str:
    """Return the key of data that was set aside."""
    return cache_key(conf.get().key_prefix, session, "q", suffix)


def registry_key() -> str:
    """Return the key of the registry of sessions."""
    return shared_key(conf.get().key_prefix, "reg", "")


def value_key(name: str) -> str:
    """Return the key of a value that all processes share."""
    return shared_key(conf.get().key_prefix, "v", name)


def first_key(command: Sequence[Any]) -> str:
    """Return the first key of a command or of a script's call."""
    key = command[3 if command[0] in ("EVALSHA", "EVAL") else 1]
    # Any bytes may be a key.
    return key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key


# Records


class PackedHead(NamedTuple):
    """The head of a record: all but its states and clients."""

    history: History
    created: float
    seen: float
    size: int


def pack_rev(rev: Rev) -> bytes:
    """Return a rev in the form that scripts compare: 16 bytes."""
    return _REV.pack(rev.incarnation.encode(), rev.counter, bytes.fromhex(rev.tail))


def unpack_rev(packed: bytes) -> Rev:
    """Return the rev that a script replied."""
    incarnation, counter, tail = _REV.unpack(packed)
    return Rev(incarnation.decode(), int(counter), tail.hex())


def pack_commit(
    base: Record,
    rev: Rev,
    states: Mapping[str, bytes | None],
    merge: Merge,
    *,
    is_change: bool,
) -> tuple[tuple[str, str], tuple[Any, ...]]:
    """Return the keys and arguments of `commit.lua`."""
    key = base.key
    size = base.bytes
    changed: list[Any] = []
    removed = []
    for name, data in states.items():
        size -= len(base.states.get(name, b""))
        if data is None:
            removed.append(f"s:{name}")
        else:
            size += len(data)
            changed += f"s:{name}", data
    timeout = conf.get().idle_timeout
    numbers = _ORDER.pack(timeout, size, is_change)
    order = pack_rev(base.rev) + pack_rev(rev) + numbers
    clients: list[Any] = []
    for client, entry in merge.written.items():
        # The script puts the time before it.
        clients += client, _packed(entry)
    for client, entry in merge.shortened.items():
        changed += f"c:{client}", TIME.pack(entry.at) + _packed(entry)
    removed += [f"c:{client}" for client in merge.dropped]
    keys = record_key(key), followers_key(key.session)
    counts = len(clients), len(changed)
    return keys, (order, key.participant, *counts, *clients, *changed, *removed)


def _packed(entry: ClientEntry) -> bytes:
    """Return a client's entry without its time."""
    return TIME.pack(entry.last) + _encode(entry.rejected)


def pack_profile(profile: Profile) -> tuple[str, str, str]:
    """Return name, role and user as scripts are passed them."""
    name, role, user = ("" if part is None else f"={part}" for part in profile)
    return name, role, user


def unpack_profile(fields: Sequence[bytes | None]) -> Profile:
    """Return a profile from its three fields."""
    name, role, user = (
        None if field is None else field.decode(errors="replace") for field in fields
    )
    return Profile(name, role, user)


def unpack_head(packed: bytes) -> PackedHead:
    """Return the content of a record's field `h`."""
    incarnation, counter, created, seen, size = _HEAD.unpack_from(packed)
    ring = packed[_HEAD.size :]
    rev = Rev(incarnation.decode(), int(counter), ring[-4:].hex())
    return PackedHead(History(rev, ring), created, seen, int(size))


def unpack_record(key: StoreKey, fields: Sequence[bytes]) -> Record:
    """Return the record stored as a hash, given its names and values in turn.

    Entries of clients that cannot be decoded are left out. Raises `StateCorrupt`
    without a head.
    """
    states: dict[str, bytes] = {}
    clients: dict[str, ClientEntry] = {}
    head: PackedHead | None = None
    profile: dict[bytes, bytes] = {}
    for name, value in in_pairs(fields):
        if name == b"h":
            head = unpack_head(value)
        elif name.startswith(b"s:"):
            states[name[2:].decode()] = value
        elif name.startswith(b"c:"):
            # The record is worth more than the memory of one client.
            with suppress(struct.error, msgspec.DecodeError, ValueError):
                at, last = _CLIENT.unpack_from(value)
                entry = ClientEntry(int(last), _rejected(value[_CLIENT.size :]), at)
                clients[name[2:].decode()] = entry
        elif name in _PROFILE:
            profile[name] = value
    if head is None:
        raise corrupt(key)
    known = UNKNOWN
    # In a session's record, one of them is the label.
    if profile and not key.is_session:
        known = unpack_profile([profile.get(name) for name in _PROFILE])
    return Record(
        key, head.history, states, clients, head.created, head.seen, profile=known
    )


def unpack_removed(session: str, reply: Sequence[Any]) -> Removed:
    """Return a removed record, given its id, hash or None, and followers or None.

    In the place of the hash there may be the bytes of its states, without these.
    """
    id, fields, followed = reply
    # Ids are checked before they enter the index.
    key = StoreKey._make((session, id.decode()))
    followers = NOBODY
    if followed is not None:
        time, *lines = followed
        followers = unpack_followers(key, time, lines)
    if isinstance(fields, int):
        return Removed(key, {}, followers, fields)
    if fields is None:
        return Removed(key, None, followers)
    states = {
        name[2:].decode(): value
        for name, value in in_pairs(fields)
        if name.startswith(b"s:")
    }
    return removed_with(key, states, followers)


# Leases and followers


def pack_lease(lease: Lease) -> tuple[Any, ...]:
    """Return the arguments of `lease.lua` for one lease."""
    follows = sorted(lease.follows)
    details = _encode([lease.process, lease.client, follows, lease.meta])
    id, process = lease.key.participant, lease.process
    flags = int(lease.acted), len(follows)
    return id, lease.connection, details, process, *flags, *follows


def unpack_lease(
    session: str, name: bytes, details: bytes, leaving: int, deadline: bytes
) -> Lease:
    """Return a connection's lease from the parts that a script replies."""
    id, _, connection = name.decode().partition("/")
    (since,) = TIME.unpack_from(details)
    process, client, follows, meta = _details(details[TIME.size :])
    return Lease(
        connection,
        StoreKey.stored(session, id),
        process,
        client,
        frozenset(follows),
        meta,
        since,
        bool(leaving),
        deadline=float(deadline),
    )


def unpack_followers(
    key: StoreKey, time: bytes, lines: Sequence[bytes | None]
) -> frozenset[str]:
    """Return the processes that follow a record: its own lines, and everyone's.

    `time` begins with the server's time; lines past their deadline do not count.
    """
    own, everyone = lines
    if key.is_session:
        everyone = None
    if own is None and everyone is None:
        return NOBODY
    (now,) = TIME.unpack_from(time)
    entries = ((own or b"") + (everyone or b"")).decode().splitlines()
    pairs = [entry.split(" ") for entry in entries]
    return frozenset([process for deadline, process in pairs if float(deadline) > now])


# Sessions


def unpack_activity(field: bytes | None, now: float) -> tuple[int, ...]:
    """Return the number of changes in each of the last minutes, the newest last."""
    quiet = (0,) * ACTIVITY_MINUTES
    if field is None or len(field) != _ACTIVITY.size:
        return quiet
    minute, *changes = _ACTIVITY.unpack(field)
    passed = min(max(int(now // 60 - minute), 0), ACTIVITY_MINUTES)
    return (*changes, *quiet)[passed:][:ACTIVITY_MINUTES]


def by_session(keys: Iterable[StoreKey]) -> list[tuple[str, list[str]]]:
    """Return the ids of each session among `keys`."""
    sessions: dict[str, list[str]] = {}
    for session, id in keys:
        sessions.setdefault(session, []).append(id)
    return list(sessions.items())


def in_pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Return a flat reply's names with their values."""
    return zip(flat[::2], flat[1::2], strict=True)


def in_chunks(several: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """Return the sequence in parts of at most `size`."""
    return (several[at : at + size] for at in range(0, len(several), size))


def corrupt(key: StoreKey) -> StateCorrupt:
    """Return the error for a value at `key` that is not a record."""
    return StateCorrupt(
        f"The server holds at {key} a value that is not a record. Take a snapshot of "
        "one of its states: that sets it aside and starts afresh."
    )


def corrupt_revocations(session: str) -> StateCorrupt:
    """Return the error for revocations that cannot be read."""
    return StateCorrupt(
        f"The revocations of session {session} cannot be read. End the session, "
        "which voids all its tokens."
    )
