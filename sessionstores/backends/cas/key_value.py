"""The key-value store that a cache supplies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from ..types import Finding, ServerInfo


class Versioned(msgspec.Struct, frozen=True, gc=False):
    """A stored value, and the token by which a later write detects a change."""

    value: bytes
    token: Any


ABSENT = Versioned(b"", None)


class KeyValueStore(ABC):
    """All that a cache supplies: atomic operations on single keys.

    They may raise OSError, which `StoreUnavailable` is and every connection error and
    timeout; a write that raises may or may not have happened, unless that says that it
    was `refused`. `blocking` says whether
    they may block the thread, and must not suspend, as in `Backend`. `clock` returns
    the store's time, in seconds since the epoch.
    """

    # As in `Backend`.
    shared: ClassVar[bool]
    in_memory: ClassVar[bool]
    # Of the largest value that it takes; None: without limit.
    max_bytes: ClassVar[int | None] = None

    def __init__(self, *, blocking: bool, clock: Callable[[], float]) -> None:
        self.blocking = blocking
        self.clock = clock

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """See `Backend.problem`."""
        return None

    @abstractmethod
    async def read(self, keys: Sequence[str]) -> dict[str, Versioned]:
        """Return what is stored at those of `keys` that exist, in one round trip."""

    @abstractmethod
    async def cas(self, key: str, token: Any, value: bytes, ttl: float | None) -> Any:
        """Write if the key is unchanged since `token` (None: absent); else return None.

        Returns the new token; if the cache does not return it, anything else that is
        not None and matches no value. `ttl` is in seconds, None: without end.
        """

    @abstractmethod
    async def delete(self, key: str, token: Any) -> bool:
        """Remove the key if it is unchanged since `token`; False if it is not."""

    async def list_keys(self) -> list[str] | None:
        """Return all keys; None if the cache cannot list them."""
        return None

    @abstractmethod
    async def clear(self) -> None:
        """See `Backend.clear`."""

    async def server(self) -> ServerInfo | None:
        """See `Backend.server`."""
        return None

    async def examine(self) -> list[Finding]:
        """See `Backend.examine`."""
        return []
