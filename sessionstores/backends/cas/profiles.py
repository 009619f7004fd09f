"""Profiles: read and changed in the records, each of which is one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from ...exceptions import StateCorrupt
from ...keys import StoreKey
from ..errors import MAX_ATTEMPTS, contended
from ..profiles import (
    changed,
    profile_entry,
    profile_in,
    profile_of,
    shown_name_of,
)
from ..types import PROFILE, UNKNOWN, ClientEntry, Profile, ProfileRule
from .index import record_lifetime
from .key_value import Versioned
from .keys import record_key
from .serializers import (
    StoredHead,
    StoredRecord,
    checked,
    corrupt,
    decode,
    encode,
    has_changed,
    participant_details,
)
from .values import Values


class _ProfileEntry(msgspec.Struct):
    """Client entries, of which decoding takes the one that holds the profile."""

    entry: ClientEntry | None = msgspec.field(name=PROFILE, default=None)


class StoredOutline(StoredHead, array_like=True):
    """A record's head and profile; decoding it skips states and other clients."""

    states: msgspec.Raw
    clients: _ProfileEntry

    @property
    def profile(self) -> Profile:
        """What the record says of its participant."""
        entry = self.clients.entry
        return UNKNOWN if entry is None else profile_of(entry)

    @property
    def shown_name(self) -> str:
        """What their tabs showed last as their name; see `remember_name`."""
        return shown_name_of(self.clients.entry)


_outline = msgspec.msgpack.Decoder(StoredOutline).decode


def decode_outline(key: StoreKey, value: bytes) -> StoredOutline:
    """Return head and profile of the record at `key`; raise `StateCorrupt`."""
    try:
        return checked(_outline(value))
    except (msgspec.MsgspecError, ValueError) as error:
        raise corrupt(key, error) from error


def profile_at(key: StoreKey, found: Versioned | None) -> Profile:
    """Return the profile in a record; nothing is known without a sound one."""
    with suppress(StateCorrupt):
        if found is not None:
            return decode_outline(key, found.value).profile
    return UNKNOWN


def change_profile(
    stored: StoredRecord, given: Profile, how: ProfileRule
) -> tuple[Profile, bool]:
    """Change a record's profile; return it, and whether the record has changed.

    Who has a name is kept as those are who have changed something.
    """
    before = profile_in(stored.clients)
    profile = changed(before, given, how)
    if profile != before:
        shown_name = shown_name_of(stored.clients.get(PROFILE))
        stored.clients[PROFILE] = profile_entry(profile, shown_name)
    is_kept_anew = profile.name is not None and not has_changed(stored)
    if is_kept_anew:
        stored.about = participant_details(stored.about, pristine=0)
    return profile, is_kept_anew or profile != before


def _remember_name(stored: StoredRecord, shown: str) -> tuple[Profile, bool]:
    profile = profile_in(stored.clients)
    if shown_name_of(stored.clients.get(PROFILE)) == shown:
        return profile, False
    stored.clients[PROFILE] = profile_entry(profile, shown)
    return profile, True


class Profiles:
    """Reads and changes the profiles in participants' records."""

    def __init__(self, values: Values) -> None:
        self._values = values

    async def set(
        self, key: StoreKey, given: Profile, how: ProfileRule
    ) -> Profile | None:
        """See `Standings.set_profile`."""
        return await self._change(key, partial(change_profile, given=given, how=how))

    async def remember_name(self, key: StoreKey, shown: str) -> None:
        """See `Standings.remember_name`."""
        with suppress(StateCorrupt):
            await self._change(key, partial(_remember_name, shown=shown))

    async def _change(
        self, key: StoreKey, change: Callable[[StoredRecord], tuple[Profile, bool]]
    ) -> Profile | None:
        """Write what `change` makes of a record, if it returns that it has to be."""
        name = record_key(key)
        for attempt in range(MAX_ATTEMPTS):
            found = (await self._values.get(name)).get(name)
            if found is None:
                return None
            stored = decode(key, found.value)
            profile, has_to_be_stored = change(stored)
            if not has_to_be_stored:
                return profile
            value = encode(stored)
            lifetime = record_lifetime(stored, self._values.now())
            if await self._values.put(name, found.token, value, lifetime) is not None:
                return profile
            await self._values.back_off(attempt)
        raise contended(key)

    async def read(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Profile]:
        """See `Standings.profiles`."""
        names = {key: record_key(key) for key in keys}
        found = await self._values.get(*names.values())
        return {key: profile_at(key, found.get(name)) for key, name in names.items()}
