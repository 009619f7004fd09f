"""The site as a server runs it: pages, with static files among them, and WebSockets."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.browser.front_ends.settings")
http = get_asgi_application()

# Only after the apps are loaded.
from sessionstores.routing import allowed_hosts_only, websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {"http": http, "websocket": allowed_hosts_only(URLRouter(websocket_urlpatterns))}
)
