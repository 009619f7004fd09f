"""Revocations: the time up to which a participant's or a session's tokens are void."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ... import conf
from ...keys import SESSION, StoreKey
from ..types import UNKNOWN, Standing
from .index import Index
from .key_value import ABSENT, Versioned
from .keys import kicks_key, record_key, revocations_key, tombstone_key
from .profiles import profile_at
from .serializers import decode_kicks, decode_revocations, encode
from .values import Values


class Revocations:
    """Revokes tokens, and reads what decides whether they are valid."""

    def __init__(self, values: Values, index: Index) -> None:
        self._values = values
        self._index = index

    async def revoke(self, key: StoreKey) -> None:
        """Void what was issued to `key` until now; see `Backend.revoke`."""
        age = conf.get().token_max_age

        def enter(value: bytes) -> bytes:
            now = self._values.now()
            times = decode_revocations(key.session, value)
            times = {id: at for id, at in times.items() if at > now - age}
            return encode(times | {key.participant: now})

        await self._values.update(revocations_key(key.session), enter, age)

    async def standings(
        self, keys: Sequence[StoreKey], *, profiles: bool = False
    ) -> dict[StoreKey, Standing]:
        """See `Backend.standings`."""
        sessions = {key.session for key in keys}
        tombstones = {session: tombstone_key(session) for session in sessions}
        revocations = {session: revocations_key(session) for session in sessions}
        kicks = map(kicks_key, sessions)
        records = {key: record_key(key) for key in keys} if profiles else {}
        found = await self._values.get(
            *tombstones.values(), *revocations.values(), *kicks, *records.values()
        )
        times = {
            session: decode_revocations(session, found.get(name, ABSENT).value)
            for session, name in revocations.items()
        }
        kicked = await self._kicked(keys, found)
        standings = {}
        for key in keys:
            own = times[key.session].get(key.participant)
            everyone = times[key.session].get(SESSION)
            revoked = [at for at in (own, everyone) if at is not None]
            ended = tombstones[key.session] in found
            profile = profile_at(key, found.get(records[key])) if profiles else UNKNOWN
            standings[key] = Standing(
                ended, max(revoked, default=None), key in kicked, profile
            )
        return standings

    async def _kicked(
        self, keys: Sequence[StoreKey], found: Mapping[str, Versioned]
    ) -> set[StoreKey]:
        """Return those whom their session keeps out, by its value in `found`."""
        sessions = {key.session for key in keys}
        times = {
            session: decode_kicks(session, held.value)
            for session in sessions
            if (held := found.get(kicks_key(session)))
        }
        kicked = {key for key in keys if key.participant in times.get(key.session, ())}
        for session in {key.session for key in kicked}:
            context = await self._index.context(StoreKey.of_session(session))
            if not context.is_founded:
                # It is left of an earlier session of the code.
                kicked = {key for key in kicked if key.session != session}
        return kicked
