"""Views that need a participant: the decorator and the mixin."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils import translation
from django.utils.decorators import method_decorator
from django.views import View

from sessionstores.manager import stores
from sessionstores.middleware import ParticipantRequest
from sessionstores.participants.decorators import (
    ParticipantRequiredMixin,
    participant_required,
)
from sessionstores.participants.participant import Participant
from tests.test_middleware import (
    MIDDLEWARE,
    acurrent,
    ajoined,
    current,
    joined,
    private,
)

pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.django_db(transaction=True),
]


class Sent(ParticipantRequiredMixin, View):
    join_url = "/come-in/?from=here"

    def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return current(request)


class AsyncSent(ParticipantRequiredMixin, View):
    join_url = "enter"

    async def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return await acurrent(request)


@participant_required(join_url="enter")
def sent(request: ParticipantRequest, code: str) -> HttpResponse:
    return current(request)


@participant_required(join_url="enter")
async def asent(request: ParticipantRequest, code: str) -> HttpResponse:
    return await acurrent(request)


# With where they send who has no participant.
SENDING = {
    "sent": "/enter/?code=",
    "asent": "/enter/?code=",
    "cbv-sent": "/come-in/?from=here&code=",
    "cbv-asent": "/enter/?code=",
}
VIEWS = ["private", "aprivate", "cbv", "acbv", "mixed", "amixed"]


@participant_required
async def aprivate(request: ParticipantRequest, code: str) -> HttpResponse:
    return await acurrent(request)


class Private(View):
    @method_decorator(participant_required)
    def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return current(request)


class Mixed(ParticipantRequiredMixin, View):
    def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return current(request)


class AsyncMixed(ParticipantRequiredMixin, View):
    async def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return await acurrent(request)


class AsyncPrivate(View):
    @method_decorator(participant_required)
    async def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return await acurrent(request)


urlpatterns = [
    path("<code>/join/", joined),
    path("<code>/ajoin/", ajoined),
    path("enter/", current, name="enter"),
    path("<code>/sent/", sent),
    path("<code>/asent/", asent),
    path("<code>/cbv-sent/", Sent.as_view()),
    path("<code>/cbv-asent/", AsyncSent.as_view()),
    path("<code>/private/", private),
    path("<code>/aprivate/", aprivate),
    path("<code>/cbv/", Private.as_view()),
    path("<code>/acbv/", AsyncPrivate.as_view()),
    path("<code>/mixed/", Mixed.as_view()),
    path("<code>/amixed/", AsyncMixed.as_view()),
]


@pytest.mark.parametrize("view", VIEWS)
def test_view_that_requires_a_participant_refuses_others(
    view: str, client: Client, code: str
) -> None:
    assert client.get(f"/{code}/{view}/").status_code == 403
    alice = client.get(f"/{code}/join/").json()
    assert client.get(f"/{code}/{view}/").json() == alice
    stores.end_session(code)
    # Only who was in it is told that it was, and is over.
    response = client.get(f"/{code}/{view}/")
    assert response.status_code == 410
    assert "This session is over." in response.content.decode()
    assert Client().get(f"/{code}/{view}/").status_code == 403


@pytest.mark.parametrize("view", [*VIEWS, *SENDING])
def test_only_who_was_kicked_is_told_so(view: str, client: Client, code: str) -> None:
    stores.kick(code, "mallory")
    before = Client().get(f"/{code}/{view}/")
    id, _role = client.get(f"/{code}/join/").json()
    link = Participant(code, id).link(f"/{code}/{view}/")
    assert stores.kick(code, id)
    for kicked in (client.get(f"/{code}/{view}/"), Client().get(link)):
        assert kicked.status_code == 403
        assert "You were removed from this session." in kicked.content.decode()
        assert id not in kicked.content.decode()
    # A stranger, and somebody of another session, learn nothing.
    other = Client()
    other.get(f"/{stores.create_session()}/join/")
    for stranger in (Client(), other):
        response = stranger.get(f"/{code}/{view}/")
        assert response.status_code == before.status_code
        assert response.content == before.content
        assert response.get("location") == before.get("location")
    assert stores.readmit(code, id)
    assert client.get(f"/{code}/{view}/").json()[0] == id
    stores.kick(code, id)
    stores.end_session(code)
    assert client.get(f"/{code}/{view}/").status_code == 410


def test_the_page_for_who_was_kicked_is_the_sites_if_it_has_one(
    client: Client, code: str, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "403_kicked.html").write_text("<p>Out of {{ request.path }}.</p>")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    id, _role = client.get(f"/{code}/join/").json()
    stores.kick(code, id)
    response = client.get(f"/{code}/private/")
    assert response.status_code == 403
    assert response.content.decode() == f"<p>Out of /{code}/private/.</p>"


WORDS = {
    ("kicked", "en"): (
        "You were removed from this session.",
        "Ask whoever runs it whether you may come back.",
    ),
    ("kicked", "de"): (
        "Der Zugang zu dieser Sitzung wurde entzogen.",
        "Bitte die Leitung fragen, ob eine Rückkehr möglich ist.",
    ),
    ("ended", "en"): ("This session is over.", ""),
    ("ended", "de"): ("Diese Sitzung ist vorbei.", ""),
}


@pytest.mark.parametrize("app_dirs", [True, False])
@pytest.mark.parametrize(("how", "language"), WORDS)
def test_who_may_not_go_on_is_told_so_by_a_page_for_any_screen(
    client: Client, code: str, settings: Any, how: str, language: str, app_dirs: bool
) -> None:
    (engine,) = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "APP_DIRS": app_dirs}]
    id, _role = client.get(f"/{code}/join/").json()
    if how == "kicked":
        stores.kick(code, id)
    else:
        stores.end_session(code)
    with translation.override(language):
        page = client.get(f"/{code}/private/").content.decode()
    heading, more = WORDS[how, language]
    assert f'<html lang="{language}"' in page
    assert heading in page
    assert more in page
    if app_dirs:
        assert f"<h1>{heading}</h1>" in page
        assert 'name="viewport"' in page
        assert 'name="color-scheme" content="light dark"' in page
        assert bool(more) == ("ss-join-more" in page)
    # Under the strictest policy, too.
    assert "<style" not in page
    assert "style=" not in page


@pytest.mark.parametrize("view", VIEWS)
async def test_view_that_requires_a_participant_refuses_others_under_asgi(
    view: str, async_client: AsyncClient
) -> None:
    code = await stores.acreate_session()
    assert (await async_client.get(f"/{code}/{view}/")).status_code == 403
    alice = (await async_client.get(f"/{code}/ajoin/")).json()
    assert (await async_client.get(f"/{code}/{view}/")).json() == alice
    await stores.aend_session(code)
    assert (await async_client.get(f"/{code}/{view}/")).status_code == 410


@pytest.mark.parametrize("view", VIEWS)
def test_participant_required_says_that_it_needs_the_middleware(
    view: str, client: Client, code: str, settings: Any
) -> None:
    settings.MIDDLEWARE = MIDDLEWARE[:-1]
    with pytest.raises(ImproperlyConfigured, match="ParticipantMiddleware"):
        client.get(f"/{code}/{view}/")


def test_decorated_view_keeps_its_name_and_kind() -> None:
    assert private.__name__ == "private"
    assert aprivate.__name__ == "aprivate"
    assert iscoroutinefunction(aprivate)
    assert not iscoroutinefunction(private)


@pytest.mark.parametrize("view", SENDING)
def test_a_view_may_send_others_to_a_page_to_join(
    view: str, client: Client, code: str
) -> None:
    page = f"/{code}/{view}/?tab=2"
    response = client.get(page)
    assert response.status_code == 302
    after = quote(page, safe="")
    assert response["Location"] == f"{SENDING[view]}{code}&next={after}"
    # Of codes that do not exist nobody learns that.
    response = client.get(page.replace(code, "K7Q2ZD"))
    assert response["Location"].startswith(f"{SENDING[view]}K7Q2ZD&next=")
    alice = client.get(f"/{code}/join/").json()
    assert client.get(page).json() == alice
    stores.end_session(code)
    assert client.get(page).status_code == 410


def test_who_is_refused_is_told_so_in_german(
    client: Client, code: str, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "403.html").write_text("{{ exception }}")
    (engine,) = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [tmp_path]}]
    with translation.override("de"):
        refused = client.get(f"/{code}/private/")
        client.get(f"/{code}/join/")
        stores.end_session(code)
        over = client.get(f"/{code}/private/")
    assert refused.status_code == 403
    assert refused.content.decode() == "Bitte zuerst der Sitzung beitreten."
    assert over.status_code == 410
    assert '<html lang="de"' in over.content.decode()
    assert "<h1>Diese Sitzung ist vorbei.</h1>" in over.content.decode()


def test_a_site_says_in_its_own_words_that_a_session_is_over(
    client: Client, code: str, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "410.html").write_text("{{ request.path }} is over, {{ user }}.")
    (engine,) = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [tmp_path]}]
    client.get(f"/{code}/join/")
    stores.end_session(code)
    for view in ("private", "aprivate"):
        text = client.get(f"/{code}/{view}/").content.decode()
        assert text == f"/{code}/{view}/ is over, AnonymousUser."
