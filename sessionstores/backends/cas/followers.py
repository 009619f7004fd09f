"""Followers: the processes that have connections which follow a record.

Those of a record share one value, each with the latest deadline of its connections.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ... import conf
from ...keys import StoreKey
from ..types import NOBODY, Lease
from .keys import followed_keys, followers_key
from .serializers import decode_followers, encode
from .values import Values


class Followers:
    """Enters, removes and finds the processes that follow records."""

    def __init__(self, values: Values) -> None:
        self._values = values

    async def follow(self, leases: Iterable[Lease]) -> None:
        """Enter the processes of these leases for `PRESENCE_LEASE`."""
        window = conf.get().presence_lease
        following: dict[str, set[str]] = {}
        for lease in leases:
            for record in lease.follows:
                name = followers_key(lease.key.session, record)
                following.setdefault(name, set()).add(lease.process)

        def entering(processes: Iterable[str]) -> Callable[[bytes], bytes]:
            def enter(value: bytes) -> bytes:
                now = self._values.now()
                deadlines = dict.fromkeys(processes, now + window)
                return encode(decode_followers(value, now) | deadlines)

            return enter

        changes = {name: entering(several) for name, several in following.items()}
        await self._values.update_all(changes, window)

    async def unfollow(self, lease: Lease) -> None:
        """Remove the lease's process from what the lease follows."""

        def leave(value: bytes) -> bytes:
            deadlines = decode_followers(value, self._values.now())
            deadlines.pop(lease.process, None)
            return encode(deadlines) if deadlines else b""

        names = sorted(followers_key(lease.key.session, r) for r in lease.follows)
        changes = dict.fromkeys(names, leave)
        await self._values.update_all(changes, conf.get().presence_lease)

    async def followers(self, key: StoreKey) -> frozenset[str]:
        """See `Backend.followers`."""
        found = await self._values.get(*followed_keys(key))
        if not found:
            return NOBODY
        now = self._values.now()
        return NOBODY.union(*(decode_followers(f.value, now) for f in found.values()))

    async def followers_of(
        self, keys: Collection[StoreKey]
    ) -> dict[StoreKey, frozenset[str]]:
        """Return the followers of several records, in one round trip."""
        names = {key: followed_keys(key) for key in keys}
        wanted = {name for several in names.values() for name in several}
        found = await self._values.get(*wanted)
        if not found:
            return dict.fromkeys(names, NOBODY)
        now = self._values.now()
        processes = {
            name: frozenset(decode_followers(versioned.value, now))
            for name, versioned in found.items()
        }
        return {
            key: NOBODY.union(*(processes.get(name, NOBODY) for name in several))
            for key, several in names.items()
        }
