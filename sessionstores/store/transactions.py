"""Transactions: run an action on a record until its change is committed.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .. import conf, event_bus, signals
from ..backends import client_entries
from ..backends.base import Backend
from ..backends.types import Attempt, Committed, Record, Stale
from ..exceptions import (
    SessionStoresError,
    StateCorrupt,
    StoreUnavailable,
)
from ..keys import SESSION, StoreKey
from ..monitoring import alerts, failures
from ..monitoring.counters import counters
from ..monitoring.latency import BOUNDS
from ..monitoring.tally import Tally
from ..state import codec
from ..state.actions import Injection
from ..state.declaration import Action, State
from ..state.revisions import Rev
from .calls import UNRUN, Call, Outcome, name_of, refuse_unrun
from .commits import after_failed_commit, announce, change_by, check_size, is_final
from .group_commit import commit_group
from .record_queue import LoopQueues, RecordQueue
from .records import (
    fill_in,
    open_record,
    read_if_changed,
    read_injected,
    states_among,
    update_states,
)
from .retry import CommitRetry
from .turns import ThreadTurns, Turn, current_turn, is_inside

logger = logging.getLogger("sessionstores.store")

S = TypeVar("S", bound=State)


async def perform(
    backend: Backend,
    key: StoreKey,
    cls: type[State],
    action: Action,
    arguments: Mapping[str, Any],
    *,
    actor: Any,
    attempt: Attempt | None = None,
    source: str | None = None,
    answer: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Run a client's action and commit its change, at most once per attempt.

    `arguments` are decoded and validated; `actor` is the participant who acts, whose
    role has been checked. If it raises, nothing has changed; except for
    `OutcomeUnknown`, after which either may be the case.
    """
    outcome = await transact(
        backend,
        key,
        cls,
        action.function,
        (),
        arguments,
        injected=action.injected,
        actor=actor,
        attempt=attempt,
        source=source,
        answer=answer,
    )
    # Of a session's state the commit does not say who has changed it.
    if (
        key.participant == SESSION
        and actor is not None
        and not outcome.repeated
        and outcome.base != outcome.rev
    ):
        who = StoreKey(key.session, actor.id)
        name = getattr(action.function, "__qualname__", "")
        act = event_bus.Act(who, cls.__sessionstores__.name, name)
        event_bus.bus.publish(act)
    return outcome


async def transact(
    backend: Backend,
    key: StoreKey,
    cls: type[S],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    injected: Mapping[str, Injection],
    actor: Any = None,
    attempt: Attempt | None = None,
    source: str | None = None,
    answer: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Run `function` on a copy of the state until it can be committed, or need not be.

    `injected` names the parameters that the server fills in where `kwargs` does not.
    Begins with the record that this process saw last, if it has one: a commit compares
    anyway, and any other answer is given only once that record is known to be current.
    `answer` is called with the outcome before others hear of the change, if other calls
    are committed with this one. Raises the errors of `function`, `Conflict`,
    `StateTooLarge`, `StateCorrupt`, RuntimeError inside an action of the record, and
    `StoreUnavailable`, which is `OutcomeUnknown` if the commit may be in.
    """
    call = Call(
        cls=cls,
        function=function,
        args=args,
        kwargs=kwargs,
        injected=injected,
        actor=actor,
        attempt=attempt,
        source=source,
        answer=answer,
    )
    started = time.monotonic()
    counters.dispatches += 1
    try:
        turn = _claim(backend, key)
        if isinstance(turn, Turn):
            token = current_turn.set(turn)
            try:
                recalled = backend.recall(key)
                return await _run_until_committed(backend, call, turn, recalled)
            finally:
                current_turn.reset(token)
                if turn.held and turn.giver is not None:
                    turn.held = False
                    turn.giver.give(key)
        await turn.wait(call, commit_group)
        if call.error is not None:
            raise call.error
    except Exception as error:
        if failures.is_fault(error):
            counters.failures += 1
        else:
            counters.rejected += 1
        _count_failure(backend, call, error)
        raise
    finally:
        spent = time.monotonic() - started
        counters.seconds += spent
        count_action(backend, spent)
        if spent * 1000 > conf.get().slow_operation_ms:
            operation = f"dispatch of {name_of(function)}"
            await alerts.warn_slow(backend, operation, key, spent)
    assert call.outcome is not None  # noqa: S101 - for the type checker
    return call.outcome


def count_action(backend: Backend, seconds: float) -> None:
    """Count an action by its duration."""
    tally = backend.memory.items.get(Tally) or backend.memory.of(Tally)
    tally.latency[bisect_left(BOUNDS, seconds)] += 1
    tally.seconds += seconds


def _count_failure(backend: Backend, call: Call, error: Exception) -> None:
    name = name_of(call.function).rpartition(".")[2]
    action = f"{call.cls.__sessionstores__.name}.{name}"
    package = getattr(call.function, "__module__", None) or call.cls.__module__
    failures.count(backend, error, action, package=package, anew=True)


def _claim(backend: Backend, key: StoreKey) -> Turn | RecordQueue:
    """Return the turn on a record, or the queue to wait in for a group to be part of.

    Raises RuntimeError inside an action of the record.
    """
    outer, items = current_turn.get(), backend.memory.items
    if outer is not None and is_inside(key, "A dispatch"):
        # It must not wait: who holds the turn may wait for it.
        return Turn(key, None, outer)
    if backend.blocking:
        turns = items.get(ThreadTurns) or backend.memory.of(ThreadTurns)
        turns.take(key)
        return Turn(key, turns, outer)
    queues = items.get(LoopQueues) or backend.memory.of(LoopQueues)
    queue: RecordQueue = queues.find(backend, key)
    return queue.claim(outer) or queue


async def _run_until_committed(
    backend: Backend, call: Call, turn: Turn, recalled: Record | None
) -> Outcome:
    """Run a call in a turn of its own, and commit what it changes.

    As `commit_group` does it, but in fewer steps: most calls are alone.
    """
    started = time.monotonic()
    cls, key = call.cls, turn.key
    name = cls.__sessionstores__.name
    record = recalled or await open_record(backend, key, (cls,))
    retry: CommitRetry | None = None
    while True:
        counters.tries += 1
        # None: the attempt has taken effect before, so it does not run.
        kwargs: Mapping[str, Any] | None = call.kwargs
        result = None
        try:
            if call.attempt is not None or call.injected:
                known = record
                record, kwargs = await _prepare(backend, record, call)
                recalled = recalled if record is known else None
            stored = encoded = record.states.get(name)
            if kwargs is not None:
                state, before = codec.load(cls, stored)
                turn.running = True
                result = call.function(state, *call.args, **kwargs)
                turn.running = False
                if type(result) in UNRUN:
                    refuse_unrun(call.function, result)
                encoded, after = codec.dump(state, before)
        except Exception as error:
            turn.running = False
            recovered = await _recover(backend, record, recalled, cls, error)
            if recovered is None:
                raise
            record, recalled = recovered, None
            continue
        if encoded is None or encoded == stored:
            newer = recalled and await read_if_changed(backend, recalled, cls)
            if newer is None:
                rev = record.rev
                return Outcome(rev, rev, result=result, repeated=kwargs is None)
            record, recalled = newer, None
            continue
        # From here on, it runs again only if its commit is known not to be in.
        rev = record.rev.next()
        edit = None if before is None else (before, after)
        change = await _commit_change(backend, call, turn, record, rev, encoded, edit)
        if isinstance(change, event_bus.Change):
            return Outcome(record.rev, rev, change, result)
        retry = retry or CommitRetry(backend, key, started)
        # What was read before a pause is likely to be out of date.
        newest = None if await retry.wait() else change.record
        record = newest or await open_record(backend, key, (cls,))
        recalled = None


async def _commit_change(
    backend: Backend,
    call: Call,
    turn: Turn,
    record: Record,
    rev: Rev,
    encoded: bytes,
    edit: tuple[Any, State] | None,
) -> event_bus.Change | Stale:
    """Commit what a call has changed, and tell of it."""
    name, stored = call.cls.__sessionstores__.name, record.states
    states = {**stored, name: encoded}
    size, limit = sum(map(len, states.values())), conf.get().max_state_bytes
    if size > limit:
        check_size(states, limit)
    changed = {name: encoded}
    attempts = () if call.attempt is None else (call.attempt,)
    try:
        committed = await backend.commit(record, rev, changed, attempts)
    except (StoreUnavailable, StateCorrupt) as error:
        return await after_failed_commit(backend, record, error)
    except asyncio.CancelledError:
        # It may be on its way, or in: then it changes nothing to repeat it.
        finishing = _finish(backend, call, turn.passed_on(), record, rev, changed, size)
        backend.memory.of(LoopQueues).start(finishing)
        raise
    if isinstance(committed, Stale):
        return committed
    # As by `change_by`, without the call.
    change = event_bus.Change(
        record.key,
        str(record.rev),
        str(rev),
        {} if name not in stored else {name: stored[name]},
        changed,
        committed.followers,
        call.source,
        edit=edit,
        action=getattr(call.function, "__qualname__", ""),
    )
    event_bus.bus.publish(change)
    if (
        signals.store_changed.receivers
        or size > alerts.BUDGET_PER_PARTICIPANT
        or size >= alerts.NEAR_LIMIT * limit
    ):
        await _announce(backend, turn, call.cls, size, change)
    return change


async def _finish(
    backend: Backend,
    call: Call,
    turn: Turn,
    record: Record,
    rev: Rev,
    changed: Mapping[str, bytes],
    size: int,
) -> None:
    """Repeat the commit of a caller that is cancelled, and tell of it."""
    current_turn.set(turn)
    attempts = () if call.attempt is None else (call.attempt,)
    try:
        committed = await backend.commit(record, rev, changed, attempts, repeated=True)
        if isinstance(committed, Committed):
            change = change_by(
                record, rev, changed, committed, source=None, function=call.function
            )
            event_bus.bus.publish(change)
            turn.release()
            await announce(backend, change, size, (call.cls,))
    except SessionStoresError as error:
        logger.warning("%s: a caller has gone, its commit failed: %s", turn.key, error)
    finally:
        turn.release()


async def _announce(
    backend: Backend, turn: Turn, cls: type[State], size: int, change: event_bus.Change
) -> None:
    # Receivers may be slow, and may dispatch themselves.
    turn.release()
    telling = announce(backend, change, size, (cls,))
    if backend.blocking:
        await telling
    else:
        # Its caller may be cancelled meanwhile.
        await asyncio.shield(backend.memory.of(LoopQueues).start(telling))


async def _prepare(
    backend: Backend, record: Record, call: Call
) -> tuple[Record, Mapping[str, Any] | None]:
    """Return the record, and a call's arguments with those that the server fills in.

    None for these if the record has seen its attempt: it must not run again. Raises
    `ActionRejected` if that was rejected.
    """
    attempt = call.attempt
    if attempt is not None:
        known = record.clients.get(attempt.client)
        # Most are newer than anything known of their client.
        is_old = attempt.resent if known is None else attempt.id <= known.last
        if is_old and client_entries.has_run(record.clients, attempt):
            return record, None
    if not call.injected:
        return record, call.kwargs
    kinds = states_among(call.injected, call.kwargs)
    record, states = await read_injected(backend, record, kinds)
    filled_in = fill_in(
        call.injected, call.kwargs, states, record.states, record.key, call.actor
    )
    return record, filled_in


async def _recover(
    backend: Backend,
    record: Record,
    recalled: Record | None,
    cls: type[State],
    error: Exception,
) -> Record | None:
    """Return the record on which a call that raised `error` runs again, if it does.

    It does if the state could not be decoded, on a fresh one; and if the record was
    recalled, and turns out to be outdated.
    """
    if is_final(error):
        return None
    if isinstance(error, StateCorrupt) and not error.newer:
        try:
            codec.load(cls, record.states.get(cls.__sessionstores__.name))
        except StateCorrupt:
            return (await update_states(backend, record, (cls,)))[0]
    return recalled and await read_if_changed(backend, recalled, cls)
