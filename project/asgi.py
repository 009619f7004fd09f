"""The ASGI application of the demo: pages, static files and live stores."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
pages = get_asgi_application()

from project.workers import WORKER, NamesWorker  # noqa: E402
from sessionstores.routing import websocket_urlpatterns  # noqa: E402

live = URLRouter(websocket_urlpatterns)
application = ProtocolTypeRouter(
    {
        # A site would let its web server or WhiteNoise serve static files.
        "http": ASGIStaticFilesHandler(pages),
        "websocket": AllowedHostsOriginValidator(NamesWorker(live) if WORKER else live),
    }
)
