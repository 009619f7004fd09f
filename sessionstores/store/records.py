"""Records: open them, bring their states up to date, and give these to calls.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast

import msgspec

from .. import conf, event_bus, signals
from ..backends.base import Backend
from ..backends.types import (
    UNKNOWN,
    Profile,
    Record,
    Removed,
    Unchanged,
)
from ..exceptions import InvalidArguments, StateCorrupt
from ..keys import StoreKey
from ..monitoring import alerts
from ..state import codec
from ..state.actions import ByParticipant, Injection
from ..state.declaration import State, states_in
from .admissions import is_admitted
from .commits import Applied, check_size, commit
from .everybody import EverybodysStates
from .record_queue import holding
from .removals import announce_lost
from .retry import CommitRetry

logger = logging.getLogger("sessionstores.store")

S = TypeVar("S", bound=State)


async def open_record(
    backend: Backend,
    key: StoreKey,
    classes: Iterable[type[State]],
    *,
    lost: bool = False,
    profile: Profile = UNKNOWN,
) -> Record:
    """Return the record at `key`, created with fresh `classes` if there is none.

    Data at `key` that is not a record is set aside, and a fresh record replaces it.
    `lost`: a tab has been shown a record, so if there is none now, the cache has
    lost it. `profile`: whose record it is, if it is created. Raises `SessionEnded`,
    `Kicked`, `SessionLocked` and `LimitReached`.
    """
    try:
        record = await backend.read(key)
    except StateCorrupt as error:
        if await backend.set_aside(key, None, None):
            await _announce_quarantined(backend, key, None, error, None)
        record = None
    if isinstance(record, Record):
        return record
    states = codec.encode_defaults(classes)
    check_size(states, conf.get().max_state_bytes)
    admitted = is_admitted(backend, key)
    opened = await backend.open(key, states, admitted=admitted, profile=profile)
    if opened.created:
        event_bus.bus.publish(event_bus.Creation(key))
    if opened.lost or (opened.created and lost):
        removed = Removed(key, None, await backend.followers(key))
        await announce_lost(backend, [removed])
    if opened.created and signals.store_created.receivers:
        await signals.emit(
            signals.store_created, blocking=backend.blocking, sender=Record, key=key
        )
    return opened.record


async def update_states(
    backend: Backend, record: Record, classes: Iterable[type[State]]
) -> tuple[Record, dict[str, State]]:
    """Return the record with all of `classes` present and current, and these decoded.

    Defaults and migrated data are committed before anyone sees them, so that two tabs
    at one rev see one state. Undecodable states are set aside; fresh ones take their
    place in a new incarnation. Raises `StateCorrupt` for data of a newer version.
    """
    classes = tuple(classes)
    decoded, changed, _ = _decode_states(record, classes)
    if not changed:
        return record, decoded
    # Else the groups that others form would come first again and again.
    async with holding(backend, record.key):
        return await _commit_current(backend, record, classes)


async def _commit_current(
    backend: Backend, record: Record, classes: tuple[type[State], ...]
) -> tuple[Record, dict[str, State]]:
    retry: CommitRetry | None = None
    while True:
        decoded, changed, corrupt = _decode_states(record, classes)
        if not changed:
            return record, decoded
        for name in corrupt:
            await backend.set_aside(record.key, name, record.states[name])
        rev = record.rev.reincarnated() if corrupt else record.rev.next()
        answer = await commit(
            backend,
            record,
            rev,
            changed,
            sender=classes[0],
            reset=bool(corrupt),
            is_change=False,
        )
        if isinstance(answer, Applied):
            for name, reason in corrupt.items():
                await _announce_quarantined(
                    backend, record.key, name, reason, record.states[name]
                )
            return answer.record, decoded
        retry = retry or CommitRetry(backend, record.key)
        newest = None if await retry.wait() else answer.record
        record = newest or await open_record(backend, record.key, classes)


def _decode_states(
    record: Record, classes: Iterable[type[State]]
) -> tuple[dict[str, State], dict[str, bytes], dict[str, StateCorrupt]]:
    """Return the states, the stored forms to commit, and the errors of corrupt ones.

    Fresh ones replace corrupt ones. Raises `StateCorrupt` for data of a newer version.
    """
    decoded: dict[str, State] = {}
    changed: dict[str, bytes] = {}
    corrupt: dict[str, StateCorrupt] = {}
    for cls in classes:
        name = cls.__sessionstores__.name
        stored = record.states.get(name)
        try:
            state, before = codec.load(cls, stored)
        except StateCorrupt as error:
            if error.newer:
                raise
            corrupt[name] = error
            stored, state, before = None, cls(), None
        if stored is None or not codec.is_current(cls, stored, state):
            changed[name], state = codec.dump(state, before)
        decoded[name] = state
    return decoded, changed, corrupt


@alerts.warn_if_slow("opening")
async def open_document(
    backend: Backend,
    key: StoreKey,
    *,
    lost: bool = False,
    profile: Profile = UNKNOWN,
) -> Record:
    """Return the record at `key` as tabs see it: every declared state of its scope.

    `lost` and `profile` as for `open_record`.
    """
    classes = states_in("session" if key.is_session else "participant")
    record = await open_record(backend, key, classes, lost=lost, profile=profile)
    if classes:
        record, _ = await update_states(backend, record, classes)
    return record


async def read_if_changed(
    backend: Backend, recalled: Record, cls: type[State]
) -> Record | None:
    """Return the record if it has changed since it was recalled, else None."""
    try:
        answer = await backend.read(recalled.key, known=recalled.rev)
    except StateCorrupt:
        # Opening it sets the data aside.
        answer = None
    if isinstance(answer, Unchanged):
        return None
    return answer or await open_record(backend, recalled.key, (cls,))


async def _announce_quarantined(
    backend: Backend,
    key: StoreKey,
    name: str | None,
    error: StateCorrupt,
    data: bytes | None,
) -> None:
    logger.error("%s: %s was set aside: %s", key, name or "the record", error)
    await signals.emit(
        signals.state_quarantined,
        blocking=backend.blocking,
        sender=Record,
        key=key,
        state=name,
        reason=str(error),
        data=data,
    )


class InjectedState(msgspec.Struct, eq=False):
    """A state that the server fills in, read once for all calls of a run.

    `record` is the one that it is in, None for that of the calls themselves. `state` is
    given to the first call, which may change it; an error is raised by each.
    """

    cls: type[State]
    record: Record | None
    state: State | Exception | None

    def for_call(self, states: Mapping[str, bytes]) -> State:
        """Return a copy for one call, or raise why there is none.

        `states`: those of the calls' record, as earlier calls have left them.
        """
        given, record = self.state, self.record
        if isinstance(given, Exception):
            raise given
        self.state = None
        if record is not None:
            if given is not None:
                return given
            states = record.states
        return codec.decode(self.cls, states[self.cls.__sessionstores__.name])


# By what a parameter asks for: a state, or everybody's.
InjectedStates = Mapping[Injection, InjectedState | EverybodysStates]

NONE_INJECTED: InjectedStates = MappingProxyType({})


async def read_injected(
    backend: Backend, record: Record, kinds: Iterable[Injection]
) -> tuple[Record, InjectedStates]:
    """Read states that calls on a record are given; return the record as it is then.

    What cannot be read is raised when it is given. Defaults are committed first, see
    `update_states`.
    """
    found: dict[Injection, InjectedState | EverybodysStates] = {}
    session: Record | None = None
    for kind in kinds:
        if isinstance(kind, ByParticipant):
            code = record.key.session
            found[kind] = await EverybodysStates.read(backend, code, kind.state)
            continue
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
                    "participant has their own. Annotate it "
                    f"Mapping[str, {kind.__name__}] for everybody's."
                )
            else:
                record, states = await update_states(backend, record, (kind,))
            state = states[kind.__sessionstores__.name]
        except Exception as error:  # noqa: BLE001 - the calls given it raise it
            state = error
        found[kind] = InjectedState(kind, place, state)
    return record, found


def states_among(
    kinds: Mapping[str, Injection], arguments: Mapping[str, Any]
) -> list[Injection]:
    """Return which states the server fills in."""
    return [
        kind
        for name, kind in kinds.items()
        if name not in arguments
        and (isinstance(kind, ByParticipant) or issubclass(kind, State))
    ]


def fill_in(
    kinds: Mapping[str, Injection],
    arguments: Mapping[str, Any],
    injected: InjectedStates,
    states: Mapping[str, bytes],
    key: StoreKey,
    actor: Any,
) -> dict[str, Any]:
    """Return a call's arguments with those that the server fills in.

    `kinds`: the latter's kinds, by name. `states` are those of the record at `key`, as
    earlier calls have left them. Raises `InvalidArguments` where `actor`, who acts, is
    None and cannot be told from the key.
    """
    values: dict[str, Any] = {}
    for name, kind in kinds.items():
        if name in arguments:
            continue
        given = injected.get(kind)
        if given is not None:
            values[name] = given.for_call(states)
        elif actor is not None:
            values[name] = actor
        elif not key.is_session:
            values[name] = cast("type[Any]", kind)(*key)
        else:
            raise InvalidArguments(
                f"{name}: name the participant who acts: dispatch(..., "
                f"{name}=participant). A session's state does not imply one."
            )
    return {**values, **arguments}
