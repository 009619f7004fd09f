"""What a request says about who sent it, and how often its address guessed wrong."""

from __future__ import annotations

import base64
import ipaddress
import time

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from . import conf
from .backends.base import Backend
from .exceptions import InvalidToken, LimitReached
from .keys import generate_participant
from .tokens import LINK_SALT, Claims, parse_claims, read_token

LINK_PARAMETER = "participant"

# Failed joins that one address may make within the window, in seconds.
MAX_GUESSES = 10
GUESS_WINDOW = 60.0
_COUNT_TRIES = 16


class Visitor:
    """What a request says about who sent it: link, Django session and user.

    Django's session and user are reached by their sync or their async methods,
    whichever goes with the backend.
    """

    def __init__(self, request: HttpRequest, *, blocking: bool) -> None:
        self.request = request
        self.blocking = blocking

    @property
    def has_link(self) -> bool:
        """Whether the request came by a signed link, good or bad."""
        return LINK_PARAMETER in self.request.GET

    def link(self, code: object) -> Claims | None:
        """Return what the link claims, if it is good, and for `code` unless None."""
        signed = self.request.GET.get(LINK_PARAMETER)
        try:
            claims = read_token(
                signed, max_age=conf.get().token_max_age, salt=LINK_SALT
            )
        except InvalidToken:
            return None
        return claims if code in (None, claims.session) else None

    def require_session(self) -> None:
        """Raise `ImproperlyConfigured` if there is no Django session to keep things."""
        if not hasattr(self.request, "session"):
            raise ImproperlyConfigured(
                "Joining keeps the participant in Django's session: put "
                "'django.contrib.sessions.middleware.SessionMiddleware' in MIDDLEWARE."
            )

    async def kept(self, code: object) -> Claims | None:
        """Return who joined `code` in this Django session."""
        session = getattr(self.request, "session", None)
        if code is None or session is None:
            return None
        name = f"sessionstores.{code}"
        content = session.get(name) if self.blocking else await session.aget(name)
        claims = parse_claims(content)
        return claims if claims is not None and claims.session == code else None

    async def keep(self, claims: Claims) -> None:
        """Remember who joined, until the Django session ends."""
        name = f"sessionstores.{claims.session}"
        if self.blocking:
            self.request.session[name] = list(claims)
        else:
            await self.request.session.aset(name, list(claims))

    async def mint(self) -> str:
        """Return the id of a newcomer."""
        if self.blocking or not hasattr(self.request, "auser"):
            user = getattr(self.request, "user", None)
        else:
            user = await self.request.auser()
        if user is None or not user.is_authenticated:
            return generate_participant()
        digest = salted_hmac(
            "sessionstores.participant", str(user.pk), algorithm="sha256"
        ).digest()
        return base64.urlsafe_b64encode(digest[:12]).decode()


class Guesses:
    """The failed joins of one address within the last minute, in all processes."""

    def __init__(self, backend: Backend, request: HttpRequest) -> None:
        self.backend = backend
        address = _address(request.META.get("REMOTE_ADDR", ""))
        # Hashed, since an address is personal data; to 20 bits, which bounds the
        # number of values.
        digest = salted_hmac("sessionstores.guesses", address, algorithm="sha256")
        self.name = f"guesses:{digest.hexdigest()[:5]}"

    async def check(self) -> None:
        """Raise `LimitReached` if there were as many failures as are allowed."""
        value = await self.backend.value(self.name)
        self._recent(value.data)

    async def count(self) -> None:
        """Enter a failure; raise `LimitReached` if others got there first."""
        for _ in range(_COUNT_TRIES):
            value = await self.backend.value(self.name)
            times = [*self._recent(value.data), time.time()]
            if await self.backend.swap_value(
                self.name,
                value.token,
                msgspec.json.encode(times),
                seconds=GUESS_WINDOW,
            ):
                return
            await self.backend.pause(0.001)
        raise _too_many_guesses()

    def _recent(self, data: bytes | None) -> list[float]:
        times = [] if data is None else msgspec.json.decode(data, type=list[float])
        since = time.time() - GUESS_WINDOW
        recent = [at for at in times if at > since]
        if len(recent) >= MAX_GUESSES:
            raise _too_many_guesses()
        return recent


def _address(text: str) -> bytes:
    """Return the part of an address that whoever has it cannot vary at will."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text.encode()
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return address.packed[:8] if mapped is None else mapped.packed
    return address.packed


def _too_many_guesses() -> LimitReached:
    return LimitReached(
        f"{MAX_GUESSES} unknown session codes within a minute from this address. "
        "Wait a minute, then check the code."
    )
