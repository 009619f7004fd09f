"""Records: open them, bring their states up to date, and commit.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from .. import conf, event_bus, signals
from ..backends.base import Backend
from ..backends.types import Attempt, Committed, Record, Removed, Stale
from ..exceptions import StateCorrupt, StateTooLarge
from ..keys import StoreKey
from ..monitoring import alerts
from ..state import codec
from ..state.declaration import State, states_in
from ..state.revisions import Rev
from .admissions import is_admitted
from .removals import announce_lost
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

    Data at `key` that is not a record is set aside, and a fresh record replaces it.
    `lost`: a tab has been shown a record, so if there is none now, the cache has
    lost it. Raises `SessionEnded`, `SessionLocked` and `LimitReached`.
    """
    try:
        record = await backend.read(key)
    except StateCorrupt as error:
        if await backend.set_aside(key, None, None):
            await _announce_quarantined(backend, key, None, error)
        record = None
    if isinstance(record, Record):
        return record
    states = codec.encode_defaults(classes)
    check_size(states, conf.get().max_state_bytes)
    admitted = is_admitted(backend, key)
    opened = await backend.open(key, states, admitted=admitted)
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
                await _announce_quarantined(backend, record.key, name, reason)
            return answer.record, decoded
        retry = retry or CommitRetry(backend, record.key)
        await retry.wait()
        record = answer.record or await open_record(backend, record.key, classes)


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
            state, _ = codec.load(cls, stored)
        except StateCorrupt as error:
            if error.newer:
                raise
            corrupt[name] = error
            stored, state = None, cls()
        if stored is None or not codec.is_current(cls, stored, state):
            changed[name], state = codec.dump(state)
        decoded[name] = state
    return decoded, changed, corrupt


@alerts.warn_if_slow("opening")
async def open_document(
    backend: Backend, key: StoreKey, *, lost: bool = False
) -> Record:
    """Return the record at `key` as tabs see it: every declared state of its scope.

    `lost` as for `open_record`.
    """
    classes = states_in("session" if key.is_session else "participant")
    record = await open_record(backend, key, classes, lost=lost)
    if classes:
        record, _ = await update_states(backend, record, classes)
    return record


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
    is_change: bool = True,
) -> Applied | Stale:
    """Commit and publish the change; `Stale` if another commit came first.

    `is_change` as for `Backend.commit`. Raises `StateTooLarge` past `MAX_STATE_BYTES`.
    """
    limit = conf.get().max_state_bytes
    size = check_size({**base.states, **states}, limit)
    before = {name: base.states[name] for name in states if name in base.states}
    answer = await backend.commit(base, rev, states, attempt, is_change=is_change)
    if not isinstance(answer, Committed):
        return answer
    change = event_bus.Change(
        base.key,
        str(base.rev),
        str(rev),
        before,
        states,
        answer.followers,
        source,
        reset,
        edit,
        action,
    )
    event_bus.bus.publish(change)
    if size > alerts.BUDGET_PER_PARTICIPANT or size >= alerts.NEAR_LIMIT * limit:
        await alerts.warn_if_large(backend, base.key, size, limit)
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


def check_size(states: Mapping[str, bytes | None], limit: int) -> int:
    """Return the bytes of the stored forms; raise `StateTooLarge` past `limit`."""
    size = sum(map(len, filter(None, states.values())))
    if size > limit:
        largest = max(states, key=lambda name: len(states[name] or b""))
        raise StateTooLarge(
            f"The record would have {size} bytes, {limit} are allowed; most of them, "
            f"{len(states[largest] or b'')}, in {largest!r}. Store less, or raise "
            "MAX_STATE_BYTES."
        )
    return size


async def _announce_quarantined(
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
