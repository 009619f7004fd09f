"""Profiles of participants: change name and role, and have open tabs follow.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

from ..backends.base import Backend
from ..backends.errors import unknown
from ..backends.types import Profile
from ..keys import StoreKey
from . import presence


async def change_profile(backend: Backend, key: StoreKey, given: Profile) -> bool:
    """Change the parts that are given; False if there is no such participant.

    Raises `UnknownSession` if there is no such session either.
    """
    if await backend.set_profile(key, given) is None:
        if await backend.session(key.session) is None:
            raise unknown(key.session)
        return False
    await presence.notify(backend, key.session, changed=key)
    return True


async def withdraw_roles(backend: Backend, key: StoreKey) -> None:
    """Withdraw a participant's role, or everybody's: the next join decides it anew.

    Everybody's in a step for each.
    """
    withdrawn = Profile(role="")
    if not key.is_session:
        await backend.set_profile(key, withdrawn)
        return
    for info in await backend.participants(key.session):
        if info.profile.role:
            await backend.set_profile(StoreKey.stored(key.session, info.id), withdrawn)
