"""One thing done for many sessions at once, so that a spoilt one costs only itself."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ..exceptions import SessionStoresError, StoreUnavailable

logger = logging.getLogger("sessionstores.delivery")

T = TypeVar("T")


class Bulkhead:
    """Does one thing for many sessions; `what` says of a session that it failed.

    When it fails for all together, those that it fails for are found by halves. From
    then on they are seen to one by one, after the others, until it works again.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._spoilt: set[str] = set()

    async def each(
        self,
        do: Callable[[Sequence[T]], Awaitable[object]],
        items: Sequence[T],
        session_of: Callable[[T], str],
    ) -> set[str]:
        """Do it for `items`; return the sessions for which it failed, each logged once.

        `do` may be called again with some of what it was given when it raised. Raises
        `StoreUnavailable` as soon as `do` does: no session is to blame for that.
        """
        failed: set[str] = set()
        waiting = self._set_apart(items, session_of)
        while waiting:
            some = waiting.pop()
            try:
                await do(some)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, others go on
                codes = list(dict.fromkeys(map(session_of, some)))
                if len(codes) == 1:
                    failed.add(codes[0])
                    self._note(codes[0], error)
                    continue
                half = set(codes[: len(codes) // 2])
                waiting.append([item for item in some if session_of(item) not in half])
                waiting.append([item for item in some if session_of(item) in half])
            else:
                if self._spoilt:
                    self._spoilt.difference_update(map(session_of, some))
        return failed

    def _set_apart(
        self, items: Sequence[T], session_of: Callable[[T], str]
    ) -> list[Sequence[T]]:
        """Return the spoilt sessions' items, by session, and last those of the rest."""
        if not self._spoilt:
            return [items] if items else []
        fine: list[T] = []
        spoilt: dict[str, list[T]] = {}
        for item in items:
            code = session_of(item)
            some = spoilt.setdefault(code, []) if code in self._spoilt else fine
            some.append(item)
        return [*spoilt.values(), *([fine] if fine else [])]

    def _note(self, code: str, error: Exception) -> None:
        if code not in self._spoilt:
            self._spoilt.add(code)
            unexpected = None if isinstance(error, SessionStoresError) else error
            logger.error("%s: %s: %s", code, self._what, error, exc_info=unexpected)
