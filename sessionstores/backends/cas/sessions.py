"""Sessions: creation, settings, events, participants and eviction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ... import conf
from ...exceptions import SessionEnded, StateCorrupt, StoreUnavailable
from ...keys import StoreKey
from ...state.revisions import Rev
from ..errors import MAX_ATTEMPTS, contended
from ..idleness import seconds_idle
from ..types import ParticipantInfo, Removed, SessionInfo
from .activity import decode_notes, events_in, with_notes
from .creation import RecordCreation
from .index import Index, participants_kept_until, record_lifetime
from .keeping import ParticipantKeeping
from .key_value import ABSENT
from .keys import (
    kicks_key,
    members_key,
    notes_key,
    record_key,
    session_key,
    tombstone_key,
)
from .leases import Leases
from .profiles import StoredOutline, decode_outline
from .removal import Idleness, RecordRemoval
from .serializers import (
    Details,
    StoredHead,
    decode,
    decode_head,
    encode,
    fresh,
    has_changed,
    ids_in,
    kept_until,
)
from .values import Values

# Seconds for which notes are kept at least, though the session is not used.
NOTES_LIFETIME = 86_400.0


class Sessions:
    """Creates, changes, lists and evicts sessions and their participants."""

    def __init__(
        self,
        values: Values,
        index: Index,
        creation: RecordCreation,
        removal: RecordRemoval,
        leases: Leases,
        keeping: ParticipantKeeping,
    ) -> None:
        self._values = values
        self._index = index
        self._creation = creation
        self._removal = removal
        self._leases = leases
        self._keeping = keeping

    async def create(
        self, code: str, *, label: str, keep: float, keep_participants: bool
    ) -> bool:
        """See `Backend.create_session`."""
        key = StoreKey.of_session(code)
        context = await self._index.context(key)
        if context.ended or context.session is not None:
            return False
        about = Details(label, keep, keep_participants=keep_participants)
        stored = fresh(Rev.first(), {}, self._values.now(), about)
        try:
            return await self._creation.create(key, stored, context) is not None
        except SessionEnded:
            return False

    async def info(self, code: str) -> SessionInfo | None:
        """See `Backend.session`."""
        key = StoreKey.of_session(code)
        name, tombstone, notes = _keys_about(code)
        found = await self._values.get(name, tombstone, notes)
        if tombstone in found or name not in found:
            return None
        head = decode_head(key, found[name].value)
        return _info(key, head, found.get(notes, ABSENT).value)

    async def update(
        self,
        code: str,
        *,
        label: str | None = None,
        keep: float | None = None,
        locked: bool | None = None,
        extend: float | None = None,
    ) -> SessionInfo | None:
        """See `Backend.update_session`."""
        key = StoreKey.of_session(code)
        name, tombstone, notes = _keys_about(code)
        for attempt in range(MAX_ATTEMPTS):
            found = await self._values.get(name, tombstone, notes, kicks_key(code))
            if tombstone in found or name not in found:
                return None
            stored = decode(key, found[name].value)
            about = stored.about or Details()
            kept = about.keep if keep is None else keep
            if extend is not None:
                kept = max(kept, self._values.now() + extend - stored.created)
            stored.about = Details(
                about.label if label is None else label,
                kept,
                about.locked if locked is None else locked,
                about.keep_participants,
            )
            value = encode(stored)
            lifetime = record_lifetime(stored, self._values.now())
            if (
                await self._values.put(name, found[name].token, value, lifetime)
                is not None
            ):
                kicks = found.get(kicks_key(code), ABSENT)
                await self._index.extend_kicks(code, lifetime, kicks)
                if about.keep_participants and kept != about.keep:
                    await self._keeping.follow(code, stored.created + kept)
                return _info(key, stored, found.get(notes, ABSENT).value)
            await self._values.back_off(attempt)
        raise contended(key)

    async def note(
        self, code: str, events: Sequence[Mapping[str, Any]], *, changes: int = 0
    ) -> None:
        """See `Backend.note`. Kept beside the record, so it competes with no commit."""
        key = StoreKey.of_session(code)
        name, tombstone, notes = _keys_about(code)
        found = await self._values.get(name, tombstone, notes)
        if tombstone in found or name not in found:
            return
        head = decode_head(key, found[name].value)

        def add(value: bytes) -> bytes:
            return with_notes(value, head.created, self._values.now(), events, changes)

        lifetime = max(NOTES_LIFETIME, record_lifetime(head, self._values.now()))
        await self._values.update(notes, add, lifetime, found.get(notes, ABSENT))

    async def _forget_notes(self, code: str) -> None:
        # Left behind, they count for no later session, and expire.
        with suppress(StoreUnavailable):
            await self._values.update(notes_key(code), lambda _: b"", None)

    async def end(self, code: str) -> list[Removed]:
        """See `Backend.end_session`."""
        age = conf.get().token_max_age
        ended_at = encode(self._values.now())
        await self._values.update(tombstone_key(code), lambda _: ended_at, age)
        return await self._removal.clear_session(code)

    async def participants(self, code: str) -> list[ParticipantInfo]:
        """See `Backend.participants`."""
        ids, kept = await self._members_of(code)
        keys = [StoreKey.stored(code, id) for id in sorted(ids)]
        heads = await self._outlines_of(keys)
        connections = await self._leases.live(heads)
        return [
            ParticipantInfo(
                key.participant,
                head.rev,
                head.created,
                head.seen,
                head.size,
                sum(not entry.leaving for entry in connections[key]),
                max(kept, kept_until(head)) if has_changed(head) else 0.0,
                head.profile,
                head.shown_name,
            )
            for key, head in heads.items()
        ]

    async def evict_idle(
        self,
        code: str,
        *,
        idle_for: float,
        limit: int,
        participant: str | None = None,
        with_states: bool = True,
    ) -> list[Removed]:
        """See `Backend.evict_idle`."""
        members, kept = await self._members_of(code)
        now = self._values.now()
        idleness = Idleness(now - seconds_idle(idle_for), now, kept, with_states)
        ids = [id for id in members if participant in (None, id)]
        due = await self._removal.read(code, ids, idleness)
        connections = await self._leases.live(due)
        # Each record is compared with what was read before the leases: either shows
        # who comes in between.
        alone = [key for key in due if not connections[key]][:limit]
        alone_due = {key: due[key] for key in alone}
        return await self._removal.remove_due(code, alone_due, idleness)

    async def _members_of(self, code: str) -> tuple[list[str], float]:
        """Return a session's participants, and until when it keeps them."""
        members, own = members_key(code), session_key(code)
        found = await self._values.get(members, own)
        ids = ids_in(found.get(members, ABSENT).value)
        return ids, participants_kept_until(code, found.get(own))

    async def evict_empty(self, code: str, *, idle_for: float) -> bool:
        """See `Backend.evict_empty_session`."""
        key = StoreKey.of_session(code)
        context = await self._index.context(key)
        if ids_in(context.members.value):
            return False
        if context.session is None:
            return await self._evict_entry(key, None)
        try:
            head = decode_head(key, context.session.value)
        except StateCorrupt:
            return False
        now = self._values.now()
        keep = head.about.keep if head.about else 0.0
        if head.seen > now - seconds_idle(idle_for) or now < head.created + keep:
            return False
        if not await self._values.drop(record_key(key), context.session.token):
            return False
        return await self._evict_entry(key, context.session.value)

    async def _evict_entry(self, key: StoreKey, removed: bytes | None) -> bool:
        """Remove the entry of a session whose record is gone; True if this call did.

        Another sweeper may come between a removal and this: the entry is what both
        compete for, so that one of them counts the session.
        """
        code = key.session
        was_entered = await self._index.unregister(code)
        # A participant who joined meanwhile gets the session back as it was.
        context = await self._index.settle(key, removed)
        if context.session is not None:
            return False
        await self._forget_notes(code)
        await self._index.forget_kicks(code, context.kicks)
        return was_entered

    async def _outlines_of(
        self, keys: Collection[StoreKey]
    ) -> dict[StoreKey, StoredOutline]:
        """Return those records that there are and that are not corrupt."""
        names = {key: record_key(key) for key in keys}
        found = await self._values.get(*names.values())
        heads = {}
        for key, name in names.items():
            if name in found:
                with suppress(StateCorrupt):
                    heads[key] = decode_outline(key, found[name].value)
        return heads


def _info(key: StoreKey, head: StoredHead, notes: bytes) -> SessionInfo:
    """Return a session's record, and its notes, as the contract shows them."""
    about = head.about or Details()
    return SessionInfo(
        key.session,
        about.label,
        head.created,
        about.keep,
        about.locked,
        head.seen,
        head.size,
        events_in(decode_notes(notes, head.created)),
        about.keep_participants,
    )


def _keys_about(code: str) -> tuple[str, str, str]:
    """Return the keys of a session's record, its tombstone and its notes."""
    return session_key(code), tombstone_key(code), notes_key(code)
