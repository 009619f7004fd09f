"""The compare-and-set primitive that a cache supplies, and the keys it works on."""

from __future__ import annotations

import random
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zlib import crc32

import msgspec

from ... import conf
from ...exceptions import StoreUnavailable
from ...keys import SESSION, StoreKey, cache_key, shared_key
from ..base import Backend
from ..errors import MAX_ATTEMPTS, contended, unavailable

_EAGER_TRIES = 3
_MAX_PAUSE = 0.05

BUCKETS = 16
FOLLOWERS = "f"


class Versioned(msgspec.Struct, frozen=True, gc=False):
    """What stands at a key, and the token by which a later write tells it changed."""

    value: bytes
    token: Any


ABSENT = Versioned(b"", None)


class Primitive(Backend):
    """Three operations on one key each, which concrete backends supply.

    They may raise OSError, which `StoreUnavailable` is and every connection error and
    timeout; a write that raises may or may not have happened.
    """

    def __init__(
        self, *, blocking: bool, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(blocking=blocking)
        self._clock = clock

    @abstractmethod
    async def _read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        """Return what stands at those of `keys` that hold anything, in one trip."""

    @abstractmethod
    async def _cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        """Write if the key is still as `token` says (None: absent); else return None.

        Return the token of what now stands there, or if the cache does not tell,
        anything else that is not None and no token. `ttl` in seconds, None: for good.
        """

    @abstractmethod
    async def _delete(self, key: str, token: Any) -> bool:
        """Remove the key if it is still as `token` says."""

    async def now(self) -> float:
        """See `Backend.now`."""
        return self._clock()

    async def _list(self) -> list[str] | None:
        """Return all keys there are; None if the cache cannot list them."""
        return None

    async def _get(self, *keys: str) -> dict[str, Versioned]:
        if not keys:
            return {}
        try:
            return await self._read(keys)
        except StoreUnavailable:
            raise
        except OSError as error:
            raise unavailable(error) from error

    async def _put(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        try:
            return await self._cas(key, token, value, ttl)
        except StoreUnavailable:
            raise
        except OSError as error:
            raise unavailable(error) from error

    async def _drop(self, key: str, token: Any) -> bool:
        try:
            return await self._delete(key, token)
        except StoreUnavailable:
            raise
        except OSError as error:
            raise unavailable(error) from error

    async def _update(
        self,
        key: str,
        change: Callable[[bytes], bytes],
        ttl: float | None,
        found: Versioned | None = None,
    ) -> bytes:
        """Put `change` of what stands at `key` there; an empty result removes the key.

        `change` gets b"" where nothing stands, and may run several times. Returns what
        stood there before. With `found`, no look is taken before the first try.
        """
        for tried in range(MAX_ATTEMPTS):
            if found is None or tried:
                found = (await self._get(key)).get(key, ABSENT)
            value, token = found.value, found.token
            changed = change(value)
            if changed == value and ttl is None:
                return value
            if changed:
                if await self._put(key, token, changed, ttl) is not None:
                    return value
            elif token is None or await self._drop(key, token):
                return value
            await self._give_way(tried)
        raise contended(key)

    async def _update_all(
        self, changes: Mapping[str, Callable[[bytes], bytes]], ttl: float | None
    ) -> dict[str, bytes]:
        """Make several changes, each as `_update` does, after one look at all."""
        found = await self._get(*changes)
        return {
            key: await self._update(key, change, ttl, found.get(key, ABSENT))
            for key, change in changes.items()
        }

    async def _give_way(self, tried: int) -> None:
        if tried >= _EAGER_TRIES:
            ceiling = min(0.0005 * 2**tried, _MAX_PAUSE)
            await self.pause(random.uniform(0, ceiling))  # noqa: S311

    # Keys, one letter for each kind of thing

    def _record(self, key: StoreKey) -> str:
        if key.participant == SESSION:
            return self._session(key.session)
        return cache_key(conf.get().key_prefix, key.session, "p", key.participant)

    def _session(self, session: str) -> str:
        return cache_key(conf.get().key_prefix, session, "s")

    def _members(self, session: str) -> str:
        return cache_key(conf.get().key_prefix, session, "m")

    def _tombstone(self, session: str) -> str:
        return cache_key(conf.get().key_prefix, session, "t")

    def _revocations(self, session: str) -> str:
        return cache_key(conf.get().key_prefix, session, "r")

    def _connections(self, key: StoreKey) -> str:
        return cache_key(conf.get().key_prefix, key.session, "c", key.participant)

    def _attendance(self, session: str) -> str:
        return cache_key(conf.get().key_prefix, session, "a")

    def _notes(self, session: str) -> str:
        return cache_key(conf.get().key_prefix, session, "n")

    def _followers(self, session: str, follows: str) -> str:
        return cache_key(conf.get().key_prefix, session, FOLLOWERS, follows)

    def _quarantine(self, key: StoreKey, digest: str) -> str:
        name = f"{key.participant}:{digest}"
        return cache_key(conf.get().key_prefix, key.session, "q", name)

    def _value(self, name: str) -> str:
        return shared_key(conf.get().key_prefix, "v", name)

    def _bucket(self, session: str) -> str:
        bucket = crc32(session.encode()) % BUCKETS
        return shared_key(conf.get().key_prefix, "reg", str(bucket))

    def _buckets(self) -> list[str]:
        prefix = conf.get().key_prefix
        return [shared_key(prefix, "reg", str(n)) for n in range(BUCKETS)]
