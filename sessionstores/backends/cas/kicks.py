"""Kicks: the people whom a session keeps out, in one value beside its record.

It is written before a record is removed, and whoever creates one reads it afterwards.
"""

from __future__ import annotations

from contextlib import suppress

from ... import conf
from ...exceptions import StateCorrupt
from ...keys import StoreKey
from ..errors import too_many_kicked, unknown
from ..types import MAX_KICKED, Removed
from .index import Index, RecordContext, record_lifetime
from .keys import kicks_key
from .removal import RecordRemoval
from .serializers import decode_head, decode_kicks, encode
from .values import Values


class Kicks:
    """Keeps people out, lets them in again, and says who is kept out."""

    def __init__(self, values: Values, index: Index, removal: RecordRemoval) -> None:
        self._values = values
        self._index = index
        self._removal = removal

    async def kick(self, key: StoreKey) -> Removed | None:
        """See `Standings.kick`."""
        session, id = key
        context = await self._context(key)
        was_out = False

        def enter(value: bytes) -> bytes:
            nonlocal was_out
            times = decode_kicks(session, value)
            was_out = id in times
            if not was_out and len(times) >= MAX_KICKED:
                raise too_many_kicked(session)
            return encode({id: self._values.now()} | times)

        lifetime = self._lifetime(key, context)
        await self._values.update(kicks_key(session), enter, lifetime, context.kicks)
        return await self._removal.delete(key, was_out=was_out)

    async def readmit(self, key: StoreKey) -> bool:
        """See `Standings.readmit`."""
        session, id = key
        context = await self._context(key)
        before: dict[str, float] = {}

        def remove(value: bytes) -> bytes:
            nonlocal before
            before = decode_kicks(session, value)
            left = {one: at for one, at in before.items() if one != id}
            return encode(left) if left else b""

        lifetime = self._lifetime(key, context)
        await self._values.update(kicks_key(session), remove, lifetime, context.kicks)
        return id in before

    async def kicked(self, code: str) -> dict[str, float]:
        """See `Standings.kicked`."""
        context = await self._index.context(StoreKey.of_session(code))
        return decode_kicks(code, context.kicks.value) if context.is_founded else {}

    async def _context(self, key: StoreKey) -> RecordContext:
        context = await self._index.context(key)
        if context.ended or not context.is_founded:
            raise unknown(key.session)
        return context

    def _lifetime(self, key: StoreKey, context: RecordContext) -> float:
        """Return the seconds for which the value is kept: longer than the session."""
        timeout = conf.get().idle_timeout
        with suppress(StateCorrupt):
            if context.session is not None:
                own = StoreKey.of_session(key.session)
                head = decode_head(own, context.session.value)
                return record_lifetime(head, self._values.now()) + timeout
        # Whoever creates the session's record anew extends it.
        return 3.2 * timeout
