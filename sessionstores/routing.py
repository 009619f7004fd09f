"""WebSocket routes of tabs and of staff, for a site's `URLRouter`."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern

from .participants.participant import WEBSOCKET_PATH
from .realtime.consumers import StoreConsumer
from .realtime.origins import allowed_hosts_only
from .realtime.staff import STAFF_PATH, StaffConsumer
from .realtime.sub_path import SubPathPattern

__all__ = ["allowed_hosts_only", "websocket_urlpatterns"]

_tabs: Any = StoreConsumer.as_asgi()
_staff: Any = StaffConsumer.as_asgi()

websocket_urlpatterns: list[Any] = [
    URLPattern(SubPathPattern(path, is_endpoint=True), consumer)
    for path, consumer in ((WEBSOCKET_PATH, _tabs), (STAFF_PATH, _staff))
]
