"""Memory of one process about a backend, kept with it and dropped with it."""

from __future__ import annotations

import os
from typing import Any, TypeVar
from weakref import WeakMethod

from ..concurrency.threads import mutex

M = TypeVar("M")


class ProcessMemory:
    """One object of each type, made on first use; both flavours of a backend share it.

    `items` holds them by type.

    The layers above keep here what they would otherwise keep in a module: it lives as
    long as the backend, and is never used for another one.
    """

    def __init__(self) -> None:
        self.items: dict[type, Any] = {}
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            # Another thread may hold it at the fork.
            renew = WeakMethod(self._renew_lock)
            os.register_at_fork(after_in_child=lambda: (alive := renew()) and alive())

    def of(self, kind: type[M]) -> M:
        """Return the object of a type that takes no arguments."""
        item = self.items.get(kind)
        if item is None:
            with self._lock:
                item = self.items.get(kind)
                if item is None:
                    item = self.items[kind] = kind()
        found: M = item
        return found

    def _renew_lock(self) -> None:
        self._lock = mutex()

    def close(self) -> None:
        """Close the objects that can be closed, such as threads."""
        for item in list(self.items.values()):
            if close := getattr(item, "close", None):
                close()
