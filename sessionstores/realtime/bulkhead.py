"""Bulkhead: run a batched operation; isolate sessions whose data is corrupt."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ..exceptions import SessionStoresError, StoreUnavailable

logger = logging.getLogger("sessionstores.delivery")

T = TypeVar("T")


class Bulkhead:
    """Runs one operation for many sessions; `failure` is its log text for a session.

    When a batch fails, the failing sessions are found by bisection. From then on they
    run one by one, after the others, until they work again.
    """

    def __init__(self, failure: str) -> None:
        self._failure = failure
        self._isolated: set[str] = set()

    async def each(
        self,
        do: Callable[[Sequence[T]], Awaitable[object]],
        items: Sequence[T],
        session_of: Callable[[T], str],
    ) -> set[str]:
        """Call `do` with `items`; return the sessions that failed, each logged once.

        When `do` raises, it is called again with parts of the same items. Raises
        `StoreUnavailable` as soon as `do` does: that is not a session's fault.
        """
        failed: set[str] = set()
        waiting = self._batches(items, session_of)
        while waiting:
            some = waiting.pop()
            try:
                await do(some)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - the others must go on
                codes = list(dict.fromkeys(map(session_of, some)))
                if len(codes) == 1:
                    failed.add(codes[0])
                    self._isolate(codes[0], error)
                    continue
                half = set(codes[: len(codes) // 2])
                waiting.append([item for item in some if session_of(item) not in half])
                waiting.append([item for item in some if session_of(item) in half])
            else:
                if self._isolated:
                    self._isolated.difference_update(map(session_of, some))
        return failed

    def _batches(
        self, items: Sequence[T], session_of: Callable[[T], str]
    ) -> list[Sequence[T]]:
        """Return the isolated sessions' items, by session, and last all others."""
        if not self._isolated:
            return [items] if items else []
        others: list[T] = []
        isolated: dict[str, list[T]] = {}
        for item in items:
            code = session_of(item)
            some = isolated.setdefault(code, []) if code in self._isolated else others
            some.append(item)
        return [*isolated.values(), *([others] if others else [])]

    def _isolate(self, code: str, error: Exception) -> None:
        if code not in self._isolated:
            self._isolated.add(code)
            unexpected = None if isinstance(error, SessionStoresError) else error
            logger.error("%s: %s: %s", code, self._failure, error, exc_info=unexpected)
