"""The values that go into a backend and come out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from ..keys import StoreKey
from ..revs import History, Rev

# Ids of a client are remembered this long after its last action; clients themselves
# give up on an unanswered action after half of it.
CLIENT_MEMORY = 600.0

# A lease that follows every participant's record of its session, future ones too.
EVERYONE = "+"


class ClientEntry(NamedTuple):
    """What a record remembers of a client, so that no action takes effect twice.

    `last` is the highest id that a commit of this record carried; `rejected` maps the
    ids refused between that commit and the one before to their codes.
    """

    last: int
    rejected: Mapping[int, str]
    at: float


class Attempt(NamedTuple):
    """An action as a client sent it: who, which id, and what was refused before it."""

    client: str
    id: int
    rejected: Mapping[int, str]


class Record(msgspec.Struct, frozen=True, eq=False):
    """What is kept at `key`. `states` maps names to stored forms (see codec).

    `token` is the backend's own: what it compares at the next commit.
    """

    key: StoreKey
    history: History
    states: Mapping[str, bytes]
    clients: Mapping[str, ClientEntry]
    created: float
    seen: float
    token: Any = None

    @property
    def rev(self) -> Rev:
        """The record's newest rev."""
        return self.history.rev

    @property
    def bytes(self) -> int:
        """Size of the stored states."""
        return sum(map(len, self.states.values()))


class Unchanged(NamedTuple):
    """Answer of `read` when the record still has the rev that the caller knows.

    `token` is the newest: a commit on the known record with this token put into it
    (`msgspec.structs.replace`) needs no second look.
    """

    rev: Rev
    token: Any = None


class Opened(NamedTuple):
    """Answer of `open`: the record, and whether this call created it."""

    record: Record
    created: bool


class Committed(NamedTuple):
    """Answer of `commit`: the record as it is now, and who follows it."""

    record: Record
    followers: frozenset[str]


class Stale(NamedTuple):
    """Answer of `commit` when another came first: the newer record, None if gone."""

    record: Record | None


class Removed(NamedTuple):
    """A record that a call removed, with its final states; None if they were lost."""

    key: StoreKey
    states: Mapping[str, bytes] | None
    followers: frozenset[str]


class Lease(NamedTuple):
    """A connection: its participant, its process, and the records that it follows.

    `key` is the participant's; `client` the id under which the tab numbers its
    actions; `follows` holds participant ids of the same session, `keys.SESSION` for
    the session's record, or `EVERYONE`.
    """

    connection: str
    key: StoreKey
    process: str
    client: str
    follows: frozenset[str]


class Standing(NamedTuple):
    """What decides whether a token still counts."""

    ended: bool
    revoked_at: float | None


class SessionInfo(NamedTuple):
    """A session's record, without its states. `keep` is in seconds from `created`."""

    code: str
    label: str
    created: float
    keep: float
    locked: bool
    seen: float
    bytes: int
    events: tuple[Mapping[str, Any], ...]


class ParticipantInfo(NamedTuple):
    """A participant's record, without its states."""

    id: str
    rev: Rev
    created: float
    seen: float
    bytes: int
    connections: int


class BackendStats(NamedTuple):
    """Totals over all sessions; `bytes` counts stored states only."""

    sessions: int
    participants: int
    connections: int
    bytes: int


class Value(NamedTuple):
    """A small shared value and the token to compare it by; `data` None: absent."""

    data: bytes | None
    token: Any


class Finding(NamedTuple):
    """One thing that was found about a live server.

    `level` is "ok", "warning" (works, until something happens) or "error" (loses data
    or does not work); `hint` says what to do, "" where all is well.
    """

    level: Literal["ok", "warning", "error"]
    text: str
    hint: str = ""
