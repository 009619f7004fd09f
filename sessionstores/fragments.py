"""Fragments of a page for htmx, rendered from stores and sent over a WebSocket."""

from __future__ import annotations

import asyncio
import copy
import logging
import random
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.db import close_old_connections
from django.http import QueryDict
from django.template.loader import render_to_string
from django.urls import set_script_prefix
from django.utils import translation

from . import conf
from .action_forms.form import ActionForm
from .action_forms.sent import SentForm, answer_to, read_sent
from .backends.base import Backend
from .backends.types import Profile
from .exceptions import (
    MESSAGES,
    InvalidArguments,
    InvalidToken,
    Kicked,
    LimitReached,
    SessionEnded,
    SessionStoresError,
    UnknownAction,
    UnknownState,
)
from .monitoring import failures
from .participants.acting import act
from .participants.joining import identify
from .participants.participant import Participant
from .participants.tokens import Claims
from .realtime.consumers import StoreConsumer
from .realtime.dispatcher import TOO_FAST
from .realtime.error_frames import count_error
from .realtime.handshake import language_in, request_of, take_csrf_cookie
from .realtime.htmx import TRY_AGAIN_LATER, FragmentConnection, close_code
from .realtime.languages import language_of
from .realtime.protocol import BadFrame, Close, HelloFrame
from .realtime.token_bucket import TokenBucket
from .state.declaration import State, get_action, get_state

__all__ = ["FragmentConsumer"]

# Daphne closes with standard codes for no application, but with 1011 for one that
# raises. Else it would leave the connection open.
CODE_REFUSED = "invalid close code"
FORM_TEMPLATE = "sessionstores/action_form.html"

logger = logging.getLogger("sessionstores.delivery")


def _read_sent(text: str | None) -> tuple[SentForm, QueryDict]:
    limit = conf.get().max_frame_bytes
    if (
        text is None
        or len(text) >= limit
        or len(text.encode(errors="replace")) >= limit
    ):
        raise BadFrame("too_large", f"A form must have less than {limit} bytes.")
    try:
        return read_sent(text)
    except ValueError as error:
        raise BadFrame("bad_frame", f"This is no form of an action: {error}") from None


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
    # A page that could not be shown anything is closed after up to so long: for both
    # extensions it was open, so that they come back at once, all together.
    retry_seconds: ClassVar[float] = 4.0

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
        names = [each.__sessionstores__.name for each in states]
        if len({*names, "participant"}) <= len(names):
            raise ImproperlyConfigured(
                f"{cls.__name__}.states are {names}: the template has each under its "
                "own name, and the page's participant as 'participant'."
            )
        return super().as_asgi(**given)

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Return what the template is rendered with; called in the rendering thread."""
        return context

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection until it is closed, by either side."""
        refused: list[Exception] = []

        async def send_noting(message: dict[str, Any]) -> None:
            try:
                await send(message)
            except Exception as error:
                if CODE_REFUSED in str(error):
                    refused.append(error)
                raise

        if scope["type"] == "websocket":
            self._request = request_of(scope)
            self._is_shown = False
        await super().__call__(scope, receive, send_noting)
        for error in refused:
            raise RuntimeError(
                f"Daphne sends no close code {TRY_AGAIN_LATER}. For this exception it "
                "closes with 1011, on which htmx comes back as well."
            ) from error

    async def _hello(self) -> HelloFrame:
        # htmx says nothing first: all that a hello says is in the handshake.
        try:
            language = language_of(language_in(self._request))
        except SuspiciousOperation as error:
            raise InvalidToken(f"The address cannot be read: {error}") from None
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
        first = await connection.begin()
        self._is_shown = True
        return [first]

    async def _read(self, connection: Any) -> None:
        """Run the actions of forms one after the other, until either side closes."""
        rate = conf.get().rate_limit
        self._bucket = TokenBucket(*rate) if rate else None
        connection.busy = False
        while connection.closing is None:
            text = await self._text()
            connection.busy = True
            try:
                answer = await self._answer(connection, *_read_sent(text))
            except BadFrame as bad:
                await self._complain(bad, self._ignore)
                continue
            finally:
                connection.busy = False
            if connection.closing is None:
                await connection.outbox.reply(answer)

    async def _ignore(self, text: str) -> None:
        """Leave an error frame unsent: htmx would show it as it is."""

    async def _answer(
        self, connection: FragmentConnection, sent: SentForm, data: QueryDict
    ) -> str:
        """Run the action of a form that was sent; return the form, as it is now."""
        try:
            cls = get_state(sent.state)
            action = get_action(cls, sent.action)
        except (UnknownState, UnknownAction) as error:
            count_error(error)
            return sent.alert(error.message)
        form = sent.form(cls, action, data, bound=True)
        if not form.is_valid():
            failures.count_refusal(connection.backend, InvalidArguments.code)
        elif await self._submit(connection, form):
            form = sent.form(cls, action, data, bound=False)
        actor = connection.actor

        def draw() -> str:
            request = self._request_of(actor)
            context = answer_to(request, actor, sent, form, data)
            return render_to_string(FORM_TEMPLATE, context)

        return await self._in_thread(draw)

    async def _submit(self, connection: FragmentConnection, form: ActionForm) -> bool:
        """Run the action of a valid form; False: it was refused, as the form shows."""
        actor, bucket = connection.actor, self._bucket
        try:
            if bucket is not None and not bucket.take():
                hint = f"More than {bucket.rate:g} forms a second were sent."
                raise LimitReached(hint, message=TOO_FAST)
            await act(connection.backend, actor, form.state, form.action, form.decoded)
        except Kicked:
            connection.kick()
        except SessionEnded:
            connection.end(Close.ENDED, "ended")
        except SessionStoresError as error:
            count_error(error)
            form.refuse(error)
            return False
        except Exception:
            logger.exception("%s: action %s failed", actor.key, form.action.name)
            form.show_refusal(str(MESSAGES["internal"]), "internal")
            return False
        return True

    async def _draw(self, actor: Participant, states: Mapping[str, State]) -> str:
        def draw() -> str:
            context = self.get_context_data(**states, participant=actor)
            request = self._request_of(actor)
            return render_to_string(self.template_name, context, request)

        return await self._in_thread(draw)

    def _request_of(self, actor: Participant) -> Any:
        """Return a request for one rendering, which may note things on it."""
        request = copy.copy(self._request)
        request.participant = actor
        return request

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
        if close_code(close) != close and not self._is_shown:
            await self._leave()
            await asyncio.sleep(random.uniform(0, self.retry_seconds))  # noqa: S311
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
