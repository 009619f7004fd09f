"""Records: open them, bring their states up to date, and commit.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from .. import conf, event_bus, signals
from ..backends.base import Backend
from ..backends.types import (
    Committed,
    Record,
    Removed,
    Stale,
    Unchanged,
)
from ..exceptions import (
    OutcomeUnknown,
    StateCorrupt,
    StateTooLarge,
    StoreUnavailable,
)
from ..keys import StoreKey
from ..monitoring import alerts
from ..state import codec
from ..state.declaration import State, states_in
from ..state.revisions import Rev
from .admissions import is_admitted
from .record_queue import holding
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
            await _announce_quarantined(backend, key, None, error, None)
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
    reset: bool = False,
    is_change: bool = True,
) -> Applied | Stale:
    """Commit and publish the change; `Stale` if another commit came first.

    `is_change` as for `Backend.commit`. Raises `StateTooLarge` past `MAX_STATE_BYTES`.
    """
    size = check_size({**base.states, **states}, conf.get().max_state_bytes)
    before = {name: base.states[name] for name in states if name in base.states}
    answer = await backend.commit(base, rev, states, is_change=is_change)
    if not isinstance(answer, Committed):
        return answer
    change = event_bus.Change(
        base.key,
        str(base.rev),
        str(rev),
        before,
        states,
        answer.followers,
        reset=reset,
    )
    event_bus.bus.publish(change)
    await announce(backend, change, size, (sender,))
    return Applied(change, answer.record)


def change_by(
    base: Record,
    rev: Rev,
    states: Mapping[str, bytes],
    committed: Committed,
    *,
    source: str | None,
    function: Callable[..., Any],
    edit: tuple[Any, State] | None = None,
    count: int = 1,
) -> event_bus.Change:
    """Return the change that actions have made, the last of them `function`.

    Others may have committed on top before a lost reply was recovered: it leads to our
    own rev only.
    """
    return event_bus.Change(
        base.key,
        str(base.rev),
        str(rev),
        {name: base.states[name] for name in states if name in base.states},
        states,
        committed.followers,
        source,
        edit=edit,
        action=getattr(function, "__qualname__", ""),
        count=count,
    )


async def announce(
    backend: Backend,
    change: event_bus.Change,
    size: int,
    senders: Sequence[type[State]],
) -> None:
    """Send `store_changed`, once for each of the classes that a commit changed.

    Warns of a record that it has made large; `size` is in bytes.
    """
    limit = conf.get().max_state_bytes
    if size > alerts.BUDGET_PER_PARTICIPANT or size >= alerts.NEAR_LIMIT * limit:
        await alerts.warn_if_large(backend, change.key, size, limit)
    if not signals.store_changed.receivers:
        return
    for sender in senders:
        states = tuple(change.after)
        if len(senders) > 1:
            states = (sender.__sessionstores__.name,)
        await signals.emit(
            signals.store_changed,
            blocking=backend.blocking,
            sender=sender,
            key=change.key,
            rev=change.rev,
            states=states,
        )


def is_final(error: BaseException | None) -> bool:
    """Return whether a call that raised `error` need not run again on newer data."""
    return isinstance(error, StoreUnavailable | KeyboardInterrupt | SystemExit)


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


async def after_failed_commit(
    backend: Backend, record: Record, error: StoreUnavailable | StateCorrupt
) -> Stale:
    """Return `Stale` if a commit that raised is known not to be in; raise otherwise."""
    if isinstance(error, StoreUnavailable):
        if error.refused:
            raise error
        raise OutcomeUnknown(str(error)) from error
    try:
        is_intact = await _is_intact(backend, record)
    except StoreUnavailable as again:
        # Refused or not, it says nothing of the commit.
        raise OutcomeUnknown(str(again)) from error
    if is_intact:
        # What is corrupt lies beside the record, and the commit may be in.
        raise error
    return Stale(None)


async def _is_intact(backend: Backend, record: Record) -> bool:
    """Return whether the record can be read and is of the same incarnation."""
    with suppress(StateCorrupt):
        found = await backend.read(record.key, touch=False)
        return (
            isinstance(found, Record)
            and found.rev.incarnation == record.rev.incarnation
        )
    return False


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
