"""Leases of connections, followers of records, and revoked tokens."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from ... import conf
from ...exceptions import StoreUnavailable
from ...keys import StoreKey
from ..types import UNKNOWN, Lease, Standing
from .profiles import profiles_in
from .registry import RedisRegistry
from .scripts import ScriptRunner
from .serializers import (
    by_session,
    corrupt_revocations,
    in_chunks,
    pack_lease,
    unpack_followers,
    unpack_lease,
)

# The most that one script works on, so that none blocks the server for long.
LEASE_BATCH = 100
REAP_BATCH = 500


class RedisLeases:
    """The part of the contract for tabs and their tokens; see `Backend`."""

    def __init__(self, scripts: ScriptRunner, registry: RedisRegistry) -> None:
        self._scripts = scripts
        self._registry = registry

    async def lease(self, leases: Sequence[Lease]) -> list[StoreKey]:
        """See `Backend.lease`."""
        given = conf.get()
        sessions: dict[str, list[Lease]] = {}
        for lease in leases:
            sessions.setdefault(lease.key.session, []).append(lease)
        times = given.presence_lease, self._lifetime(), given.idle_timeout
        calls = [
            (session, [*times, *(part for lease in some for part in pack_lease(lease))])
            for session, several in sessions.items()
            for some in in_chunks(several, LEASE_BATCH)
        ]
        joined = []
        replies = await self._scripts.run_all("lease", calls)
        for (session, _), (repair, *ids) in zip(calls, replies, strict=True):
            joined += [StoreKey.stored(session, id.decode()) for id in ids]
            await self._registry.repair(session, repair)
        return joined

    def _lifetime(self) -> float:
        given = conf.get()
        # After that, no process is left that would reap them.
        return given.presence_lease + given.leave_grace + 2 * given.idle_timeout

    async def release(self, lease: Lease, *, grace: float = 0) -> bool:
        """See `Backend.release`. Retried: the server remembers its reply for that."""
        session, id = lease.key
        times = max(grace, 0), self._lifetime()
        name, call = f"{id}/{lease.connection}", secrets.token_hex(8)
        arguments = id, name, lease.process, *times, call, *lease.follows
        return bool(await self._scripts.run("release", session, *arguments))

    async def reap(self, codes: Sequence[str]) -> list[StoreKey]:
        """See `Backend.reap`."""
        left: list[StoreKey] = []
        some = list(dict.fromkeys(codes))
        while some:
            calls = [(code, (REAP_BATCH,)) for code in some]
            try:
                replies = await self._scripts.run_all("reap", calls, retry=False)
            except StoreUnavailable:
                # Those reaped already are not returned by another call.
                if left:
                    break
                raise
            for code, (_, *ids) in zip(some, replies, strict=True):
                left += [StoreKey.stored(code, id.decode()) for id in ids]
            some = [
                code for code, (more, *_) in zip(some, replies, strict=True) if more
            ]
        return left

    async def connections(self, key: StoreKey) -> list[Lease]:
        """See `Backend.connections`."""
        listed = await self._scripts.run("connections", key.session, key.participant)
        return _leases_in(key.session, listed)

    async def connections_of(self, codes: Sequence[str]) -> dict[str, list[Lease]]:
        """See `Backend.connections_of`. One round trip."""
        some = list(dict.fromkeys(codes))
        calls = [(code, "*") for code in some]
        replies = await self._scripts.run_all("connections", calls)
        return {
            code: _leases_in(code, listed)
            for code, listed in zip(some, replies, strict=True)
        }

    async def followers(self, key: StoreKey) -> frozenset[str]:
        """See `Backend.followers`."""
        session, id = key
        time, *lines = await self._scripts.run("followers", session, id)
        return unpack_followers(key, time, lines)

    # Tokens

    async def revoke(self, key: StoreKey) -> frozenset[str]:
        """See `Backend.revoke`."""
        age = conf.get().token_max_age
        reply = await self._scripts.run("revoke", key.session, key.participant, age)
        if reply == b"corrupt":
            raise corrupt_revocations(key.session)
        time, *lines = reply
        return unpack_followers(key, time, lines)

    async def standings(
        self, keys: Sequence[StoreKey], *, profiles: bool = False
    ) -> dict[StoreKey, Standing]:
        """See `Backend.standings`."""
        standings = {}
        calls = by_session(keys)
        replies = await self._scripts.run_all(
            "standings",
            [(session, (int(profiles), *ids)) for session, ids in calls],
        )
        for (session, ids), reply in zip(calls, replies, strict=True):
            has_ended, times, kicked, who = reply
            if times == b"corrupt":
                raise corrupt_revocations(session)
            everyone, *own = times
            kicked = kicked or [None] * len(ids)
            known = profiles_in(who) if profiles else [UNKNOWN] * len(ids)
            for id, at, out, profile in zip(ids, own, kicked, known, strict=True):
                revoked = [float(one) for one in (everyone, at) if one is not None]
                standings[StoreKey.stored(session, id)] = Standing(
                    bool(has_ended),
                    max(revoked, default=None),
                    out is not None,
                    profile,
                )
        return standings


def _leases_in(session: str, reply: Sequence[Any]) -> list[Lease]:
    """Return the leases in a flat reply: name, details, whether leaving, deadline."""
    return [
        unpack_lease(session, *parts) for parts in zip(*[iter(reply)] * 4, strict=True)
    ]
