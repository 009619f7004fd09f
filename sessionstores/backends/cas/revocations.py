"""Revocations and shared values over a compare-and-set primitive."""

from __future__ import annotations

from collections.abc import Sequence

from ... import conf
from ...keys import SESSION, StoreKey
from ..types import Standing, Value
from .followers import Followers
from .key_value import ABSENT
from .serializers import decode_revocations, encode


class Revocations(Followers):
    """What decides whether a token counts, and small values that all share."""

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
        return (await self.values([name]))[name]

    async def values(self, names: Sequence[str]) -> dict[str, Value]:
        """See `Backend.values`."""
        keys = {name: self._value(name) for name in names}
        found = await self._get(*keys.values())
        return {
            name: Value(found[key].value, found[key].token)
            if key in found
            else Value(None, None)
            for name, key in keys.items()
        }

    async def swap_value(
        self, name: str, token: object, data: bytes, *, seconds: float
    ) -> bool:
        """See `Backend.swap_value`."""
        return await self._put(self._value(name), token, data, seconds) is not None
