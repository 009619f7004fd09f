"""People of a session: the methods of `stores` that look after participants."""

from __future__ import annotations

import msgspec

from ..backends import get_backend
from ..backends.base import run
from ..backends.types import ParticipantInfo, Profile
from ..concurrency.async_unsafe import async_unsafe
from ..keys import StoreKey, check_code, check_participant, check_stored
from ..sessions import lifecycle
from ..sessions.presence import Attendee, attendance
from ..sessions.profiles import change_profile, withdraw_roles
from .names import check_name
from .participant import DEFAULT_ROLE
from .tokens import check_role


class Person(msgspec.Struct, frozen=True):
    """A participant with a record, whether or not they are there now.

    `name`: what they are called, None if nobody has said so. `online`: whether they
    have a tab open; `tabs`: how many. `last_seen`: their last use, in seconds since the
    epoch, exact to a tenth of `IDLE_TIMEOUT`. `bytes`: the size of their stored states.
    `user`: of a user of the site the pk, as text.
    """

    id: str
    name: str | None
    role: str
    online: bool
    tabs: int
    last_seen: float
    bytes: int
    user: str | None


class PeopleManager:
    """The methods of `sessionstores.stores` that look after participants."""

    @async_unsafe("Inside an event loop: await apeople() instead.")
    def people(self, session: str) -> list[Person]:
        """Return everybody with a record in a session, sorted by id.

        Those who are offline, too. A constant number of round trips; no state is
        decoded.
        """
        backend = get_backend(blocking=True)
        return list(map(_person, run(backend.participants(check_code(session)))))

    async def apeople(self, session: str) -> list[Person]:
        """See `people`."""
        backend = get_backend(blocking=False)
        return list(map(_person, await backend.participants(check_code(session))))

    @async_unsafe("Inside an event loop: await aset_role() instead.")
    def set_role(self, session: str, participant: str, role: str) -> bool:
        """Change a participant's role; their open tabs and later actions follow.

        Kept with the record, and stronger than what a token or a later `join` says.
        Tabs learn of it at once, or, if the message is lost, with their next heartbeat.
        False if there is no such participant. Raises `InvalidKey` and `UnknownSession`.
        """
        key, given = _of_participant(session, participant), _with_role(role)
        return run(change_profile(get_backend(blocking=True), key, given))

    async def aset_role(self, session: str, participant: str, role: str) -> bool:
        """See `set_role`."""
        key, given = _of_participant(session, participant), _with_role(role)
        return await change_profile(get_backend(blocking=False), key, given)

    @async_unsafe("Inside an event loop: await aset_name() instead.")
    def set_name(self, session: str, participant: str, name: str) -> bool:
        """Change what a participant is called; everybody's open tabs follow.

        A name has 1 to 80 characters beside surrounding space, which is stripped, no
        control characters, and need not be unique. Whoever has one is kept as long as
        their session is. False if there is no such participant. Raises `InvalidKey` and
        `UnknownSession`.
        """
        key, given = _of_participant(session, participant), _with_name(name)
        return run(change_profile(get_backend(blocking=True), key, given))

    async def aset_name(self, session: str, participant: str, name: str) -> bool:
        """See `set_name`."""
        key, given = _of_participant(session, participant), _with_name(name)
        return await change_profile(get_backend(blocking=False), key, given)

    @async_unsafe("Inside an event loop: await acleanup_participant() instead.")
    def cleanup_participant(self, session: str, participant: str) -> bool:
        """Remove a participant's data; a later access starts afresh.

        False if there was none.
        """
        key = StoreKey.stored(session, check_stored(participant))
        return run(lifecycle.cleanup_participant(get_backend(blocking=True), key))

    async def acleanup_participant(self, session: str, participant: str) -> bool:
        """See `cleanup_participant`."""
        key = StoreKey.stored(session, check_stored(participant))
        return await lifecycle.cleanup_participant(get_backend(blocking=False), key)

    @async_unsafe("Inside an event loop: await akick() instead.")
    def kick(self, session: str, participant: str) -> bool:
        """Remove a participant from a session, and keep them out as long as it lives.

        False if there was no such participant; they are kept out all the same. Their
        tabs are closed, `participant_removed` has the reason "kicked" and the final
        states, and whoever opens a record under that id from here on gets `Kicked`:
        `join`, stores, tabs. Once it returns, no change of theirs to their own state is
        ever stored; what they had sent for the session's state may still be, until
        their tabs' processes hear of it, which takes milliseconds, or a heartbeat where
        the channel layer fails.

        It is the id that is kept out. A user's is the same in every browser; a guest
        in another browser is a newcomer, whom `lock` refuses. In a rolling deploy,
        processes of a release without `kick` let them in: kick them again after it.

        Tombstone and removal are one step on Redis, else the tombstone comes first: it
        is safe to repeat. Raises `UnknownSession`, and `LimitReached` for one more
        than the 1,000 that a session keeps out.
        """
        key = StoreKey.stored(session, check_stored(participant))
        return run(lifecycle.kick(get_backend(blocking=True), key))

    async def akick(self, session: str, participant: str) -> bool:
        """See `kick`."""
        key = StoreKey.stored(session, check_stored(participant))
        return await lifecycle.kick(get_backend(blocking=False), key)

    @async_unsafe("Inside an event loop: await areadmit() instead.")
    def readmit(self, session: str, participant: str) -> bool:
        """Keep somebody who was kicked out no longer; they start afresh.

        False if they were not kept out. A lock does not refuse whom their browser's
        kept identity or a signed link names. Raises `UnknownSession`.
        """
        key = StoreKey.stored(session, check_stored(participant))
        return run(lifecycle.readmit(get_backend(blocking=True), key))

    async def areadmit(self, session: str, participant: str) -> bool:
        """See `readmit`."""
        key = StoreKey.stored(session, check_stored(participant))
        return await lifecycle.readmit(get_backend(blocking=False), key)

    @async_unsafe("Inside an event loop: await arevoke() instead.")
    def revoke(self, session: str, participant: str | None = None) -> None:
        """Void the tokens issued until now to a participant, or to the whole session.

        Their open connections are closed. Their roles are withdrawn: whoever joins
        again has the one that this `join` says. Of a session or participant that does
        not exist, the tokens are void too, and nothing is raised.
        """
        backend, key = get_backend(blocking=True), stored_key(session, participant)
        run(lifecycle.revoke(backend, key))
        run(withdraw_roles(backend, key))

    async def arevoke(self, session: str, participant: str | None = None) -> None:
        """See `revoke`."""
        backend, key = get_backend(blocking=False), stored_key(session, participant)
        await lifecycle.revoke(backend, key)
        await withdraw_roles(backend, key)

    @async_unsafe("Inside an event loop: await adisconnect() instead.")
    def disconnect(self, session: str, participant: str | None = None) -> None:
        """Close the tabs of a participant, or of everybody; they stay away.

        Tokens stay valid: a reload of the page connects again. See also `revoke`. If
        there is no such session or participant, it does nothing.
        """
        key = stored_key(session, participant)
        run(lifecycle.disconnect(get_backend(blocking=True), key))

    async def adisconnect(self, session: str, participant: str | None = None) -> None:
        """See `disconnect`."""
        key = stored_key(session, participant)
        await lifecycle.disconnect(get_backend(blocking=False), key)

    @async_unsafe("Inside an event loop: await areset() instead.")
    def reset(self, session: str, participant: str) -> bool:
        """Replace all of a participant's states by fresh ones; their tabs follow.

        False if there is no such participant or session. Atomic, unlike
        `cleanup_participant` and a return, and no tab is closed.
        """
        key = StoreKey(session, check_participant(participant))
        return run(lifecycle.reset(get_backend(blocking=True), key))

    async def areset(self, session: str, participant: str) -> bool:
        """See `reset`."""
        key = StoreKey(session, check_participant(participant))
        return await lifecycle.reset(get_backend(blocking=False), key)

    @async_unsafe("Inside an event loop: await apresence() instead.")
    def presence(self, session: str) -> dict[str, Attendee]:
        """Return the participants who are connected now, by id, sorted."""
        return run(attendance(get_backend(blocking=True), check_code(session)))

    async def apresence(self, session: str) -> dict[str, Attendee]:
        """See `presence`."""
        return await attendance(get_backend(blocking=False), check_code(session))

    @async_unsafe("Inside an event loop: await aparticipant_count() instead.")
    def participant_count(self, session: str | None = None) -> int:
        """Return the number of participants of a session, or of all of them."""
        code = None if session is None else check_code(session)
        return run(get_backend(blocking=True).participant_count(code))

    async def aparticipant_count(self, session: str | None = None) -> int:
        """See `participant_count`."""
        code = None if session is None else check_code(session)
        return await get_backend(blocking=False).participant_count(code)

    @async_unsafe("Inside an event loop: await aparticipants() instead.")
    def participants(self, session: str) -> list[str]:
        """Return the ids of a session's participants, sorted."""
        backend = get_backend(blocking=True)
        return [info.id for info in run(backend.participants(check_code(session)))]

    async def aparticipants(self, session: str) -> list[str]:
        """See `participants`."""
        backend = get_backend(blocking=False)
        return [info.id for info in await backend.participants(check_code(session))]


def _of_participant(session: str, participant: str) -> StoreKey:
    return StoreKey.stored(session, check_stored(participant))


def _with_role(role: str) -> Profile:
    return Profile(role=check_role(role))


def _with_name(name: str) -> Profile:
    return Profile(name=check_name(name))


def _person(info: ParticipantInfo) -> Person:
    name, role, user = info.profile
    return Person(
        id=info.id,
        name=name,
        role=role or DEFAULT_ROLE,
        online=info.connections > 0,
        tabs=info.connections,
        last_seen=info.seen,
        bytes=info.bytes,
        user=user,
    )


def stored_key(session: str, participant: str | None) -> StoreKey:
    """Return the key of a participant as stored, of the session itself for None."""
    # Neither "" nor "*" may stand for everybody: that is what None says.
    if participant is None:
        return StoreKey.of_session(session)
    return StoreKey.stored(session, check_stored(participant))
