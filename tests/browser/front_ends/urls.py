"""Pages of the site: one board for each front end, and the page to join."""

from __future__ import annotations

from typing import Any

from django.contrib.staticfiles.views import serve
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import include, path, re_path, register_converter
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_POST

from sessionstores import leave, participant_required, stores
from sessionstores.converters import SessionCodeConverter
from sessionstores.middleware import ParticipantRequest
from sessionstores.views import JoinView

from .states import Agenda, Board

register_converter(SessionCodeConverter, "code")


def start(request: HttpRequest) -> HttpResponse:
    """Start a session; tell its code."""
    return HttpResponse(stores.create_session(keep=3600))


def truth(request: HttpRequest, code: str) -> JsonResponse:
    """Tell what the server has of everybody, by their names."""
    names = {person.id: person.name for person in stores.people(code)}
    boards = {
        names[id]: {"deck": state.deck, "text": state.text, **state.piles}
        for id, (state, _) in stores.peek_all(Board, code).items()
    }
    return JsonResponse(boards)


@participant_required(join_url="sessionstores:join")
def board(request: ParticipantRequest, code: str, front_end: str) -> HttpResponse:
    """Show a participant's board: as a page, or a fragment of it."""
    me = request.participant
    context: dict[str, Any] = {"app": front_end, "code": code, "config": me.config()}
    template = front_end.rstrip("24")
    if template in ("htmx", "forms"):
        context |= {
            "board": stores.get(Board, *me.key).state,
            "agenda": stores.get(Agenda, code).state,
            "people": [each for each in stores.people(code) if each.id != me.id],
        }
    else:
        template = "app"
    if request.headers.get("HX-Request"):
        # A form may be gone from the page when its answer comes, and with it what it
        # inherited: all that is answered is what takes its place.
        template = "_people" if "people" in request.GET else "_board"
    return render(request, f"front_ends/{template}.html", context)


@require_POST
def go(request: HttpRequest, code: str) -> HttpResponse:
    """Let a participant go."""
    leave(request, code)
    return redirect("gone")


def gone(request: HttpRequest) -> HttpResponse:
    """Say good-bye."""
    return HttpResponse("<!doctype html><html lang=en><title>x</title><h1>Gone</h1>")


urlpatterns = [
    # As from a web server; browsers ask for none of them twice.
    re_path(
        r"^static/(?P<path>.*)$", cache_control(max_age=3600)(serve), {"insecure": True}
    ),
    path("start/", start),
    path("truth/<code:code>/", truth),
    path("lead/", JoinView.as_view(role="facilitator")),
    path("join/", include("sessionstores.urls")),
    path("at/<str:front_end>/<code:code>/", board, name="board"),
    path("go/<code:code>/", go, name="go"),
    path("gone/", gone, name="gone"),
]
