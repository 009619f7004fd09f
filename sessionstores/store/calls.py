"""Calls of functions on a record's states, and what they led to."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, NamedTuple

from .. import event_bus
from ..backends.types import Attempt
from ..state.actions import Injection
from ..state.declaration import State
from ..state.revisions import Rev
from .turns import Waiting

logger = logging.getLogger("sessionstores.store")

# What functions return that have not run by then.
UNRUN = frozenset({AsyncGeneratorType, CoroutineType, GeneratorType})


class Outcome(NamedTuple):
    """The result of an action; `rev` equals `base` if it changed nothing.

    `change` is None if the commit carries changes of others, too. `repeated`: the
    client's attempt took effect before, so it did not run again. `answered`: the
    caller's `answer` has been called.
    """

    base: Rev
    rev: Rev
    change: event_bus.Change | None = None
    result: Any = None
    repeated: bool = False
    answered: bool = False


class Call(Waiting):
    """A function with its arguments, and on whose behalf it runs; see `transact`.

    What it led to stands in `outcome`, or in `error`; `before` and `after` are the
    state's plain form, if that was free, and the instance it left (see `codec`).
    """

    cls: type[State]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    injected: Mapping[str, Injection]
    actor: Any
    attempt: Attempt | None
    source: str | None
    answer: Callable[[Outcome], None] | None
    outcome: Outcome | None = None
    result: Any = None
    before: Any = None
    after: State | None = None
    changed: bool = False
    repeated: bool = False


def name_of(function: Callable[..., Any]) -> str:
    """Return a function's name for logs, or its kind; never arguments of a partial."""
    inner = function.func if isinstance(function, partial) else function
    return str(getattr(inner, "__qualname__", type(inner).__qualname__))


def refuse_unrun(function: Callable[..., Any], result: object) -> None:
    """Raise TypeError if a call gave something that would have to be run yet."""
    if type(result) not in UNRUN:
        return
    if isinstance(result, CoroutineType | GeneratorType):
        result.close()
    kind = "a generator" if isinstance(result, GeneratorType) else "asynchronous"
    raise TypeError(
        f"{name_of(function)} is {kind}, but an action runs in one go, and may "
        "run again. Await what it needs first, and dispatch a plain function."
    )


def answer(call: Call) -> None:
    """Have the caller answered ahead of the change; if that fails, it is after it."""
    if call.answer is None or call.outcome is None:
        return
    try:
        call.answer(call.outcome)
    except Exception:
        logger.exception("An answer to %s failed", name_of(call.function))
    else:
        call.outcome = call.outcome._replace(answered=True)


def fail(calls: list[Call], error: BaseException) -> None:
    """Let each of the calls raise the error, all but the first a copy of their own.

    Raised by several, one and the same would gather the tracebacks of all.
    """
    for place, call in enumerate(calls):
        call.error = error
        if place:
            with suppress(Exception):
                call.error = copy.copy(error)
                call.error.__cause__ = error.__cause__
