"""Values in a key-value store, and read-modify-write over them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ...concurrency.backoff import Backoff
from ...exceptions import StoreUnavailable
from ..base import pause
from ..errors import MAX_ATTEMPTS, contended, unavailable
from .key_value import ABSENT, KeyValueStore, Versioned
from .update_groups import UpdateGroups

_BACKOFF = Backoff(base=0.0005, cap=0.05, eager=3)


class Values:
    """Values in a key-value store: translates its errors, retries lost races."""

    def __init__(self, store: KeyValueStore) -> None:
        self.store = store
        self._groups = UpdateGroups(self._update)

    def now(self) -> float:
        """Return the store's time."""
        return self.store.clock()

    async def get(self, *keys: str) -> dict[str, Versioned]:
        """Return what is stored at those of `keys` that exist, in one round trip."""
        if not keys:
            return {}
        try:
            return await self.store.read(keys)
        except StoreUnavailable:
            raise
        except OSError as error:
            raise unavailable(error) from error

    async def put(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        """See `KeyValueStore.cas`."""
        try:
            return await self.store.cas(key, token, value, ttl)
        except StoreUnavailable:
            raise
        except OSError as error:
            raise unavailable(error) from error

    async def drop(self, key: str, token: Any) -> bool:
        """See `KeyValueStore.delete`."""
        try:
            return await self.store.delete(key, token)
        except StoreUnavailable:
            raise
        except OSError as error:
            raise unavailable(error) from error

    async def keys(self) -> list[str] | None:
        """See `KeyValueStore.list_keys`."""
        try:
            return await self.store.list_keys()
        except StoreUnavailable:
            raise
        except OSError as error:
            raise unavailable(error) from error

    async def update(
        self,
        key: str,
        change: Callable[[bytes], bytes],
        ttl: float | None,
        found: Versioned | None = None,
    ) -> bytes:
        """Replace a value by `change` of it; an empty result removes the key.

        `change` gets b"" for an absent value, and may run several times. Returns the
        value that was replaced. With `found`, the first attempt reads nothing.
        """
        if self.store.blocking or self.store.in_memory:
            # Calls of one event loop do not run at once.
            return await self._update(key, change, ttl, found)
        return await self._groups.update(key, change, ttl, found)

    async def _update(
        self,
        key: str,
        change: Callable[[bytes], bytes],
        ttl: float | None,
        found: Versioned | None,
    ) -> bytes:
        for attempt in range(MAX_ATTEMPTS):
            if found is None or attempt:
                found = (await self.get(key)).get(key, ABSENT)
            value, token = found.value, found.token
            changed = change(value)
            if changed == value and ttl is None:
                return value
            if changed:
                if await self.put(key, token, changed, ttl) is not None:
                    return value
            elif token is None or await self.drop(key, token):
                return value
            await self.back_off(attempt)
        raise contended(key)

    async def update_all(
        self, changes: Mapping[str, Callable[[bytes], bytes]], ttl: float | None
    ) -> dict[str, bytes]:
        """Make several changes, each as `update` does, after one read of all."""
        found = await self.get(*changes)
        return {
            key: await self.update(key, change, ttl, found.get(key, ABSENT))
            for key, change in changes.items()
        }

    async def pause(self, seconds: float) -> None:
        """Wait, in the way that fits the store's flavour."""
        await pause(seconds, blocking=self.store.blocking)

    async def let_others_finish(self, seconds: float) -> None:
        """Wait for a write of several steps that may be under way elsewhere."""
        if self.store.in_memory:
            # Its author is a thread of this process, which continues at once.
            time.sleep(seconds / 10)  # noqa: ASYNC251
        else:
            await self.pause(seconds)

    async def back_off(self, attempt: int) -> None:
        """Wait after lost race number `attempt`, from 0."""
        if delay := _BACKOFF.delay(attempt):
            await self.pause(delay)
