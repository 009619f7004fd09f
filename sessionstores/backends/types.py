"""The values that go into a backend and come out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from ..keys import StoreKey
from ..state.revisions import History, Rev

# Ids of a client are remembered this long after its last action; clients themselves
# give up on an unanswered action after half of it.
CLIENT_MEMORY = 600.0

# What cannot be decoded is kept so long where it was set aside.
QUARANTINE = 86_400.0

# A lease that follows every participant's record of its session, future ones too.
EVERYONE = "+"

# A session keeps this many of its latest events, and counts its changes for so long.
MAX_EVENTS = 100
ACTIVITY_MINUTES = 30
# The distance of a server is the shortest of so many round trips: the others show how
# busy this process is, or had to open a connection.
MEASURED_TRIPS = 5
# What a connection may tell others of itself takes no more than this.
MAX_META_BYTES = 1_024


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
    """Answer of `open`: the record, and whether this call created it.

    `lost`: this call found that the index still named one whose data were gone
    (expired, evicted or flushed), which of several at once one is told; the record is
    a new one. Never so for a session's own.
    """

    record: Record
    created: bool
    lost: bool = False


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
    the session's record, or `EVERYONE`. `meta` is a JSON object that the tab shows to
    others, of at most `MAX_META_BYTES`; b"": none. `since` is when it was first
    leased; the backend fills it in, and ignores it on writing, as it does `leaving`:
    closed without a goodbye, and given a while to come back.
    """

    connection: str
    key: StoreKey
    process: str
    client: str
    follows: frozenset[str]
    meta: bytes = b""
    since: float = 0.0
    leaving: bool = False


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
    """A participant's record, without its states.

    `connections` leaves out those that are leaving.
    """

    id: str
    rev: Rev
    created: float
    seen: float
    bytes: int
    connections: int


class SessionSummary(NamedTuple):
    """One line of an overview of all sessions; nothing in it needs a state decoded.

    `seen` is the latest use of anything in the session, `bytes` the size of all its
    stored states: its own and its participants'. `participants` is what the index
    names, `lost` those of them without a record, and the session itself if its own is
    gone. Of a session whose record is gone or corrupt, `created`, `keep` and `label`
    are empty. `online` counts participants with a connection; those that are leaving
    count neither there nor in `connections`. `oldest` is when the longest unused of
    the participants without a connection was seen; `seen` if there is none.
    `largest` is the id and the bytes of the largest record ("*": the session's own).
    `activity` holds the number of changes in each of the last `ACTIVITY_MINUTES`,
    the oldest first and the current, unfinished one last.
    """

    code: str
    label: str
    created: float
    keep: float
    locked: bool
    seen: float
    bytes: int
    participants: int
    online: int
    connections: int
    lost: int
    oldest: float
    largest: tuple[str, int]
    activity: tuple[int, ...]


class ServerInfo(NamedTuple):
    """What a cache server says of itself; None where that is unknown or unlimited.

    `name` is product and version ("Valkey 9.1.2"); `used` and `limit` are in bytes;
    `evicted` counts entries thrown out for want of memory since it started; `policy`
    is how it chooses them. Of several servers, the figures are sums.
    """

    name: str
    used: int | None
    limit: int | None
    evicted: int | None
    policy: str | None


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


NOBODY: frozenset[str] = frozenset()


def merged(
    clients: Mapping[str, ClientEntry], attempt: Attempt | None, now: float
) -> dict[str, ClientEntry]:
    """Return what a record remembers of clients after a commit at `now`."""
    since = now - CLIENT_MEMORY
    kept = {id: entry for id, entry in clients.items() if entry.at > since}
    if attempt is not None:
        known = kept.get(attempt.client)
        last = max(attempt.id, known.last) if known else attempt.id
        kept[attempt.client] = ClientEntry(last, dict(attempt.rejected), now)
    return kept
