"""ASGI application of the demo: pages, static files and WebSockets."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
pages = get_asgi_application()

from project.workers import WORKER_NUMBER, AnnounceWorker  # noqa: E402
from sessionstores.routing import allowed_hosts_only, websocket_urlpatterns  # noqa: E402

live = URLRouter(websocket_urlpatterns)
application = ProtocolTypeRouter(
    {
        # In production, the web server or WhiteNoise serves static files.
        "http": ASGIStaticFilesHandler(pages),
        "websocket": allowed_hosts_only(
            AnnounceWorker(live) if WORKER_NUMBER else live
        ),
    }
)
