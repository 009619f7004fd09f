"""Visitors: a cookie that makes one of the requests with which a new browser joins.

A browser without a session of Django's gets one from each of two requests that it sends
at once. The page to join sets this cookie before, so that both begin with one seed.
"""

from __future__ import annotations

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .identities import KeptIdentities, generate_seed, is_seed

COOKIE = "ss_visitor"
SALT = "sessionstores.visitor"
# Only until the form is sent: on a shared computer the next person is somebody else.
SECONDS = 3600


def offered_seed(request: HttpRequest) -> str | None:
    """Return the seed of the visitor's cookie, if this site has signed it lately."""
    signer = signing.TimestampSigner(salt=SALT)
    try:
        seed = signer.unsign(request.COOKIES.get(COOKIE, ""), max_age=SECONDS)
    except signing.BadSignature:
        return None
    return seed if is_seed(seed) else None


def offer_seed(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set the cookie, unless the browser has a seed; in a view, not in an event loop.

    It follows the `SESSION_COOKIE_*` settings, and no script can read it.
    """
    if KeptIdentities(request.session).origin.seed or offered_seed(request):
        return
    response.set_cookie(
        COOKIE,
        signing.TimestampSigner(salt=SALT).sign(generate_seed()),
        max_age=SECONDS,
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )


def withdraw_seed(request: HttpRequest, response: HttpResponseBase) -> None:
    """Delete the cookie, once Django's session keeps the seed."""
    if COOKIE in request.COOKIES:
        response.delete_cookie(
            COOKIE,
            path=settings.SESSION_COOKIE_PATH,
            domain=settings.SESSION_COOKIE_DOMAIN,
            samesite=settings.SESSION_COOKIE_SAMESITE,
        )
