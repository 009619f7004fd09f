"""Request identity: the signed link, Django session and user of a request."""

from __future__ import annotations

import base64
import math

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from .. import conf
from ..exceptions import InvalidToken
from ..keys import generate_participant
from .tokens import LINK_SALT, Claims, parse_claims, read_token

# Ours alone: a page of the site may have a `participant` of its own.
LINK_PARAMETER = "ss_participant"
# That of earlier releases, whose links last for `TOKEN_MAX_AGE`: what they have signed
# is a link.
OLD_LINK_PARAMETER = "participant"


def code_of(request: HttpRequest) -> object:
    """Return the `code` in the path of the view; None if there is none."""
    return request.resolver_match and request.resolver_match.kwargs.get("code")


class RequestIdentity:
    """The link, Django session and user by which a request names its participant.

    Django's session and user are read by their sync or async methods, as fits the
    backend.
    """

    def __init__(self, request: HttpRequest, *, blocking: bool) -> None:
        self.request = request
        self.blocking = blocking

    @property
    def has_link(self) -> bool:
        """Whether the request came by a signed link, valid or not."""
        return self._signed is not None

    def link(self, code: object) -> Claims | None:
        """Return the claims of a valid link, for `code` unless that is None."""
        max_age = conf.get().token_max_age
        try:
            claims = read_token(self._signed, max_age=max_age, salt=LINK_SALT)
        except InvalidToken:
            return None
        return claims if code in (None, claims.session) else None

    @property
    def _signed(self) -> str | None:
        """What a link has for its visitor's claims, valid or not."""
        given: str | None = self.request.GET.get(LINK_PARAMETER)
        if given is not None:
            return given
        old: str | None = self.request.GET.get(OLD_LINK_PARAMETER)
        try:
            read_token(old, max_age=math.inf, salt=LINK_SALT)
        except InvalidToken:
            return None
        return old

    def require_session(self) -> None:
        """Raise `ImproperlyConfigured` if the request has no Django session."""
        if not hasattr(self.request, "session"):
            raise ImproperlyConfigured(
                "Joining keeps the participant in Django's session: put "
                "'django.contrib.sessions.middleware.SessionMiddleware' in MIDDLEWARE."
            )

    async def kept(self, code: object) -> Claims | None:
        """Return the claims that Django's session keeps for `code`."""
        session = getattr(self.request, "session", None)
        if code is None or session is None:
            return None
        name = f"sessionstores.{code}"
        content = session.get(name) if self.blocking else await session.aget(name)
        claims = parse_claims(content)
        return claims if claims is not None and claims.session == code else None

    async def keep(self, claims: Claims) -> None:
        """Keep the claims in Django's session, as long as that lives."""
        name = f"sessionstores.{claims.session}"
        if self.blocking:
            self.request.session[name] = list(claims)
        else:
            await self.request.session.aset(name, list(claims))

    async def user_pk(self) -> str | None:
        """Return the pk of the request's user as text; None for a guest."""
        if self.blocking or not hasattr(self.request, "auser"):
            user = getattr(self.request, "user", None)
        else:
            user = await self.request.auser()
        return str(user.pk) if user is not None and user.is_authenticated else None

    async def participant_id(self) -> str:
        """Return the id for a newcomer: a keyed hash of the user's pk, or random."""
        pk = await self.user_pk()
        if pk is None:
            return generate_participant()
        digest = salted_hmac(
            "sessionstores.participant", pk, algorithm="sha256"
        ).digest()
        return base64.urlsafe_b64encode(digest[:12]).decode()
