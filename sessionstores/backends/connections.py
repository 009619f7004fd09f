"""Leases, revocations and shared values over a compare-and-set primitive."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache

from .. import conf
from ..exceptions import StateCorrupt
from ..keys import SESSION, StoreKey, cache_key
from .encoding import (
    Connection,
    decode_connections,
    decode_followers,
    decode_revocations,
    encode,
    ids_in,
)
from .primitive import ABSENT, FOLLOWERS, Primitive
from .values import EVERYONE, Lease, Standing, Value

NOBODY: frozenset[str] = frozenset()


class Connections(Primitive):
    """What tokens and tabs need. A participant's leases share one value; so do the
    processes that follow a record, each with the latest deadline of its leases.
    """

    async def lease(self, leases: Sequence[Lease]) -> None:
        """See `Backend.lease`."""
        window = conf.get().presence_lease
        following: dict[tuple[str, str], set[str]] = {}
        for lease in leases:
            deadline = self._clock() + window
            await self._enter_connection(lease, deadline, window)
            for record in lease.follows:
                place = lease.key.session, record
                following.setdefault(place, set()).add(lease.process)
        for (session, record), processes in following.items():
            await self._enter_followers(session, record, processes, window)
        # Last, so that an eviction sees either the lease or a record just touched.
        for key in dict.fromkeys(lease.key for lease in leases):
            with suppress(StateCorrupt):
                await self.touch(key)

    async def _enter_connection(
        self, lease: Lease, deadline: float, window: float
    ) -> None:
        entry = Connection(
            lease.connection,
            lease.process,
            lease.client,
            deadline,
            tuple(sorted(lease.follows)),
        )

        def enter(value: bytes) -> bytes:
            others = decode_connections(value, self._clock())
            return encode([*(c for c in others if c.id != entry.id), entry])

        await self._update(self._connections(lease.key), enter, window)

    async def _enter_followers(
        self, session: str, record: str, processes: Iterable[str], window: float
    ) -> None:
        def enter(value: bytes) -> bytes:
            now = self._clock()
            deadlines = dict.fromkeys(processes, now + window)
            return encode(decode_followers(value, now) | deadlines)

        await self._update(self._followers(session, record), enter, window)

    async def release(self, lease: Lease) -> None:
        """See `Backend.release`."""
        window = conf.get().presence_lease

        def leave(value: bytes) -> bytes:
            entries = decode_connections(value, self._clock())
            kept = [entry for entry in entries if entry.id != lease.connection]
            return encode(kept) if kept else b""

        def unfollow(value: bytes) -> bytes:
            deadlines = decode_followers(value, self._clock())
            deadlines.pop(lease.process, None)
            return encode(deadlines) if deadlines else b""

        await self._update(self._connections(lease.key), leave, window)
        for record in sorted(lease.follows):
            name = self._followers(lease.key.session, record)
            await self._update(name, unfollow, window)

    async def connections(self, key: StoreKey) -> list[Lease]:
        """See `Backend.connections`."""
        keys = [key]
        if key.is_session:
            members = self._members(key.session)
            index = (await self._get(members)).get(members, ABSENT).value
            keys = [StoreKey(key.session, id) for id in ids_in(index)]
        by_key = await self._connections_of(keys)
        return [c.lease(key) for key, found in by_key.items() for c in found]

    async def _connections_of(
        self, keys: Collection[StoreKey]
    ) -> dict[StoreKey, list[Connection]]:
        names = {key: self._connections(key) for key in keys}
        found = await self._get(*names.values())
        now = self._clock()
        return {
            key: decode_connections(found[name].value, now) if name in found else []
            for key, name in names.items()
        }

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

    async def revoke(self, key: StoreKey) -> frozenset[str]:
        """See `Backend.revoke`."""
        age = conf.get().token_max_age

        def enter(value: bytes) -> bytes:
            now = self._clock()
            times = decode_revocations(key.session, value)
            times = {id: at for id, at in times.items() if at > now - age}
            return encode(times | {key.participant: now})

        await self._update(self._revocations(key.session), enter, age)
        return await self.followers(key)

    async def standings(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Standing]:
        """See `Backend.standings`. Raises `StateCorrupt` for lost revocations."""
        sessions = {key.session for key in keys}
        tombstones = {session: self._tombstone(session) for session in sessions}
        revocations = {session: self._revocations(session) for session in sessions}
        found = await self._get(*tombstones.values(), *revocations.values())
        times = {
            session: decode_revocations(session, found.get(name, ABSENT).value)
            for session, name in revocations.items()
        }
        standings = {}
        for key in keys:
            own = times[key.session].get(key.participant)
            everyone = times[key.session].get(SESSION)
            revoked = [at for at in (own, everyone) if at is not None]
            ended = tombstones[key.session] in found
            standings[key] = Standing(ended, max(revoked, default=None))
        return standings

    async def value(self, name: str) -> Value:
        """See `Backend.value`."""
        key = self._value(name)
        found = (await self._get(key)).get(key)
        return Value(found.value, found.token) if found else Value(None, None)

    async def swap_value(
        self, name: str, token: object, data: bytes, *, seconds: float
    ) -> bool:
        """See `Backend.swap_value`."""
        return await self._put(self._value(name), token, data, seconds) is not None


# Each commit asks for these: making them anew would take 0.9 µs of it.
@lru_cache(maxsize=1024)
def _followed_as(prefix: str, key: StoreKey) -> tuple[str, ...]:
    session, id = key
    names = (id,) if id == SESSION else (id, EVERYONE)
    return tuple(cache_key(prefix, session, FOLLOWERS, name) for name in names)
