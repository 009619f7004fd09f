"""Value types of the backends' contract."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from ..keys import StoreKey
from ..state.revisions import History, Rev

# Seconds for which a client's ids are remembered after its last action. Clients give up
# on an unanswered action after half of it.
CLIENT_MEMORY = 600.0

# Seconds for which undecodable data is kept under its quarantine key.
QUARANTINE = 86_400.0
# What the log says of it: whose it was, and its key.
SET_ASIDE = (
    "Undecodable data at %s is kept for a day as %s: give that key to "
    "stores.quarantined()."
)

# In `Lease.follows`: every participant's record of the session, future ones too.
EVERYONE = "+"

# The latest events that a session keeps, and the minutes for which it counts changes.
MAX_EVENTS = 100
ACTIVITY_MINUTES = 30
# People whom a session keeps out at most: as one value, their ids fit every cache.
MAX_KICKED = 1_000
# Participants of whom one round trip reads a state.
STATES_BATCH = 500
# Round trips of which the shortest counts as a server's distance: the others show how
# busy this process is, or had to open a connection.
MEASURED_TRIPS = 5
# Largest `Lease.meta`, in bytes.
MAX_META_BYTES = 1_024


# A key of `ClientEntry.rejected`. No action has this id, so releases that know nothing
# of runs never look it up.
RUNS = 0

# The place of a profile among the client entries of a record. No client has this id.
PROFILE = "*"
# In the entry of a profile, beside `RUNS`: the name that tabs showed last.
SHOWN_NAME = 1


class ClientEntry(NamedTuple):
    """A client's latest ids in a record, so that no action takes effect twice.

    `last` is the highest id that a commit of this record carried. `rejected` maps ids
    below it that were refused to their codes, and `RUNS` to what else is known of the
    ids below; see `client_entries`.
    """

    last: int
    rejected: Mapping[int, str]
    at: int | float

    @property
    def refused(self) -> dict[int, str]:
        """The codes of the ids that were refused, as far as they are kept."""
        return {id: code for id, code in self.rejected.items() if id}


class Quarantined(NamedTuple):
    """Data that could not be decoded: of a state, or of a whole record (None).

    Of a state, `data` is `<version>:<JSON>`; of a record, what its key held.
    """

    state: str | None
    data: bytes

    @classmethod
    def unpack(cls, value: bytes) -> Quarantined:
        """Return what was packed as an array, or else is a record's own bytes."""
        try:
            return cls(*msgspec.msgpack.decode(value, type=tuple[str | None, bytes]))
        except (ValueError, RecursionError):
            return cls(None, value)


class Attempt(NamedTuple):
    """A client's action: client and id, and what is known of the ids before it.

    Since they were answered, no commit may have carried them: `rejected` are the codes
    of those refused, `unchanged` those that ran and changed nothing. Of ids up to
    `floor`, the client has its answer, or they are forgotten. `resent`: it was sent
    before, so that it may have run.
    """

    client: str
    id: int
    rejected: Mapping[int, str]
    unchanged: Collection[int] = ()
    floor: int = 0
    resent: bool = False


class Profile(NamedTuple):
    """Who a participant is: name, role, and of a user the pk as text.

    What is None is not known: nobody has said so, or the cache has lost it. The role ""
    was withdrawn.
    """

    name: str | None = None
    role: str | None = None
    user: str | None = None


UNKNOWN = Profile()

# How a profile is changed; see `Standings.set_profile`.
ProfileRule = Literal["set", "join", "fill"]


class Record(msgspec.Struct, frozen=True, eq=False):
    """The record at `key`. `states` maps names to stored forms (see `state.codec`).

    `token` is the backend's own: it is compared at the next commit. `profile` changes
    without a new rev: in a record that was recalled it may be outdated.
    """

    key: StoreKey
    history: History
    states: Mapping[str, bytes]
    clients: Mapping[str, ClientEntry]
    created: float
    seen: float
    token: Any = None
    profile: Profile = UNKNOWN

    @property
    def rev(self) -> Rev:
        """The record's newest rev."""
        return self.history.rev

    @property
    def bytes(self) -> int:
        """Size of the stored states."""
        return sum(map(len, self.states.values()))


class StateAtRev(NamedTuple):
    """One state of a record, in its stored form, and the record's newest rev."""

    data: bytes
    rev: Rev


class Unchanged(NamedTuple):
    """Answer of `read` when the record still has the rev that the caller knows.

    `token` is the newest: put into the known record (`msgspec.structs.replace`), it
    serves the next commit.
    """

    rev: Rev
    token: Any = None


class Opened(NamedTuple):
    """Answer of `open`: the record, and whether this call created it.

    `lost`: the index named a record that was missing (expired, evicted or flushed), and
    this one is new; one of several callers gets it. Never for a session's own.
    """

    record: Record
    created: bool
    lost: bool = False


class Committed(NamedTuple):
    """Answer of `commit`: the record as it is now, and the processes that follow it."""

    record: Record
    followers: frozenset[str]


class Stale(NamedTuple):
    """Answer of `commit` when another came first: the newer record, None if absent."""

    record: Record | None


class Removed(NamedTuple):
    """A record that a call removed, with its final states; None if it was missing.

    `size` is the bytes of the states, also where the caller did not ask for these.
    """

    key: StoreKey
    states: Mapping[str, bytes] | None
    followers: frozenset[str]
    size: int = 0


def removed_with(
    key: StoreKey,
    states: Mapping[str, bytes],
    followers: frozenset[str] = frozenset(),
) -> Removed:
    """Return a removed record with its final states."""
    return Removed(key, states, followers, sum(map(len, states.values())))


class Lease(NamedTuple):
    """A connection: its participant, its process, and the records that it follows.

    `key` is the participant's; `client` the id under which the tab numbers its
    actions; `follows` holds participant ids of the same session, `keys.SESSION` for
    the session's record, or `EVERYONE`. `meta` is a JSON object that the tab shows to
    others, of at most `MAX_META_BYTES`, or b"". `since` is when it was first leased;
    `leaving`: closed without a goodbye, within its grace. `deadline` is when it expires
    unless it is renewed. The backend fills in these, and ignores them on writing.
    `acted`, for writing only: through it the participant has changed something beside
    their own record; see `Backend.touch`.
    """

    connection: str
    key: StoreKey
    process: str
    client: str
    follows: frozenset[str]
    meta: bytes = b""
    since: float = 0.0
    leaving: bool = False
    acted: bool = False
    deadline: float = 0.0


class Standing(NamedTuple):
    """Whether the session has ended, and when tokens were last revoked.

    `kicked`: whether the session keeps the participant out.
    `profile` is what the record says of the participant, if the caller asked for it.
    """

    ended: bool
    revoked_at: float | None
    kicked: bool = False
    profile: Profile = UNKNOWN


class SessionInfo(NamedTuple):
    """A session's record, without its states. `keep` is in seconds from `created`.

    `keep_participants`: whether it keeps its participants as long.
    """

    code: str
    label: str
    created: float
    keep: float
    locked: bool
    seen: float
    bytes: int
    events: tuple[Mapping[str, Any], ...]
    keep_participants: bool = True


class ParticipantInfo(NamedTuple):
    """A participant's record, without its states.

    `connections` leaves out those that are leaving. `kept_until`: when their session
    stops keeping them, 0 if it does not: they have no name and changed nothing yet.
    `shown_name`: what `Standings.remember_name` was told last, "" if nothing.
    """

    id: str
    rev: Rev
    created: float
    seen: float
    bytes: int
    connections: int
    kept_until: float = 0.0
    profile: Profile = UNKNOWN
    shown_name: str = ""


class SessionSummary(NamedTuple):
    """A session's row in an overview of all; computed without decoding a state.

    `seen` is the latest use of anything in the session, `bytes` the size of all its
    stored states, its own and its participants'. `participants` counts the entries in
    the index; `lost` those without a record, and the session's own record if that is
    missing. Of a session whose record is missing or corrupt, `created`, `keep` and
    `label` are empty. `online` counts participants with a connection; leaving ones
    count neither there nor in `connections`. `oldest` is the earliest last use among
    participants who are neither connected nor kept; if there are none, `seen`, or the
    time of the summary if some are kept. `largest` is the id and
    the bytes of the largest record ("*": the session's own). `activity` holds the
    number of changes in each of the last `ACTIVITY_MINUTES`, the oldest first and the
    current, unfinished one last.
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
    """Figures of a cache server; None where one is unknown or unlimited.

    `name` is product and version ("Valkey 9.1.2"); `used` and `limit` are in bytes;
    `evicted` counts entries evicted to free memory since it started; `policy` is how
    it chooses them. Of several servers, the figures are sums.
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
    """A finding about a live server.

    `level` is "ok", "warning" (works for now) or "error" (loses data or does not work);
    `hint` says what to do, "" if nothing.
    """

    level: Literal["ok", "warning", "error"]
    text: str
    hint: str = ""


NOBODY: frozenset[str] = frozenset()
