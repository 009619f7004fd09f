"""Which processes follow a record, over a compare-and-set primitive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache

from ... import conf
from ...keys import SESSION, StoreKey, cache_key
from ..types import EVERYONE, NOBODY, Lease
from .key_value import FOLLOWERS, Primitive
from .serializers import decode_followers, encode


class Followers(Primitive):
    """The processes that follow a record share one value, each with the latest
    deadline of its connections.
    """

    async def _follow(self, leases: Iterable[Lease], window: float) -> None:
        following: dict[str, set[str]] = {}
        for lease in leases:
            for record in lease.follows:
                name = self._followers(lease.key.session, record)
                following.setdefault(name, set()).add(lease.process)

        def entering(processes: Iterable[str]) -> Callable[[bytes], bytes]:
            def enter(value: bytes) -> bytes:
                now = self._clock()
                deadlines = dict.fromkeys(processes, now + window)
                return encode(decode_followers(value, now) | deadlines)

            return enter

        changes = {name: entering(several) for name, several in following.items()}
        await self._update_all(changes, window)

    async def _unfollow(self, lease: Lease, window: float) -> None:
        def leave(value: bytes) -> bytes:
            deadlines = decode_followers(value, self._clock())
            deadlines.pop(lease.process, None)
            return encode(deadlines) if deadlines else b""

        names = sorted(self._followers(lease.key.session, r) for r in lease.follows)
        await self._update_all(dict.fromkeys(names, leave), window)

    async def followers(self, key: StoreKey) -> frozenset[str]:
        """See `Backend.followers`."""
        found = await self._get(*_followed_as(conf.get().key_prefix, key))
        if not found:
            return NOBODY
        now = self._clock()
        return NOBODY.union(*(decode_followers(f.value, now) for f in found.values()))

    async def _followers_of(
        self, keys: Collection[StoreKey]
    ) -> dict[StoreKey, frozenset[str]]:
        prefix = conf.get().key_prefix
        names = {key: _followed_as(prefix, key) for key in keys}
        wanted = {name for several in names.values() for name in several}
        found = await self._get(*wanted)
        now = self._clock()
        processes = {
            name: frozenset(decode_followers(versioned.value, now))
            for name, versioned in found.items()
        }
        return {
            key: NOBODY.union(*(processes.get(name, NOBODY) for name in several))
            for key, several in names.items()
        }


# Each commit asks for these: making them anew would take 0.9 µs of it.
@lru_cache(maxsize=1024)
def _followed_as(prefix: str, key: StoreKey) -> tuple[str, ...]:
    session, id = key
    names = (id,) if id == SESSION else (id, EVERYONE)
    return tuple(cache_key(prefix, session, FOLLOWERS, name) for name in names)
