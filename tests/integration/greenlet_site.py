"""WSGI site for tests: one view, which uses a store between two uses of a database."""

from __future__ import annotations

import json
import os

import django
from django.conf import settings

settings.configure(**json.loads(os.environ["SITE"]))
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

from sessionstores import stores  # noqa: E402
from tests.workshop.states import Board  # noqa: E402


def act(request: HttpRequest, code: str, who: str, text: str) -> HttpResponse:
    """Let one participant do something; answer with what the database says then."""
    ask()
    stores.get(Board, code, who).dispatch(Board.note, text)
    return HttpResponse(ask())


def ask() -> str:
    """Return what the database says; Django refuses it to coroutines."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'well'")
        (word,) = cursor.fetchone()
    return str(word)


def ready(request: HttpRequest) -> HttpResponse:
    """Answer."""
    return HttpResponse()


urlpatterns = [path("act/<code>/<who>/<text>/", act), path("", ready)]
application = get_wsgi_application()
