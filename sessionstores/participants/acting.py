"""Acting: run an action for a participant who has no tab, as one of a tab would run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..backends.base import Backend
from ..backends.types import Profile
from ..exceptions import SessionStoresError
from ..keys import StoreKey
from ..monitoring.failures import counted
from ..state.declaration import Action, State
from ..store.records import open_document
from ..store.transactions import perform
from .participant import Participant


@counted
async def act(
    backend: Backend,
    participant: Participant,
    cls: type[State],
    action: Action,
    arguments: Mapping[str, Any],
) -> Any:
    """Run an action with decoded arguments, once, and return what it returns.

    The participant's record is opened first, whatever the action changes, so that who
    was kicked or is kept out of a locked session changes nothing. Raises what
    `perform` raises, `ActionRejected` for a role that may not call it, `SessionEnded`,
    `Kicked`, `SessionLocked` and `LimitReached`, and counts it. One commit, or none.
    """
    action.check_role(participant.role)
    key, profile = participant.key, Profile(participant.name, participant.role)
    await open_document(backend, key, profile=profile)
    of_session = cls.__sessionstores__.scope == "session"
    if of_session:
        key = StoreKey.of_session(participant.session)
    outcome = await perform(backend, key, cls, action, arguments, actor=participant)
    if of_session and outcome.base != outcome.rev:
        # Who votes is in use, and has changed something.
        with suppress(SessionStoresError):
            await backend.touch(participant.key, acted=True)
    return outcome.result
