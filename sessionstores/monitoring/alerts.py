"""Warnings of what costs too much: logged and signalled, each once in a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeVar

from .. import conf, signals
from ..backends.base import Backend
from ..keys import StoreKey

logger = logging.getLogger("sessionstores.stats")

# Of MAX_STATE_BYTES; a record that has grown so far is about to be refused.
NEAR_LIMIT = 0.8
# 10 MB for 50 participants.
BUDGET_PER_PARTICIPANT = 10 * 2**20 // 50
# Warnings that a process remembers having given. Past it, one may come again sooner.
MAX_REMEMBERED = 1_000

P = ParamSpec("P")
R = TypeVar("R")


class Alert(NamedTuple):
    """Something that costs memory or time beyond measure, and what to do about it.

    `key` says whose: "K7Q2ZD:alice", a session code, or "" for the site as a whole.
    `text` and `hint` are English, for logs and terminals; `values` are the figures in
    them, in bytes and seconds, for whoever says the same in another language.
    """

    code: Literal[
        "near_limit",
        "over_budget",
        "growing",
        "unswept",
        "orphans",
        "slow",
        "evicting",
    ]
    text: str
    hint: str
    key: str
    values: Mapping[str, float | str | None] = MappingProxyType({})


class RecentAlerts:
    """The warnings that this process has given in the last `IDLE_TIMEOUT` or so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Oldest first.
        self._leaks: dict[tuple[str, str], tuple[float, Alert]] = {}

    def knows(self, code: str, key: str) -> bool:
        """Tell whether such a warning has been given lately."""
        given = self._leaks.get((code, key))
        if given is None:
            return False
        return time.monotonic() - given[0] < conf.get().idle_timeout

    def remember(self, leak: Alert) -> bool:
        """Take note of a warning; False if the same has been given lately."""
        place = leak.code, leak.key
        with self._lock:
            if self.knows(*place):
                return False
            # The newest comes last.
            known = self._leaks.pop(place, None)
            if known is None and len(self._leaks) >= MAX_REMEMBERED:
                del self._leaks[next(iter(self._leaks))]
            self._leaks[place] = time.monotonic(), leak
        return True

    def recent(self) -> list[Alert]:
        """Return the warnings of the last `IDLE_TIMEOUT`, oldest first."""
        since = time.monotonic() - conf.get().idle_timeout
        with self._lock:
            return [leak for at, leak in self._leaks.values() if at > since]

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._leaks.clear()


told = RecentAlerts()


async def warn(leak: Alert, *, blocking: bool) -> bool:
    """Log a warning and send `store_warning`, unless that was done lately.

    Returns whether it was done now.
    """
    if not told.remember(leak):
        return False
    logger.warning("%s: %s %s", leak.code, leak.text, leak.hint)
    await signals.emit(
        signals.store_warning,
        blocking=blocking,
        sender=Alert,
        warning=leak.code,
        key=leak.key,
        text=leak.text,
        hint=leak.hint,
    )
    return True


def oversized(key: StoreKey, size: int, limit: int) -> Iterator[Alert]:
    """Say what there is to say about the bytes of one record."""
    if size >= NEAR_LIMIT * limit:
        yield Alert(
            "near_limit",
            f"{key} has {size} of the {limit} bytes that MAX_STATE_BYTES allows.",
            "Past them, changes are refused (StateTooLarge). Store less, or raise it.",
            str(key),
            {"size": size, "limit": limit},
        )
    if size > BUDGET_PER_PARTICIPANT and not key.is_session:
        yield Alert(
            "over_budget",
            f"{key} has {size} bytes; 10 MB for 50 participants make "
            f"{BUDGET_PER_PARTICIPANT} for each.",
            "Keep large things elsewhere, and in the state what they are found by.",
            str(key),
            {"size": size, "budget": BUDGET_PER_PARTICIPANT},
        )


async def warn_if_large(
    key: StoreKey, size: int, limit: int, *, blocking: bool
) -> None:
    """Warn of a record that a commit has just made large."""
    for leak in oversized(key, size, limit):
        await warn(leak, blocking=blocking)


async def slow(
    operation: str, key: StoreKey, seconds: float, *, blocking: bool
) -> None:
    """Warn of an operation that took longer than `SLOW_OPERATION_MS`."""
    # Where one is slow, so are many: words for each would make them slower yet.
    if told.knows("slow", str(key)):
        return
    limit = conf.get().slow_operation_ms
    leak = Alert(
        "slow",
        f"{key}: {operation} took {seconds * 1000:.0f} ms; SLOW_OPERATION_MS is "
        f"{limit:g}.",
        "Look for slow code in the action, a large state, or a cache that is far away "
        "or overloaded.",
        str(key),
        {"operation": operation, "seconds": seconds, "limit": limit / 1000},
    )
    await warn(leak, blocking=blocking)


def warn_if_slow(
    operation: str,
) -> Callable[
    [Callable[Concatenate[Backend, StoreKey, P], Awaitable[R]]],
    Callable[Concatenate[Backend, StoreKey, P], Coroutine[Any, Any, R]],
]:
    """Have slow runs of a coroutine function `(backend, key, …)` warned of."""

    def decorate(
        function: Callable[Concatenate[Backend, StoreKey, P], Awaitable[R]],
    ) -> Callable[Concatenate[Backend, StoreKey, P], Coroutine[Any, Any, R]]:
        @wraps(function)
        async def judged(
            backend: Backend, key: StoreKey, /, *args: P.args, **kwargs: P.kwargs
        ) -> R:
            started = time.monotonic()
            try:
                return await function(backend, key, *args, **kwargs)
            finally:
                spent = time.monotonic() - started
                if spent * 1000 > conf.get().slow_operation_ms:
                    await slow(operation, key, spent, blocking=backend.blocking)

        return judged

    return decorate
