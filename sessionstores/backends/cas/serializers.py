"""How a compare-and-set backend writes records, connections and indexes as bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from ...exceptions import StateCorrupt
from ...keys import StoreKey
from ...state.revisions import History, Rev
from ..types import Attempt, ClientEntry, Lease, Record, merged

_CODE = re.compile(rb"[A-Z0-9]{6}")
_ID = re.compile(rb"[a-zA-Z0-9_-]{1,64}")


class SessionDetails(msgspec.Struct, array_like=True):
    """What only a session's record holds."""

    label: str = ""
    keep: float = 0.0
    locked: bool = False


class StoredHead(msgspec.Struct, array_like=True):
    """The front of a stored record: all but its states, which decoding it skips."""

    incarnation: str
    counter: int
    ring: bytes
    created: float
    seen: float
    size: int
    about: SessionDetails | None

    @property
    def rev(self) -> Rev:
        """The newest rev; the ring's end holds its tail."""
        return Rev(self.incarnation, self.counter, self.ring[-4:].hex())


class StoredRecord(StoredHead, array_like=True):
    """A record as it is written, in one value."""

    states: dict[str, bytes]
    clients: dict[str, ClientEntry]


class Held(msgspec.Struct, frozen=True):
    """`Record.token` here: the primitive's own, and what a `Record` does not show."""

    token: Any
    about: SessionDetails | None


class LeaseEntry(NamedTuple):
    """A lease as it is written, in one value with its participant's others."""

    id: str
    process: str
    client: str
    deadline: float
    follows: tuple[str, ...]
    meta: bytes
    since: float
    leaving: bool

    @classmethod
    def of(cls, lease: Lease, since: float, deadline: float) -> LeaseEntry:
        """Return a lease as it is written."""
        return cls(
            lease.connection,
            lease.process,
            lease.client,
            deadline,
            tuple(sorted(lease.follows)),
            lease.meta,
            since,
            leaving=False,
        )

    def lease(self, key: StoreKey) -> Lease:
        """Return it as the contract shows it."""
        return Lease(
            self.id,
            key,
            self.process,
            self.client,
            frozenset(self.follows),
            self.meta,
            self.since,
            self.leaving,
        )


H = TypeVar("H", bound=StoredHead)

encode = msgspec.msgpack.Encoder().encode
_head = msgspec.msgpack.Decoder(StoredHead).decode
_stored = msgspec.msgpack.Decoder(StoredRecord).decode
_connections = msgspec.msgpack.Decoder(list[LeaseEntry]).decode
_time = msgspec.msgpack.Decoder(float).decode
_times = msgspec.msgpack.Decoder(dict[str, float]).decode


def decode_head(key: StoreKey, value: bytes) -> StoredHead:
    """Return the front of the record at `key`; raise `StateCorrupt` if it is none."""
    try:
        return _sound(_head(value))
    except (msgspec.MsgspecError, ValueError) as error:
        raise _corrupt(key, error) from error


def decode(key: StoreKey, value: bytes) -> StoredRecord:
    """Return the record at `key`; raise `StateCorrupt` if it is none."""
    try:
        return _sound(_stored(value))
    except (msgspec.MsgspecError, ValueError) as error:
        raise _corrupt(key, error) from error


def _sound(head: H) -> H:
    ring = len(head.ring)
    if ring < 4 or ring % 4 or len(head.incarnation) != 4 or head.counter < 1:
        raise ValueError("it has no rev")
    return head


def _corrupt(key: StoreKey, reason: object) -> StateCorrupt:
    return StateCorrupt(
        f"What the cache holds at {key} is not a record: {reason}. Take a snapshot of "
        "one of its states: that sets it aside and starts afresh."
    )


def fresh(
    rev: Rev, states: Mapping[str, bytes], now: float, about: SessionDetails | None
) -> StoredRecord:
    """Return a record as it is at its creation."""
    return StoredRecord(
        rev.incarnation,
        rev.counter,
        bytes.fromhex(rev.tail),
        now,
        now,
        sum(map(len, states.values())),
        about,
        dict(states),
        {},
    )


def record_of(
    key: StoreKey, stored: StoredRecord, token: Any, history: History | None = None
) -> Record:
    """Return a stored record as the contract shows it."""
    return Record(
        key,
        history or History(stored.rev, stored.ring),
        stored.states,
        stored.clients,
        stored.created,
        stored.seen,
        Held(token, stored.about),
    )


def successor(
    base: Record,
    history: History,
    changes: Mapping[str, bytes | None],
    attempt: Attempt | None,
    now: float,
) -> StoredRecord:
    """Return the record that a commit of `changes` at `now` makes of `base`."""
    rev, ring = history
    states = dict(base.states)
    for name, data in changes.items():
        if data is None:
            states.pop(name, None)
        else:
            states[name] = data
    return StoredRecord(
        rev.incarnation,
        rev.counter,
        ring,
        base.created,
        base.seen,
        sum(map(len, states.values())),
        base.token.about,
        states,
        merged(base.clients, attempt, now),
    )


def decode_connections(value: bytes) -> list[LeaseEntry]:
    """Return the connections, run out or not; none if there is no telling.

    Leases are renewed in seconds, so what cannot be decoded heals by itself.
    """
    try:
        return _connections(value)
    except msgspec.MsgspecError:
        return []


def decode_time(value: bytes) -> float:
    """Return a time; one long ago if there is no telling."""
    try:
        return _time(value)
    except msgspec.MsgspecError:
        return 0.0


def decode_followers(value: bytes, now: float) -> dict[str, float]:
    """Return the deadlines by process that have not run out; see above."""
    try:
        times = _times(value)
    except msgspec.MsgspecError:
        return {}
    return {process: time for process, time in times.items() if time > now}


def decode_revocations(session: str, value: bytes) -> dict[str, float]:
    """Return the times by participant; raise `StateCorrupt` rather than forget any."""
    if not value:
        return {}
    try:
        return _times(value)
    except msgspec.MsgspecError as error:
        raise StateCorrupt(
            f"The revocations of session {session} cannot be read: {error}. End the "
            "session, which voids all its tokens."
        ) from error


# An index is lines of ASCII in one value: asking it, counting it and adding to it are
# single operations on bytes, whatever its length.


def count_lines(index: bytes) -> int:
    """Return how many names an index holds."""
    return index.count(b"\n")


def has_line(index: bytes, name: str) -> bool:
    """Tell whether an index holds `name`."""
    line = name.encode() + b"\n"
    return index.startswith(line) or b"\n" + line in index


def with_line(index: bytes, name: str) -> bytes:
    """Return the index with `name` in it."""
    if has_line(index, name):
        return index
    # What is cut off at the end must not run together with the new line.
    whole = index[: index.rfind(b"\n") + 1]
    return whole + name.encode() + b"\n"


def without_lines(index: bytes, names: Iterable[str]) -> bytes:
    """Return the index without `names`."""
    gone = {name.encode() for name in names}
    kept = [line for line in index.splitlines() if line not in gone]
    return b"".join(line + b"\n" for line in kept)


def codes_in(index: bytes) -> list[str]:
    """Return the session codes in an index; what can be none is left out."""
    return [line.decode() for line in index.splitlines() if _CODE.fullmatch(line)]


def ids_in(index: bytes) -> list[str]:
    """Return the participant ids in an index; what can be none is left out."""
    return [line.decode() for line in index.splitlines() if _ID.fullmatch(line)]
