"""Access control for views that need a participant: a decorator and a mixin."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest

from .participant import Participant
from .private_pages import keep_private

View = TypeVar("View", bound=Callable[..., Any])


def participant_required(view: View) -> View:
    """Refuse with 403 (PermissionDenied) unless the request has a participant.

    A response with a token is `private, no-store`, for a `cache_page` around it too.

    For sync and async views; classes have `ParticipantRequiredMixin`. Needs
    `ParticipantMiddleware`.
    """
    if iscoroutinefunction(view):

        @wraps(view)
        async def aguarded(request: Any, *args: Any, **kwargs: Any) -> Any:
            _require_middleware(request)
            _allow(await request.aparticipant())
            response = await view(request, *args, **kwargs)
            keep_private(response)
            return response

        return aguarded  # type: ignore[return-value]

    @wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> Any:
        _require_middleware(request)
        _allow(request.participant)
        response = view(request, *args, **kwargs)
        keep_private(response)
        return response

    return guarded  # type: ignore[return-value]


class ParticipantRequiredMixin:
    """`participant_required` for class-based views, sync and async; name it first."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the view, or raise PermissionDenied."""
        _require_middleware(request)
        view: Any = super()
        if not getattr(self, "view_is_async", False):
            _allow(request.participant)
            response = view.dispatch(request, *args, **kwargs)
            keep_private(response)
            return response

        async def guarded() -> Any:
            _allow(await request.aparticipant())
            response = await view.dispatch(request, *args, **kwargs)
            keep_private(response)
            return response

        return guarded()


def _allow(participant: Participant | None) -> None:
    if participant is None:
        raise PermissionDenied("Join the session first.")


def _require_middleware(request: HttpRequest) -> None:
    if not hasattr(request, "aparticipant"):
        raise ImproperlyConfigured(
            "participant_required needs "
            "'sessionstores.middleware.ParticipantMiddleware' in MIDDLEWARE."
        )
