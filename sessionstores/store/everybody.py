"""States of everybody: one state of each participant of a session, read together.

A participant whose data is corrupt is left out, with a line in the log: it is not to
keep the others from view, and their own next use sets it aside.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec

from ..backends.base import Backend
from ..backends.types import StateAtRev
from ..exceptions import StateCorrupt
from ..keys import StoreKey
from ..monitoring.log_limiter import log_limiter
from ..state import codec
from ..state.declaration import State

logger = logging.getLogger("sessionstores.store")

S = TypeVar("S", bound=State)


async def read_everybody(
    backend: Backend, session: str, cls: type[S]
) -> dict[str, tuple[StateAtRev, S]]:
    """Return the state of each participant who has it, as stored and decoded, by id.

    Raises `StateCorrupt` for data of a newer version: all who have used the newer
    release would be missing, until this process runs it too.
    """
    name = cls.__sessionstores__.name
    states: dict[str, tuple[StateAtRev, S]] = {}
    for id, found in (await backend.read_states(session, name)).items():
        try:
            states[id] = _decoded(cls, found)
        except StateCorrupt as error:
            if error.newer:
                raise
            log_limiter(backend).log(
                logger,
                logging.WARNING,
                "%s: left out of everybody's %s: %s",
                StoreKey.stored(session, id),
                name,
                error,
            )
    return states


def _decoded(cls: type[S], found: StateAtRev | StateCorrupt) -> tuple[StateAtRev, S]:
    if isinstance(found, StateCorrupt):
        raise found
    return found, codec.decode(cls, found.data)


class EverybodysStates(msgspec.Struct, eq=False):
    """Everybody's states of one class, read once for all calls of a run.

    `states` are given to the first call, which may change them; an error is raised by
    each.
    """

    cls: type[State]
    stored: Mapping[str, StateAtRev]
    states: Mapping[str, State] | Exception | None

    @classmethod
    async def read(
        cls, backend: Backend, session: str, kind: type[State]
    ) -> EverybodysStates:
        """Return the states of a session's participants, or why there are none."""
        try:
            found = await read_everybody(backend, session, kind)
        except Exception as error:  # noqa: BLE001 - the calls given it raise it
            return cls(kind, {}, error)
        stored = {id: stored for id, (stored, _) in found.items()}
        return cls(kind, stored, {id: state for id, (_, state) in found.items()})

    def for_call(self, _: Mapping[str, bytes]) -> Mapping[str, State]:
        """Return copies for one call, or raise why there are none."""
        states = self.states
        if isinstance(states, Exception):
            raise states
        self.states = None
        if states is None:
            states = {
                id: codec.decode(self.cls, each.data)
                for id, each in self.stored.items()
            }
        return MappingProxyType(states)
