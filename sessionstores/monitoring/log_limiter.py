"""Log limiter: one line for each kind of trouble and heartbeat, with a count."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import conf
from ..backends.base import Backend
from ..concurrency.threads import mutex

Line = tuple[logging.Logger, int, str]


@dataclass(slots=True)
class _Kind:
    """Lines of one kind: from `until` on, the next is written again.

    `more` were not written, of which `line` is the first.
    """

    until: float
    more: int = 0
    line: Line | None = None


class LogLimiter:
    """Writes the first line of a kind at once, and then one for each `HEARTBEAT`.

    That one says how many there were. Part of a backend's `ProcessMemory`: in an
    outage or an overload, each commit, tab and participant has something to say.
    """

    def __init__(self) -> None:
        self._lock = mutex()
        self._kinds: dict[object, _Kind] = {}

    def log(
        self,
        logger: logging.Logger,
        level: int,
        text: str,
        *args: Any,
        kind: object = None,
    ) -> None:
        """Write a line, or count it; its `kind` is its text without `args`, or given.

        There must be few kinds: they are remembered.
        """

        def line() -> Line:
            # As text: an error would keep alive what its frames refer to.
            return logger, level, text % args if args else text

        more = self.admit(kind or text, line)
        if more is not None:
            whole = f"{text}{suffix(more)}"
            logger.log(level, whole, *args, stacklevel=2)

    def admit(self, kind: object, line: Callable[[], Line] | None = None) -> int | None:
        """Return how many lines of a kind were not written since the last; None: wait.

        One that waits is counted; `flush` writes its `line`, if it is the first.
        """
        now = time.monotonic()
        with self._lock:
            known = self._kinds.get(kind)
            if known is not None and now < known.until:
                known.more += 1
                if known.line is None and line is not None:
                    known.line = line()
                return None
            self._kinds[kind] = _Kind(now + conf.get().heartbeat)
        return 0 if known is None else known.more

    def flush(self) -> None:
        """Write a line for each kind that waits since a heartbeat ago."""
        now = time.monotonic()
        due: list[tuple[Line, int]] = []
        with self._lock:
            for kind, known in self._kinds.items():
                if known.line is not None and now >= known.until:
                    due.append((known.line, known.more - 1))
                    self._kinds[kind] = _Kind(now + conf.get().heartbeat)
        for (logger, level, text), more in due:
            logger.log(level, "%s%s", text, suffix(more))


def suffix(more: int) -> str:
    """Return what a line ends with that stands for so many others."""
    return f" ({more} more like it)" if more else ""


def log_limiter(backend: Backend) -> LogLimiter:
    """Return the limiter of this process for what concerns a backend."""
    return backend.memory.of(LogLimiter)
