"""Participants of tests, in a session of their own or one that is given."""

from __future__ import annotations

from django.core.exceptions import SynchronousOnlyOperation

from ..backends import get_backend
from ..backends.base import Backend, run
from ..backends.types import Profile
from ..keys import StoreKey
from ..participants.participant import DEFAULT_ROLE, Participant, as_recorded
from ..sessions import lifecycle
from ..state.declaration import states_in
from ..store.records import open_record
from .arguments import session_given

# Whom a session's tests know by name; then come p6, p7, …
NAMES = ("alice", "bob", "carol", "dave", "erin")


def participant(
    session: str | Participant | None = None,
    id: str | None = None,
    *,
    role: str = DEFAULT_ROLE,
    name: str | None = None,
) -> Participant:
    """Return a participant who has joined a session, a new one if it is left out.

    A participant stands for their session: `participant(alice)` is in hers. A code that
    no session has makes one of that code, as a site's own codes need no
    `create_session`. Without an `id` it is the first that is free of alice, bob, carol,
    dave, erin, p6, p7 and so on. Their record is open, so `stores.participants()` lists
    them, with `role` and `name` as after `join`: of somebody who is there already, the
    role is what it was. Also inside an event loop, unless the stores are in the table
    of a database: then `aparticipant`. Raises what `join` raises.
    """
    try:
        return run(_participant(get_backend(blocking=True), session, id, role, name))
    except SynchronousOnlyOperation as error:
        error.add_note(
            "In a coroutine: await aparticipant(…), with the same arguments."
        )
        raise


async def aparticipant(
    session: str | Participant | None = None,
    id: str | None = None,
    *,
    role: str = DEFAULT_ROLE,
    name: str | None = None,
) -> Participant:
    """See `participant`."""
    return await _participant(get_backend(blocking=False), session, id, role, name)


async def _participant(
    backend: Backend,
    session: str | Participant | None,
    id: str | None,
    role: str,
    name: str | None,
) -> Participant:
    if session is not None:
        session = session_given(session)
    else:
        session = await lifecycle.create(
            backend, label="", keep=0, keep_participants=True
        )
    if id is None:
        id = await _free_id(backend, session)
    joined = Participant(session, id, role, name)
    given = Profile(name, role)
    await open_record(backend, joined.key, states_in("participant"), profile=given)
    profile = await backend.set_profile(joined.key, given, "join") or given
    return as_recorded(joined, profile)


async def _free_id(backend: Backend, session: str) -> str:
    code = StoreKey.of_session(session).session
    taken = {each.id for each in await backend.participants(code)}
    later = (f"p{number}" for number in range(len(NAMES) + 1, len(taken) + 7))
    return next(id for id in (*NAMES, *later) if id not in taken)
