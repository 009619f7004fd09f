"""Peeks at everybody's states in a session: the part of `stores` that does it."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from ..backends import get_backend
from ..backends.base import Backend, run
from ..concurrency.async_unsafe import async_unsafe
from ..exceptions import InvalidKey, UnknownState
from ..keys import StoreKey
from ..monitoring import alerts
from ..state.declaration import State, get_state
from .everybody import read_everybody
from .misuse import misplaced_state
from .store import Snapshot

S = TypeVar("S", bound=State)


class EverybodysPeeks:
    """The methods of `stores` that read all participants of a session."""

    @overload
    def peek_all(self, state: type[S], session: str) -> dict[str, Snapshot[S]]: ...

    @overload
    def peek_all(self, state: str, session: str) -> dict[str, Snapshot[Any]]: ...

    @async_unsafe("Inside an event loop: await apeek_all() instead.")
    def peek_all(
        self, state: type[State] | str, session: str
    ) -> dict[str, Snapshot[Any]]:
        """Return every participant's state as it is stored, and its rev, sorted by id.

        Creates, touches and commits nothing, as `Store.peek`. Left out are those who
        have not used this state yet, and, with a warning in the log, those whose data
        cannot be decoded. Of a session that does not exist it is empty. Each state is a
        copy of one that was committed; they are not all of one moment. Takes a round
        trip for each 500 participants; on Redis and Valkey for each 4 MiB too,
        elsewhere one more, for the ids.

        Raises `UnknownState`; `InvalidKey`, also for a state of the session; and
        `StateCorrupt`, with `newer`, for data that a newer release of the site has
        stored.
        """
        cls, key = _checked(state, session)
        return run(_peek_all(get_backend(blocking=True), key, cls))

    @overload
    async def apeek_all(
        self, state: type[S], session: str
    ) -> dict[str, Snapshot[S]]: ...

    @overload
    async def apeek_all(self, state: str, session: str) -> dict[str, Snapshot[Any]]: ...

    async def apeek_all(
        self, state: type[State] | str, session: str
    ) -> dict[str, Snapshot[Any]]:
        """See `peek_all`."""
        cls, key = _checked(state, session)
        return await _peek_all(get_backend(blocking=False), key, cls)


def _checked(state: type[State] | str, session: str) -> tuple[type[State], StoreKey]:
    try:
        cls = get_state(state)
    except UnknownState as error:
        raise misplaced_state(state, session) or error from None
    key = StoreKey.of_session(session)
    if cls.__sessionstores__.scope == "session":
        raise InvalidKey(
            f"{cls.__name__} belongs to the whole session, which has one of it: "
            f"stores.get({cls.__name__}, code).peek()."
        )
    return cls, key


@alerts.warn_if_slow("peek_all")
async def _peek_all(
    backend: Backend, key: StoreKey, cls: type[S]
) -> dict[str, Snapshot[S]]:
    found = await read_everybody(backend, key.session, cls)
    return {id: Snapshot(state, str(at.rev)) for id, (at, state) in found.items()}
