"""Access control for views that need a participant: a decorator and a mixin."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, TypeVar, overload
from urllib.parse import urlencode

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseGone
from django.shortcuts import redirect, resolve_url
from django.template import TemplateDoesNotExist, loader
from django.utils.html import format_html
from django.utils.translation import gettext

from ..backends import get_backend
from ..backends.base import run
from .joining import has_ended
from .private_pages import keep_private
from .requests import code_of

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
    has one.

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
                over = await has_ended(get_backend(blocking=False), request)
                return await sync_to_async(_refusal)(request, join_url, over=over)
            response = await view(request, *args, **kwargs)
            keep_private(response)
            return response

        return aguarded  # type: ignore[return-value]

    @wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> Any:
        _require_middleware(request)
        if request.participant is None:
            over = run(has_ended(get_backend(blocking=True), request))
            return _refusal(request, join_url, over=over)
        response = view(request, *args, **kwargs)
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


def _refusal(request: Any, join_url: str | None, *, over: bool) -> HttpResponse:
    """Return how a request without a participant is answered."""
    if over:
        return _gone(request)
    if join_url is None:
        raise PermissionDenied("Join the session first.")
    code = code_of(request)
    query = {"code": code, "next": request.get_full_path()}
    given = urlencode({name: value for name, value in query.items() if value})
    page = resolve_url(join_url)
    return redirect(f"{page}{'&' if '?' in page else '?'}{given}")


def _gone(request: HttpRequest) -> HttpResponse:
    try:
        text = loader.get_template("410.html").render({}, request)
    except TemplateDoesNotExist:
        text = format_html(
            "<!doctype html><title>{0}</title><h1>{0}</h1>",
            gettext("This session is over."),
        )
    return HttpResponseGone(text)


def _require_middleware(request: HttpRequest) -> None:
    if not hasattr(request, "aparticipant"):
        raise ImproperlyConfigured(
            "participant_required needs "
            "'sessionstores.middleware.ParticipantMiddleware' in MIDDLEWARE."
        )
