"""Alerts on excessive memory or time: logged and signalled, but not repeatedly."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeVar

from .. import conf, signals
from ..backends.base import Backend
from ..concurrency.threads import mutex
from ..keys import StoreKey
from .log_limiter import log_limiter
from .tally import tally_of

logger = logging.getLogger("sessionstores.stats")

# A share of MAX_STATE_BYTES; changes to a larger record will soon be refused.
NEAR_LIMIT = 0.8
# 10 MB for 50 participants.
BUDGET_PER_PARTICIPANT = 10 * 2**20 // 50
# Alerts that a process remembers. Beyond it, one may be repeated sooner.
MAX_REMEMBERED = 1_000

P = ParamSpec("P")
R = TypeVar("R")


class Alert(NamedTuple):
    """Excessive use of memory or time, and a hint at what to do about it.

    `key` is whose: "K7Q2ZD:alice", a session code, or "" for the site as a whole.
    `text` and `hint` are English, for logs and terminals; `values` are the figures in
    them, in bytes and seconds, for translations.
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
    """The alerts of this process in the last `IDLE_TIMEOUT`, one of each code and key.

    Part of a backend's `ProcessMemory`.
    """

    def __init__(self) -> None:
        self._lock = mutex()
        # Oldest first.
        self._alerts: dict[tuple[str, str], tuple[float, Alert]] = {}

    def has(self, code: str, key: str) -> bool:
        """Return whether there was such an alert recently."""
        known = self._alerts.get((code, key))
        if known is None:
            return False
        return time.monotonic() - known[0] < conf.get().idle_timeout

    def add(self, alert: Alert) -> bool:
        """Remember an alert; False if there was one of its code and key recently."""
        id = alert.code, alert.key
        with self._lock:
            if self.has(*id):
                return False
            # The newest comes last.
            known = self._alerts.pop(id, None)
            if known is None and len(self._alerts) >= MAX_REMEMBERED:
                del self._alerts[next(iter(self._alerts))]
            self._alerts[id] = time.monotonic(), alert
        return True

    def current(self) -> list[Alert]:
        """Return the alerts of the last `IDLE_TIMEOUT`, oldest first."""
        since = time.monotonic() - conf.get().idle_timeout
        with self._lock:
            return [alert for at, alert in self._alerts.values() if at > since]


def recent_alerts(backend: Backend) -> RecentAlerts:
    """Return the alerts that this process has recently given about a backend."""
    return backend.memory.of(RecentAlerts)


async def warn(backend: Backend, alert: Alert) -> bool:
    """Log an alert and send `store_warning`, unless that was done recently.

    Of several of one code and operation in a heartbeat, the log has one line. Returns
    whether the signal was sent now.
    """
    if not recent_alerts(backend).add(alert):
        return False
    log_limiter(backend).log(
        logger,
        logging.WARNING,
        "%s: %s %s",
        alert.code,
        alert.text,
        alert.hint,
        kind=(alert.code, alert.values.get("operation")),
    )
    await signals.emit(
        signals.store_warning,
        blocking=backend.blocking,
        sender=Alert,
        warning=alert.code,
        key=alert.key,
        text=alert.text,
        hint=alert.hint,
    )
    return True


def oversized(key: StoreKey, size: int, limit: int) -> Iterator[Alert]:
    """Yield the alerts on the size of one record, in bytes."""
    if size >= NEAR_LIMIT * limit:
        yield Alert(
            "near_limit",
            f"{key} has {size} of the {limit} bytes that MAX_STATE_BYTES allows.",
            "Beyond it, changes are refused (StateTooLarge). Store less, or raise it.",
            str(key),
            {"size": size, "limit": limit},
        )
    if size > BUDGET_PER_PARTICIPANT and not key.is_session:
        yield Alert(
            "over_budget",
            f"{key} has {size} bytes; 10 MB for 50 participants make "
            f"{BUDGET_PER_PARTICIPANT} for each.",
            "Keep large values elsewhere, and only references to them in the state.",
            str(key),
            {"size": size, "budget": BUDGET_PER_PARTICIPANT},
        )


async def warn_if_large(backend: Backend, key: StoreKey, size: int, limit: int) -> None:
    """Warn of a record that a commit has just made large."""
    for alert in oversized(key, size, limit):
        await warn(backend, alert)


async def warn_slow(
    backend: Backend, operation: str, key: StoreKey, seconds: float
) -> None:
    """Count an operation that took longer than `SLOW_OPERATION_MS`, and warn of it."""
    tally_of(backend).slow += 1
    # Slow operations come in numbers; composing a text for each would add to that.
    if recent_alerts(backend).has("slow", str(key)):
        return
    limit = conf.get().slow_operation_ms
    alert = Alert(
        "slow",
        f"{key}: {operation} took {seconds * 1000:.0f} ms; SLOW_OPERATION_MS is "
        f"{limit:g}.",
        "Look for slow code in the action, a large state, or a cache that is far away "
        "or overloaded.",
        str(key),
        {"operation": operation, "seconds": seconds, "limit": limit / 1000},
    )
    await warn(backend, alert)


def warn_if_slow(
    operation: str,
) -> Callable[
    [Callable[Concatenate[Backend, StoreKey, P], Awaitable[R]]],
    Callable[Concatenate[Backend, StoreKey, P], Coroutine[Any, Any, R]],
]:
    """Decorate a coroutine function `(backend, key, …)` to warn of slow runs."""

    def decorate(
        function: Callable[Concatenate[Backend, StoreKey, P], Awaitable[R]],
    ) -> Callable[Concatenate[Backend, StoreKey, P], Coroutine[Any, Any, R]]:
        @wraps(function)
        async def timed(
            backend: Backend, key: StoreKey, /, *args: P.args, **kwargs: P.kwargs
        ) -> R:
            started = time.monotonic()
            try:
                return await function(backend, key, *args, **kwargs)
            finally:
                spent = time.monotonic() - started
                if spent * 1000 > conf.get().slow_operation_ms:
                    await warn_slow(backend, operation, key, spent)

        return timed

    return decorate
