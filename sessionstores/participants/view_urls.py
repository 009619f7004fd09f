"""URLs of guarded views: one that hides its session from the guard is reported."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch

from ..backends.base import Backend
from ..exceptions import InvalidKey
from ..keys import normalize_code
from ..monitoring.log_limiter import log_limiter
from .requests import RequestIdentity, code_of

logger = logging.getLogger("sessionstores.participants")

_WAY_OUT = (
    "path('<code:code>/', …), after register_converter(SessionCodeConverter, 'code') "
    "of sessionstores.converters"
)


async def check_url(backend: Backend, request: HttpRequest, join_url: object) -> None:
    """Report a URL by which who has joined is nobody, for a request without a link.

    Raises `ImproperlyConfigured` if the URL names a session that the visitor has joined
    otherwise than by its code as `code`. A URL without any session is one for links:
    that is logged, if its visitor has joined one and would be sent to join for ever.
    """
    visitor = RequestIdentity(request, blocking=backend.blocking)
    if visitor.has_link:
        return
    for name, value in _parts(request):
        code = _code(value)
        # A page to join sends people on to the one form.
        if code is None or (name == "code" and join_url is not None):
            continue
        if await visitor.kept(code) is not None:
            raise ImproperlyConfigured(_fault(request, name, value, code))
    if join_url is not None and lacks_code(request) and await visitor.has_joined():
        log_limiter(backend).log(
            logger,
            logging.WARNING,
            "Somebody who has joined a session is sent to join one. %s",
            without_code(request),
            kind=("no code", _view(request)),
        )


def lacks_code(request: HttpRequest) -> bool:
    """Whether the URL of the view has no `code`."""
    return code_of(request) is None


def without_code(request: HttpRequest) -> str:
    """Return what a URL without `code` means, and the way out."""
    return (
        f"The URL of the view {_view(request)} has no `code`, so that only a link of a "
        f"participant makes somebody of its visitor. For who has joined: {_WAY_OUT}."
    )


def join_page(join_url: Any, request: HttpRequest) -> str:
    """Return the URL of the page to join; raise `ImproperlyConfigured` without one."""
    try:
        return resolve_url(join_url)
    except (NoReverseMatch, TypeError) as error:
        raise ImproperlyConfigured(
            f"join_url={join_url!r} of the view {_view(request)} leads nowhere: "
            f"{error}. Give the name of a URL that takes nothing, as in "
            "join_url='sessionstores:join', or a path such as '/join/'."
        ) from error


def _fault(request: HttpRequest, name: str | None, value: object, code: str) -> str:
    """Return what is wrong with a URL that has a session as `name`."""
    view = _view(request)
    if name == "code":
        return (
            f"The URL of the view {view} has {value!r} as `code`, and who has joined "
            f"{code!r} is nobody there. Let it take codes as people type them: "
            f"{_WAY_OUT}."
        )
    shown = "without a name" if name is None else f"as `{name}`"
    return (
        f"The URL of the view {view} has the session {code} {shown}, and "
        f"participant_required looks for it as `code`: {_WAY_OUT}."
    )


def _parts(request: HttpRequest) -> list[tuple[str | None, object]]:
    """Return what the URL gives the view, with its name, if it has one."""
    match = request.resolver_match
    if match is None:
        return []
    return [*((None, each) for each in match.args), *match.kwargs.items()]


def _view(request: HttpRequest) -> str:
    match = request.resolver_match
    return repr(match.view_name if match else request.path)


def _code(value: object) -> str | None:
    try:
        return normalize_code(value)
    except InvalidKey:
        return None
