"""The site as a server runs it."""

from __future__ import annotations

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

django = get_asgi_application()

from sessionstores.routing import (  # noqa: E402
    allowed_hosts_only,
    websocket_urlpatterns,
)

application = ProtocolTypeRouter(
    {
        "http": django,
        "websocket": allowed_hosts_only(URLRouter(websocket_urlpatterns)),
    }
)
