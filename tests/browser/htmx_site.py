"""Pages that htmx 2 and 4 draw, the WebSocket of their fragments, and a way to act."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import include, path

http = ASGIStaticFilesHandler(get_asgi_application())

# Only after the apps are loaded.
from sessionstores import join, participant_required, stores  # noqa: E402
from sessionstores.fragments import FragmentConsumer  # noqa: E402
from sessionstores.middleware import ParticipantRequest  # noqa: E402
from sessionstores.routing import (  # noqa: E402
    allowed_hosts_only,
    websocket_urlpatterns,
)
from tests.workshop.states import Agenda, Board  # noqa: E402

SCRIPTS = {
    2: ["htmx2/htmx.js", "htmx2-ws/ws.js"],
    4: ["htmx4/htmx.js", "htmx4/ext/hx-ws.js"],
}
CONNECT = {2: "ws-connect", 4: "hx-ws:connect"}

broken: set[str] = set()
drawn: Counter[str] = Counter()
fetched: Counter[str] = Counter()


class BoardFragments(FragmentConsumer):
    template_name = "board.html"
    states = (Board, Agenda)
    retry_seconds = 0.2

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        id = context["participant"].id
        if id in broken:
            raise ValueError("This page cannot be shown yet.")
        drawn[id] += 1
        return {**context, "drawn": drawn[id]}


def start(request: HttpRequest) -> HttpResponse:
    return HttpResponse(stores.create_session())


def enter(request: HttpRequest, code: str, id: str) -> HttpResponse:
    join(request, code, participant=id)
    return redirect(request.GET["next"])


@participant_required
def page(request: ParticipantRequest, code: str, version: int) -> HttpResponse:
    given = {"scripts": SCRIPTS[version], "connect": CONNECT[version]}
    return render(request, "page.html", {**given, "code": code, "version": version})


@participant_required
def fetching(request: ParticipantRequest, code: str, version: int) -> HttpResponse:
    assert request.participant
    given = {"scripts": SCRIPTS[version][:1], "config": request.participant.config()}
    return render(request, "page.html", {**given, "code": code})


@participant_required
def fragment(request: ParticipantRequest, code: str) -> HttpResponse:
    assert request.participant
    fetched[request.participant.id] += 1
    return HttpResponse(stores.get(Board, *request.participant.key).state.notes)


def act(request: HttpRequest, code: str, id: str, what: str) -> HttpResponse:
    """Do something to a participant, or say what has been done for them."""
    if what.isdigit():
        for number in range(int(what)):
            stores.get(Board, code, id).dispatch(Board.note, f"{id} {number + 1}")
    elif what == "advance":
        stores.get(Agenda, code).dispatch(lambda agenda: setattr(agenda, "step", 2))
    elif what == "break":
        broken.add(id)
    elif what == "mend":
        broken.discard(id)
    elif what == "kick":
        stores.kick(code, id)
    elif what == "revoke":
        stores.revoke(code, id)
    elif what == "end":
        stores.end_session(code)
    tabs = {each.id: each.tabs for each in stores.people(code)} if id != "*" else {}
    told = {"drawn": drawn[id], "fetched": fetched[id], "tabs": tabs.get(id, 0)}
    return HttpResponse(json.dumps(told))


urlpatterns = [
    path("", start),
    path("join/", include("sessionstores.urls"), {"success_url": "page"}),
    path("<str:code>/enter/<str:id>/", enter),
    path("<str:code>/page/<int:version>/", page, name="page"),
    path("<str:code>/fetching/<int:version>/", fetching),
    path("<str:code>/fragment/", fragment),
    path("<str:code>/act/<str:id>/<str:what>/", act),
]
websockets = [path("ws/board/<str:code>/", BoardFragments.as_asgi())]  # type: ignore[arg-type]
application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": allowed_hosts_only(
            URLRouter([*websocket_urlpatterns, *websockets])
        ),
    }
)
