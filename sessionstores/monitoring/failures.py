"""Failures: count what was refused, and what failed by a fault, each once.

A refusal answers somebody who asked for what they may not have or do now. An error is
a fault of the site, the server or the cache: an exception that is none of ours, or
`StoreUnavailable`, `StateCorrupt` or `InsideTransaction`. Of an error its type, action
and place are kept and never its text, which may hold content.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import wraps
from pathlib import PurePath
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from .. import event_bus
from ..backends.base import Backend
from ..exceptions import (
    InsideTransaction,
    SessionStoresError,
    StateCorrupt,
    StoreUnavailable,
)
from .tally import OTHER, tally_of

P = ParamSpec("P")
R = TypeVar("R")

FAULTS = (StoreUnavailable, StateCorrupt, InsideTransaction)
# Codes are the site's own words. What looks otherwise may hold content.
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,39}")
# The attribute of an exception that has been counted.
_COUNTED = "_sessionstores_counted"


def count(
    backend: Backend,
    error: BaseException,
    action: str = "",
    *,
    package: str = "",
    anew: bool = False,
) -> None:
    """Count a refusal or an error, unless this exception has been counted.

    `action` as in "board.move", `package` is the package of its code; `anew`: also an
    exception that was counted before, since it was raised again.
    """
    known = vars(error)
    if known.get(_COUNTED) and not anew:
        return
    known[_COUNTED] = True
    if not is_fault(error) and isinstance(error, SessionStoresError):
        count_refusal(backend, error.code)
        return
    kind = type(error).__name__, action, place_of(error, package)
    tally_of(backend).fail(kind, backend.clock())
    event_bus.bus.publish(event_bus.Failure())


def is_fault(error: BaseException) -> bool:
    """Return whether it is an error, rather than a refusal."""
    return not isinstance(error, SessionStoresError) or isinstance(error, FAULTS)


def count_refusal(backend: Backend, code: str) -> None:
    """Count that somebody was refused something, as `code`."""
    tally_of(backend).refuse(code if _CODE.fullmatch(code) else OTHER)
    event_bus.bus.publish(event_bus.Failure())


def counted(
    function: Callable[Concatenate[Backend, P], Awaitable[R]],
) -> Callable[Concatenate[Backend, P], Coroutine[Any, Any, R]]:
    """Decorate a coroutine function `(backend, …)` to count what it raises."""

    @wraps(function)
    async def counting(backend: Backend, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(backend, *args, **kwargs)
        except Exception as error:
            count(backend, error)
            raise

    return counting


def place_of(error: BaseException, package: str = "") -> str:
    """Return where an exception was raised, as "workshop/states.py:41".

    That is the innermost line in `package`, so that it is the site's own where one of
    a library was called wrongly; else the innermost of all.
    """
    frames = list(_frames(error.__traceback__))
    top = package.partition(".")[0]
    own = [each for each in frames if each[0].partition(".")[0] == top]
    for name, file, line in (own or frames)[-1:]:
        return f"{_short(name, file)}:{line}"
    return ""


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, str, int]]:
    """Yield the module, the file and the line of each frame, the outermost first."""
    while trace is not None:
        frame = trace.tb_frame
        name = frame.f_globals.get("__name__")
        file = frame.f_code.co_filename
        yield name if isinstance(name, str) else "", file, trace.tb_lineno
        trace = trace.tb_next


def _short(name: str, file: str) -> str:
    """Return a module's file, from the top of its package down."""
    path = PurePath(file)
    parts = name.split(".")
    if path.stem == "__init__":
        parts.append("__init__")
    if path.stem != parts[-1]:
        # A script, a notebook, or code that was generated.
        return path.name
    return PurePath(*path.parts[-len(parts) :]).as_posix()
