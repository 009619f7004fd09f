"""Views that need a participant: the decorator and the mixin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils import translation
from django.utils.decorators import method_decorator
from django.views import View

from sessionstores.exceptions import StoreUnavailable
from sessionstores.manager import stores
from sessionstores.middleware import ParticipantRequest
from sessionstores.participants.decorators import (
    ParticipantRequiredMixin,
    participant_required,
)
from sessionstores.participants.participant import Participant
from tests.servers import free_port
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
def shown(request: ParticipantRequest, code: str) -> HttpResponse:
    assert request.participant
    return JsonResponse(request.participant.config())


@participant_required
async def ashown(request: ParticipantRequest, code: str) -> HttpResponse:
    participant = await request.aparticipant()
    assert participant
    return JsonResponse(await participant.aconfig())


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
    path("<code>/shown/", shown),
    path("<code>/ashown/", ashown),
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


REFUSED = {
    ("stranger", "en"): "Join the session first.",
    ("stranger", "de"): "Bitte zuerst der Sitzung beitreten.",
    ("bad link", "de"): "Bitte zuerst der Sitzung beitreten.",
    ("full", "en"): "This session is full.",
    ("full", "de"): "Diese Sitzung ist voll.",
}


def refused(how: str, code: str, view: str, settings: Any) -> HttpResponse:
    """Open a page as somebody who may not see it."""
    newcomer = Participant(code, "zoe").link(f"/{code}/{view}/")
    if how == "full":
        settings.SESSIONSTORES = {"MAX_PARTICIPANTS": 1}
        Participant(code, "alice").config()
    url = newcomer if how == "full" else f"/{code}/{view}/"
    response: Any = Client().get(
        f"{url}?ss_participant=x" if how == "bad link" else url
    )
    return response


@pytest.mark.parametrize("view", ["shown", "ashown"])
@pytest.mark.parametrize("app_dirs", [True, False])
@pytest.mark.parametrize(("how", "language"), REFUSED)
def test_who_is_refused_is_told_why_where_the_site_has_no_page_for_it(
    code: str, settings: Any, how: str, language: str, app_dirs: bool, view: str
) -> None:
    (engine,) = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "APP_DIRS": app_dirs}]
    with translation.override(language):
        response = refused(how, code, view, settings)
    page = response.content.decode()
    assert response.status_code == 403
    assert REFUSED[how, language] in page
    assert f'<html lang="{language}"' in page
    assert "Forbidden" not in page
    assert "MAX_" not in page
    assert not app_dirs or 'name="viewport"' in page


def own_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse(f"Ours: {exception}", status=403)


@pytest.mark.parametrize("by", ["template", "handler"])
@pytest.mark.parametrize("how", ["stranger", "full"])
def test_who_is_refused_gets_the_page_of_the_site_if_it_has_one(
    code: str,
    settings: Any,
    how: str,
    by: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if by == "template":
        (tmp_path / "403.html").write_text("Ours: {{ exception }}")
        (engine,) = settings.TEMPLATES
        settings.TEMPLATES = [{**engine, "DIRS": [tmp_path]}]
    else:
        here = sys.modules[__name__]
        monkeypatch.setattr(here, "handler403", own_page, raising=False)
    page = refused(how, code, "shown", settings).content.decode()
    assert page.startswith(f"Ours: {REFUSED[how, 'en']}")


AWAY = {
    "en": ("The server cannot do this at the moment.", "Try again in a little while."),
    "de": (
        "Der Server kann das gerade nicht.",
        "Bitte in Kürze noch einmal versuchen.",
    ),
}


@pytest.mark.parametrize(
    ("view", "language"),
    [
        *(("private", "en"), ("aprivate", "de"), ("mixed", "de")),
        *(("amixed", "en"), ("sent", "de"), ("asent", "en")),
    ],
)
def test_while_the_cache_does_not_answer_a_page_says_so(
    view: str,
    client: Client,
    code: str,
    settings: Any,
    language: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client.get(f"/{code}/join/")
    backend = "django.core.cache.backends.redis.RedisCache"
    address = f"redis://127.0.0.1:{free_port()}"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": address}}
    with translation.override(language):
        for visitor in (client, Client()):
            response = visitor.get(f"/{code}/{view}/")
            if visitor is not client and response.status_code in (302, 403):
                # A stranger is nobody, whatever the cache would say.
                continue
            page = response.content.decode()
            assert response.status_code == 503
            assert f'<html lang="{language}"' in page
            assert all(words in page for words in AWAY[language])
            assert "127.0.0.1" not in page
    entry = next(each for each in caplog.records if each.name == "django.request")
    assert entry.getMessage() == f"Service Unavailable: /{code}/{view}/"
    assert address[8:] in str(entry.exc_info and entry.exc_info[1])
    settings.DEBUG = True
    with pytest.raises(StoreUnavailable, match=address[8:]):
        client.get(f"/{code}/{view}/")


def test_the_log_says_why_somebody_was_refused(
    code: str, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    refused("full", code, "shown", settings)
    (entry,) = [each for each in caplog.records if each.name == "django.request"]
    assert entry.getMessage() == f"Forbidden (Permission denied): /{code}/shown/"
    assert "MAX_PARTICIPANTS" in str(entry.exc_info and entry.exc_info[1].__cause__)


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
