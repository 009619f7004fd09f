"""Throttle wrong session codes: failed joins of one address within a window."""

from __future__ import annotations

import ipaddress
import time
from contextlib import suppress

import msgspec
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from ..backends.base import Backend
from ..backends.shared_values import update_value
from ..exceptions import LimitReached

# Failed joins allowed to one address within the window, which is in seconds.
MAX_GUESSES = 10
GUESS_WINDOW = 60.0


class GuessThrottle:
    """Counts the failed joins of one address within the window, in all processes."""

    def __init__(self, backend: Backend, request: HttpRequest) -> None:
        self.backend = backend
        address = network_of(request.META.get("REMOTE_ADDR") or "")
        # Hashed, since an address is personal data; to 20 bits, to bound the number of
        # shared values.
        digest = salted_hmac("sessionstores.guesses", address, algorithm="sha256")
        self.name = f"guesses:{digest.hexdigest()[:5]}"

    async def check(self) -> None:
        """Raise `LimitReached` if no further failure is allowed."""
        value = await self.backend.value(self.name)
        self._recent(value.data)

    async def count(self) -> None:
        """Add a failure; raise `LimitReached` if none is allowed any more."""

        def add(data: bytes | None) -> bytes:
            return msgspec.json.encode([*self._recent(data), time.time()])

        if not await update_value(self.backend, self.name, add, seconds=GUESS_WINDOW):
            raise _too_many_guesses()

    def _recent(self, data: bytes | None) -> list[float]:
        now = time.time()
        # Clocks differ, but not by that much.
        recent = [at for at in _times(data) if abs(now - at) < GUESS_WINDOW]
        if len(recent) >= MAX_GUESSES:
            raise _too_many_guesses()
        return recent


def _times(data: bytes | None) -> list[float]:
    """Return the times of failures that are stored; none if others have written it."""
    with suppress(msgspec.MsgspecError, ValueError):
        return msgspec.json.decode(data or b"[]", type=list[float])
    return []


def network_of(text: str) -> bytes:
    """Return the part of an address that its user cannot vary at will.

    That is all of an IPv4 address, and the first 64 bits of an IPv6 one.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text.encode(errors="surrogatepass")
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return address.packed[:8] if mapped is None else mapped.packed
    return address.packed


def _too_many_guesses() -> LimitReached:
    return LimitReached(
        f"{MAX_GUESSES} unknown session codes within a minute from this address. "
        "Wait a minute, then check the code."
    )
