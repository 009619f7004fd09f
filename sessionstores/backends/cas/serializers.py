"""Serializers of records, leases, followers, revocations and indexes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from ...exceptions import StateCorrupt
from ...keys import StoreKey
from ...state.revisions import History, Rev
from ..client_entries import merged
from ..profiles import profile_in
from ..types import Attempt, ClientEntry, Lease, Record
from .key_value import Versioned

_CODE = re.compile(rb"[A-Z0-9]{6}")
_ID = re.compile(rb"[a-zA-Z0-9_-]{1,64}")


class Details(msgspec.Struct, array_like=True):
    """The part of a record that is neither states nor clients.

    `keep` is in seconds from the record's creation: how long the session is kept, or
    the participant with it. `pristine` is a participant's, None in a session's: the
    latest counter up to which nobody has changed anything. The rest is a session's.
    """

    label: str = ""
    keep: float = 0.0
    locked: bool = False
    keep_participants: bool = True
    pristine: int | None = None


class StoredHead(msgspec.Struct, array_like=True):
    """The head of a stored record; decoding it skips states and clients."""

    incarnation: str
    counter: int
    ring: bytes
    created: float
    seen: float
    size: int
    about: Details | None

    @property
    def rev(self) -> Rev:
        """The newest rev; its random bits are the end of the ring."""
        return Rev(self.incarnation, self.counter, self.ring[-4:].hex())


class StoredRecord(StoredHead, array_like=True):
    """A record as stored, in one value."""

    states: dict[str, bytes]
    clients: dict[str, ClientEntry]
    # When a use last renewed the session and the index; `seen` if an older process
    # wrote the record. Each commit writes `seen`.
    renewed: float | None = None


class RecordToken(msgspec.Struct, frozen=True):
    """`Record.token`: the store's token, and the part that a `Record` does not show."""

    token: Any
    about: Details | None
    renewed: float


class LeaseEntry(NamedTuple):
    """A lease as stored, in one value with the others of its participant."""

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
        """Return the stored form of a lease."""
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
        """Return the lease of the participant at `key`."""
        return Lease(
            self.id,
            key,
            self.process,
            self.client,
            frozenset(self.follows),
            self.meta,
            self.since,
            self.leaving,
            deadline=self.deadline,
        )


H = TypeVar("H", bound=StoredHead)

encode = msgspec.msgpack.Encoder().encode
_head = msgspec.msgpack.Decoder(StoredHead).decode
_stored = msgspec.msgpack.Decoder(StoredRecord).decode
_connections = msgspec.msgpack.Decoder(list[LeaseEntry]).decode
_time = msgspec.msgpack.Decoder(float).decode
_times = msgspec.msgpack.Decoder(dict[str, float]).decode


def decode_head(key: StoreKey, value: bytes) -> StoredHead:
    """Return the head of the record at `key`; raise `StateCorrupt` if it is not one."""
    try:
        return checked(_head(value))
    except (msgspec.MsgspecError, ValueError) as error:
        raise corrupt(key, error) from error


def decode_rev(value: bytes) -> Rev | None:
    """Return the rev of a record; None if it is not one."""
    try:
        return checked(_head(value)).rev
    except (msgspec.MsgspecError, ValueError):
        return None


def decode(key: StoreKey, value: bytes) -> StoredRecord:
    """Return the record at `key`; raise `StateCorrupt` if it is not one."""
    try:
        return checked(_stored(value))
    except (msgspec.MsgspecError, ValueError) as error:
        raise corrupt(key, error) from error


def checked(head: H) -> H:
    """Return a decoded head; raise ValueError if it has no rev."""
    ring = len(head.ring)
    if ring < 4 or ring % 4 or len(head.incarnation) != 4 or head.counter < 1:
        raise ValueError("it has no rev")
    return head


def corrupt(key: StoreKey, reason: object) -> StateCorrupt:
    """Return the error for a value at `key` that is not a record."""
    return StateCorrupt(
        f"What the cache holds at {key} is not a record: {reason}. Take a snapshot of "
        "one of its states: that sets it aside and starts afresh."
    )


def fresh(
    rev: Rev, states: Mapping[str, bytes], now: float, about: Details | None
) -> StoredRecord:
    """Return the stored form of a new record, created at `now`."""
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
        now,
    )


def record_of(
    key: StoreKey, stored: StoredRecord, token: Any, history: History | None = None
) -> Record:
    """Return the record of a stored form; `history` spares taking it apart."""
    return Record(
        key,
        history or History(stored.rev, stored.ring),
        stored.states,
        stored.clients,
        stored.created,
        stored.seen,
        RecordToken(token, stored.about, renewed_at(stored)),
        profile_in(stored.clients),
    )


class RecordDecoder:
    """Makes records of stored ones; a subclass may keep some of them decoded."""

    def decode(self, key: StoreKey, found: Versioned) -> Record:
        """Return the record in a stored value; raise `StateCorrupt`."""
        return self.decoded(key, decode(key, found.value), found.token)

    def decoded(
        self,
        key: StoreKey,
        stored: StoredRecord,
        token: Any,
        history: History | None = None,
    ) -> Record:
        """Return the record of a stored form; see `record_of`."""
        return record_of(key, stored, token, history)

    def clear(self) -> None:
        """Forget the records that are kept."""


def renewed_at(stored: StoredRecord) -> float:
    """Return when a use of the record last renewed its session and the index."""
    return stored.seen if stored.renewed is None else stored.renewed


def _pristine(about: Details | None) -> int:
    """Return the counter up to which a participant has changed nothing."""
    # Of a record that says nothing, each commit counts as a change.
    return 1 if about is None or about.pristine is None else about.pristine


def has_changed(head: StoredHead) -> bool:
    """Return whether a participant has ever changed something."""
    return head.counter > _pristine(head.about)


def kept_until(head: StoredHead) -> float:
    """Return until when a participant is kept by their own record; 0: they are not."""
    about = head.about
    if about is None or about.keep <= 0 or not has_changed(head):
        return 0.0
    return head.created + about.keep


def participant_details(
    about: Details | None, *, keep: float | None = None, pristine: int | None = None
) -> Details | None:
    """Return a participant's details with what is given; None if they say nothing."""
    if keep is None:
        keep = about.keep if about else 0.0
    if pristine is None:
        pristine = _pristine(about)
    if keep <= 0 and pristine == 1:
        return None
    return Details(keep=max(keep, 0.0), pristine=pristine)


def _details_after(base: Record, rev: Rev, *, is_change: bool) -> Details | None:
    """Return the details of a record after a commit of `rev` to `base`."""
    about: Details | None = base.token.about
    pristine = _pristine(about)
    if base.key.is_session or (is_change and rev.counter > pristine):
        return about
    has_changed = is_change or base.rev.counter > pristine
    return participant_details(about, pristine=0 if has_changed else rev.counter)


def successor(
    base: Record,
    history: History,
    changes: Mapping[str, bytes | None],
    attempts: Sequence[Attempt],
    now: float,
    *,
    is_change: bool = True,
) -> StoredRecord:
    """Return what a commit of `changes` to `base` at `now` stores."""
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
        now,
        sum(map(len, states.values())),
        _details_after(base, rev, is_change=is_change),
        states,
        merged(base.clients, attempts, now),
        base.token.renewed,
    )


def decode_connections(value: bytes) -> list[LeaseEntry]:
    """Return the connections, expired ones too; none if the value is corrupt.

    Leases are renewed every few seconds, so a corrupt value heals by itself.
    """
    try:
        return _connections(value)
    except msgspec.MsgspecError:
        return []


def decode_time(value: bytes) -> float:
    """Return a time; 0, long ago, if the value is corrupt."""
    try:
        return _time(value)
    except msgspec.MsgspecError:
        return 0.0


def decode_followers(value: bytes, now: float) -> dict[str, float]:
    """Return the deadlines, by process, that have not passed; none if corrupt."""
    try:
        times = _times(value)
    except msgspec.MsgspecError:
        return {}
    return {process: time for process, time in times.items() if time > now}


def decode_revocations(session: str, value: bytes) -> dict[str, float]:
    """Return the times by participant; raise `StateCorrupt` rather than lose any."""
    if not value:
        return {}
    try:
        return _times(value)
    except msgspec.MsgspecError as error:
        raise StateCorrupt(
            f"The revocations of session {session} cannot be read: {error}. End the "
            "session, which voids all its tokens."
        ) from error


def decode_kicks(session: str, value: bytes) -> dict[str, float]:
    """Return when each was kicked, by id; raise `StateCorrupt` rather than lose any."""
    if not value:
        return {}
    try:
        return _times(value)
    except msgspec.MsgspecError as error:
        raise StateCorrupt(
            f"Whom session {session} keeps out cannot be read: {error}. End the "
            "session, and start a new one."
        ) from error


# An index is lines of ASCII in one value: a look-up, a count and an addition are each
# one operation on bytes, whatever its length.


def count_lines(index: bytes) -> int:
    """Return the number of names in an index."""
    return index.count(b"\n")


def has_line(index: bytes, name: str) -> bool:
    """Return whether an index holds `name`."""
    line = name.encode() + b"\n"
    return index.startswith(line) or b"\n" + line in index


def with_line(index: bytes, name: str) -> bytes:
    """Return the index with `name` in it."""
    if has_line(index, name):
        return index
    # A last line that was cut off must not merge with the new one.
    whole = index[: index.rfind(b"\n") + 1]
    return whole + name.encode() + b"\n"


def without_lines(index: bytes, names: Iterable[str]) -> bytes:
    """Return the index without `names`."""
    removed = {name.encode() for name in names}
    kept = [line for line in index.splitlines() if line not in removed]
    return b"".join(line + b"\n" for line in kept)


def codes_in(index: bytes) -> list[str]:
    """Return the session codes in an index; malformed lines are left out."""
    return [line.decode() for line in index.splitlines() if _CODE.fullmatch(line)]


def ids_in(index: bytes) -> list[str]:
    """Return the participant ids in an index; malformed lines are left out."""
    return [line.decode() for line in index.splitlines() if _ID.fullmatch(line)]
