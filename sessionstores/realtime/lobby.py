"""Lobby: the sockets of one event loop that have not said hello yet, bounded.

A hello comes as soon as a tab has its socket, so that a silent socket has to give way
to newer ones. Nobody is turned away at the door: behind a proxy all tabs have one
address, and a whole session may come at once from one network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from ..participants.throttling import network_of

# Of one network (an IPv4 address, or the /64 of an IPv6 one), and in all.
MAX_OF_NETWORK = 1_024
MAX_WAITING = 2_048


class Lobby:
    """The time limits of the sockets that wait, by network, the oldest first."""

    def __init__(self) -> None:
        self._networks: dict[bytes, dict[asyncio.Timeout, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def waiting(self, scope: Any, limit: asyncio.Timeout) -> Iterator[None]:
        """Count the socket of an ASGI `scope` until the block ends.

        If they are too many, the time of the oldest ends now: of its network, or of
        the one with the most.
        """
        host, *_ = scope.get("client") or [""]
        network = network_of(host or "")
        sockets = self._networks.setdefault(network, {})
        sockets[limit] = None
        self._count += 1
        if len(sockets) > MAX_OF_NETWORK:
            self._end_oldest(network)
        elif self._count > MAX_WAITING:
            most = max(self._networks, key=lambda each: len(self._networks[each]))
            self._end_oldest(most)
        try:
            yield
        finally:
            self._remove(network, limit)

    def _end_oldest(self, network: bytes) -> None:
        oldest = next(iter(self._networks[network]))
        self._remove(network, oldest)
        if not oldest.expired():
            oldest.reschedule(asyncio.get_running_loop().time())

    def _remove(self, network: bytes, limit: asyncio.Timeout) -> None:
        sockets = self._networks.get(network, {})
        if limit in sockets:
            del sockets[limit]
            self._count -= 1
            if not sockets:
                del self._networks[network]


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Lobby] = WeakKeyDictionary()


def current_lobby() -> Lobby:
    """Return the lobby of the running event loop."""
    loop = asyncio.get_running_loop()
    lobby = _by_loop.get(loop)
    if lobby is None:
        lobby = _by_loop[loop] = Lobby()
    return lobby
