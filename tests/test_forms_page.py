"""The forms that the page on them shows work as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.http import HttpResponse
from django.template import engines
from django.test import Client
from django.urls import include, path

from sessionstores import join, participant_required, stores
from sessionstores.action_forms.kept import MAX_BYTES
from sessionstores.middleware import ParticipantRequest
from tests.test_action_view import submit
from tests.workshop.states import Board

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "forms-and-htmx.md"
TEXT = PAGE.read_text()
TAGS, OWN = re.findall(r"```html\n(.*?)```", TEXT, re.DOTALL)[:2]


@participant_required
def page(request: ParticipantRequest, code: str) -> HttpResponse:
    assert request.participant is not None
    board = stores.get(Board, *request.participant.key).state
    template = engines["django"].from_string(TAGS + OWN)
    return HttpResponse(template.render({"board": board}, request))


def entered(request: ParticipantRequest, code: str) -> HttpResponse:
    return HttpResponse(join(request, code).id)


urlpatterns = [
    path("join/", include("sessionstores.urls")),
    path("<str:code>/", page),
    path("<str:code>/enter/", entered),
]


def test_its_forms_act() -> None:
    code, client = stores.create_session(), Client(enforce_csrf_checks=True)
    id = client.get(f"/{code}/enter/").content.decode()
    board = stores.get(Board, code, id)
    html = client.get(f"/{code}/").content.decode()
    assert html.count(">Keep</button>") == 5
    for place, typed in ((1, {}), (5, {"text": "mine"}), (6, {"card": "ace"})):
        response = submit(client, html, typed, place)
        assert (response.status_code, response["Location"]) == (303, f"/{code}/")
    assert board.state.piles == {"keep": ["ace", "king"]}
    assert board.state.notes == "mine"
    assert client.get(f"/{code}/").content.decode().count(">Keep</button>") == 3


def test_its_figure_is_that_of_the_code() -> None:
    assert MAX_BYTES == 1_000
    assert "(1,000 bytes)" in TEXT
