"""Quarantine on Redis: undecodable data under keys of its own, for a day."""

from __future__ import annotations

import logging
import secrets
from hashlib import sha1

import msgspec

from ...exceptions import StateCorrupt
from ...keys import StoreKey
from ..record_cache import RecordCache
from ..types import QUARANTINE, SET_ASIDE, Quarantined
from .scripts import ScriptRunner
from .serializers import quarantine_key

logger = logging.getLogger("sessionstores.backends")

_encode = msgspec.msgpack.Encoder().encode


class RedisQuarantine:
    """Sets data aside and reads it again; forgets a record that is set aside."""

    def __init__(self, scripts: ScriptRunner, recent: RecordCache) -> None:
        self._scripts = scripts
        self._recent = recent

    async def set_aside(
        self, key: StoreKey, name: str | None, data: bytes | None
    ) -> bool:
        """See `Backend.set_aside`."""
        digest = secrets.token_hex(8)
        if name is not None:
            value = _encode([name, data or b""])
            # Named by its content: repeated, it is kept once; what differs is kept too.
            digest = sha1(value).hexdigest()[:16]  # noqa: S324 - no secret
        suffix = f"{key.participant}:{digest}"
        aside = quarantine_key(key.session, suffix)
        if name is not None:
            await self._scripts.send("SET", aside, value, "EX", int(QUARANTINE))
        elif not await self._scripts.run(
            "aside", key.session, key.participant, f"q:{suffix}", QUARANTINE
        ):
            return False
        self._recent.drop(key)
        logger.warning(SET_ASIDE, key, aside)
        return True

    async def quarantined(self, name: str) -> Quarantined | None:
        """See `Backend.quarantined`."""
        try:
            value = await self._scripts.send("GET", name)
        except StateCorrupt:
            # A record is a hash, whatever is wrong with it.
            value = await self._scripts.send("DUMP", name)
            return None if value is None else Quarantined(None, value)
        return None if value is None else Quarantined.unpack(value)
