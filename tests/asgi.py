"""The test site as a server runs it: HTTP, static files, and the WebSocket."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
http = ASGIStaticFilesHandler(get_asgi_application())

# Only after the apps are loaded.
from sessionstores import routing  # noqa: E402

# The release before, which runs this site too, has none of its own.
validated = getattr(routing, "allowed_hosts_only", AllowedHostsOriginValidator)
application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": validated(URLRouter(routing.websocket_urlpatterns)),
    }
)
