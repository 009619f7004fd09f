"""The part of the contract that is about tabs: their tokens and their connections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..keys import StoreKey
from .types import Lease, Standing


class Connectivity(ABC):
    """Part of `Backend`; what that says of every method holds here too."""

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

    # Connections. An entry outlives its deadline until it is reaped, so that of all
    # processes one finds out that somebody has left.

    @abstractmethod
    async def lease(self, leases: Sequence[Lease]) -> list[StoreKey]:
        """Enter or renew connections for `PRESENCE_LEASE`, and touch their records.

        Returns the participants who had no connection before, not even one that has
        run out and was not reaped: they have joined. Of several callers at once, one
        is told so.

        Neither the sequence nor a lease is one step: a participant's connection is
        entered first, then what it follows, then the record is touched.
        """

    @abstractmethod
    async def release(self, lease: Lease, *, grace: float = 0) -> bool:
        """Remove a connection; True if it was its participant's last: they have left.

        With `grace`, it stays as `leaving` for so many seconds instead, after which
        `reap` takes it, and the answer is False. What was not there stays so.

        What its process follows through others stays: the caller passes in `follows`
        only the records that no other connection of its process follows. These are
        let go at once in either case.
        """

    @abstractmethod
    async def reap(self, codes: Sequence[str]) -> list[StoreKey]:
        """Remove the connections of these sessions that have run out.

        Returns the participants whose last one that was: they have left. Each is
        returned once, however many call this, here and elsewhere.
        """

    @abstractmethod
    async def connections(self, key: StoreKey) -> list[Lease]:
        """Return a participant's connections, or with `"*"` all of the session.

        Those that are leaving are among them; those that have run out are not.
        """

    @abstractmethod
    async def connections_of(self, codes: Sequence[str]) -> dict[str, list[Lease]]:
        """Return the connections of each session, as `connections` with `"*"`.

        A constant number of round trips, however many sessions there are.
        """

    @abstractmethod
    async def followers(self, key: StoreKey) -> frozenset[str]:
        """Return the processes with connections that follow the record."""
