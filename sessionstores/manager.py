"""`stores`: the sessions and participants of this site, and their stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload
from weakref import WeakValueDictionary

from .backends import get_backend
from .backends.base import run
from .backends.types import Quarantined
from .concurrency.async_unsafe import async_unsafe
from .concurrency.threads import mutex
from .exceptions import UnknownState
from .keys import (
    StoreKey,
    check_code,
    check_participant,
    check_quarantine,
)
from .monitoring.stats import Stats, gather
from .participants.people import PeopleManager
from .sessions import lifecycle
from .sessions.sweeper import Sweep, SweepLimits, sweep
from .state.declaration import State, get_state
from .store.misuse import misplaced_state
from .store.peeks import EverybodysPeeks
from .store.store import Store, key_of

S = TypeVar("S", bound=State)


class StoreManager(EverybodysPeeks, PeopleManager):
    """The methods of `sessionstores.stores`; it keeps no data of its own.

    Codes and ids are checked before any cache access (`InvalidKey`). Every method
    that does I/O has an async twin, refuses to run inside an event loop, and raises
    `StoreUnavailable` when the cache does not answer.
    """

    def __init__(self) -> None:
        self._stores: WeakValueDictionary[tuple[type[State], StoreKey], Store[Any]]
        self._stores = WeakValueDictionary()
        self._lock = mutex()

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

        Nor does it look whether there is such a session: the first access creates it,
        so a site's own codes need no `create_session`, and a mistyped one gets a
        session of its own. What people type goes through `join`, which refuses unknown
        codes.

        While a reference to it exists, all callers get the same object. Raises
        `UnknownState`, and `InvalidKey` also if the state's scope and `participant` do
        not fit.
        """
        try:
            cls = get_state(state)
        except UnknownState as error:
            raise misplaced_state(state, session, participant) or error from None
        key = key_of(cls, session, participant)
        with self._lock:
            store = self._stores.get((cls, key))
            if store is None:
                store = self._stores[cls, key] = Store(cls, key)
        return store

    @async_unsafe("Inside an event loop: await acreate_session() instead.")
    def create_session(
        self, *, label: str = "", keep: float = 0, keep_participants: bool = True
    ) -> str:
        """Claim a random code and return it.

        The session stays at least `keep` seconds, used or not, and so does everyone in
        it who has changed something, unless `keep_participants` is False. Who only
        looked in is removed after `IDLE_TIMEOUT` all the same. Raises ValueError for a
        `keep` out of range, `InvalidArguments` for a label that is not text as browsers
        read it, and `LimitReached` past `MAX_SESSIONS`.
        """
        return run(
            lifecycle.create(
                get_backend(blocking=True),
                label=label,
                keep=keep,
                keep_participants=keep_participants,
            )
        )

    async def acreate_session(
        self, *, label: str = "", keep: float = 0, keep_participants: bool = True
    ) -> str:
        """See `create_session`."""
        return await lifecycle.create(
            get_backend(blocking=False),
            label=label,
            keep=keep,
            keep_participants=keep_participants,
        )

    @async_unsafe("Inside an event loop: await acleanup_session() instead.")
    def cleanup_session(self, session: str) -> int:
        """Remove a session with all its data; a later access starts afresh.

        Returns how many participants it had: 0, too, if there is no such session.
        """
        return run(lifecycle.cleanup(get_backend(blocking=True), check_code(session)))

    async def acleanup_session(self, session: str) -> int:
        """See `cleanup_session`."""
        backend = get_backend(blocking=False)
        return await lifecycle.cleanup(backend, check_code(session))

    @async_unsafe("Inside an event loop: await aend_session() instead.")
    def end_session(self, session: str) -> int:
        """Remove a session for good: `SessionEnded` until the tombstone expires.

        Returns how many participants it had. A code without a session is closed all
        the same, and 0 returned.
        """
        return run(lifecycle.end(get_backend(blocking=True), check_code(session)))

    async def aend_session(self, session: str) -> int:
        """See `end_session`."""
        return await lifecycle.end(get_backend(blocking=False), check_code(session))

    @async_unsafe("Inside an event loop: await asend() instead.")
    def send(self, session: str, data: Any, participant: str | None = None) -> None:
        """Send JSON `data` to the tabs of a participant, or of everybody.

        It is not stored: a tab that is away misses it, and if there is no such
        session, nobody gets it. Keep it well below 1 MiB: a tab for which more than
        that waits is closed, and connects again without it.

        Raises `InvalidArguments` (a TypeError), which names the place, for what is not
        JSON or what browsers would read differently: NaN, integers beyond 2**53 - 1,
        lone surrogates; then nothing is sent.
        """
        key = _key(session, participant)
        run(lifecycle.send(get_backend(blocking=True), key, data))

    async def asend(
        self, session: str, data: Any, participant: str | None = None
    ) -> None:
        """See `send`."""
        key = _key(session, participant)
        await lifecycle.send(get_backend(blocking=False), key, data)

    @async_unsafe("Inside an event loop: await aextend() instead.")
    def extend(self, session: str, seconds: float) -> bool:
        """Keep a session for at least `seconds` from now, used or not.

        It keeps whom `create_session` says. False if its keep ends later anyway.
        Raises ValueError and `UnknownSession`.
        """
        code = check_code(session)
        return run(lifecycle.extend(get_backend(blocking=True), code, seconds))

    async def aextend(self, session: str, seconds: float) -> bool:
        """See `extend`."""
        code = check_code(session)
        return await lifecycle.extend(get_backend(blocking=False), code, seconds)

    @async_unsafe("Inside an event loop: await aset_label() instead.")
    def set_label(self, session: str, label: str) -> None:
        """Give a session another label, which staff see; "" for none.

        Raises `InvalidArguments` for what is not text, and `UnknownSession`.
        """
        code = check_code(session)
        run(lifecycle.set_label(get_backend(blocking=True), code, label))

    async def aset_label(self, session: str, label: str) -> None:
        """See `set_label`."""
        code = check_code(session)
        await lifecycle.set_label(get_backend(blocking=False), code, label)

    @async_unsafe("Inside an event loop: await alock() instead.")
    def lock(self, session: str) -> None:
        """Refuse newcomers: `SessionLocked`. Raises `UnknownSession`."""
        code = check_code(session)
        run(lifecycle.set_locked(get_backend(blocking=True), code, locked=True))

    async def alock(self, session: str) -> None:
        """See `lock`."""
        code = check_code(session)
        await lifecycle.set_locked(get_backend(blocking=False), code, locked=True)

    @async_unsafe("Inside an event loop: await aunlock() instead.")
    def unlock(self, session: str) -> None:
        """Admit newcomers again. Raises `UnknownSession`."""
        code = check_code(session)
        run(lifecycle.set_locked(get_backend(blocking=True), code, locked=False))

    async def aunlock(self, session: str) -> None:
        """See `unlock`."""
        code = check_code(session)
        await lifecycle.set_locked(get_backend(blocking=False), code, locked=False)

    @async_unsafe("Inside an event loop: await asweep() instead.")
    def sweep(
        self,
        *,
        idle_for: float | None = None,
        session: str | None = None,
        participant: str | None = None,
        batch_size: int = 250,
        pause: float = 0.0,
        max_seconds: float | None = None,
        dry_run: bool = False,
        orphans: bool | None = None,
        progress: Callable[[Sweep], None] | None = None,
    ) -> Sweep:
        """Remove idle participants and empty sessions, once; return the counts.

        Participants are idle without a connection, after `idle_for` seconds
        (`IDLE_TIMEOUT`; from 0 to a tenth of that counts as a tenth), if the session
        does not keep them. Sessions without participants are removed when idle as long
        and past their keep. If a cache has lost records or index entries, the rest is
        repaired; `orphans`: whether to look for records without an index entry, which
        is slow; None: if no process has within `IDLE_TIMEOUT`.

        Safe with any number of callers at once: each removal is one atomic step that
        rechecks, and is announced once, by `participant_removed` with the final
        states. With `session` (and `participant`), limited to that. Rests `pause`
        seconds after each `batch_size` removals, and calls `progress`; after
        `max_seconds` it ends unfinished. `dry_run` only counts. Raises ValueError.
        """
        return run(
            sweep(
                get_backend(blocking=True),
                idle_for=idle_for,
                session=session,
                participant=participant,
                dry_run=dry_run,
                orphans=orphans,
                pace=SweepLimits(batch_size, pause, max_seconds),
                progress=progress,
            )
        )

    async def asweep(
        self,
        *,
        idle_for: float | None = None,
        session: str | None = None,
        participant: str | None = None,
        batch_size: int = 250,
        pause: float = 0.0,
        max_seconds: float | None = None,
        dry_run: bool = False,
        orphans: bool | None = None,
        progress: Callable[[Sweep], None] | None = None,
    ) -> Sweep:
        """See `sweep`."""
        return await sweep(
            get_backend(blocking=False),
            idle_for=idle_for,
            session=session,
            participant=participant,
            dry_run=dry_run,
            orphans=orphans,
            pace=SweepLimits(batch_size, pause, max_seconds),
            progress=progress,
        )

    @async_unsafe("Inside an event loop: await astats() instead.")
    def stats(self) -> Stats:
        """Return all figures: totals, each session, an hour's series, and warnings.

        A constant number of round trips, however much there is; no state is decoded.
        """
        return run(gather(get_backend(blocking=True), stores=len(self._stores)))

    async def astats(self) -> Stats:
        """See `stats`."""
        return await gather(get_backend(blocking=False), stores=len(self._stores))

    @async_unsafe("Inside an event loop: await aquarantined() instead.")
    def quarantined(self, key: str) -> Quarantined | None:
        """Return data that was set aside under `key`, which the log names; else None.

        It is kept for a day. Raises `InvalidKey` for a key of anything else.
        """
        return run(get_backend(blocking=True).quarantined(check_quarantine(key)))

    async def aquarantined(self, key: str) -> Quarantined | None:
        """See `quarantined`."""
        return await get_backend(blocking=False).quarantined(check_quarantine(key))

    @async_unsafe("Inside an event loop: await asession_count() instead.")
    def session_count(self) -> int:
        """Return the number of sessions."""
        return run(get_backend(blocking=True).session_count())

    async def asession_count(self) -> int:
        """See `session_count`."""
        return await get_backend(blocking=False).session_count()

    @async_unsafe("Inside an event loop: await asessions() instead.")
    def sessions(self) -> list[str]:
        """Return the codes of all sessions, sorted."""
        return run(get_backend(blocking=True).sessions())

    async def asessions(self) -> list[str]:
        """See `sessions`."""
        return await get_backend(blocking=False).sessions()


def _key(session: str, participant: str | None) -> StoreKey:
    # Neither "" nor "*" may stand for everybody: that is what None says.
    if participant is None:
        return StoreKey.of_session(session)
    return StoreKey(session, check_participant(participant))


stores = StoreManager()
