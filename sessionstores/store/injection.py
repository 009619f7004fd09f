"""Injection: the states that calls on a record are given beside their own.

They are read-only snapshots, as of the start of a try, read once for all its calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ..backends.base import Backend
from ..backends.types import Record
from ..exceptions import InvalidArguments
from ..keys import StoreKey
from ..state import codec
from ..state.declaration import State
from .records import open_record, update_states


class InjectedState(msgspec.Struct, eq=False):
    """A state that the server fills in, read once for all calls of a run.

    `record` is the one that it is in, None for that of the calls themselves. `state` is
    given to the first call, which may change it; an error is raised by each.
    """

    cls: type[State]
    record: Record | None
    state: State | Exception | None


InjectedStates = Mapping[type[State], InjectedState]

NOTHING: InjectedStates = MappingProxyType({})


async def read_injected(
    backend: Backend, record: Record, kinds: Iterable[type[State]]
) -> tuple[Record, InjectedStates]:
    """Read states that calls on a record are given; return the record as it is then.

    What cannot be read is raised when it is given. Defaults are committed first, see
    `update_states`.
    """
    found: dict[type[State], InjectedState] = {}
    session: Record | None = None
    for kind in kinds:
        scope = kind.__sessionstores__.scope
        place: Record | None = None
        state: State | Exception
        try:
            if scope == "session" and not record.key.is_session:
                if session is None:
                    key = StoreKey.of_session(record.key.session)
                    session = await open_record(backend, key, (kind,))
                place, states = await update_states(backend, session, (kind,))
                session = place
            elif scope == "participant" and record.key.is_session:
                raise InvalidArguments(
                    f"A session's action cannot be given {kind.__name__}: each "
                    "participant has their own."
                )
            else:
                record, states = await update_states(backend, record, (kind,))
            state = states[kind.__sessionstores__.name]
        except Exception as error:  # noqa: BLE001 - the calls given it raise it
            state = error
        found[kind] = InjectedState(kind, place, state)
    return record, found


def states_among(
    kinds: Mapping[str, type[Any]], arguments: Mapping[str, Any]
) -> list[type[State]]:
    """Return the classes of the states that the server fills in."""
    return [
        kind
        for name, kind in kinds.items()
        if name not in arguments and issubclass(kind, State)
    ]


def fill_in(
    kinds: Mapping[str, type[Any]],
    arguments: Mapping[str, Any],
    injected: InjectedStates,
    states: Mapping[str, bytes],
    key: StoreKey,
    actor: Any,
) -> dict[str, Any]:
    """Return a call's arguments with those that the server fills in.

    `kinds`: the latter's types, by name. `states` are those of the record at `key`, as
    earlier calls have left them. Raises `InvalidArguments` where `actor`, who acts, is
    None and cannot be told from the key.
    """
    values: dict[str, Any] = {}
    for name, kind in kinds.items():
        if name in arguments:
            continue
        if issubclass(kind, State):
            values[name] = _state_for_call(injected[kind], states)
        elif actor is not None:
            values[name] = actor
        elif not key.is_session:
            values[name] = kind(*key)
        else:
            raise InvalidArguments(
                f"{name}: name the participant who acts: dispatch(..., "
                f"{name}=participant). A session's state does not imply one."
            )
    return {**values, **arguments}


def _state_for_call(injected: InjectedState, states: Mapping[str, bytes]) -> State:
    """Return a copy of an injected state for one call, or raise why there is none."""
    given, record = injected.state, injected.record
    if isinstance(given, Exception):
        raise given
    injected.state = None
    if record is not None:
        if given is not None:
            return given
        states = record.states
    return codec.decode(injected.cls, states[injected.cls.__sessionstores__.name])
