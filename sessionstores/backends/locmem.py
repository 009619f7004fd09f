"""Records in this process's memory, in a LocMemCache of our own."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import inf
from threading import Lock
from typing import Any, ClassVar

from django.core.cache.backends.locmem import LocMemCache

from ..keys import StoreKey
from ..state.revisions import History
from .cas.backend import CasBackend
from .cas.key_value import KeyValueStore, Versioned
from .cas.serializers import RecordDecoder, StoredRecord, record_of
from .types import Record

# Records that are kept decoded, if they are small: decoding one is 2.1 µs of a read's
# 4.8, and these take up 4 MB at most.
MAX_DECODED = 1024
MAX_DECODED_BYTES = 4096


class BytesCache(LocMemCache):
    """Django's cache, but for bytes, which are not pickled and are their own tokens.

    It evicts nothing. A value is unchanged while it is the same object, so no version
    is kept beside it. Expired values are removed when read, and two at a time whenever
    a key is added.
    """

    _cache: OrderedDict[str, bytes]
    _expire_info: dict[str, float]
    _lock: Lock

    def read(self, keys: Sequence[str], now: float) -> dict[str, Versioned]:
        """Return what is stored at `keys`, at one instant."""
        found = {}
        with self._lock:
            for key in keys:
                # Most records have no followers: then this spares a call.
                if key not in self._cache:
                    continue
                value = self._current(key, now)
                if value is not None:
                    found[key] = Versioned(value, value)
        return found

    def cas(
        self, key: str, token: bytes | None, value: bytes, now: float, deadline: float
    ) -> bytes | None:
        """Put `value` if `token` is still the value there, and return its token."""
        # A copy has its exact size; an encoder's result reserves half as much again.
        value = bytes(memoryview(value))
        with self._lock:
            if self._current(key, now) is not token:
                return None
            if token is None:
                self._reclaim(now)
            self._cache[key] = value
            self._expire_info[key] = deadline
        return value

    def remove(self, key: str, token: bytes, now: float) -> bool:
        """Remove the value at `key` if that is still `token`."""
        with self._lock:
            if self._current(key, now) is not token:
                return False
            self._forget(key)
        return True

    def keys(self) -> list[str]:
        """Return all keys, whether or not they have expired."""
        with self._lock:
            return list(self._cache)

    def _current(self, key: str, now: float) -> bytes | None:
        value = self._cache.get(key)
        if value is not None and self._expire_info[key] <= now:
            self._forget(key)
            return None
        return value

    def _forget(self, key: str) -> None:
        del self._cache[key]
        del self._expire_info[key]

    def _reclaim(self, now: float) -> None:
        for _ in range(min(2, len(self._cache))):
            key = next(iter(self._cache))
            if self._expire_info[key] <= now:
                self._forget(key)
            else:
                self._cache.move_to_end(key)


class DecodedRecords(RecordDecoder):
    """Keeps small records decoded, each while its stored value is the same."""

    def __init__(self) -> None:
        self._records: dict[StoreKey, Record] = {}

    def decode(self, key: StoreKey, found: Versioned) -> Record:
        """See `RecordDecoder.decode`."""
        # The token is the value itself, so the same token is the same record.
        record = self._records.get(key)
        if record is not None and record.token.token is found.token:
            return record
        return super().decode(key, found)

    def decoded(
        self,
        key: StoreKey,
        stored: StoredRecord,
        token: Any,
        history: History | None = None,
    ) -> Record:
        """See `RecordDecoder.decoded`."""
        record = record_of(key, stored, token, history)
        if len(token) > MAX_DECODED_BYTES:
            self._records.pop(key, None)
            return record
        if len(self._records) >= MAX_DECODED:
            self._records.clear()
        self._records[key] = record
        return record

    def clear(self) -> None:
        """See `RecordDecoder.clear`."""
        self._records.clear()


class LocMemStore(KeyValueStore):
    """Values in this process: operations never wait, in neither flavour."""

    shared: ClassVar[bool] = False
    in_memory: ClassVar[bool] = True

    def __init__(
        self,
        alias: str,
        *,
        blocking: bool,
        clock: Callable[[], float] = time.time,
        cache: BytesCache | None = None,
    ) -> None:
        super().__init__(blocking=blocking, clock=clock)
        # Django keeps one cache for each name in a process: the flavours share it, and
        # `caches[alias].clear()` does not reach it.
        self.cache = (
            BytesCache(f"sessionstores:{alias}", {}) if cache is None else cache
        )

    async def read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        """See `KeyValueStore.read`."""
        return self.cache.read(keys, self.clock())

    async def cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        """See `KeyValueStore.cas`."""
        now = self.clock()
        deadline = inf if ttl is None else now + ttl
        return self.cache.cas(key, token, value, now, deadline)

    async def delete(self, key: str, token: Any) -> bool:
        """See `KeyValueStore.delete`."""
        return self.cache.remove(key, token, self.clock())

    async def list_keys(self) -> list[str]:
        """See `KeyValueStore.list_keys`."""
        return self.cache.keys()

    async def clear(self) -> None:
        """See `Backend.clear`."""
        self.cache.clear()


class LocMemBackend(CasBackend):
    """Records in this process; both flavours share them.

    They are in a cache of the alias, or in another one that is given.
    """

    def __init__(
        self,
        alias: str,
        *,
        blocking: bool,
        clock: Callable[[], float] = time.time,
        cache: BytesCache | None = None,
    ) -> None:
        store = LocMemStore(alias, blocking=blocking, clock=clock, cache=cache)
        super().__init__(store, decoder=DecodedRecords())
