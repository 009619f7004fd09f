"""A transaction: an action, run on a record until what it did is committed.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import msgspec

from .. import conf, event_bus
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
from .records import Applied, commit, open_record, settle
from .retry import CommitRetry

S = TypeVar("S", bound=State)


class Outcome(NamedTuple):
    """What an action led to: `rev` equals `base` and `change` is None if to nothing.

    `repeated`: the client's attempt took effect before, so nothing ran this time.
    """

    base: Rev
    rev: Rev
    change: event_bus.Change | None = None
    result: Any = None
    repeated: bool = False


class Invocation(msgspec.Struct, frozen=True, gc=False):
    """What is to be run, and for whom; see `transact`."""

    cls: type[State]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    injected: Mapping[str, type[Any]]
    actor: Any
    attempt: Attempt | None
    source: str | None


class Ran(msgspec.Struct, frozen=True, gc=False):
    """What a call made of its state, to be committed; `edit` as in `signals.Change`."""

    encoded: bytes
    edit: tuple[Any, State] | None
    result: Any


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
    """Run a client's action and commit what it did, at most once per attempt.

    `arguments` are decoded and validated; `actor` is the participant who acts, whose
    role has been checked. Whatever is raised, nothing has changed; unless it is
    `OutcomeUnknown`, after which that cannot be told.
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
    Raises what `function` does, `Conflict`, `StateTooLarge`, `StateCorrupt`, and
    `StoreUnavailable`, which is `OutcomeUnknown` if it was the commit that failed.
    """
    call = Invocation(cls, function, args, kwargs, injected, actor, attempt, source)
    started = time.monotonic()
    counters.dispatches += 1
    try:
        return await _transact(started, backend, key, call)
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
            await alerts.slow(operation, key, spent, blocking=backend.blocking)


async def _transact(
    started: float, backend: Backend, key: StoreKey, call: Invocation
) -> Outcome:
    recalled = backend.recall(key)
    record = recalled or await open_record(backend, key, (call.cls,))
    tries: CommitRetry | None = None
    while True:
        counters.tries += 1
        try:
            kwargs = call.kwargs
            if call.injected:
                kwargs = await _filled_in(backend, record, call)
            ran = _run(record, call, kwargs)
        except StoreUnavailable:
            raise
        except Exception:
            newer = await _newer(backend, recalled, call.cls)
            if newer is None:
                raise
            record, recalled = newer, None
            continue
        if isinstance(ran, Outcome):
            newer = await _newer(backend, recalled, call.cls)
            if newer is None:
                return ran
            record, recalled = newer, None
            continue
        if ran is None:
            record, recalled = await settle(backend, record, (call.cls,)), None
            continue
        # From here on, it runs again only if its commit is known not to be in.
        rev = record.rev.next()
        answer = await _commit(backend, record, rev, call, ran)
        if isinstance(answer, Applied):
            # Others may have committed on top by the time that a lost reply is made up
            # for: the operations lead to our own rev only.
            return Outcome(record.rev, rev, answer.change, ran.result)
        tries = tries or CommitRetry(backend, key, started)
        await tries.again()
        record = answer.record or await open_record(backend, key, (call.cls,))
        recalled = None


async def _newer(
    backend: Backend, recalled: Record | None, cls: type[State]
) -> Record | None:
    """Return what has taken the place of a record that was recalled.

    None if nothing has, or the record was not recalled but read.
    """
    if recalled is None:
        return None
    try:
        answer = await backend.read(recalled.key, known=recalled.rev)
    except StateCorrupt:
        # Opening it sets aside what stands there.
        answer = None
    if isinstance(answer, Unchanged):
        return None
    return answer or await open_record(backend, recalled.key, (cls,))


async def _filled_in(
    backend: Backend, record: Record, call: Invocation
) -> Mapping[str, Any]:
    """Return a call's keyword arguments with those that the server fills in."""
    if call.attempt is not None and _answered(record, call.attempt):
        return call.kwargs
    filled = await _inject(backend, record, call.injected, call.kwargs, call.actor)
    return {**filled, **call.kwargs}


def _run(
    record: Record, call: Invocation, kwargs: Mapping[str, Any]
) -> Outcome | Ran | None:
    """Run a call once, on what `record` holds, and commit nothing.

    `Outcome` if there is nothing to commit; None if the state has to be put right
    before the call can run.
    """
    attempt, cls = call.attempt, call.cls
    if attempt is not None and (answered := _answered(record, attempt)):
        return answered
    stored = record.states.get(cls.__sessionstores__.name)
    try:
        state, unchanged = (
            (codec.fresh(cls), None) if stored is None else codec.load(cls, stored)
        )
    except StateCorrupt as error:
        if error.newer:
            raise
        return None
    result = call.function(state, *call.args, **kwargs)
    encoded, settled = codec.dump(state)
    if encoded == stored:
        return Outcome(record.rev, record.rev, result=result)
    return Ran(encoded, None if unchanged is None else (unchanged, settled), result)


async def _commit(
    backend: Backend, record: Record, rev: Rev, call: Invocation, ran: Ran
) -> Applied | Stale:
    """Commit what a call did; `Stale` if that is known not to be in."""
    attempt = call.attempt
    if attempt is not None and attempt.rejected:
        attempt = attempt._replace(rejected=_refused(record, attempt))
    try:
        return await commit(
            backend,
            record,
            rev,
            {call.cls.__sessionstores__.name: ran.encoded},
            sender=call.cls,
            attempt=attempt,
            source=call.source,
            edit=ran.edit,
            action=getattr(call.function, "__qualname__", ""),
        )
    except StoreUnavailable as error:
        raise OutcomeUnknown(str(error)) from error
    except StateCorrupt:
        if await _still_stands(backend, record):
            # It is something beside the record, and the commit may be in.
            raise
        return Stale(None)


async def _still_stands(backend: Backend, record: Record) -> bool:
    """Tell whether the record can be read, and has not been created anew."""
    with suppress(StateCorrupt):
        found = await backend.read(record.key, touch=False)
        return (
            isinstance(found, Record)
            and found.rev.incarnation == record.rev.incarnation
        )
    return False


def _refused(record: Record, attempt: Attempt) -> Mapping[int, str]:
    """Return what was refused before an attempt, but for what did take effect.

    A commit that got no answer was told as a failure and may yet be in: this record,
    on which the next commit builds, is the one to know.
    """
    entry = record.clients.get(attempt.client)
    if entry is None:
        return attempt.rejected
    return {
        id: code
        for id, code in attempt.rejected.items()
        if id > entry.last or id in entry.rejected
    }


def _answered(record: Record, attempt: Attempt) -> Outcome | None:
    """Return the answer to an attempt that this record has seen, if it has."""
    entry = record.clients.get(attempt.client)
    if entry is None or attempt.id > entry.last:
        return None
    code = entry.rejected.get(attempt.id)
    if code is not None:
        raise ActionRejected(
            f"Action {attempt.id} was rejected when it was first sent.", code=code
        )
    return Outcome(record.rev, record.rev, repeated=True)


async def _inject(
    backend: Backend,
    record: Record,
    injected: Mapping[str, type[Any]],
    given: Mapping[str, Any],
    actor: Any,
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, kind in injected.items():
        if name in given:
            continue
        if issubclass(kind, State):
            values[name] = await _read_beside(backend, record, kind)
        elif actor is not None:
            values[name] = actor
        elif not record.key.is_session:
            values[name] = kind(*record.key)
        else:
            raise InvalidArguments(
                f"{name}: say who acts: dispatch(..., {name}=participant). A "
                "session's state belongs to nobody in particular."
            )
    return values


async def _read_beside(backend: Backend, record: Record, cls: type[S]) -> S:
    """Return a snapshot of another state, of the same session and participant."""
    declaration = cls.__sessionstores__
    if declaration.scope == "session" and not record.key.is_session:
        key = StoreKey.of_session(record.key.session)
        record = await open_record(backend, key, (cls,))
    elif declaration.scope == "participant" and record.key.is_session:
        raise InvalidArguments(
            f"A session's action cannot be given {cls.__name__}: it is each "
            "participant's own."
        )
    record = await settle(backend, record, (cls,))
    return codec.decode(cls, record.states[declaration.name])
