"""Access control for views that need a participant: a decorator and a mixin."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
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
from django.shortcuts import redirect
from django.template import TemplateDoesNotExist, loader
from django.urls import get_resolver, get_urlconf
from django.utils.html import format_html
from django.utils.log import log_response
from django.utils.translation import get_language, gettext
from django.views import View as ClassBasedView
from django.views.defaults import ERROR_403_TEMPLATE_NAME, permission_denied

from ..backends import get_backend
from ..backends.base import Backend, run
from ..backends.types import Standing
from ..exceptions import (
    Kicked,
    LimitReached,
    SessionEnded,
    SessionLocked,
    SessionStoresError,
    StoreUnavailable,
    Text,
)
from ..monitoring import failures
from .joining import standing_of
from .messages import end_message
from .private_pages import keep_private
from .requests import code_of
from .view_urls import check_url, join_page, lacks_code, without_code

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
    has one, else a plain page; so is a view that raises `SessionEnded`. Who was kicked
    from it is answered 403, with 403_kicked.html. Nobody else is told. A view that
    raises `SessionLocked` or `LimitReached`, for whom a link brings in, is 403. While
    the cache does not answer who somebody is, that is 503, with 503.html.

    Raises `ImproperlyConfigured` where the URL names the session that the visitor has
    joined, but not by its code as `code`; and TypeError for what is no view.

    A response with a token is `private, no-store`, and no `cache_page` keeps it. For
    sync and async views; classes have `ParticipantRequiredMixin`. Needs
    `ParticipantMiddleware`.
    """
    if view is None:
        return lambda view: _guarded(_checked(view), join_url)
    return _guarded(_checked(view), join_url)


def _checked(view: View) -> View:
    """Return a view that can be guarded; raise TypeError for what cannot."""
    if isinstance(view, type) and issubclass(view, ClassBasedView):
        name = view.__name__
        raise TypeError(
            f"participant_required is for functions, and {name} is a class: class "
            f"{name}(ParticipantRequiredMixin, …), or above it "
            "@method_decorator(participant_required, name='dispatch')."
        )
    if not callable(view):
        raise TypeError(
            f"participant_required({view!r}): that is no view. Name where to send "
            f"people: participant_required(join_url={view!r})."
        )
    return view


def _guarded(view: View, join_url: str | None) -> View:
    if iscoroutinefunction(view):

        @wraps(view)
        async def aguarded(request: Any, *args: Any, **kwargs: Any) -> Any:
            _require_middleware(request)
            try:
                if await request.aparticipant() is None:
                    backend = get_backend(blocking=False)
                    standing = await _standing(backend, request, join_url)
                    return await sync_to_async(_refusal)(request, join_url, standing)
            except StoreUnavailable as error:
                return await sync_to_async(_unavailable)(request, error)
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
        try:
            if request.participant is None:
                backend = get_backend(blocking=True)
                standing = run(_standing(backend, request, join_url))
                return _refusal(request, join_url, standing)
        except StoreUnavailable as error:
            return _unavailable(request, error)
        try:
            response = view(request, *args, **kwargs)
        except CLOSED as error:
            return _closed(request, error)
        keep_private(response)
        return response

    return guarded  # type: ignore[return-value]


class ParticipantRequiredMixin:
    """`participant_required` for class-based views, sync and async; name it first.

    Raises `ImproperlyConfigured` for a class that names it behind a view, which would
    answer without it.
    """

    join_url: ClassVar[str | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a class of which this mixin would guard nothing."""
        super().__init_subclass__(**options)
        ahead = cls.__mro__[1 : cls.__mro__.index(ParticipantRequiredMixin)]
        if ClassBasedView in ahead:
            view = next(each for each in ahead if issubclass(each, ClassBasedView))
            raise ImproperlyConfigured(
                f"{cls.__qualname__} names ParticipantRequiredMixin behind "
                f"{view.__name__}, which answers anybody before the mixin is asked. "
                f"Name the mixin before it: class {cls.__name__}("
                f"ParticipantRequiredMixin, {view.__name__})."
            )

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the view for who has a participant; see `participant_required`."""
        view: Any = super().dispatch  # type: ignore[misc]
        if not getattr(self, "view_is_async", False):
            return _guarded(view, self.join_url)(request, *args, **kwargs)

        async def dispatch(*given: Any, **named: Any) -> Any:
            return await view(*given, **named)

        return _guarded(dispatch, self.join_url)(request, *args, **kwargs)


async def _standing(
    backend: Backend, request: HttpRequest, join_url: str | None
) -> Standing | None:
    """Return the standing of who has been in; see `check_url` for what it raises."""
    standing = await standing_of(backend, request)
    if standing is None:
        await check_url(backend, request, join_url)
    return standing


def _refusal(
    request: Any, join_url: str | None, standing: Standing | None
) -> HttpResponse:
    """Return how a request without a participant is answered."""
    if standing is not None and standing.ended:
        _count(SessionEnded())
        return _ended(request)
    if standing is not None and standing.kicked:
        _count(Kicked())
        return _kicked(request)
    if join_url is None:
        denied = PermissionDenied(gettext("Join the session first."))
        if lacks_code(request):
            # For the log, which has it as the reason.
            denied.add_note(without_code(request))
        return _denied(request, denied)
    code = code_of(request)
    query = {"code": code, "next": request.get_full_path()}
    given = urlencode({name: value for name, value in query.items() if value})
    page = join_page(join_url, request)
    return redirect(f"{page}{'&' if '?' in page else '?'}{given}")


def _closed(request: HttpRequest, error: SessionStoresError) -> HttpResponse:
    """Return how somebody is answered whose record could not be opened."""
    _count(error)
    if isinstance(error, SessionEnded):
        return _ended(request)
    if isinstance(error, Kicked):
        return _kicked(request)
    denied = PermissionDenied(error.message)
    denied.__cause__ = error
    return _denied(request, denied)


def _ended(request: HttpRequest) -> HttpResponse:
    return HttpResponseGone(_page(request, "410.html", end_message("ended")))


def _kicked(request: HttpRequest) -> HttpResponse:
    text = end_message("kicked")
    return HttpResponseForbidden(_page(request, "403_kicked.html", text))


def _count(error: SessionStoresError) -> None:
    failures.count(get_backend(blocking=True), error)


def _denied(request: HttpRequest, denied: PermissionDenied) -> HttpResponse:
    """Return a page that says why somebody is denied one; raise if the site has one.

    Django's own page for want of a 403.html says nothing, in English.
    """
    handler: object = get_resolver(get_urlconf()).resolve_error_handler(403)
    if handler is not permission_denied:
        raise denied
    try:
        loader.get_template(ERROR_403_TEMPLATE_NAME)
    except TemplateDoesNotExist:
        text = _page(request, ERROR_403_TEMPLATE_NAME, str(denied))
        response = HttpResponseForbidden(text)
        log_response(
            "Forbidden (Permission denied): %s",
            request.path,
            response=response,
            request=request,
            exception=denied,
        )
        return response
    raise denied


def _unavailable(request: HttpRequest, error: StoreUnavailable) -> HttpResponse:
    """Return the answer while the cache does not say who somebody is.

    Under DEBUG, Django shows the error itself, which names the server.
    """
    _count(error)
    if settings.DEBUG:
        raise error
    text = _page(request, "503.html", error.message)
    response = HttpResponse(text, status=HTTPStatus.SERVICE_UNAVAILABLE)
    log_response(
        "Service Unavailable: %s",
        request.path,
        response=response,
        request=request,
        exception=error,
    )
    return response


def _page(request: HttpRequest, template: str, text: Text) -> str:
    """Return the site's page of that name, else one that says `text`."""
    heading, stop, more = str(text).partition(". ")
    heading += stop.strip()
    try:
        names = [template, "sessionstores/refused.html"]
        context = {"heading": heading, "more": more}
        return loader.render_to_string(names, context, request)
    except TemplateDoesNotExist:
        # The site's engines do not look into apps.
        language = get_language() or settings.LANGUAGE_CODE
        return format_html(
            '<!doctype html><html lang="{1}"><title>{0}</title><h1>{0}</h1>',
            text,
            language,
        )


def _require_middleware(request: object) -> None:
    if hasattr(request, "aparticipant"):
        return
    if not hasattr(request, "META"):
        raise ImproperlyConfigured(
            f"participant_required was called with {request!r} in the place of a "
            "request. A method of a view is decorated by "
            "@method_decorator(participant_required), or its class has "
            "ParticipantRequiredMixin."
        )
    raise ImproperlyConfigured(
        "participant_required needs "
        "'sessionstores.middleware.ParticipantMiddleware' in MIDDLEWARE."
    )
