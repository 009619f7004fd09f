"""The contract of a backend: where records live, and what happens to them in one step.

Each method is one atomic step unless it says otherwise. All are coroutines, so that
the logic above is written once: a backend comes in two flavours, and those of the
blocking one never suspend, which lets `run` drive them from synchronous code.

Every method raises `StoreUnavailable` when the cache does not answer within about a
second, and never reports an outage as an absent record. Times are seconds since the
epoch by the backend's clock; sizes are bytes.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from ..keys import StoreKey
from ..state.revisions import Rev
from .base_connections import Connectivity
from .process_memory import ProcessMemory
from .types import (
    ACTIVITY_MINUTES,
    CLIENT_MEMORY,
    EVERYONE,
    MAX_EVENTS,
    MAX_META_BYTES,
    Attempt,
    ClientEntry,
    Committed,
    Finding,
    Lease,
    Opened,
    ParticipantInfo,
    Record,
    Removed,
    ServerInfo,
    SessionInfo,
    SessionSummary,
    Stale,
    Standing,
    Unchanged,
    Value,
)

__all__ = [
    "ACTIVITY_MINUTES",
    "CLIENT_MEMORY",
    "EVERYONE",
    "MAX_EVENTS",
    "MAX_META_BYTES",
    "Attempt",
    "Backend",
    "ClientEntry",
    "Committed",
    "Finding",
    "Lease",
    "Opened",
    "ParticipantInfo",
    "Record",
    "Removed",
    "ServerInfo",
    "SessionInfo",
    "SessionSummary",
    "Stale",
    "Standing",
    "Unchanged",
    "Value",
    "run",
]

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine over a blocking backend to its result."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("A blocking backend's method suspended.")


class Backend(Connectivity):
    """Where records live. See the module's docstring for what holds of every method."""

    # Whether processes other than this one see the same records.
    shared: ClassVar[bool]
    # Whether calls return without waiting for anything outside this process.
    in_memory: ClassVar[bool]

    def __init__(self, *, blocking: bool) -> None:
        self.blocking = blocking
        # For the layers above; both flavours from `get_backend` share one.
        self.memory = ProcessMemory()

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """Say in words why the settings of `alias` do not do for this backend.

        None if they do. Reads settings only: nothing is connected to.
        """
        return None

    async def pause(self, seconds: float) -> None:
        """Wait, in the way that fits this flavour; 0 lets an event loop go on."""
        if self.blocking:
            if seconds > 0:
                time.sleep(seconds)  # noqa: ASYNC251 - that is what blocking means
        else:
            await asyncio.sleep(seconds)

    @abstractmethod
    async def now(self) -> float:
        """Return the backend's time."""

    # Records

    def recall(self, key: StoreKey) -> Record | None:
        """Return the record as this process saw it last, without asking; maybe None.

        It may be outdated: good for a commit, which compares, and for nothing else
        until `read` has confirmed it. Where a read costs no more than this, None.
        """
        return None

    @abstractmethod
    async def open(self, key: StoreKey, states: Mapping[str, bytes]) -> Opened:
        """Return the record at `key`, created with `states` if there is none.

        An existing record is returned as it is, touched. Creating one creates its
        session too, and enters both in the index; a creation that fails leaves
        nothing behind. The session's own record exists as long as the session.

        Raises `SessionEnded` under a tombstone, `SessionLocked` for a newcomer to a
        locked session, `LimitReached` past `MAX_SESSIONS` or `MAX_PARTICIPANTS`, and
        `StateCorrupt` as `read` does.
        """

    @abstractmethod
    async def read(
        self, key: StoreKey, *, known: Rev | None = None, touch: bool = True
    ) -> Record | Unchanged | None:
        """Return the record, None if there is none, `Unchanged` at the `known` rev.

        Touches it unless told not to. Raises `StateCorrupt` if what stands there is
        no record at all.
        """

    @abstractmethod
    async def heads(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Rev | None]:
        """Return the newest rev of each record, None where there is none.

        None too where what stands is no record: a tab that asks learns the rest.
        """

    @abstractmethod
    async def commit(
        self,
        base: Record,
        rev: Rev,
        states: Mapping[str, bytes | None],
        attempt: Attempt | None = None,
        *,
        repeated: bool = False,
    ) -> Committed | Stale:
        """Put `states` over those of `base` if its rev is still the newest.

        The states that are not named stay; None takes one away. `rev` is drawn by the
        caller, so that a retry after a lost reply finds its own commit in the ring
        instead of doubling it; the backend makes one such retry itself, unless the
        reply was long in coming. A caller that makes another says so with `repeated`.
        If a reply was lost and the ring does not tell, since it no longer reaches back
        to `base` or the record is of an incarnation that is neither's, the outcome is
        unknown and `StoreUnavailable` says so; without a lost reply it is `Stale`,
        however much came in between.

        A `rev` of another incarnation starts the history anew. With `attempt`, the
        client's entry is written in the same step and entries past `CLIENT_MEMORY`
        are dropped. Touches the record. Nothing that fails after the commit is in
        (writing the time of use, finding out who follows) is raised.

        The caller has checked sizes and refuses stale work itself: a commit to a
        record that is gone is `Stale(None)`, never a creation.
        """

    @abstractmethod
    async def touch(self, key: StoreKey) -> bool:
        """Mark the participant and its session as used now; False if there is none.

        The time is written only when the one that stands is older than a tenth of
        `IDLE_TIMEOUT`. Raises `StateCorrupt` as `read` does.
        """

    @abstractmethod
    async def delete(self, key: StoreKey) -> Removed | None:
        """Remove one participant's record, or the states of the session's own.

        The session, its other participants and revocations stay.
        """

    @abstractmethod
    async def set_aside(
        self, key: StoreKey, name: str | None, data: bytes | None
    ) -> bool:
        """Keep undecodable data for a day, under a quarantine key.

        With a `name`, `data` is that state's stored form and the record stays as it
        is: True. Without, what stands at `key` is no record at all: it is moved, and
        of several callers one is told True.
        """

    # Sessions

    @abstractmethod
    async def create_session(self, code: str, *, label: str, keep: float) -> bool:
        """Claim `code`; False if it is taken or stands under a tombstone.

        `keep` seconds from now the session stays, used or not. Raises `LimitReached`.
        """

    @abstractmethod
    async def session(self, code: str) -> SessionInfo | None:
        """Return what is known of a session; None if it does not exist or has ended.

        Raises `StateCorrupt` as `read` does, and so does `update_session`.
        """

    @abstractmethod
    async def update_session(
        self,
        code: str,
        *,
        label: str | None = None,
        keep: float | None = None,
        locked: bool | None = None,
        extend: float | None = None,
    ) -> SessionInfo | None:
        """Change what is given. None: there is no such session. Changes no rev.

        `extend` lengthens `keep`, if need be, to so many seconds from now; it never
        shortens it, whoever else extends at the same time.
        """

    @abstractmethod
    async def note(
        self, code: str, events: Sequence[Mapping[str, Any]], *, changes: int = 0
    ) -> None:
        """Append to the session's ring of `MAX_EVENTS`, and count its changes.

        An event is a small mapping of what msgpack can hold; `changes` go into the
        current minute's activity. Without a session nothing happens. Changes no rev
        and touches nothing.
        """

    @abstractmethod
    async def end_session(self, code: str) -> list[Removed]:
        """Put a tombstone in the session's place, for `TOKEN_MAX_AGE`.

        The tombstone comes first; then the records go, the session's own last. Safe
        to repeat after a crash between.
        """

    @abstractmethod
    async def delete_session(self, code: str) -> list[Removed]:
        """Remove a session and all its records, as `end_session`, with no tombstone."""

    @abstractmethod
    async def sessions(self) -> list[str]:
        """Return the codes of all sessions, sorted. Reads the index only."""

    @abstractmethod
    async def participants(self, code: str) -> list[ParticipantInfo]:
        """Return a session's participants, sorted by id. Decodes no state.

        Leaves out those whose record is lost or corrupt.
        """

    @abstractmethod
    async def session_count(self) -> int:
        """Return the number of sessions. Reads the index only."""

    @abstractmethod
    async def participant_count(self, code: str | None = None) -> int:
        """Return the number of participants, of all sessions if `code` is None."""

    @abstractmethod
    async def evict_idle(
        self, code: str, *, idle_for: float, limit: int, participant: str | None = None
    ) -> list[Removed]:
        """Remove up to `limit` participants not seen for `idle_for` seconds.

        Each is rechecked and removed in one step, so none goes that was touched since
        it was listed, nor one that holds a lease. Index entries without a record go
        too and are reported with states None. The whole may take several steps.

        With `participant`, none but that one goes. With `idle_for` infinite, none but
        index entries without a record, however young they are.
        """

    @abstractmethod
    async def evict_empty_session(self, code: str, *, idle_for: float) -> bool:
        """Remove the session if it has no participant, is idle, and past its keep.

        True if this call removed it.
        """

    @abstractmethod
    async def due_sessions(
        self, *, idle_for: float, limit: int, after: str = ""
    ) -> list[str]:
        """Return codes of sessions that may hold something to evict.

        Sorted, at most `limit`, those behind `after` only. A session that holds a
        participant not seen for `idle_for` seconds, or is itself to go, is among
        them; so may be others. Where the cache can tell, sessions with nothing due
        cost nothing, and `evict_idle` and `evict_empty_session` move one that they
        have been through out of the list until its next is due.
        """

    @abstractmethod
    async def strays(self) -> list[StoreKey] | None:
        """Return the keys of records that no index knows, by a look at all keys.

        Slow, and in small steps: for a thorough sweep, never for a page. None: the
        cache cannot list its keys.
        """

    @abstractmethod
    async def readmit(self, key: StoreKey) -> bool:
        """Enter a stray in the indexes again, with its own last use; False: it is gone.

        Past any limit, since it takes up its room already. Under a tombstone it is
        removed instead, and that is False; but it may stay for a minute, if whoever
        ended the session could yet remove it and tell of it.
        """

    # Shared values

    @abstractmethod
    async def value(self, name: str) -> Value:
        """Return a small value that all processes share."""

    @abstractmethod
    async def values(self, names: Sequence[str]) -> dict[str, Value]:
        """Return several of them in one trip, each as `value` would; not one step."""

    @abstractmethod
    async def swap_value(
        self, name: str, token: Any, data: bytes, *, seconds: float
    ) -> bool:
        """Write it if it is still as `token` says; False if another came first."""

    @abstractmethod
    async def summaries(self) -> list[SessionSummary]:
        """Return a line for each session, sorted by code. Not one step.

        A constant number of round trips; decodes no state and scans no keys.
        """

    async def server(self) -> ServerInfo | None:
        """Return what the cache server says of itself.

        None: the records are in this process, or there is no server that tells.
        """
        return None

    async def run_name(self) -> str:
        """Name the present run of the server; a restart or a failover gives another.

        Either may undo commits that have been acknowledged. A few hexadecimal digits;
        "" where neither leaves anything behind that could be taken for what was there
        before.
        """
        return ""

    async def examine(self) -> list[Finding]:
        """Ask the live server what it is and how it is set up, for the doctor."""
        return []

    @abstractmethod
    async def clear(self) -> None:
        """Remove everything, for tests and `flush`-like tools. Not atomic."""
