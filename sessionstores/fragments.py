"""Fragments of a page for htmx, rendered from stores and sent over a WebSocket."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections
from django.template.loader import render_to_string
from django.urls import set_script_prefix
from django.utils import translation

from .backends.base import Backend
from .backends.types import Profile
from .exceptions import InvalidToken
from .participants.joining import identify
from .participants.participant import Participant
from .participants.tokens import Claims
from .realtime.consumers import StoreConsumer
from .realtime.handshake import language_in, request_of, take_csrf_cookie
from .realtime.htmx import FragmentConnection, close_code
from .realtime.languages import language_of
from .realtime.protocol import Close, HelloFrame
from .state.declaration import State

__all__ = ["FragmentConsumer"]

logger = logging.getLogger("sessionstores.delivery")


class _Farewell(msgspec.Struct):
    """What the last frame tells a person; see `protocol.end` and `protocol.error`."""

    message: str = ""
    code: str = ""
    reason: str = ""


def _is_state(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, State)


class FragmentConsumer(StoreConsumer):
    """Sends a page fragments of HTML: at once, and again after each change.

    `template_name` is rendered with each state of `states` under its name, those of the
    page's own participant and of their session, and with `participant`. It is rendered
    in a thread, in the participant's language, at most twenty times a second; of
    changes in between, the last is shown. Each element at its top has an `id` and
    `hx-swap-oob="true"`, by which both `ws` of htmx 2 and `hx-ws` of htmx 4 put it into
    the page.

    Route it at a path with the session's code as `code`. Its participant is found as
    `request.participant` is, by Django's session or a signed link. Where the page is to
    stay away, as after the end of the session, it is told by `closed_template_name`
    (with `message` and `code`), then closed by a code on which htmx does not reconnect;
    else by one on which it does.
    """

    template_name: ClassVar[str] = ""
    closed_template_name: ClassVar[str] = "sessionstores/closed.html"
    states: ClassVar[tuple[type[State], ...]] = ()

    @classmethod
    def as_asgi(cls, **given: Any) -> Any:
        """Return the application; raise `ImproperlyConfigured` without a template."""
        if not cls.template_name:
            raise ImproperlyConfigured(
                f"{cls.__name__} has nothing to render: template_name = 'board.html'."
            )
        states: Any = cls.states
        if not isinstance(states, tuple | list) or not all(map(_is_state, states)):
            raise ImproperlyConfigured(
                f"{cls.__name__}.states is {states!r}. It names classes of states: "
                "states = (Board,)."
            )
        return super().as_asgi(**given)

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Return what the template is rendered with; called in the rendering thread."""
        return context

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection until it is closed, by either side."""
        if scope["type"] == "websocket":
            self._request = request_of(scope)
        await super().__call__(scope, receive, send)

    async def _hello(self) -> HelloFrame:
        # htmx says nothing first: all that a hello says is in the handshake.
        language = language_of(language_in(self._request))
        self._request.LANGUAGE_CODE = language
        return HelloFrame(token="", client=secrets.token_urlsafe(9), lang=language)

    async def _identify(self, backend: Backend, hello: HelloFrame) -> Claims:
        request = self._request
        if "code" not in request.resolver_match.kwargs:
            raise ImproperlyConfigured(
                f"{type(self).__name__} needs the code of the session in its path: "
                "path('ws/board/<str:code>/', …)."
            )
        claims = await identify(backend, request)
        if claims is None:
            raise InvalidToken(
                "Who has opened this page has not joined its session in this browser: "
                "join(request, code), or give the socket's address by "
                "participant.link(…)."
            )
        await self._in_thread(lambda: take_csrf_cookie(request))
        return claims

    def _open(
        self, backend: Backend, claims: Claims, hello: HelloFrame, profile: Profile
    ) -> FragmentConnection:
        return FragmentConnection(
            backend,
            claims,
            hello,
            self._send,
            profile,
            classes=self.states,
            draw=self._draw,
        )

    async def _greet(self, connection: Any) -> list[str]:
        return [await connection.begin()]

    async def _read(self, connection: Any) -> None:
        connection.busy = False
        while connection.closing is None:
            await self._text()

    async def _draw(self, actor: Participant, states: Mapping[str, State]) -> str:
        def draw() -> str:
            self._request.participant = actor
            context = self.get_context_data(**states, participant=actor)
            return render_to_string(self.template_name, context, self._request)

        return await self._in_thread(draw)

    async def _in_thread(self, draw: Any) -> str:
        """Run what renders in a thread, as a request for the page would run it."""
        connection: Any = self._connection
        language = connection.language if connection else translation.get_language()

        def run() -> str:
            set_script_prefix(self._request.META.get("SCRIPT_NAME") or "/")
            close_old_connections()
            try:
                with translation.override(language):
                    return str(draw())
            finally:
                close_old_connections()

        return await sync_to_async(run, thread_sensitive=False)()

    async def _close(self, close: Close, farewell: str | None) -> None:
        if self._connection is not None:
            self._connection.closing = close
        shown = None
        if farewell is not None and close_code(close) == close:
            told = msgspec.json.decode(farewell, type=_Farewell)
            shown = await self._farewell(told)
        await super()._close(close, shown)

    async def _farewell(self, told: _Farewell) -> str | None:
        context = {"message": told.message, "code": told.code or told.reason}
        try:
            return await self._in_thread(
                lambda: render_to_string(
                    self.closed_template_name, context, self._request
                )
            )
        except Exception:
            logger.exception("A page could not be told why it was closed")
            return None

    def _code(self, close: Close) -> int:
        return close_code(close)
