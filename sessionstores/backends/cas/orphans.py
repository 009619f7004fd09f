"""Orphans: records that no index names, found by listing all keys."""

from __future__ import annotations

from ... import conf
from ...keys import SESSION, StoreKey, keys_of_records
from .index import Index
from .keys import tombstone_key
from .removal import RecordRemoval
from .serializers import decode_time, has_line
from .values import Values

# Seconds for which a record without an entry must exist to be an orphan, and not one
# that is being created or removed.
ORPHANED_AFTER = 0.25
# Seconds within which the end of a session has removed its records.
ENDING = 60.0


class Orphans:
    """Finds orphans, and enters them in the index again."""

    def __init__(self, values: Values, index: Index, removal: RecordRemoval) -> None:
        self._values = values
        self._index = index
        self._removal = removal

    async def find(self) -> list[StoreKey] | None:
        """See `Backend.orphans`."""
        names = await self._values.keys()
        if names is None:
            return None
        keys = keys_of_records(conf.get().key_prefix, names)
        known = set(await self._index.sessions())
        members = await self._index.members({key.session for key in keys})
        listed = {code: {SESSION, *ids} for code, ids in members.items()}
        suspects = [
            key
            for key in keys
            if key.session not in known or key.participant not in listed[key.session]
        ]
        if suspects:
            await self._values.let_others_finish(ORPHANED_AFTER)
        return sorted([key for key in suspects if await self._is_orphan(key)])

    async def _is_orphan(self, key: StoreKey) -> bool:
        context = await self._index.context(key)
        if context.record is None:
            return False
        listed = key.is_session or has_line(context.members.value, key.participant)
        return not (listed and has_line(context.bucket.value, key.session))

    async def reindex(self, key: StoreKey) -> bool:
        """See `Backend.reindex`."""
        name = tombstone_key(key.session)
        tombstone = (await self._values.get(name)).get(name)
        if tombstone and self._values.now() - decode_time(tombstone.value) < ENDING:
            # The caller that ended the session may yet remove and report it.
            return False
        context = await self._index.settle(key)
        if context.record is None:
            return False
        if context.ended or context.keeps_out(key):
            if key.is_session:
                await self._removal.take(key, context.record)
                await self._index.settle(key)
            else:
                await self._removal.remove(key.session, [key.participant])
            return False
        return True
