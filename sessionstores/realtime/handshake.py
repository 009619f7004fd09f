"""Handshake: the request that opened a WebSocket, as views and templates see it.

Middleware does not run for WebSockets. What Channels' own has put into the scope, a
Django session and a user, is used; else the session is that of the cookie.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import ResolverMatch
from django.utils.translation import get_language_from_request

# By it `{% sessionstores_form %}` knows that this is not the page's own address.
FRAGMENT_HEADER = (b"hx-request", b"true")
LOCALE_MIDDLEWARE = "django.middleware.locale.LocaleMiddleware"
# Of the address, the language to render in.
LANGUAGE_PARAMETER = "lang"


def request_of(scope: dict[str, Any]) -> Any:
    """Return a GET request with the cookies, query and session of a WebSocket's scope.

    Its `resolver_match` has the arguments of the route. No I/O: the session is read at
    its first use.
    """
    scheme = "https" if scope.get("scheme") in ("wss", "https") else "http"
    headers = [*scope.get("headers", ()), FRAGMENT_HEADER]
    query = scope.get("query_string", b"").decode(errors="replace")
    given = {**scope, "type": "http", "method": "GET", "scheme": scheme}
    given["query_string"] = query
    request: Any = ASGIRequest({**given, "headers": headers}, io.BytesIO())
    arguments = scope.get("url_route", {}).get("kwargs", {})
    request.resolver_match = ResolverMatch(_no_view, (), arguments)
    request.session = scope["session"] if "session" in scope else _session(request)
    if "user" in scope:
        request.user = scope["user"]
    return request


def language_in(request: Any) -> str:
    """Return the language of `?lang=`, else the one that pages of the site have."""
    given: str | None = request.GET.get(LANGUAGE_PARAMETER)
    if given is None and LOCALE_MIDDLEWARE in settings.MIDDLEWARE:
        given = get_language_from_request(request)
    return given or settings.LANGUAGE_CODE


def take_csrf_cookie(request: Any) -> None:
    """Have forms contain the CSRF token that the page's own contain.

    A session that has not been read yet is read here.
    """
    CsrfViewMiddleware(_no_view).process_request(request)


def _session(request: Any) -> Any:
    engine = import_module(settings.SESSION_ENGINE)
    return engine.SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))


def _no_view(request: Any) -> HttpResponse:
    return HttpResponse()
