"""Standings: the part of a backend's contract on who is in a session, and who may be.

What the module of `Backend` says holds for these methods, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..keys import StoreKey
from . import types


class Standings(ABC):
    """Void tokens, people whom a session keeps out, and what others are called."""

    # Tokens

    @abstractmethod
    async def revoke(self, key: StoreKey) -> frozenset[str]:
        """Void what was issued to `key` until now (`"*"`: to all of the session).

        Kept for `TOKEN_MAX_AGE`. Returns the processes that follow the record.
        """

    @abstractmethod
    async def standings(
        self, keys: Sequence[StoreKey], *, profiles: bool = False
    ) -> dict[StoreKey, types.Standing]:
        """Return what decides whether tokens are valid; with `profiles`, those too.

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

        A process of a release without this method opens a record for anybody. Others
        refuse them a token's use all the same; until the last such process has gone,
        there may be a record again, which another call removes.
        """

    @abstractmethod
    async def readmit(self, key: StoreKey) -> bool:
        """Keep somebody out no longer; False if they were not kept out.

        Raises `UnknownSession`.
        """

    @abstractmethod
    async def kicked(self, code: str) -> dict[str, float]:
        """Return when each of those whom a session keeps out was kicked, by id."""

    # Profiles, which are kept with the records

    @abstractmethod
    async def set_profile(
        self, key: StoreKey, given: types.Profile, how: types.ProfileRule = "set"
    ) -> types.Profile | None:
        """Change the parts that are given, without a new rev; return all of it.

        None: there is no record. Whoever has a name is kept as those are who have
        changed something; nobody counts as used. `how`: "set" replaces; "join" does
        too, but leaves a role that is not "" as it is; "fill" sets only what is None.
        """

    @abstractmethod
    async def remember_name(self, key: StoreKey, name: str) -> None:
        """Keep the name that a participant's tab showed, for staff to find them by.

        It is no profile: it is what a tab says, and nobody else is told. Without a new
        rev; nobody counts as used, nor is kept for it. Nothing is written that is known
        already, nor without a sound record.
        """

    @abstractmethod
    async def profiles(self, keys: Sequence[StoreKey]) -> dict[StoreKey, types.Profile]:
        """Return what records say of these participants, in one round trip.

        Nothing is known of those without a sound record. Touches nothing.
        """
