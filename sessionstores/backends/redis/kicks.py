"""Kicks: the people whom a session keeps out."""

from __future__ import annotations

from ... import conf
from ...keys import StoreKey
from ..errors import too_many_kicked, unknown
from ..record_cache import RecordCache
from ..types import MAX_KICKED, Removed
from .scripts import ScriptRunner
from .serializers import unpack_removed


class RedisKicks:
    """The part of the contract for people who are kept out; see `Standings`.

    `recent` is the cache of records, which forgets theirs.
    """

    def __init__(self, scripts: ScriptRunner, recent: RecordCache) -> None:
        self._scripts = scripts
        self._recent = recent

    async def kick(self, key: StoreKey) -> Removed | None:
        """See `Standings.kick`. One step."""
        arguments = key.participant, MAX_KICKED, conf.get().idle_timeout
        self._recent.drop(key)
        reply, *rest = await self._scripts.run(
            "kick", key.session, *arguments, retry=False
        )
        if reply == b"absent":
            raise unknown(key.session)
        if reply == b"full":
            raise too_many_kicked(key.session)
        return unpack_removed(key.session, rest[0]) if rest[0] else None

    async def readmit(self, key: StoreKey) -> bool:
        """See `Standings.readmit`."""
        reply = await self._scripts.run("readmit", key.session, key.participant)
        if reply < 0:
            raise unknown(key.session)
        return bool(reply)

    async def kicked(self, code: str) -> dict[str, float]:
        """See `Standings.kicked`."""
        listed = await self._scripts.run("kicked", code)
        pairs = zip(*[iter(listed)] * 2, strict=True)
        return {id.decode(): float(at) for id, at in pairs}
