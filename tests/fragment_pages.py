"""Pages of a site's fragments, without a browser: what their socket is sent."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from django.conf import settings
from django.test import RequestFactory
from django.urls import include, path

from sessionstores.fragments import FragmentConsumer
from sessionstores.participants.joining import ajoin
from tests.sockets import CODE, ORIGIN, PATIENCE
from tests.workshop.states import Agenda, Board

NODE_MODULES = Path(__file__).resolve().parents[1] / "node_modules"
# In a CI run its absence is a failure.
needs_htmx = pytest.mark.skipif(
    not ((NODE_MODULES / "htmx4").exists() or os.environ.get("CI") == "true"),
    reason="htmx is not installed (npm install)",
)

urlpatterns = [path("join/", include("sessionstores.urls"))]
SETTINGS = {
    "ROOT_URLCONF": __name__,
    "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.locmem.Loader",
                        {
                            "board.html": "{{ participant.id }}"
                            "/{{ participant.role }}/{{ board.notes }}"
                            "/{{ agenda.step }}"
                        },
                    ),
                    "django.template.loaders.app_directories.Loader",
                ]
            },
        }
    ],
}


class BoardFragments(FragmentConsumer):
    template_name = "board.html"
    states = (Board, Agenda)
    retry_seconds = 0.0


def routed(consumer: type[FragmentConsumer] = BoardFragments) -> Any:
    """Return the application of a site that routes it."""
    return URLRouter([path("ws/board/<str:code>/", consumer.as_asgi())])  # type: ignore[arg-type]


async def cookie_of(id: str, code: str = CODE, **given: Any) -> str:
    """Return the cookie of a browser in which that participant has joined."""
    request: Any = RequestFactory().get("/")
    engine: Any = import_module(settings.SESSION_ENGINE)
    request.session = engine.SessionStore()
    await ajoin(request, code, participant=id, create=True, **given)
    await request.session.asave()
    return f"{settings.SESSION_COOKIE_NAME}={request.session.session_key}"


class FragmentPage:
    """One page's socket; `block` keeps the server from writing to it."""

    def __init__(
        self,
        cookie: str = "",
        application: Any = None,
        *,
        query: str | bytes = "",
        headers: tuple[tuple[bytes, bytes], ...] = (ORIGIN,),
        code: str = CODE,
    ) -> None:
        self.cookie = cookie
        scope = {
            "type": "websocket",
            "path": f"/ws/board/{code}/",
            "query_string": query.encode() if isinstance(query, str) else query,
            "headers": [*headers, (b"cookie", cookie.encode())],
            "subprotocols": [],
            "client": ("192.0.2.1", 1),
            "server": ("testserver", 80),
            "scheme": "ws",
        }
        self.communicator = ApplicationCommunicator(application or routed(), scope)

    async def open(self) -> FragmentPage:
        """Have it accepted."""
        await self.communicator.send_input({"type": "websocket.connect"})
        event = await self.communicator.receive_output(PATIENCE)
        assert event["type"] == "websocket.accept", event
        return self

    async def say(self, text: str) -> None:
        """Send a text."""
        message = {"type": "websocket.receive", "text": text}
        await self.communicator.send_input(message)

    async def shown(self) -> str:
        """Return what it is sent next."""
        event = await self.communicator.receive_output(PATIENCE)
        assert event["type"] == "websocket.send", event
        text: str = event["text"]
        return text.strip()

    async def until_shown(self, text: str) -> list[str]:
        """Return what it is sent, up to that."""
        found = [await self.shown()]
        while found[-1] != text:
            found.append(await self.shown())
        return found

    async def closed(self) -> int:
        """Return the code with which it is closed, as the next thing."""
        event = await self.communicator.receive_output(PATIENCE)
        assert event["type"] == "websocket.close", event
        await self.communicator.wait(PATIENCE)
        code: int = event["code"]
        return code

    @property
    def silent(self) -> bool:
        """Whether nothing has been sent that was not received."""
        return bool(self.communicator.output_queue.empty())

    async def drop(self) -> None:
        """Lose the connection, if it is open."""
        if not self.communicator.future.done():
            await self.communicator.send_input(
                {"type": "websocket.disconnect", "code": 1006}
            )
        await self.communicator.wait(PATIENCE)


OpenPage = Callable[..., Any]


@asynccontextmanager
async def opening_pages() -> AsyncIterator[OpenPage]:
    """Open pages of participants; all are dropped at the end."""
    opened: list[FragmentPage] = []

    async def open_page(
        id: str = "alice",
        application: Any = None,
        *,
        role: str | None = None,
        **given: Any,
    ) -> FragmentPage:
        code = given.get("code", CODE)
        cookie = await cookie_of(id, code, role=role)
        page = FragmentPage(cookie, application, **given)
        opened.append(page)
        return await page.open()

    yield open_page
    for page in opened:
        await page.drop()
