"""Commits of a record's states: sized, published, and told to signal receivers.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from .. import conf, event_bus, signals
from ..backends.base import Backend
from ..backends.types import Committed, Record, Stale
from ..exceptions import (
    OutcomeUnknown,
    StateCorrupt,
    StateTooLarge,
    StoreUnavailable,
)
from ..monitoring import alerts
from ..state.declaration import State
from ..state.revisions import Rev


class Applied(NamedTuple):
    """A commit that went through, and the record as it is now."""

    change: event_bus.Change
    record: Record


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
    parts: Mapping[tuple[str, str], int] | None = None,
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
        parts=parts,
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
