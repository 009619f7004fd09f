"""The records that this process saw last, so that a dispatch need not read first."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ..keys import StoreKey
from .types import Record

MAX_BYTES = 16_777_216
# What a record takes beside its states.
OVERHEAD = 1_000


class Recent:
    """Records by key, each as it was when last put; those put longest ago go first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        # With the bytes that each is taken to have.
        self._records: OrderedDict[StoreKey, tuple[Record, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: StoreKey) -> Record | None:
        """Return the record; None if it is not at hand."""
        held = self._records.get(key)
        return None if held is None else held[0]

    def put(self, record: Record) -> None:
        """Remember a record in place of an older one."""
        size = record.bytes + OVERHEAD
        with self._lock:
            self._forget(record.key)
            self._records[record.key] = record, size
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._forget(next(iter(self._records)))

    def drop(self, key: StoreKey) -> None:
        """Forget a record that is gone."""
        if key in self._records:
            with self._lock:
                self._forget(key)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._records.clear()
            self._bytes = 0

    def _forget(self, key: StoreKey) -> None:
        held = self._records.pop(key, None)
        if held is not None:
            self._bytes -= held[1]
