"""Site with Django Debug Toolbar, which tests run under WSGI and under ASGI.

`python -m tests.contrib.site PORT` serves WSGI; `application` is for servers of ASGI.
Pages to meet on wait for each other inside, once they have acted: they truly overlap.
"""

from __future__ import annotations

import asyncio
import functools
import socketserver
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

PANEL = "sessionstores.contrib.debug_toolbar.SessionStoresPanel"

settings.configure(
    SECRET_KEY="tests-only",
    DEBUG=True,
    USE_TZ=True,
    ALLOWED_HOSTS=["127.0.0.1"],
    INTERNAL_IPS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    STATIC_URL="static/",
    INSTALLED_APPS=[
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "debug_toolbar",
        "sessionstores",
        "tests.workshop",
    ],
    MIDDLEWARE=[
        "debug_toolbar.middleware.DebugToolbarMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "sessionstores.middleware.ParticipantMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
        }
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    SESSIONSTORES={"AUTO_SWEEP": False},
    DEBUG_TOOLBAR_PANELS=[
        "debug_toolbar.panels.timer.TimerPanel",
        "debug_toolbar.panels.cache.CachePanel",
        PANEL,
    ],
    DEBUG_TOOLBAR_CONFIG={"IS_RUNNING_TESTS": False, "RESULTS_CACHE_SIZE": 500},
)
django.setup()

from debug_toolbar.toolbar import debug_toolbar_urls  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

from sessionstores import ActionRejected, join, stores  # noqa: E402
from tests.workshop.states import Agenda, Board  # noqa: E402

# Where it is told, it must not be shown: by a sensitive field, an argument, an error.
SECRET = "the-cat-sat-on-it"
# How many pages meet.
TOGETHER = 6
PATIENCE = 20.0

_barrier = threading.Barrier(TOGETHER)
# Under WSGI each coroutine has a loop of its own.
_waiting = ThreadPoolExecutor(TOGETHER)


def page() -> HttpResponse:
    """Return a page that the toolbar can be put into."""
    return HttpResponse("<html><body>done</body></html>")


def act(request: HttpRequest, code: str, who: str) -> HttpResponse:
    """Act in all the ways that differ."""
    board = stores.get(Board, code, who)
    board.snapshot()
    board.dispatch(Board.move, "ace", pile="keep")
    board.dispatch(functools.partial(Board.note, text=SECRET))
    board.dispatch(Board.note, SECRET)
    with suppress(ActionRejected):
        board.dispatch(Board.move, SECRET, pile=SECRET)
    stores.get(Agenda, code).peek()
    stores.participants(code)
    return page()


async def aact(request: HttpRequest, code: str, who: str) -> HttpResponse:
    """Do the same in a coroutine."""
    board = stores.get(Board, code, who)
    await board.asnapshot()
    await board.adispatch(Board.move, "ace", pile="keep")
    await board.adispatch(functools.partial(Board.note, text=SECRET))
    await board.adispatch(Board.note, SECRET)
    with suppress(ActionRejected):
        await board.adispatch(Board.move, SECRET, pile=SECRET)
    await stores.get(Agenda, code).apeek()
    await stores.aparticipants(code)
    return page()


def meet(request: HttpRequest, code: str, who: str) -> HttpResponse:
    """Act before and after all the others are inside, too."""
    stores.get(Board, code, who).dispatch(Board.note, "before")
    _barrier.wait(PATIENCE)
    stores.get(Board, code, who).dispatch(Board.note, "after")
    return page()


async def ameet(request: HttpRequest, code: str, who: str) -> HttpResponse:
    """Do the same in a coroutine."""
    await stores.get(Board, code, who).adispatch(Board.note, "before")
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(_waiting, _barrier.wait, PATIENCE)
    await stores.get(Board, code, who).adispatch(Board.note, "after")
    return page()


async def group(request: HttpRequest, code: str) -> HttpResponse:
    """Change one state by several calls at once, which share a commit."""
    agenda = stores.get(Agenda, code)

    async def increment() -> None:
        def step(agenda: Agenda) -> None:
            agenda.step += 1

        await agenda.adispatch(step)

    await asyncio.gather(*(increment() for _ in range(4)))
    return page()


def come_in(request: HttpRequest, code: str) -> HttpResponse:
    """Join a session, which is created, and read one's own token."""
    participant = join(request, code, create=True)
    participant.config()
    return page()


def idle(request: HttpRequest) -> HttpResponse:
    """Use no store."""
    return page()


def failing(request: HttpRequest, code: str) -> HttpResponse:
    """Let a store fail with a text that has something secret in it."""

    def fail(agenda: Agenda) -> None:
        raise LookupError(SECRET)

    with suppress(LookupError):
        stores.get(Agenda, code).dispatch(fail)
    return page()


urlpatterns = [
    path("act/<code>/<who>/", act),
    path("aact/<code>/<who>/", aact),
    path("meet/<code>/<who>/", meet),
    path("ameet/<code>/<who>/", ameet),
    path("group/<code>/", group),
    path("join/<code>/", come_in),
    path("fail/<code>/", failing),
    path("", idle),
    *debug_toolbar_urls(),
]
application = get_asgi_application()


class ThreadedServer(socketserver.ThreadingMixIn, WSGIServer):
    """A WSGI server with a thread for each request."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    """A request that leaves no line in the log."""

    def log_message(self, format: str, *args: object) -> None:
        """See `BaseHTTPRequestHandler`."""


if __name__ == "__main__":
    settings.ROOT_URLCONF = "tests.contrib.site"
    sys.modules["tests.contrib.site"] = sys.modules[__name__]
    make_server(
        "127.0.0.1",
        int(sys.argv[1]),
        get_wsgi_application(),
        server_class=ThreadedServer,
        handler_class=Quiet,
    ).serve_forever()
