"""`ParticipantMiddleware` gives requests a lazy `request.participant`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .participants.joining import aresolve, resolve
from .participants.participant import Participant
from .participants.private_pages import keep_private, watching
from .participants.requests import code_of

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class ParticipantRequest(HttpRequest):
    """A request with its participant, for annotations of views."""

    _participant: Participant | None

    @property
    def participant(self) -> Participant | None:
        """The participant of a signed link, or who joined the view's `code`.

        Looked up at the first use and then kept. None for strangers, and after a
        revocation or the session's end. Async views: `await request.aparticipant()`.
        """
        if hasattr(self, "_participant"):
            return self._participant
        return self._found(resolve(self, code_of(self)))

    @participant.setter
    def participant(self, participant: Participant | None) -> None:
        self._participant = participant

    async def aparticipant(self) -> Participant | None:
        """See `participant`."""
        if hasattr(self, "_participant"):
            return self._participant
        return self._found(await aresolve(self, code_of(self)))

    def _found(self, participant: Participant | None) -> Participant | None:
        # Before the URL is resolved, the `code` is unknown: a look-up by other
        # middleware that early must not determine what the view sees.
        if self.resolver_match is not None:
            self._participant = participant
        return participant


@cache
def _with_participant(cls: type[HttpRequest]) -> type[HttpRequest]:
    return type(cls.__name__, (ParticipantRequest, cls), {})


class ParticipantMiddleware:
    """Give each request `participant` and `aparticipant()`, looked up when used.

    Place it after `SessionMiddleware`. It mixes a class into the request's own, since
    a lazy object could not be None. Responses for which a token was made, for a page's
    config or a link, become `private, no-store`; Django's cache of pages keeps none.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response: Callable[[HttpRequest], Any] = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(
        self, request: HttpRequest
    ) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        cls: Any = type(request)
        request.__class__ = _with_participant(cls)
        if self._is_async:
            return self._acall(request)
        with watching(request):
            response: HttpResponseBase = self.get_response(request)
            keep_private(response)
            return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        with watching(request):
            response: HttpResponseBase = await self.get_response(request)
            keep_private(response)
            return response
