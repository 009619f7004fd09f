"""Revocations: the time up to which a participant's or a session's tokens are void."""

from __future__ import annotations

from collections.abc import Sequence

from ... import conf
from ...keys import SESSION, StoreKey
from ..types import Standing
from .key_value import ABSENT
from .keys import revocations_key, tombstone_key
from .serializers import decode_revocations, encode
from .values import Values


class Revocations:
    """Revokes tokens, and reads what decides whether they are valid."""

    def __init__(self, values: Values) -> None:
        self._values = values

    async def revoke(self, key: StoreKey) -> None:
        """Void what was issued to `key` until now; see `Backend.revoke`."""
        age = conf.get().token_max_age

        def enter(value: bytes) -> bytes:
            now = self._values.now()
            times = decode_revocations(key.session, value)
            times = {id: at for id, at in times.items() if at > now - age}
            return encode(times | {key.participant: now})

        await self._values.update(revocations_key(key.session), enter, age)

    async def standings(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Standing]:
        """See `Backend.standings`."""
        sessions = {key.session for key in keys}
        tombstones = {session: tombstone_key(session) for session in sessions}
        revocations = {session: revocations_key(session) for session in sessions}
        found = await self._values.get(*tombstones.values(), *revocations.values())
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
