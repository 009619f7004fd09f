"""Where tabs connect: for a site's `URLRouter`."""

from __future__ import annotations

from typing import Any

from django.urls import path

from .consumers import StoreConsumer
from .participants import WEBSOCKET_PATH

_application: Any = StoreConsumer.as_asgi()

websocket_urlpatterns = [path(WEBSOCKET_PATH, _application)]
