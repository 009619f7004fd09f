"""Bounded cache of the records that this process last saw, to save a read."""

from __future__ import annotations

from collections import OrderedDict

from ..concurrency.threads import mutex
from ..keys import StoreKey
from .types import Record

MAX_BYTES = 16_777_216
# Bytes that a record takes beside its states.
OVERHEAD = 1_000


class RecordCache:
    """Records by key, up to `max_bytes`; those put longest ago are dropped first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        # With the estimated size of each.
        self._records: OrderedDict[StoreKey, tuple[Record, int]] = OrderedDict()
        self._bytes = 0
        self._lock = mutex()

    def get(self, key: StoreKey) -> Record | None:
        """Return the record; None if it is not cached."""
        held = self._records.get(key)
        return None if held is None else held[0]

    def put(self, record: Record) -> None:
        """Cache a record in place of an older one."""
        size = record.bytes + OVERHEAD
        with self._lock:
            self._drop(record.key)
            self._records[record.key] = record, size
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._records)))

    def drop(self, key: StoreKey) -> None:
        """Drop a record."""
        if key in self._records:
            with self._lock:
                self._drop(key)

    def clear(self) -> None:
        """Drop all records."""
        with self._lock:
            self._records.clear()
            self._bytes = 0

    def _drop(self, key: StoreKey) -> None:
        held = self._records.pop(key, None)
        if held is not None:
            self._bytes -= held[1]
