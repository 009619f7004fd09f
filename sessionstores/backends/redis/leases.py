"""Who is connected, who follows what, and which tokens count, on Redis or Valkey."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from ... import conf
from ...exceptions import StoreUnavailable
from ...keys import StoreKey
from ..types import Lease, Standing
from .registry import RedisRegistry
from .serializers import (
    by_session,
    followers_in,
    in_chunks,
    lease_of,
    lost_revocations,
    parts_of,
)

# So many at a time, that no script holds the server up for long.
LEASED_AT_ONCE = 100
REAPED_AT_ONCE = 500


class RedisConnections(RedisRegistry):
    """What tabs and tokens need."""

    # Connections

    async def lease(self, leases: Sequence[Lease]) -> list[StoreKey]:
        """See `Backend.lease`."""
        given = conf.get()
        sessions: dict[str, list[Lease]] = {}
        for lease in leases:
            sessions.setdefault(lease.key.session, []).append(lease)
        times = given.presence_lease, self._lifetime(), given.idle_timeout
        calls = [
            (session, [*times, *(part for lease in some for part in parts_of(lease))])
            for session, several in sessions.items()
            for some in in_chunks(several, LEASED_AT_ONCE)
        ]
        joined = []
        answers = await self._run_all("lease", calls)
        for (session, _), (mend, *ids) in zip(calls, answers, strict=True):
            joined += [StoreKey(session, id.decode()) for id in ids]
            await self._mended(session, mend)
        return joined

    def _lifetime(self) -> float:
        given = conf.get()
        # So long there is somebody to reap them, if there will ever be.
        return given.presence_lease + given.leave_grace + 2 * given.idle_timeout

    async def release(self, lease: Lease, *, grace: float = 0) -> bool:
        """See `Backend.release`. Repeated, since its answer is remembered for it."""
        session, id = lease.key
        times = max(grace, 0), self._lifetime()
        name, call = f"{id}/{lease.connection}", secrets.token_hex(8)
        arguments = id, name, lease.process, *times, call, *lease.follows
        return bool(await self._run("release", session, *arguments))

    async def reap(self, codes: Sequence[str]) -> list[StoreKey]:
        """See `Backend.reap`."""
        left: list[StoreKey] = []
        some = list(dict.fromkeys(codes))
        while some:
            calls = [(code, (REAPED_AT_ONCE,)) for code in some]
            try:
                answers = await self._run_all("reap", calls, again=False)
            except StoreUnavailable:
                # Who has been found to have left is not found again.
                if left:
                    break
                raise
            for code, (_, *ids) in zip(some, answers, strict=True):
                left += [StoreKey(code, id.decode()) for id in ids]
            some = [
                code for code, (more, *_) in zip(some, answers, strict=True) if more
            ]
        return left

    async def connections(self, key: StoreKey) -> list[Lease]:
        """See `Backend.connections`."""
        listed = await self._run("connections", key.session, key.participant)
        return leases_in(key.session, listed)

    async def connections_of(self, codes: Sequence[str]) -> dict[str, list[Lease]]:
        """See `Backend.connections_of`. One round trip."""
        some = list(dict.fromkeys(codes))
        answers = await self._run_all("connections", [(code, "*") for code in some])
        return {
            code: leases_in(code, listed)
            for code, listed in zip(some, answers, strict=True)
        }

    async def followers(self, key: StoreKey) -> frozenset[str]:
        """See `Backend.followers`."""
        moment, *lines = await self._run("followers", key.session, key.participant)
        return followers_in(key, moment, lines)

    # Tokens

    async def revoke(self, key: StoreKey) -> frozenset[str]:
        """See `Backend.revoke`."""
        age = conf.get().token_max_age
        followers = await self._run("revoke", key.session, key.participant, age)
        if followers == b"corrupt":
            raise lost_revocations(key.session)
        moment, *lines = followers
        return followers_in(key, moment, lines)

    async def standings(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Standing]:
        """See `Backend.standings`."""
        standings = {}
        calls = by_session(keys)
        answers = await self._run_all("standings", calls)
        for (session, ids), (has_ended, times) in zip(calls, answers, strict=True):
            if times == b"corrupt":
                raise lost_revocations(session)
            everyone, *own = times
            for id, at in zip(ids, own, strict=True):
                revoked = [float(one) for one in (everyone, at) if one is not None]
                standings[StoreKey(session, id)] = Standing(
                    bool(has_ended), max(revoked, default=None)
                )
        return standings


def leases_in(session: str, listed: Sequence[Any]) -> list[Lease]:
    """Return the connections that a script listed: name, details, whether leaving."""
    flat = iter(listed)
    return [
        lease_of(session, name, details, leaving)
        for name, details, leaving in zip(flat, flat, flat, strict=True)
    ]
