"""Browsers that join sessions, without a server."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.test import RequestFactory

from sessionstores.participants.joining import ajoin, join, resolve
from sessionstores.participants.participant import Participant

CACHED = "django.contrib.sessions.backends.cache"
COOKIES = "django.contrib.sessions.backends.signed_cookies"
DATABASE = "django.contrib.sessions.backends.db"

# Each as a view of its kind calls it.
BOTH_JOINS = [
    pytest.param(join, id="join"),
    pytest.param(async_to_sync(ajoin), id="ajoin"),
]
Join = Callable[..., Participant]


class Browser:
    """Keeps Django's session from one request to the next, as a cookie does."""

    def __init__(self, engine: str = CACHED, user: Any = None) -> None:
        self.engine: Any = import_module(engine)
        self.user = user
        self.cookie: str | None = None

    def request(self, url: str = "/", *, address: str = "192.0.2.1") -> HttpRequest:
        request = RequestFactory().get(url, REMOTE_ADDR=address)
        request.session = self.engine.SessionStore(self.cookie)
        request.user = self.user or AnonymousUser()
        return request

    def close(self, request: HttpRequest) -> None:
        if request.session.modified:
            request.session.save()
            self.cookie = request.session.session_key

    def join(self, code: str, *, joining: Join = join, **given: Any) -> Participant:
        request = self.request(given.pop("url", "/"))
        joined = joining(request, code, **given)
        self.close(request)
        return joined

    def resolve(self, code: object, url: str = "/") -> Participant | None:
        return resolve(self.request(url), code)
