"""What is done to a record: open it, settle it, commit.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from .. import conf, event_bus, signals
from ..backends.base import Attempt, Backend, Committed, Record, Removed, Stale
from ..exceptions import StateCorrupt
from ..keys import StoreKey
from ..monitoring import alerts
from ..state import codec
from ..state.declaration import State, states_in
from ..state.revisions import Rev
from .removals import tell_lost
from .retry import CommitRetry

logger = logging.getLogger("sessionstores.store")

S = TypeVar("S", bound=State)


class Applied(NamedTuple):
    """A commit that went through, and the record as it is now."""

    change: event_bus.Change
    record: Record


async def open_record(
    backend: Backend,
    key: StoreKey,
    classes: Iterable[type[State]],
    *,
    lost: bool = False,
) -> Record:
    """Return the record at `key`, created with fresh `classes` if there is none.

    What stands there and is no record at all is set aside, and a fresh one takes its
    place. `lost`: a tab has been shown one, so if there is none, it was lost. Raises
    `SessionEnded`, `SessionLocked` and `LimitReached`.
    """
    try:
        record = await backend.read(key)
    except StateCorrupt as error:
        if await backend.set_aside(key, None, None):
            await _tell_quarantined(backend, key, None, error)
        record = None
    if isinstance(record, Record):
        return record
    states = {
        cls.__sessionstores__.name: codec.encode(codec.fresh(cls)) for cls in classes
    }
    codec.check_size(states, conf.get().max_state_bytes)
    opened = await backend.open(key, states)
    if opened.created:
        event_bus.bus.publish(event_bus.Creation(key))
    if opened.lost or (opened.created and lost):
        gone = Removed(key, None, await backend.followers(key))
        await tell_lost(backend, [gone])
    if opened.created and signals.store_created.receivers:
        await signals.emit(
            signals.store_created, blocking=backend.blocking, sender=Record, key=key
        )
    return opened.record


async def settle(
    backend: Backend, record: Record, classes: Iterable[type[State]]
) -> Record:
    """Return the record with every one of `classes` present, current and decodable.

    What is filled in or migrated is committed before anybody sees it, so that two
    tabs at one rev see one state. Undecodable states are set aside; fresh ones take
    their place in a new incarnation. Raises `StateCorrupt` for newer data.
    """
    classes = tuple(classes)
    tries = CommitRetry(backend, record.key)
    while True:
        changed, corrupt = _put_right(record, classes)
        if not changed:
            return record
        for name in corrupt:
            await backend.set_aside(record.key, name, record.states[name])
        rev = record.rev.reincarnated() if corrupt else record.rev.next()
        answer = await commit(
            backend, record, rev, changed, sender=classes[0], reset=bool(corrupt)
        )
        if isinstance(answer, Applied):
            for name, reason in corrupt.items():
                await _tell_quarantined(backend, record.key, name, reason)
            return answer.record
        await tries.again()
        record = answer.record or await open_record(backend, record.key, classes)


def _put_right(
    record: Record, classes: Iterable[type[State]]
) -> tuple[dict[str, bytes], dict[str, StateCorrupt]]:
    """Return what has to be put into a record, and why what it replaces is undecodable.

    The second names only the states of which it is. Raises `StateCorrupt` for newer
    data.
    """
    changed: dict[str, bytes] = {}
    corrupt: dict[str, StateCorrupt] = {}
    for cls in classes:
        name = cls.__sessionstores__.name
        stored = record.states.get(name)
        if stored is None:
            changed[name] = codec.encode(codec.fresh(cls))
            continue
        try:
            state = codec.decode(cls, stored)
        except StateCorrupt as error:
            if error.newer:
                raise
            corrupt[name] = error
            changed[name] = codec.encode(codec.fresh(cls))
            continue
        if not codec.is_current(cls, stored, state):
            changed[name] = codec.encode(state)
    return changed, corrupt


@alerts.warn_if_slow("opening")
async def open_document(
    backend: Backend, key: StoreKey, *, lost: bool = False
) -> Record:
    """Return the record at `key` as tabs see it: every declared state of its scope.

    `lost` as for `open_record`.
    """
    classes = states_in("session" if key.is_session else "participant")
    record = await open_record(backend, key, classes, lost=lost)
    return await settle(backend, record, classes) if classes else record


async def commit(
    backend: Backend,
    base: Record,
    rev: Rev,
    states: Mapping[str, bytes | None],
    *,
    sender: type[State],
    attempt: Attempt | None = None,
    source: str | None = None,
    reset: bool = False,
    edit: tuple[Any, State] | None = None,
    action: str = "",
) -> Applied | Stale:
    """Commit and tell those who follow; `Stale` if another came first.

    Raises `StateTooLarge` past `MAX_STATE_BYTES`.
    """
    limit = conf.get().max_state_bytes
    size = codec.check_size({**base.states, **states}, limit)
    answer = await backend.commit(base, rev, states, attempt)
    if not isinstance(answer, Committed):
        return answer
    change = event_bus.Change(
        base.key,
        str(base.rev),
        str(rev),
        {name: base.states[name] for name in states if name in base.states},
        states,
        answer.followers,
        source,
        reset,
        edit,
        action,
    )
    event_bus.bus.publish(change)
    if size > alerts.BUDGET_PER_PARTICIPANT or size >= alerts.NEAR_LIMIT * limit:
        await alerts.warn_if_large(base.key, size, limit, blocking=backend.blocking)
    if signals.store_changed.receivers:
        await signals.emit(
            signals.store_changed,
            blocking=backend.blocking,
            sender=sender,
            key=base.key,
            rev=change.rev,
            states=tuple(states),
        )
    return Applied(change, answer.record)


async def _tell_quarantined(
    backend: Backend, key: StoreKey, name: str | None, error: StateCorrupt
) -> None:
    logger.error("%s: %s was set aside: %s", key, name or "the record", error)
    await signals.emit(
        signals.state_quarantined,
        blocking=backend.blocking,
        sender=Record,
        key=key,
        state=name,
        reason=str(error),
    )
