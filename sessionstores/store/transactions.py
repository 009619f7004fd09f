"""Transactions: run an action on a record until its change is committed.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .. import conf
from ..backends.base import Backend
from ..backends.types import Attempt
from ..exceptions import ActionRejected
from ..keys import StoreKey
from ..monitoring import alerts
from ..monitoring.counters import counters
from ..state.declaration import Action, State
from .calls import Call, Outcome
from .group_commit import commit_group
from .record_queue import LoopQueues, RecordQueue
from .turns import ThreadTurns, Turn, current_turn, is_inside

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
        answer=answer,
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
    answer: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Run `function` on a copy of the state until it can be committed, or need not be.

    `injected` names the parameters that the server fills in where `kwargs` does not.
    Begins with the record that this process saw last, if it has one: a commit compares
    anyway, and any other answer is given only once that record is known to be current.
    `answer` is called with the outcome before others hear of the change, if other calls
    are committed with this one. Raises the errors of `function`, `Conflict`,
    `StateTooLarge`, `StateCorrupt`, RuntimeError inside an action of the record, and
    `StoreUnavailable`, which is `OutcomeUnknown` if it was the commit that failed.
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
            await commit_group(backend, [call], turn, backend.recall(key))
        else:
            await turn.wait(call, commit_group)
        if call.error is not None:
            raise call.error
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
    assert call.outcome is not None  # noqa: S101 - for the type checker
    return call.outcome


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
