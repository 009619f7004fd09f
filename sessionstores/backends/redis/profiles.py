"""Profiles: fields of participants' records, changed by one script."""

from __future__ import annotations

from collections.abc import Sequence

from ... import conf
from ...keys import StoreKey
from ..types import Profile, ProfileRule
from .scripts import ScriptRunner
from .serializers import by_session, corrupt, pack_profile, unpack_profile


class RedisProfiles:
    """The part of the contract for profiles; see `Standings`."""

    def __init__(self, scripts: ScriptRunner) -> None:
        self._scripts = scripts

    async def set_profile(
        self, key: StoreKey, given: Profile, how: ProfileRule = "set"
    ) -> Profile | None:
        """See `Standings.set_profile`."""
        timeout = conf.get().idle_timeout
        parts = how, *pack_profile(given)
        reply, *profile = await self._scripts.run(
            "profile", key.session, key.participant, timeout, *parts
        )
        if reply == b"corrupt":
            raise corrupt(key)
        return None if reply == b"absent" else unpack_profile(profile)

    async def remember_name(self, key: StoreKey, name: str) -> None:
        """See `Standings.remember_name`."""
        await self._scripts.run("shown_name", key.session, key.participant, name)

    async def profiles(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Profile]:
        """See `Standings.profiles`."""
        calls = by_session(keys)
        replies = await self._scripts.run_all("profiles", calls)
        return {
            StoreKey.stored(session, id): profile
            for (session, ids), found in zip(calls, replies, strict=True)
            for id, profile in zip(ids, profiles_in(found), strict=True)
        }


def profiles_in(found: Sequence[bytes | None]) -> list[Profile]:
    """Return the profiles in a flat reply: name, role and user of each."""
    return [unpack_profile(some) for some in zip(*[iter(found)] * 3, strict=True)]
