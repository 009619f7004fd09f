"""`stores`: the sessions and participants of this site, and their stores."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, overload
from weakref import WeakValueDictionary

import msgspec
from django.utils.asyncio import async_unsafe

from . import codec, signals
from .backends import get_backend
from .backends.base import Backend, Removed, run
from .exceptions import InvalidKey, LimitReached, StateCorrupt, UnknownState
from .keys import SESSION, StoreKey, check_code, check_participant, generate_code
from .state import State, get_state
from .store import Store

S = TypeVar("S", bound=State)

# 31**6 codes: a hundred misses in a row mean that something else is wrong.
CODE_TRIES = 100


class StoreManager:
    """What `sessionstores.stores` offers; it keeps no data of its own.

    Codes and ids are checked before any cache access (`InvalidKey`). Every method
    that does I/O has an async twin, refuses to run inside an event loop, and raises
    `StoreUnavailable` when the cache does not answer.
    """

    def __init__(self) -> None:
        self._stores: WeakValueDictionary[tuple[type[State], StoreKey], Store[Any]]
        self._stores = WeakValueDictionary()
        self._lock = threading.Lock()

    @overload
    def get(
        self, state: type[S], session: str, participant: str | None = None
    ) -> Store[S]: ...

    @overload
    def get(
        self, state: str, session: str, participant: str | None = None
    ) -> Store[Any]: ...

    def get(
        self, state: type[State] | str, session: str, participant: str | None = None
    ) -> Store[Any]:
        """Return the store of a participant's state, or of a session's; no I/O.

        While somebody holds it, everybody gets the same object. Raises `UnknownState`,
        and `InvalidKey` also when the state's scope and `participant` do not fit.
        """
        cls = get_state(state)
        declaration = cls.__sessionstores__
        if declaration.scope == "session":
            if participant is not None:
                raise InvalidKey(
                    f"{cls.__name__} belongs to the whole session: leave out the "
                    "participant."
                )
            key = StoreKey.of_session(session)
        elif participant is None:
            raise InvalidKey(
                f"{cls.__name__} belongs to a participant: stores.get("
                f"{cls.__name__}, code, participant)."
            )
        else:
            key = StoreKey(check_code(session), check_participant(participant))
        with self._lock:
            store = self._stores.get((cls, key))
            if store is None:
                store = self._stores[cls, key] = Store(cls, key)
        return store

    @async_unsafe("Inside an event loop: await acreate_session() instead.")
    def create_session(self, *, label: str = "", keep: float = 0) -> str:
        """Claim a random code and return it.

        The session stays at least `keep` seconds, used or not. Raises `LimitReached`
        past `MAX_SESSIONS`.
        """
        return run(_create_session(get_backend(blocking=True), label, keep))

    async def acreate_session(self, *, label: str = "", keep: float = 0) -> str:
        """See `create_session`."""
        return await _create_session(get_backend(blocking=False), label, keep)

    @async_unsafe("Inside an event loop: await acleanup_participant() instead.")
    def cleanup_participant(self, session: str, participant: str) -> bool:
        """Remove a participant's data; a later access starts afresh.

        False if there was none.
        """
        key = StoreKey(session, check_participant(participant))
        return run(_cleanup_participant(get_backend(blocking=True), key))

    async def acleanup_participant(self, session: str, participant: str) -> bool:
        """See `cleanup_participant`."""
        key = StoreKey(session, check_participant(participant))
        return await _cleanup_participant(get_backend(blocking=False), key)

    @async_unsafe("Inside an event loop: await acleanup_session() instead.")
    def cleanup_session(self, session: str) -> int:
        """Remove a session with all its data; a later access starts afresh.

        Returns how many participants it had.
        """
        return run(_cleanup_session(get_backend(blocking=True), check_code(session)))

    async def acleanup_session(self, session: str) -> int:
        """See `cleanup_session`."""
        backend = get_backend(blocking=False)
        return await _cleanup_session(backend, check_code(session))

    @async_unsafe("Inside an event loop: await aend_session() instead.")
    def end_session(self, session: str) -> int:
        """Remove a session for good: `SessionEnded` until the tombstone expires.

        Returns how many participants it had.
        """
        return run(_end_session(get_backend(blocking=True), check_code(session)))

    async def aend_session(self, session: str) -> int:
        """See `end_session`."""
        return await _end_session(get_backend(blocking=False), check_code(session))

    @async_unsafe("Inside an event loop: await arevoke() instead.")
    def revoke(self, session: str, participant: str | None = None) -> None:
        """Void the tokens issued until now to a participant, or to the whole session.

        Open connections are closed.
        """
        key = StoreKey(session, participant or SESSION)
        run(_revoke(get_backend(blocking=True), key))

    async def arevoke(self, session: str, participant: str | None = None) -> None:
        """See `revoke`."""
        key = StoreKey(session, participant or SESSION)
        await _revoke(get_backend(blocking=False), key)

    @async_unsafe("Inside an event loop: await asend() instead.")
    def send(self, session: str, data: Any, participant: str | None = None) -> None:
        """Send JSON `data` to the tabs of a participant, or of everybody.

        It is not stored: a tab that is away misses it. Raises TypeError if `data` is
        not JSON.
        """
        key = StoreKey(session, participant or SESSION)
        run(_send(get_backend(blocking=True), key, data))

    async def asend(
        self, session: str, data: Any, participant: str | None = None
    ) -> None:
        """See `send`."""
        key = StoreKey(session, participant or SESSION)
        await _send(get_backend(blocking=False), key, data)

    @async_unsafe("Inside an event loop: await asession_count() instead.")
    def session_count(self) -> int:
        """Return the number of sessions."""
        return run(get_backend(blocking=True).session_count())

    async def asession_count(self) -> int:
        """See `session_count`."""
        return await get_backend(blocking=False).session_count()

    @async_unsafe("Inside an event loop: await aparticipant_count() instead.")
    def participant_count(self, session: str | None = None) -> int:
        """Return the number of participants of a session, or of all of them."""
        code = None if session is None else check_code(session)
        return run(get_backend(blocking=True).participant_count(code))

    async def aparticipant_count(self, session: str | None = None) -> int:
        """See `participant_count`."""
        code = None if session is None else check_code(session)
        return await get_backend(blocking=False).participant_count(code)

    @async_unsafe("Inside an event loop: await asessions() instead.")
    def sessions(self) -> list[str]:
        """Return the codes of all sessions, sorted."""
        return run(get_backend(blocking=True).sessions())

    async def asessions(self) -> list[str]:
        """See `sessions`."""
        return await get_backend(blocking=False).sessions()

    @async_unsafe("Inside an event loop: await aparticipants() instead.")
    def participants(self, session: str) -> list[str]:
        """Return the ids of a session's participants, sorted."""
        backend = get_backend(blocking=True)
        return [info.id for info in run(backend.participants(check_code(session)))]

    async def aparticipants(self, session: str) -> list[str]:
        """See `participants`."""
        backend = get_backend(blocking=False)
        return [info.id for info in await backend.participants(check_code(session))]


async def _create_session(backend: Backend, label: str, keep: float) -> str:
    for _ in range(CODE_TRIES):
        code = generate_code()
        if await backend.create_session(code, label=label, keep=keep):
            return code
    raise LimitReached(f"{CODE_TRIES} random codes in a row were taken.")


async def _cleanup_participant(backend: Backend, key: StoreKey) -> bool:
    removed = await backend.delete(key)
    if removed is None:
        return False
    await tell_removed(backend, [removed], "cleanup")
    return True


async def _cleanup_session(backend: Backend, session: str) -> int:
    return await tell_removed(backend, await backend.delete_session(session), "cleanup")


async def _end_session(backend: Backend, session: str) -> int:
    removed = await backend.end_session(session)
    count = await tell_removed(backend, removed, "ended")
    if removed:
        await signals.emit(
            signals.session_ended,
            blocking=backend.blocking,
            sender=StoreManager,
            session=session,
        )
    return count


async def _revoke(backend: Backend, key: StoreKey) -> None:
    signals.outlet.publish(signals.Revocation(key, await backend.revoke(key)))


async def _send(backend: Backend, key: StoreKey, data: Any) -> None:
    msgspec.json.encode(data)
    signals.outlet.publish(signals.Message(key, data, await backend.followers(key)))


async def tell_removed(
    backend: Backend, removals: Sequence[Removed], reason: str
) -> int:
    """Tell tabs and receivers of removed records; return how many participants."""
    count = 0
    for removed in removals:
        signals.outlet.publish(signals.Removal(removed.key, reason, removed.followers))
        if removed.key.is_session:
            continue
        count += 1
        if signals.participant_removed.receivers:
            await signals.emit(
                signals.participant_removed,
                blocking=backend.blocking,
                sender=StoreManager,
                session=removed.key.session,
                participant=removed.key.participant,
                reason="lost" if removed.states is None else reason,
                states=_final_states(removed.states),
            )
    return count


def _final_states(states: Mapping[str, bytes] | None) -> dict[str, State] | None:
    """Decode what can be decoded: a receiver that archives gets typed states."""
    if states is None:
        return None
    decoded = {}
    for name, stored in states.items():
        try:
            decoded[name] = codec.decode(get_state(name), stored)
        except (UnknownState, StateCorrupt):
            signals.logger.warning("The final %r of a participant is unreadable", name)
    return decoded


stores = StoreManager()
