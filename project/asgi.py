"""The ASGI application of the demo: pages, static files and live stores."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
pages = get_asgi_application()

from sessionstores.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        # A site would let its web server or WhiteNoise serve static files.
        "http": ASGIStaticFilesHandler(pages),
        "websocket": AllowedHostsOriginValidator(URLRouter(websocket_urlpatterns)),
    }
)
