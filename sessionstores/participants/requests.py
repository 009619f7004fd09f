"""Request identity: the signed link, Django session and user of a request."""

from __future__ import annotations

import math
from collections.abc import Sequence

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from .. import conf
from ..backends.base import Backend
from ..exceptions import InvalidToken, StateCorrupt
from ..keys import StoreKey, is_code
from .identities import (
    SHARED_ENTRY,
    KeptIdentities,
    Origin,
    fits,
    guest_id,
    user_id,
)
from .tokens import LINK_SALT, Claims, read_token
from .visitors import offered_seed

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
        """Raise `ImproperlyConfigured` if the request has no Django session.

        TypeError if it is no request.
        """
        if not hasattr(self.request, "META"):
            raise TypeError(
                f"{ascii(self.request)[:80]} is no request: join(request, code), or "
                "form.join(request)."
            )
        if not hasattr(self.request, "session"):
            raise ImproperlyConfigured(
                "Joining keeps the participant in Django's session: put "
                "'django.contrib.sessions.middleware.SessionMiddleware' in MIDDLEWARE."
            )

    async def kept(self, code: object) -> Claims | None:
        """Return the claims that Django's session keeps for `code`."""
        if not isinstance(code, str):
            return None
        return (await self._identities()).get(code)

    async def has_joined(self) -> bool:
        """Whether Django's session keeps claims for any code."""
        return bool((await self._identities()).all())

    async def keep(self, backend: Backend, claims: Claims, origin: Origin) -> None:
        """Keep the claims and their origin, as long as Django's session lives.

        Where that is too much, ended sessions go first, then the oldest.
        """
        identities = await self._identities()
        origin = identities.origin.updated(origin)
        held = identities.with_claims(claims)
        if not fits(held, origin):
            ended = await _ended(backend, held)
            held = [each for each in held if each.session not in ended]
        identities.write(held, origin)

    async def forget(self, code: str) -> None:
        """Keep no claims for `code` any more."""
        (await self._identities()).forget(code)

    async def derived(self, backend: Backend, code: object) -> StoreKey | None:
        """Return the key of who has joined `code` in this Django session.

        For a code of which no claims are kept: there are too many, or they were lost
        when two requests saved the session at once. At most one call to the cache.
        """
        if not is_code(code):
            return None
        ids = (await self._identities()).origin.ids(code)
        return await _recorded(backend, code, ids)

    async def successor(self, backend: Backend, claims: Claims) -> StoreKey | None:
        """Return the key under which the user with these claims is in now, if another.

        Keys of the site were rotated, and their record by the former one is gone: in
        another browser they have joined by the newer. If they were kicked there, that.
        """
        pk = await self.user_pk() if settings.SECRET_KEY_FALLBACKS else None
        ids = [] if pk is None else _user_ids(pk)
        if self.has_link or claims.participant not in ids:
            return None
        code, ids = claims.session, [claims.participant, *ids]
        key = await _kicked(backend, code, ids) or await _recorded(backend, code, ids)
        return None if key == claims.key else key

    async def participant_id(
        self, backend: Backend, code: str, kept: Claims | None
    ) -> tuple[str, Origin]:
        """Return the visitor's id in session `code`, and its origin unless it is kept.

        The id that is kept; else for a user a keyed hash of the pk, for a guest one of
        the seed. Two requests of a guest at once get one id if they began with the same
        session of Django's, or with the cookie of a page to join.
        """
        if kept is None or settings.SECRET_KEY_FALLBACKS:
            pk = await self.user_pk()
            if pk is not None:
                return await self._users_id(backend, code, pk, kept)
        if kept is not None:
            return kept.participant, Origin()
        identities = await self._identities()
        seed = identities.origin.seed or offered_seed(self.request)
        seed = seed or identities.derive_seed()
        return guest_id(seed, code), Origin(seed)

    async def _users_id(
        self, backend: Backend, code: str, pk: str, kept: Claims | None
    ) -> tuple[str, Origin]:
        """Return a user's id: of those that may be it, the first that has a record.

        They are hashes by each of the site's keys, and the id of the guest that this
        browser was before the user logged in. Whoever was kicked under one is that.
        """
        ids = _user_ids(pk)
        if kept is None:
            seed = (await self._identities()).origin.seed
            found = [*ids, *Origin(seed).ids(code)]
        elif kept.participant in ids:
            found = [kept.participant, *ids]
        else:
            return kept.participant, Origin()
        known = None
        if len(found) > 1:
            known = await _kicked(backend, code, found)
            known = known or await _recorded(backend, code, found)
        id = found[0] if known is None else known.participant
        return id, Origin(user=id) if id in ids else Origin()

    async def user_pk(self) -> str | None:
        """Return the pk of the request's user as text; None for a guest."""
        if self.blocking or not hasattr(self.request, "auser"):
            user = getattr(self.request, "user", None)
        else:
            user = await self.request.auser()
        return str(user.pk) if user is not None and user.is_authenticated else None

    async def _identities(self) -> KeptIdentities:
        """Return what Django's session keeps; nothing without one."""
        session = getattr(self.request, "session", None)
        if session is None:
            session = SessionBase()
        if not self.blocking:
            # From here on it is in memory.
            await session.aget(SHARED_ENTRY)
        return KeptIdentities(session)


def _user_ids(pk: str) -> list[str]:
    """Return a user's ids by each of the site's keys, the newest first."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [user_id(pk, key) for key in keys]


async def _recorded(backend: Backend, code: str, ids: Sequence[str]) -> StoreKey | None:
    """Return the key of the first of `ids` that has a record."""
    keys = [StoreKey(code, id) for id in ids]
    heads = await backend.heads(keys) if keys else {}
    return next((key for key in keys if heads[key] is not None), None)


async def _kicked(backend: Backend, code: str, ids: Sequence[str]) -> StoreKey | None:
    """Return the key of the first of `ids` that was kicked."""
    keys = [StoreKey(code, id) for id in ids]
    standings = await backend.standings(keys)
    return next((key for key in keys if standings[key].kicked), None)


async def _ended(backend: Backend, held: list[Claims]) -> set[str]:
    """Return which of the sessions have ended."""
    try:
        standings = await backend.standings([claims.key for claims in held])
    except StateCorrupt:
        # One of them cannot be read: then the oldest go.
        return set()
    return {key.session for key, standing in standings.items() if standing.ended}
