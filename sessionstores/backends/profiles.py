"""Profiles: who a participant is, and how a record holds that."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from .types import (
    PROFILE,
    RUNS,
    SHOWN_NAME,
    UNKNOWN,
    ClientEntry,
    Profile,
    ProfileRule,
)

# Among client entries, which are forgotten by their time.
_FOREVER = 2**53 - 1

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Profile).decode


def changed(held: Profile, given: Profile, how: ProfileRule) -> Profile:
    """Return a profile after a change; see `Standings.set_profile`."""
    name, role, user = (
        before if after is None or (how == "fill" and before is not None) else after
        for before, after in zip(held, given, strict=True)
    )
    if how == "join" and held.role:
        role = held.role
    return Profile(name, role, user)


# In a record that is one value, the profile is among the client entries: releases that
# know of no profiles copy these from commit to commit, whatever else they rewrite.


def profile_in(clients: Mapping[str, ClientEntry]) -> Profile:
    """Return the profile among a record's client entries."""
    entry = clients.get(PROFILE)
    return UNKNOWN if entry is None else profile_of(entry)


def profile_of(entry: ClientEntry) -> Profile:
    """Return the profile in its entry; nothing is known from one that is corrupt."""
    return _profile(entry.rejected.get(RUNS, ""))


# Each commit asks for it anew, and it seldom changes.
@lru_cache(maxsize=1024)
def _profile(text: str) -> Profile:
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return UNKNOWN


def shown_name_of(entry: ClientEntry | None) -> str:
    """Return the name beside the profile in an entry, "" if there is none."""
    return "" if entry is None else entry.rejected.get(SHOWN_NAME, "")


def profile_entry(profile: Profile, shown_name: str = "") -> ClientEntry:
    """Return the client entry that holds a profile, and the name that tabs showed."""
    # Where the others have their runs, which go last if entries take up too much.
    held = {RUNS: _encode(profile).decode()}
    if shown_name:
        held[SHOWN_NAME] = shown_name
    return ClientEntry(0, held, _FOREVER)
