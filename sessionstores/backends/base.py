"""The contract of a backend: where records live, and which changes are one step.

Each method is one atomic step unless it says otherwise. All are coroutines, so that
the logic above is written once: a backend comes in two flavours, and the methods of
the blocking one never suspend, which lets `run` drive them from synchronous code.

Every method raises `StoreUnavailable` when the cache does not answer within about a
second, and never reports an outage as an absent record; one that reads a single record
or session raises `StateCorrupt` if what is stored is not one. Times are seconds since
the epoch by the backend's clock; sizes are bytes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ..exceptions import StateCorrupt
from ..keys import StoreKey
from ..state.revisions import Rev
from . import types
from .clock import ServerClock
from .flavours import pause, run
from .process_memory import ProcessMemory
from .standings import Standings

__all__ = ["Backend", "pause", "run"]


class Backend(Standings):
    """Where records live. The module's docstring holds for every method."""

    def __init__(self, *, blocking: bool) -> None:
        self.blocking = blocking
        # This process's estimate of `now`; both flavours from `get_backend` share one.
        self.clock = ServerClock()
        # For the layers above, shared likewise.
        self.memory = ProcessMemory()

    @property
    @abstractmethod
    def shared(self) -> bool:
        """Whether other processes see the same records."""

    @property
    @abstractmethod
    def in_memory(self) -> bool:
        """Whether calls return without waiting for anything outside this process."""

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """Return why cache `alias` is unfit, None if it is fit. Reads settings only."""
        return None

    async def pause(self, seconds: float) -> None:
        """Wait, in the way that fits this flavour; 0 lets an event loop go on."""
        await pause(seconds, blocking=self.blocking)

    @abstractmethod
    async def now(self) -> float:
        """Return the backend's time."""

    # Records

    def recall(self, key: StoreKey) -> types.Record | None:
        """Return the record as this process last saw it, without I/O, if it is kept.

        It may be outdated: for commits, which compare, or once `read` confirms it.
        """
        return None

    @abstractmethod
    async def open(
        self,
        key: StoreKey,
        states: Mapping[str, bytes],
        *,
        admitted: bool = False,
        profile: types.Profile = types.UNKNOWN,
    ) -> types.Opened:
        """Return the record at `key`, created with these if it does not exist.

        An existing record is touched. A new one creates its session if need be, and
        both are entered in the index; a creation that fails leaves nothing behind. The
        session's own record exists as long as the session.

        Raises `SessionEnded` under a tombstone, `Kicked` for whom the session keeps
        out, record or not, `SessionLocked` for a newcomer to a locked session who is
        not `admitted` all the same, and `LimitReached` past `MAX_SESSIONS` or
        `MAX_PARTICIPANTS`.
        """

    @abstractmethod
    async def read(
        self, key: StoreKey, *, known: Rev | None = None, touch: bool = True
    ) -> types.Record | types.Unchanged | None:
        """Return the record, None if it is absent, `Unchanged` at the `known` rev."""

    @abstractmethod
    async def read_states(
        self, code: str, name: str, ids: Sequence[str] | None = None
    ) -> dict[str, types.StateAtRev | StateCorrupt]:
        """Return one state of each participant who has it, sorted by id. Not one step.

        Of those in `ids` only, if they are given. Touches nothing. A corrupt record has
        its error instead. A round trip reads `STATES_BATCH` of them; without `ids`,
        some backends make one before.
        """

    @abstractmethod
    async def read_records(
        self, code: str, ids: Sequence[str]
    ) -> dict[str, types.Record | StateCorrupt]:
        """Return the records of these participants; `"*"`: the session's own.

        Touches nothing. Absent ones are left out, and a corrupt one has its error
        instead. One round trip for as many as are asked for; for many bytes, some
        backends make more.
        """

    @abstractmethod
    async def heads(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Rev | None]:
        """Return the newest rev of each record; None if it is absent or corrupt."""

    @abstractmethod
    async def commit(
        self,
        base: types.Record,
        rev: Rev,
        states: Mapping[str, bytes | None],
        attempts: Sequence[types.Attempt] = (),
        *,
        repeated: bool = False,
        is_change: bool = True,
    ) -> types.Committed | types.Stale:
        """Put `states` over those of `base` if its rev is still the newest.

        States that are not named stay; None removes one. A `rev` of another incarnation
        starts the history anew. The client entries of `attempts`, which count in their
        order, are written in the same step; entries past `CLIENT_MEMORY` are dropped,
        and what takes up more than `client_limits` allow. Touches the record, and
        writes its last use exactly. A commit never creates one: without a record the
        answer is `Stale(None)`. The caller checks sizes. No failure after it is raised.
        With `is_change` False it only fills in or migrates what was stored, for which a
        kept session keeps no participant.

        The caller draws `rev`, so that a retry after a missing reply finds its own
        commit in the ring. The backend makes one such retry, unless the reply took
        long; a caller that makes another sets `repeated`. If after a missing reply the
        ring does not reach back to `base`, or the record is of a third incarnation, the
        outcome is unknown. `StoreUnavailable` is `refused` only if the commit is
        certain not to be in, nor to come in later.
        """

    @abstractmethod
    async def touch(self, key: StoreKey, *, acted: bool = False) -> bool:
        """Mark participant and session as used now; False if the record is absent.

        The time is written only if the stored one is a tenth of `IDLE_TIMEOUT` old.
        `acted`: they changed the session's state, which counts like a commit of theirs.
        """

    @abstractmethod
    async def delete(self, key: StoreKey) -> types.Removed | None:
        """Remove one participant's record, or the states of the session's own.

        The session, its other participants and revocations stay.
        """

    @abstractmethod
    async def set_aside(
        self, key: StoreKey, name: str | None, data: bytes | None
    ) -> bool:
        """Keep undecodable data for a day, under a quarantine key.

        With a `name`, `data` is that state's stored form. Without, the corrupt record
        is moved: True for one of several callers.
        """

    @abstractmethod
    async def quarantined(self, name: str) -> types.Quarantined | None:
        """Return what `set_aside` keeps under a key, None if it is gone."""

    # Sessions

    @abstractmethod
    async def create_session(
        self, code: str, *, label: str, keep: float, keep_participants: bool = True
    ) -> bool:
        """Claim `code` for `keep` s; False if it is in use. Raises `LimitReached`.

        With `keep_participants`, it keeps who changes something as long.
        """

    @abstractmethod
    async def session(self, code: str) -> types.SessionInfo | None:
        """Return a session; None if it does not exist or has ended."""

    @abstractmethod
    async def update_session(
        self,
        code: str,
        *,
        label: str | None = None,
        keep: float | None = None,
        locked: bool | None = None,
        extend: float | None = None,
    ) -> types.SessionInfo | None:
        """Change what is given, without a new rev; None: the session does not exist.

        `extend` lengthens `keep` to end that many seconds from now at least, and never
        shortens it, whatever other callers do. Afterwards, in other steps, a new end of
        the keep is written into the records of all participants.
        """

    @abstractmethod
    async def note(
        self, code: str, events: Sequence[Mapping[str, Any]], *, changes: int = 0
    ) -> None:
        """Append events, mappings for msgpack, to the session's ring of `MAX_EVENTS`.

        Adds `changes` to the current minute's activity. Makes no rev, touches nothing,
        and does nothing without a session.
        """

    @abstractmethod
    async def end_session(self, code: str) -> list[types.Removed]:
        """Put a tombstone for `TOKEN_MAX_AGE`, then remove the session's records.

        Its own is removed last. Safe to repeat after a crash in between.
        """

    @abstractmethod
    async def delete_session(self, code: str) -> list[types.Removed]:
        """Remove a session and all its records, as `end_session`, with no tombstone."""

    @abstractmethod
    async def sessions(self) -> list[str]:
        """Return the codes of all sessions, sorted. Reads the index only."""

    @abstractmethod
    async def participants(self, code: str) -> list[types.ParticipantInfo]:
        """Return a session's participants with sound records, sorted by id."""

    @abstractmethod
    async def session_count(self) -> int:
        """Return the number of sessions. Reads the index only."""

    @abstractmethod
    async def participant_count(self, code: str | None = None) -> int:
        """Return the number of participants, of all sessions if `code` is None."""

    @abstractmethod
    async def summaries(self) -> list[types.SessionSummary]:
        """Return a summary of each session, sorted by code. Not one step.

        A constant number of round trips; decodes no state and scans no keys.
        """

    @abstractmethod
    async def evict_idle(
        self,
        code: str,
        *,
        idle_for: float,
        limit: int,
        participant: str | None = None,
        with_states: bool = True,
    ) -> list[types.Removed]:
        """Remove up to `limit` participants not seen for `idle_for` seconds.

        Between 0 and a tenth of `IDLE_TIMEOUT` it counts as a tenth. Each is rechecked
        and removed in one step, so none is removed that was touched meanwhile, holds a
        lease, or has changed something in a session whose keep has not ended; the whole
        may take several steps. Index entries without a record are removed too, reported
        with states None; with an infinite `idle_for`, only these. With `participant`,
        only that one is removed. Without `with_states`, final states are left out.
        """

    @abstractmethod
    async def evict_empty_session(self, code: str, *, idle_for: float) -> bool:
        """Remove a session without participants that is idle and past its keep.

        True if this call removed it.
        """

    @abstractmethod
    async def due_sessions(
        self, *, idle_for: float, limit: int, after: str = ""
    ) -> list[str]:
        """Return up to `limit` sessions after `after` that may need eviction, sorted.

        Includes every session that holds a participant not seen for `idle_for` seconds
        or is itself due. Where the cache keeps times of use, others cost nothing, and a
        session that an eviction has finished is left out until its next is due.
        """

    @abstractmethod
    async def orphans(self) -> list[StoreKey] | None:
        """Return the keys of records that no index names; None if that is unknowable.

        Lists all keys, slowly, in small steps: not for a page.
        """

    @abstractmethod
    async def reindex(self, key: StoreKey) -> bool:
        """Enter an orphan in the indexes, with its own last use; False: it is absent.

        No limit applies. Under a tombstone the answer is False, and the record is
        removed instead, once the caller that ended the session has had a minute to
        remove and report it.
        """

    # Connections. An entry outlives its deadline until it is reaped, so that of all
    # processes one finds out that a participant has left.

    @abstractmethod
    async def lease(self, leases: Sequence[types.Lease]) -> list[StoreKey]:
        """Enter or renew connections for `PRESENCE_LEASE`, and touch their records.

        Returns the participants who have joined, that is who had no connection before,
        not even an expired one; each is returned to one caller only. Neither the
        sequence nor a lease is one step: the connection comes first, then what it
        follows, then the touch.
        """

    @abstractmethod
    async def release(self, lease: types.Lease, *, grace: float = 0) -> bool:
        """Remove a connection; True if it was its participant's last: they have left.

        With `grace`, in seconds, it stays as `leaving` that long, until `reap` removes
        it, and the answer is False. An absent one stays absent. The caller passes in
        `follows` only the records that no other connection of its process follows;
        these are unfollowed at once in either case.
        """

    @abstractmethod
    async def reap(self, codes: Sequence[str]) -> list[StoreKey]:
        """Remove these sessions' expired connections; return who has left with them.

        Each participant is returned to one caller only.
        """

    @abstractmethod
    async def connections(self, key: StoreKey) -> list[types.Lease]:
        """Return a participant's unexpired connections; `"*"`: the session's."""

    @abstractmethod
    async def connections_of(
        self, codes: Sequence[str]
    ) -> dict[str, list[types.Lease]]:
        """Return each session's connections, in a constant number of round trips."""

    @abstractmethod
    async def followers(self, key: StoreKey) -> frozenset[str]:
        """Return the processes with connections that follow the record."""

    # Shared values

    @abstractmethod
    async def value(self, name: str) -> types.Value:
        """Return a small value that all processes share."""

    @abstractmethod
    async def values(self, names: Sequence[str]) -> dict[str, types.Value]:
        """Return several of them in one round trip, as `value` does; not one step."""

    @abstractmethod
    async def swap_value(
        self, name: str, token: Any, data: bytes, *, seconds: float
    ) -> bool:
        """Write it if it is unchanged since `token`; False if another came first."""

    async def server(self) -> types.ServerInfo | None:
        """Return the figures of the cache server; None if it has none."""
        return None

    async def run_name(self) -> str:
        """Name the present run of the server; a restart or a failover gives another.

        Either may undo acknowledged commits. A few hexadecimal digits; "" if neither
        leaves earlier records behind.
        """
        return ""

    async def examine(self) -> list[types.Finding]:
        """Ask the live server for its kind and its set-up, for the doctor command."""
        return []

    @abstractmethod
    async def clear(self) -> None:
        """Remove everything, for tests and `flush`-like tools. Not atomic."""
