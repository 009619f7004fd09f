"""What a worker tells about itself."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpRequest, JsonResponse
from django.urls import path

from sessionstores.realtime.channel_layer import counters
from sessionstores.realtime.hub import hubs


async def figures(request: HttpRequest) -> JsonResponse:
    """Return the counters of delivery, and how many tabs are connected."""
    connections = sum(len(hub.connections) for hub in hubs.values())
    return JsonResponse({**asdict(counters), "connections": connections})


urlpatterns = [path("figures", figures)]
