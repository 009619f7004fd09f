"""Throttle of wrong session codes: failed joins of one address within a window.

A classroom shares an address, and mistypes: each newcomer who gets in gives one failure
back. A guesser gains as many at most: twice `GUESS_LIMIT` in a window. Of the codes
there are 31 to the power of six.
"""

from __future__ import annotations

import ipaddress
import logging
import math
from contextlib import suppress
from typing import NamedTuple

import msgspec
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from .. import conf
from ..backends.base import Backend
from ..backends.shared_values import update_value
from ..exceptions import LimitReached
from ..monitoring.log_limiter import log_limiter

logger = logging.getLogger("sessionstores.participants")

_PROXIED = (
    "Wrong session codes count as those of one address, %s, which seems to be a proxy: "
    "requests have an X-Forwarded-For without it. Have the server take the visitors' "
    "addresses from there (uvicorn: --proxy-headers and --forwarded-allow-ips, daphne: "
    "--proxy-headers), else a few typos lock everybody out"
)


class Failures(NamedTuple):
    """Times of the failed joins that count, and of those that were given back.

    Stored as one list, the latter negative, which earlier releases ignore.
    """

    counted: list[float]
    returned: list[float]

    def encoded(self) -> bytes:
        """Return the form that is stored."""
        return msgspec.json.encode([*self.counted, *(-at for at in self.returned)])


class TooManyGuesses(LimitReached):
    """Raised past `GUESS_LIMIT`; `seconds`: after so many all failures are over."""

    seconds = 0


class GuessThrottle:
    """Counts the failed joins of one address, in all processes; see `GUESS_LIMIT`."""

    def __init__(self, backend: Backend, request: HttpRequest) -> None:
        self.backend = backend
        self.limit, self.window = conf.get().guess_limit or (0, 1.0)
        self._request = request
        address = network_of(request.META.get("REMOTE_ADDR") or "")
        # Hashed, since an address is personal data; to 20 bits, to bound the number of
        # shared values.
        digest = salted_hmac("sessionstores.guesses", address, algorithm="sha256")
        self.name = f"guesses:{digest.hexdigest()[:5]}"
        # Whether a failure was counted when it was last looked.
        self._has_failures = False

    async def check(self) -> None:
        """Raise `LimitReached` if no further failure is allowed."""
        if not self.limit:
            return
        value = await self.backend.value(self.name)
        self._has_failures = bool(self._allowed(value.data).counted)

    async def count(self) -> None:
        """Add a failure; raise `LimitReached` if none is allowed any more."""
        if not self.limit:
            return
        self._look_for_proxy()

        def add(data: bytes | None) -> bytes:
            failures = self._allowed(data)
            failures.counted.append(self.backend.clock())
            return failures.encoded()

        if not await update_value(self.backend, self.name, add, seconds=self.window):
            raise self._too_many()

    async def give_back(self) -> None:
        """Take the oldest failure back, for somebody who got in; after `check`."""
        if not self._has_failures:
            return

        def drop(data: bytes | None) -> bytes | None:
            counted, returned = self._recent(data)
            if not counted or len(returned) >= self.limit:
                return None
            return Failures(counted[1:], [*returned, self.backend.clock()]).encoded()

        await update_value(self.backend, self.name, drop, seconds=self.window)

    def _allowed(self, data: bytes | None) -> Failures:
        failures = self._recent(data)
        if len(failures.counted) >= self.limit:
            raise self._too_many()
        return failures

    def _recent(self, data: bytes | None) -> Failures:
        now = self.backend.clock()
        times = _times(data)
        # Clocks differ, but not by that much.
        return Failures(
            [at for at in times if abs(now - at) < self.window],
            [-at for at in times if abs(now + at) < self.window],
        )

    def _too_many(self) -> LimitReached:
        error = TooManyGuesses(
            f"{self.limit} unknown session codes within {self.window:g} s from this "
            f"address. Wait for {self.window:g} s, then check the code; or raise "
            "GUESS_LIMIT.",
            message=_(
                "Too many wrong codes have come from your network. Wait a little, "
                "check the code, then try again."
            ),
        )
        error.seconds = math.ceil(self.window)
        return error

    def _look_for_proxy(self) -> None:
        address = self._request.META.get("REMOTE_ADDR") or ""
        forwarded = self._request.META.get("HTTP_X_FORWARDED_FOR", "")
        hops = [hop.strip() for hop in forwarded.split(",")]
        if forwarded and address not in hops:
            limiter = log_limiter(self.backend)
            limiter.log(logger, logging.WARNING, _PROXIED, ascii(address))


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
