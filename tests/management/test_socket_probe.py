"""The socket probe, on ASGI applications as sites write them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.core.asgi import get_asgi_application
from django.test import override_settings
from django.urls import path

from sessionstores.backends.types import Finding
from sessionstores.management import socket_probe
from sessionstores.routing import allowed_hosts_only, websocket_urlpatterns

ours: Any = URLRouter(websocket_urlpatterns)
pages_only = get_asgi_application()
http_only = ProtocolTypeRouter({"http": pages_only})
without_the_route = ProtocolTypeRouter({"websocket": URLRouter([])})
of_another_host = OriginValidator(ours, ["https://elsewhere.example"])


async def right(scope: Any, receive: Any, send: Any) -> None:
    # Made now, since the validator keeps the ALLOWED_HOSTS that it finds when made.
    site: Any = ProtocolTypeRouter({"websocket": allowed_hosts_only(ours)})
    await site(scope, receive, send)


class Chat(AsyncWebsocketConsumer):
    """Accepts whatever comes."""


chat: Any = Chat.as_asgi()
shadowed = URLRouter([path("ws/sessionstores/", chat), *websocket_urlpatterns])


async def hanging(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


async def returning(scope: Any, receive: Any, send: Any) -> None:
    await receive()


async def failing(scope: Any, receive: Any, send: Any) -> None:
    raise KeyError("user")


def probed(application: str, **settings: Any) -> Finding:
    name = application if "." in application else f"{__name__}.{application}"
    with override_settings(ASGI_APPLICATION=name, **settings):
        return asyncio.run(socket_probe.probe())


@pytest.mark.parametrize(
    ("hosts", "origin"),
    [
        (["live.example", "other.example"], "https://live.example"),
        ([".live.example"], "https://live.example"),
        (["*"], "https://localhost"),
    ],
)
def test_a_site_that_is_right_accepts(hosts: list[str], origin: str) -> None:
    level, text, hint = probed("right", ALLOWED_HOSTS=hosts)
    assert (level, hint) == ("ok", "")
    assert text == (
        f"{__name__}.right accepts a WebSocket at /ws/sessionstores/ from {origin}."
    )


DEVELOPED = ["http://127.0.0.1:8000", "http://[::1]:8000", "https://.live.example:8443"]
odd = ["", "://", "http://", "elsewhere.example", *DEVELOPED]
with_ports: Any = ProtocolTypeRouter(
    {"websocket": AuthMiddlewareStack(OriginValidator(ours, odd))}
)


@pytest.mark.parametrize(
    ("hosts", "origin"),
    [
        ([], "http://127.0.0.1:8000"),
        (["127.0.0.1", "live.example"], "http://127.0.0.1:8000"),
        (["[::1]"], "http://[::1]:8000"),
        ([".live.example"], "https://live.example:8443"),
        (["*"], "http://127.0.0.1:8000"),
    ],
)
def test_a_port_is_that_of_the_sites_own_validator(
    hosts: list[str], origin: str
) -> None:
    level, text, hint = probed("with_ports", ALLOWED_HOSTS=hosts)
    assert (level, hint) == ("ok", "")
    assert text.endswith(f"accepts a WebSocket at /ws/sessionstores/ from {origin}.")


def test_a_site_under_a_path_is_asked_there() -> None:
    under = {"FORCE_SCRIPT_NAME": "/live/", "ALLOWED_HOSTS": ["live.example"]}
    assert probed("right", **under).level == "ok"
    assert probed("with_ports", **under).level == "ok"


# Channels' own consumers, which answer in two of these, look after old connections.
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("application", "text", "hint"),
    [
        ("no.such.module", "cannot be loaded: ", "manage.py shell"),
        ("nothing", "cannot be loaded: ", "manage.py shell"),
        ("pages_only", "ValueError: Django can only handle", "allowed_hosts_only("),
        ("http_only", "ValueError: No application", "allowed_hosts_only("),
        ("without_the_route", "ValueError: No route found", "allowed_hosts_only("),
        ("of_another_host", "refuses a WebSocket", "OriginValidator"),
        ("returning", "refuses a WebSocket", "ALLOWED_HOSTS"),
        ("shadowed", "Another consumer than ours", "above its own"),
        ("failing", "KeyError: 'user'", "allowed_hosts_only("),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(
    application: str, text: str, hint: str
) -> None:
    finding = probed(application, ALLOWED_HOSTS=["live.example"])
    assert finding.level == "error"
    assert text in finding.text
    assert application in finding.text
    assert hint in finding.hint


def test_an_application_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_probe, "SOCKET_SECONDS", 0.2)
    finding = probed("hanging")
    assert finding.level == "error"
    assert "does not answer" in finding.text
