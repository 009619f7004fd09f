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
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from ..keys import StoreKey
from ..revs import Rev
from .values import (
    CLIENT_MEMORY,
    EVERYONE,
    Attempt,
    BackendStats,
    ClientEntry,
    Committed,
    Finding,
    Lease,
    Opened,
    ParticipantInfo,
    Record,
    Removed,
    SessionInfo,
    Stale,
    Standing,
    Unchanged,
    Value,
)

__all__ = [
    "CLIENT_MEMORY",
    "EVERYONE",
    "Attempt",
    "Backend",
    "BackendStats",
    "ClientEntry",
    "Committed",
    "Finding",
    "Lease",
    "Opened",
    "ParticipantInfo",
    "Record",
    "Removed",
    "SessionInfo",
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


class Backend(ABC):
    """Where records live. See the module's docstring for what holds of every method."""

    # Whether processes other than this one see the same records.
    shared: ClassVar[bool]
    # Whether calls return without waiting for anything outside this process.
    in_memory: ClassVar[bool]

    def __init__(self, *, blocking: bool) -> None:
        self.blocking = blocking

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """Say in words why the settings of `alias` do not do for this backend.

        None if they do. Reads settings only: nothing is connected to.
        """
        return None

    async def pause(self, seconds: float) -> None:
        """Wait, in the way that fits this flavour."""
        if self.blocking:
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
        instead of doubling it; the backend makes one such retry itself. A caller that
        makes another says so with `repeated`. If a reply was lost and the ring no
        longer reaches back to `base`, the outcome is unknown and `StoreUnavailable`
        says so; without a lost reply it is `Stale`, however much came in between.

        A `rev` of another incarnation starts the history anew. With `attempt`, the
        client's entry is written in the same step and entries past `CLIENT_MEMORY`
        are dropped. Touches the record. What fails after the commit is in (finding
        out who follows) does not hide that it is.

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
    ) -> None:
        """Keep undecodable data for a day, under a quarantine key.

        With a `name`, `data` is that state's stored form and the record stays as it
        is. Without, what stands at `key` is no record at all: it is moved.
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
        event: Mapping[str, Any] | None = None,
    ) -> SessionInfo | None:
        """Change what is given; `event` goes into the bounded ring. None: no session.

        Changes no rev.
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
        self, code: str, *, idle_for: float, limit: int
    ) -> list[Removed]:
        """Remove up to `limit` participants not seen for `idle_for` seconds.

        Each is rechecked and removed in one step, so none goes that was touched since
        it was listed, nor one that holds a lease. Index entries without a record go
        too and are reported with states None.
        """

    @abstractmethod
    async def evict_empty_session(self, code: str, *, idle_for: float) -> bool:
        """Remove the session if it has no participant, is idle, and past its keep."""

    # Tokens

    @abstractmethod
    async def revoke(self, key: StoreKey) -> frozenset[str]:
        """Void what was issued to `key` until now (`"*"`: to all of the session).

        Kept for `TOKEN_MAX_AGE`. Returns the processes that follow the record.
        """

    @abstractmethod
    async def standings(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Standing]:
        """Return for each participant what decides whether a token counts.

        Raises `StateCorrupt` if revocations cannot be read, rather than forget one.
        """

    # Connections

    @abstractmethod
    async def lease(self, leases: Sequence[Lease]) -> None:
        """Enter or renew connections for `PRESENCE_LEASE`, and touch their records.

        Neither the sequence nor a lease is one step: a participant's connection is
        entered first, then what it follows, then the record is touched.
        """

    @abstractmethod
    async def release(self, lease: Lease) -> None:
        """Remove a connection; what its process follows through others stays.

        The caller passes in `follows` only the records that no other connection of
        its process follows.
        """

    @abstractmethod
    async def connections(self, key: StoreKey) -> list[Lease]:
        """Return a participant's connections, or with `"*"` all of the session."""

    @abstractmethod
    async def followers(self, key: StoreKey) -> frozenset[str]:
        """Return the processes with connections that follow the record."""

    # Shared values

    @abstractmethod
    async def value(self, name: str) -> Value:
        """Return a small value that all processes share."""

    @abstractmethod
    async def swap_value(
        self, name: str, token: Any, data: bytes, *, seconds: float
    ) -> bool:
        """Write it if it is still as `token` says; False if another came first."""

    @abstractmethod
    async def stats(self) -> BackendStats:
        """Return totals, without decoding a state or scanning keys."""

    async def examine(self) -> list[Finding]:
        """Ask the live server what it is and how it is set up, for the doctor."""
        return []

    @abstractmethod
    async def clear(self) -> None:
        """Remove everything, for tests and `flush`-like tools. Not atomic."""
