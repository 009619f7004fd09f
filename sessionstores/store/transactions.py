"""Transactions: run an action on a record until its change is committed.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from .. import conf, event_bus
from ..backends import client_entries
from ..backends.base import Backend
from ..backends.types import Attempt, Record, Stale, Unchanged
from ..exceptions import (
    ActionRejected,
    InvalidArguments,
    OutcomeUnknown,
    StateCorrupt,
    StoreUnavailable,
)
from ..keys import StoreKey
from ..monitoring import alerts
from ..monitoring.counters import counters
from ..state import codec
from ..state.declaration import Action, State
from ..state.revisions import Rev
from .records import Applied, commit, open_record, update_states
from .retry import CommitRetry

S = TypeVar("S", bound=State)


class Outcome(NamedTuple):
    """The result of an action; `rev` equals `base` if it changed nothing.

    `repeated`: the client's attempt took effect before, so it did not run again.
    """

    base: Rev
    rev: Rev
    change: event_bus.Change | None = None
    result: Any = None
    repeated: bool = False


class Invocation(msgspec.Struct, frozen=True, gc=False):
    """A function with its arguments, and on whose behalf it runs; see `transact`."""

    cls: type[State]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    injected: Mapping[str, type[Any]]
    actor: Any
    attempt: Attempt | None
    source: str | None


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
) -> Outcome:
    """Run a client's action and commit its change, at most once per attempt.

    `arguments` are decoded and validated; `actor` is the participant who acts, whose
    role has been checked. If it raises, nothing has changed; except for
    `OutcomeUnknown`, after which either may be the case.
    """
    return await transact(
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
    )


async def transact(
    backend: Backend,
    key: StoreKey,
    cls: type[S],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    injected: Mapping[str, type[Any]],
    actor: Any = None,
    attempt: Attempt | None = None,
    source: str | None = None,
) -> Outcome:
    """Run `function` on a copy of the state until it can be committed, or need not be.

    `injected` names the parameters that the server fills in where `kwargs` does not.
    Begins with the record that this process saw last, if it has one: a commit compares
    anyway, and any other answer is given only once that record is known to be current.
    Raises the errors of `function`, `Conflict`, `StateTooLarge`, `StateCorrupt`, and
    `StoreUnavailable`, which is `OutcomeUnknown` if it was the commit that failed.
    """
    call = Invocation(cls, function, args, kwargs, injected, actor, attempt, source)
    started = time.monotonic()
    counters.dispatches += 1
    try:
        return await _run_until_committed(started, backend, key, call)
    except ActionRejected:
        counters.rejected += 1
        raise
    except Exception:
        counters.failures += 1
        raise
    finally:
        spent = time.monotonic() - started
        counters.seconds += spent
        if spent * 1000 > conf.get().slow_operation_ms:
            operation = f"dispatch of {getattr(function, '__qualname__', function)}"
            await alerts.warn_slow(backend, operation, key, spent)


async def _run_until_committed(
    started: float, backend: Backend, key: StoreKey, call: Invocation
) -> Outcome:
    cls = call.cls
    name = cls.__sessionstores__.name
    recalled = backend.recall(key)
    record = recalled or await open_record(backend, key, (cls,))
    retry: CommitRetry | None = None
    while True:
        counters.tries += 1
        stored = record.states.get(name)
        # None: the attempt has taken effect before, so it does not run.
        kwargs: Mapping[str, Any] | None = call.kwargs
        result = None
        try:
            if call.attempt is not None or call.injected:
                kwargs = await _prepare(backend, record, call)
            if kwargs is None:
                encoded = stored
            else:
                state, before = codec.load(cls, stored)
                result = call.function(state, *call.args, **kwargs)
                encoded, after = codec.dump(state)
        except Exception as error:
            recovered = await _recover(backend, record, recalled, cls, error)
            if recovered is None:
                raise
            record, recalled = recovered, None
            continue
        if encoded is None or encoded == stored:
            newer = recalled and await _read_if_changed(backend, recalled, cls)
            if newer is None:
                rev = record.rev
                return Outcome(rev, rev, result=result, repeated=kwargs is None)
            record, recalled = newer, None
            continue
        # From here on, it runs again only if its commit is known not to be in.
        rev = record.rev.next()
        try:
            answer = await commit(
                backend,
                record,
                rev,
                {name: encoded},
                sender=cls,
                attempts=() if call.attempt is None else (call.attempt,),
                source=call.source,
                edit=None if before is None else (before, after),
                action=getattr(call.function, "__qualname__", ""),
            )
        except (StoreUnavailable, StateCorrupt) as error:
            answer = await _failed_commit(backend, record, error)
        if isinstance(answer, Applied):
            # Others may have committed on top before a lost reply was recovered: the
            # operations lead to our own rev only.
            return Outcome(record.rev, rev, answer.change, result)
        retry = retry or CommitRetry(backend, key, started)
        await retry.wait()
        record = answer.record or await open_record(backend, key, (cls,))
        recalled = None


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
    if isinstance(error, StoreUnavailable):
        return None
    if isinstance(error, StateCorrupt) and not error.newer:
        try:
            codec.load(cls, record.states.get(cls.__sessionstores__.name))
        except StateCorrupt:
            return (await update_states(backend, record, (cls,)))[0]
    return recalled and await _read_if_changed(backend, recalled, cls)


async def _read_if_changed(
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


async def _prepare(
    backend: Backend, record: Record, call: Invocation
) -> Mapping[str, Any] | None:
    """Return a call's keyword arguments, injected ones included.

    None if the record has seen its attempt: it must not run again. Raises
    `ActionRejected` if that was rejected.
    """
    attempt = call.attempt
    if attempt is not None and client_entries.has_run(record.clients, attempt):
        return None
    values: dict[str, Any] = {}
    for name, kind in call.injected.items():
        if name in call.kwargs:
            continue
        if issubclass(kind, State):
            values[name] = await _read_other_state(backend, record, kind)
        elif call.actor is not None:
            values[name] = call.actor
        elif not record.key.is_session:
            values[name] = kind(*record.key)
        else:
            raise InvalidArguments(
                f"{name}: name the participant who acts: dispatch(..., "
                f"{name}=participant). A session's state does not imply one."
            )
    return {**values, **call.kwargs}


async def _read_other_state(backend: Backend, record: Record, cls: type[S]) -> S:
    """Return a snapshot of another state, of the same session and participant."""
    declaration = cls.__sessionstores__
    if declaration.scope == "session" and not record.key.is_session:
        key = StoreKey.of_session(record.key.session)
        record = await open_record(backend, key, (cls,))
    elif declaration.scope == "participant" and record.key.is_session:
        raise InvalidArguments(
            f"A session's action cannot be given {cls.__name__}: each participant has "
            "their own."
        )
    _, states = await update_states(backend, record, (cls,))
    return cast("S", states[declaration.name])


async def _failed_commit(
    backend: Backend, record: Record, error: StoreUnavailable | StateCorrupt
) -> Stale:
    """Return `Stale` if a commit that raised is known not to be in; raise otherwise."""
    if isinstance(error, StoreUnavailable):
        raise OutcomeUnknown(str(error)) from error
    if await _is_intact(backend, record):
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
