"""Access control for views that need a participant: a decorator and a mixin."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, TypeVar, overload
from urllib.parse import urlencode

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseForbidden,
    HttpResponseGone,
)
from django.shortcuts import redirect, resolve_url
from django.template import TemplateDoesNotExist, loader
from django.utils.html import format_html
from django.utils.translation import get_language, gettext

from ..backends import get_backend
from ..backends.base import run
from ..backends.types import Standing
from ..exceptions import (
    Kicked,
    LimitReached,
    SessionEnded,
    SessionLocked,
    SessionStoresError,
    Text,
)
from .joining import standing_of
from .messages import end_message
from .private_pages import keep_private
from .requests import code_of

# Raised where a session ends while a page is made, or a link brings somebody new.
CLOSED = (SessionEnded, Kicked, SessionLocked, LimitReached)

View = TypeVar("View", bound=Callable[..., Any])


@overload
def participant_required(view: View) -> View: ...


@overload
def participant_required(*, join_url: str | None = None) -> Callable[[View], View]: ...


def participant_required(
    view: View | None = None, *, join_url: str | None = None
) -> View | Callable[[View], View]:
    """Call a view only for requests that have a participant.

    Others are sent to `join_url`, the name or path of a page, with the view's `code`
    and the address to come back to, `next`, in the query; without one they are
    answered 403 (PermissionDenied), whether there is such a session or not. Who was in
    a session that has ended is answered 410, with the template 410.html if the site
    has one; so is a view that raises `SessionEnded`. Who was kicked from it is answered
    403, with 403_kicked.html. Nobody else is told. A view that raises `SessionLocked`
    or `LimitReached`, for whom a link brings in, is 403.

    A response with a token is `private, no-store`, for a `cache_page` around it too.
    For sync and async views; classes have `ParticipantRequiredMixin`. Needs
    `ParticipantMiddleware`.
    """
    if view is None:
        return lambda view: _guarded(view, join_url)
    return _guarded(view, join_url)


def _guarded(view: View, join_url: str | None) -> View:
    if iscoroutinefunction(view):

        @wraps(view)
        async def aguarded(request: Any, *args: Any, **kwargs: Any) -> Any:
            _require_middleware(request)
            if await request.aparticipant() is None:
                standing = await standing_of(get_backend(blocking=False), request)
                return await sync_to_async(_refusal)(request, join_url, standing)
            try:
                response = await view(request, *args, **kwargs)
            except CLOSED as error:
                return await sync_to_async(_closed)(request, error)
            keep_private(response)
            return response

        return aguarded  # type: ignore[return-value]

    @wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> Any:
        _require_middleware(request)
        if request.participant is None:
            standing = run(standing_of(get_backend(blocking=True), request))
            return _refusal(request, join_url, standing)
        try:
            response = view(request, *args, **kwargs)
        except CLOSED as error:
            return _closed(request, error)
        keep_private(response)
        return response

    return guarded  # type: ignore[return-value]


class ParticipantRequiredMixin:
    """`participant_required` for class-based views, sync and async; name it first."""

    join_url: ClassVar[str | None] = None

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the view for who has a participant; see `participant_required`."""
        view: Any = super().dispatch  # type: ignore[misc]
        if not getattr(self, "view_is_async", False):
            return _guarded(view, self.join_url)(request, *args, **kwargs)

        async def dispatch(*given: Any, **named: Any) -> Any:
            return await view(*given, **named)

        return _guarded(dispatch, self.join_url)(request, *args, **kwargs)


def _refusal(
    request: Any, join_url: str | None, standing: Standing | None
) -> HttpResponse:
    """Return how a request without a participant is answered."""
    if standing is not None and standing.ended:
        text = end_message("ended")
        return HttpResponseGone(_page(request, "410.html", text))
    if standing is not None and standing.kicked:
        text = end_message("kicked")
        return HttpResponseForbidden(_page(request, "403_kicked.html", text))
    if join_url is None:
        raise PermissionDenied(gettext("Join the session first."))
    code = code_of(request)
    query = {"code": code, "next": request.get_full_path()}
    given = urlencode({name: value for name, value in query.items() if value})
    page = resolve_url(join_url)
    return redirect(f"{page}{'&' if '?' in page else '?'}{given}")


def _closed(request: HttpRequest, error: SessionStoresError) -> HttpResponse:
    """Return how somebody is answered whose record could not be opened."""
    if isinstance(error, SessionEnded | Kicked):
        kicked = isinstance(error, Kicked)
        return _refusal(request, None, Standing(not kicked, None, kicked))
    raise PermissionDenied(error.message) from error


def _page(request: HttpRequest, template: str, text: Text) -> str:
    """Return the site's page of that name, else one that says `text`."""
    try:
        return loader.get_template(template).render({}, request)
    except TemplateDoesNotExist:
        language = get_language() or settings.LANGUAGE_CODE
        return format_html(
            '<!doctype html><html lang="{1}"><title>{0}</title><h1>{0}</h1>',
            text,
            language,
        )


def _require_middleware(request: HttpRequest) -> None:
    if not hasattr(request, "aparticipant"):
        raise ImproperlyConfigured(
            "participant_required needs "
            "'sessionstores.middleware.ParticipantMiddleware' in MIDDLEWARE."
        )
