"""A transaction: an action, run on a record until what it did is committed.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from . import alerts, codec, conf, signals
from .backends.base import Attempt, Backend, Record, Stale, Unchanged
from .exceptions import (
    ActionRejected,
    InvalidArguments,
    StateCorrupt,
    StoreUnavailable,
)
from .keys import StoreKey
from .records import commit, open_record, settle
from .revs import Rev
from .state import Action, State
from .tries import Tries, counters

S = TypeVar("S", bound=State)


class Outcome(NamedTuple):
    """What an action led to: `rev` equals `base` and `change` is None if to nothing.

    `repeated`: the client's attempt took effect before, so nothing ran this time.
    """

    base: Rev
    rev: Rev
    change: signals.Change | None = None
    result: Any = None
    repeated: bool = False


class Settled(NamedTuple):
    """A record whose states were put right, so that an action can run on it."""

    record: Record


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
    role has been checked. Whatever is raised, nothing has changed.
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
    """
    started = time.monotonic()
    counters.dispatches += 1
    try:
        return await _transact(
            started,
            backend,
            key,
            cls,
            function,
            args,
            kwargs,
            injected=injected,
            actor=actor,
            attempt=attempt,
            source=source,
        )
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
    started: float,
    backend: Backend,
    key: StoreKey,
    cls: type[S],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    injected: Mapping[str, type[Any]],
    actor: Any,
    attempt: Attempt | None,
    source: str | None,
) -> Outcome:
    recalled = backend.recall(key)
    record = recalled or await open_record(backend, key, (cls,))
    tries: Tries | None = None
    while True:
        counters.tries += 1
        try:
            answer = await _attempt(
                backend,
                record,
                cls,
                function,
                args,
                kwargs,
                injected=injected,
                actor=actor,
                attempt=attempt,
                source=source,
            )
        except StoreUnavailable:
            raise
        except Exception:
            if recalled is None:
                raise
            newer = await _newer(backend, recalled, cls)
            if newer is None:
                raise
            record, recalled = newer, None
            continue
        if isinstance(answer, Outcome):
            if recalled is None or answer.change is not None:
                return answer
            newer = await _newer(backend, recalled, cls)
            if newer is None:
                return answer
            record, recalled = newer, None
            continue
        if isinstance(answer, Stale):
            tries = tries or Tries(backend, key, started)
            await tries.again()
        record = answer.record or await open_record(backend, key, (cls,))
        recalled = None


async def _newer(backend: Backend, recalled: Record, cls: type[State]) -> Record | None:
    """Return what has taken the place of a record that was recalled; None: nothing."""
    answer = await backend.read(recalled.key, known=recalled.rev)
    if isinstance(answer, Unchanged):
        return None
    return answer or await open_record(backend, recalled.key, (cls,))


async def _attempt(
    backend: Backend,
    record: Record,
    cls: type[S],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    injected: Mapping[str, type[Any]],
    actor: Any,
    attempt: Attempt | None,
    source: str | None,
) -> Outcome | Stale | Settled:
    """Run `function` once, on what `record` holds, and commit what it did.

    `Stale` if another committed first, `Settled` if the state had to be put right
    before it can run.
    """
    if attempt is not None and (answered := _answered(record, attempt)):
        return answered
    name = cls.__sessionstores__.name
    stored = record.states.get(name)
    try:
        state, unchanged = (
            (codec.fresh(cls), None) if stored is None else codec.load(cls, stored)
        )
    except StateCorrupt as error:
        if error.newer:
            raise
        return Settled(await settle(backend, record, (cls,)))
    filled = kwargs
    if injected:
        filled = {**await _inject(backend, record, injected, kwargs, actor), **kwargs}
    result = function(state, *args, **filled)
    encoded, settled = codec.dump(state)
    if encoded == stored:
        return Outcome(record.rev, record.rev, result=result)
    rev = record.rev.next()
    answer = await commit(
        backend,
        record,
        rev,
        {name: encoded},
        sender=cls,
        attempt=attempt,
        source=source,
        edit=None if unchanged is None else (unchanged, settled),
        action=getattr(function, "__qualname__", ""),
    )
    if isinstance(answer, Stale):
        return answer
    # Others may have committed on top by the time that a lost reply is made up for:
    # the operations lead to our own rev only.
    return Outcome(record.rev, rev, answer.change, result)


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
