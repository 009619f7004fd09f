"""Standings: the part of a backend's contract that says who may be in a session."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..keys import StoreKey
from . import types


class Standings(ABC):
    """Void tokens, and people whom a session keeps out; see `Backend`."""

    # Tokens

    @abstractmethod
    async def revoke(self, key: StoreKey) -> frozenset[str]:
        """Void what was issued to `key` until now (`"*"`: to all of the session).

        Kept for `TOKEN_MAX_AGE`. Returns the processes that follow the record.
        """

    @abstractmethod
    async def standings(
        self, keys: Sequence[StoreKey]
    ) -> dict[StoreKey, types.Standing]:
        """Return for each participant what decides whether a token is valid.

        Raises `StateCorrupt` if revocations, or who is kept out, cannot be read, rather
        than lose one.
        """

    # People whom a session keeps out, by id, until it is gone or they are readmitted.
    # It keeps them as long as its own record, however that goes or is extended.

    @abstractmethod
    async def kick(self, key: StoreKey) -> types.Removed | None:
        """Keep a participant out of the session, then remove their record, if any.

        Once it returns, no commit to their record is ever stored. Safe to repeat after
        a crash in between, but that a removal is returned once. Raises `UnknownSession`
        without a session, and `LimitReached` past `MAX_KICKED`.

        A process of a release without this method opens a record for whom it is asked
        to: until the last one has gone, others refuse them and this one does not.
        """

    @abstractmethod
    async def readmit(self, key: StoreKey) -> bool:
        """Keep somebody out no longer; False if they were not kept out.

        Raises `UnknownSession`.
        """

    @abstractmethod
    async def kicked(self, code: str) -> dict[str, float]:
        """Return when each of those whom a session keeps out was kicked, by id."""
