"""The page of a session, for those who join it."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import path

from sessionstores import join, stores

from .states import Hand


def choose(request: HttpRequest, code: str) -> JsonResponse:
    """Join, and choose a card."""
    me = join(request, code, create=True)
    stores.get(Hand, code, me.id).dispatch(Hand.choose, request.GET["card"])
    return JsonResponse({"participants": stores.participant_count(code)})


urlpatterns = [path("<str:code>/", choose)]
