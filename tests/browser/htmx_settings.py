"""A site whose pages htmx draws: the test site with its records in a Valkey."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest, HttpResponse

from tests.logs import NEVER_SLOW
from tests.settings import *  # noqa: F403

# Neither the libraries nor ours need anything inline.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'"
)
NODE_MODULES = Path(__file__).resolve().parents[2] / "node_modules"

MIDDLEWARE = [
    "tests.browser.htmx_settings.SetPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "sessionstores.middleware.ParticipantMiddleware",
]
ROOT_URLCONF = "tests.browser.htmx_site"
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
STATICFILES_DIRS = [
    ("htmx2", NODE_MODULES / "htmx.org" / "dist"),
    ("htmx2-ws", NODE_MODULES / "htmx-ext-ws" / "dist"),
    ("htmx4", NODE_MODULES / "htmx4" / "dist"),
]
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["SITE_REDIS"],
    }
}
SESSIONSTORES = {
    "AUTO_SWEEP": False,
    "HEARTBEAT": 1,
    "LEAVE_GRACE": 1,
    "PRESENCE_LEASE": 3,
    "SLOW_OPERATION_MS": NEVER_SLOW,
}

FRAGMENT = """{% load i18n sessionstores %}
<section id="board" hx-swap-oob="true" data-drawn="{{ drawn }}">
  <h1>{{ participant.id }}</h1><p id="notes">{{ board.notes }}</p>
  <p id="step">{{ agenda.step }}</p>
  <p id="votes">{% for id, card in agenda.votes.items %}{{ id }}: {{ card }}
    {% endfor %}</p>
  <p id="language">{% get_current_language as language %}{{ language }}</p>
</section>
"""
PAGE = """{% load static sessionstores %}<!doctype html><html lang="en"><head>
<title>Board</title><link rel="icon" href="data:,">
<meta name="htmx-config" content='{"includeIndicatorStyles":false,"allowEval":false}'>
{% for each in scripts %}<script src="{% static each %}"></script>{% endfor %}
{% if config %}{% sessionstores_config config %}
<script type="module" src="{% static 'sessionstores/htmx.js' %}"></script>
</head><body>
<div id="board" hx-get="/{{ code }}/fragment/"
  hx-trigger="sessionstores:board from:body"></div>
{% else %}
</head><body{% if version == 2 %} hx-ext="ws"{% endif %}>
<div {{ connect }}="/ws/board/{{ code }}/"><section id="board"></section>
{% sessionstores_form "agenda" "vote" htmx=version %}</div>
<div id="ss-closed"></div>
{% endif %}</body></html>
"""
LOCMEM = "django.template.loaders.locmem.Loader"
APPS = "django.template.loaders.app_directories.Loader"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [(LOCMEM, {"board.html": FRAGMENT, "page.html": PAGE}), APPS],
        },
    }
]


class SetPolicy:
    """Middleware of the strictest policy that htmx works under."""

    async_capable, sync_capable = True, False

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = await self.get_response(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response
