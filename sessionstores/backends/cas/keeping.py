"""Keep: its end stands in each participant's record, too, for commits read one key."""

from __future__ import annotations

from contextlib import suppress

from ...exceptions import StateCorrupt
from ...keys import StoreKey
from ..errors import MAX_ATTEMPTS, contended
from .index import Index, RecordContext, participants_kept_until, record_lifetime
from .key_value import Versioned
from .keys import record_key, record_keys, session_key
from .serializers import StoredRecord, decode, encode, participant_details
from .values import Values


class ParticipantKeeping:
    """Writes the end of a session's keep into its participants' records."""

    def __init__(self, values: Values, index: Index) -> None:
        self._values = values
        self._index = index

    async def follow(self, session: str, kept: float) -> None:
        """Keep the participants of a session until then, as its own record says."""
        for attempt in range(MAX_ATTEMPTS):
            # Entries first: whoever comes later reads the session's record.
            ids = await self._index.extend(session, kept)
            names = {name: key for key, name in record_keys(session, ids).items()}
            own = session_key(session)
            found = await self._values.get(*names)
            for name, key in names.items():
                if name in found:
                    await self._write(key, found[name], kept)
            found = await self._values.get(own)
            latest = participants_kept_until(session, found.get(own))
            if latest == kept or own not in found:
                return
            # Another caller has changed it meanwhile: of two, the last to write
            # participants has seen what both wrote.
            kept = latest
            await self._values.back_off(attempt)
        raise contended(StoreKey.of_session(session))

    async def adopt(self, key: StoreKey, context: RecordContext) -> None:
        """Correct a participant's record that has missed a change of the keep."""
        if context.record is None or key.is_session:
            return
        kept = participants_kept_until(key.session, context.session)
        # Of a session that was lost and is new, the old keep holds for whom it held.
        if kept > self._values.now() and await self._write(key, context.record, kept):
            await self._index.extend(key.session, kept)

    async def _write(self, key: StoreKey, found: Versioned | None, kept: float) -> bool:
        """Write the end of the keep; False if the record has it, or is unreadable."""
        name = record_key(key)
        # What others do meanwhile stays, and may be an eviction.
        with suppress(StateCorrupt):
            for attempt in range(MAX_ATTEMPTS):
                if found is None:
                    return False
                stored = decode(key, found.value)
                if not keep_participant(stored, kept):
                    return False
                lifetime = record_lifetime(stored, self._values.now())
                value = encode(stored)
                if (
                    await self._values.put(name, found.token, value, lifetime)
                    is not None
                ):
                    return True
                await self._values.back_off(attempt)
                found = (await self._values.get(name)).get(name)
            raise contended(key)
        return False


def keep_participant(stored: StoredRecord, kept: float) -> bool:
    """Put the end of the keep into a participant's record; False if it has it."""
    keep = max(kept - stored.created, 0.0)
    if keep == (stored.about.keep if stored.about else 0.0):
        return False
    stored.about = participant_details(stored.about, keep=keep)
    return True
