"""`request.participant` through the whole request cycle, under WSGI and ASGI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path
from django.utils.functional import SimpleLazyObject
from django.views import View
from django.views.decorators.cache import cache_page
from django.views.generic import TemplateView

from sessionstores.backends import get_backend
from sessionstores.backends.locmem import LocMemStore
from sessionstores.manager import stores
from sessionstores.middleware import ParticipantMiddleware, ParticipantRequest
from sessionstores.participants.decorators import (
    ParticipantRequiredMixin,
    participant_required,
)
from sessionstores.participants.joining import ajoin, join
from sessionstores.participants.participant import Participant
from sessionstores.participants.tokens import LINK_SALT, TOKEN_SALT, read_token
from sessionstores.store.admissions import Admissions
from tests.workshop.states import Board

pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.django_db(transaction=True),
]


SECOND = "tests.test_middleware.early"
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "sessionstores.middleware.ParticipantMiddleware",
]


def shown(participant: Participant | None) -> JsonResponse:
    return JsonResponse(participant and [participant.id, participant.role], safe=False)


def joined(request: ParticipantRequest, code: str) -> HttpResponse:
    join(request, code, participant=request.GET.get("as"))
    return shown(request.participant)


async def ajoined(request: ParticipantRequest, code: str) -> HttpResponse:
    await ajoin(request, code, participant=request.GET.get("as"))
    return shown(await request.aparticipant())


def current(request: ParticipantRequest, code: str = "") -> HttpResponse:
    return shown(request.participant)


async def acurrent(request: ParticipantRequest, code: str = "") -> HttpResponse:
    participant = await request.aparticipant()
    assert participant is await request.aparticipant()
    # Once found it is there for templates, which cannot await.
    assert participant is request.participant
    return shown(participant)


async def hasty(request: ParticipantRequest, code: str) -> HttpResponse:
    return shown(request.participant)


def rendered(request: ParticipantRequest, code: str) -> HttpResponse:
    template = "{% if request.participant %}{{ request.participant.id }}{% endif %}"
    return HttpResponse(engines["django"].from_string(template).render({}, request))


def untouched(request: HttpRequest, code: str) -> HttpResponse:
    return HttpResponse(type(request).__name__)


@participant_required
def private(request: ParticipantRequest, code: str) -> HttpResponse:
    return current(request)


def page(request: ParticipantRequest, code: str) -> HttpResponse:
    assert request.participant is not None
    stores.get(Board, *request.participant.key).dispatch(Board.move, "ace", "keep")
    return JsonResponse(request.participant.config()["docs"]["me"]["states"])


async def apage(request: ParticipantRequest, code: str) -> HttpResponse:
    participant = await request.aparticipant()
    assert participant is not None
    board = stores.get(Board, *participant.key)
    await board.adispatch(Board.move, "ace", "keep")
    return JsonResponse((await participant.aconfig())["docs"]["me"]["states"])


def linked(request: ParticipantRequest, code: str) -> HttpResponse:
    assert request.participant is not None
    return HttpResponse(request.participant.link("/board/"))


def token(request: ParticipantRequest, code: str) -> HttpResponse:
    assert request.participant is not None
    response = HttpResponse(request.participant.token())
    # A site that thinks of the page, not of the token in it.
    response["Cache-Control"] = "public, max-age=60"
    return response


class Page(ParticipantRequiredMixin, View):
    def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return page(request, code)


class APage(ParticipantRequiredMixin, View):
    async def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return await apage(request, code)


kept: Any = cache_page(60)


def late(request: ParticipantRequest, code: str) -> TemplateResponse:
    """A page whose token is made when its template is rendered, after the view."""
    assert request.participant is not None
    template = engines["django"].from_string("{{ make }}")
    link = SimpleLazyObject(lambda: request.participant.link("/board/"))
    return TemplateResponse(request, template, {"make": link})


async def alate(request: ParticipantRequest, code: str) -> TemplateResponse:
    await request.aparticipant()
    return late(request, code)


class LatePage(ParticipantRequiredMixin, TemplateView):
    def render_to_response(self, context: Any, **options: Any) -> TemplateResponse:
        return late(self.request, context["code"])


def cached(view: Any) -> dict[str, Any]:
    """Return a view with Django's cache of pages at every place where it may stand."""
    return {
        "around": kept(participant_required(view)),
        "below": participant_required(kept(view)),
        "alone": kept(view),
    }


CACHED = {
    **{f"linked-{where}": view for where, view in cached(linked).items()},
    **{f"token-{where}": view for where, view in cached(token).items()},
    **{f"late-{where}": view for where, view in cached(late).items()},
    **{f"alate-{where}": view for where, view in cached(alate).items()},
    "late-class": kept(LatePage.as_view()),
}
guarded_page = participant_required(linked)

urlpatterns = [
    path("<code>/linked/", linked),
    path("<code>/token/", token),
    path("<code>/guarded/", guarded_page),
    path("<code>/aguarded/", participant_required(apage)),
    path("<code>/class/", Page.as_view()),
    path("<code>/aclass/", APage.as_view()),
    path("<code>/kept/", kept(guarded_page)),
    path("<code>/kept-class/", kept(Page.as_view())),
    *(path(f"<code>/cached/{name}/", view) for name, view in CACHED.items()),
    path("<code>/page/", page),
    path("<code>/apage/", apage),
    path("<code>/join/", joined),
    path("<code>/ajoin/", ajoined),
    path("<code>/", current),
    path("<code>/a/", acurrent),
    path("<code>/hasty/", hasty),
    path("<code>/rendered/", rendered),
    path("<code>/untouched/", untouched),
    path("<code>/private/", private),
    path("", current),
]


def early(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Stand for another middleware that looks before the URL is resolved."""

    def look(request: Any) -> HttpResponse:
        assert request.participant is None
        return get_response(request)

    return look


@pytest.fixture
def code() -> str:
    return stores.create_session(keep=3600)


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record what the cache is asked for."""
    asked: list[object] = []
    real = LocMemStore.read

    async def read(self: LocMemStore, keys: Any) -> Any:
        asked.append(keys)
        return await real(self, keys)

    monkeypatch.setattr(LocMemStore, "read", read)
    return asked


def test_view_finds_who_joined_by_its_code(client: Client, code: str) -> None:
    assert client.get(f"/{code}/").json() is None
    alice = client.get(f"/{code}/join/").json()
    assert client.get(f"/{code}/").json() == alice
    assert client.get(f"/{code}/a/").json() == alice
    assert Client().get(f"/{code}/").json() is None
    assert client.get("/").json() is None


@pytest.mark.parametrize("swapped", [False, True])
def test_view_finds_who_joined_in_whichever_order_the_middleware_stands(
    code: str, settings: Any, swapped: bool
) -> None:
    settings.MIDDLEWARE = MIDDLEWARE[::-2] if swapped else MIDDLEWARE[::2]
    visitor = Client()
    alice = visitor.get(f"/{code}/join/").json()
    assert alice is not None
    for name in ("", "a/", "private/", "page/", "apage/"):
        response = visitor.get(f"/{code}/{name}")
        assert response.status_code == 200
        assert name.endswith("page/") or response.json() == alice


@pytest.mark.parametrize("name", ["page", "apage"])
def test_view_of_a_locked_session_serves_who_was_removed_in_a_break(
    client: Client, code: str, name: str
) -> None:
    alice, _ = client.get(f"/{code}/join/").json()
    stores.lock(code)
    stores.cleanup_participant(code, alice)
    get_backend(blocking=True).memory.of(Admissions)._keys.clear()
    states = client.get(f"/{code}/{name}/").json()
    assert states["board"]["piles"] == {"keep": ["ace"]}


async def test_async_view_finds_who_joined_by_its_code(
    async_client: AsyncClient,
) -> None:
    code = await stores.acreate_session()
    alice = (await async_client.get(f"/{code}/ajoin/")).json()
    assert alice is not None
    assert (await async_client.get(f"/{code}/a/")).json() == alice
    assert (await async_client.get(f"/{code}/")).json() == alice
    assert (await AsyncClient().get(f"/{code}/a/")).json() is None


def test_two_links_show_two_participants_in_one_browser(
    client: Client, code: str
) -> None:
    own = client.get(f"/{code}/join/").json()
    for name in ("alice", "bob"):
        for url in (f"/{code}/?x=1#top", f"/{code}/a/", "/"):
            link = Participant(code, name).link(url)
            assert client.get(link).json() == [name, "participant"]
            assert client.post(link).json() == [name, "participant"]
    assert client.get(f"/{code}/").json() == own


def test_link_does_not_open_another_sessions_page(client: Client, code: str) -> None:
    link = Participant(code, "alice").link(f"/{stores.create_session()}/")
    assert client.get(link).json() is None


def test_nothing_is_looked_up_before_it_is_asked_for(
    client: Client, code: str, lookups: list[object]
) -> None:
    client.get(f"/{code}/join/")
    lookups.clear()
    response = client.get(f"/{code}/untouched/")
    assert response.content == b"WSGIRequest"
    assert not lookups
    # Or every page would vary by cookie, and none be cached.
    assert "Vary" not in response.headers


def test_participant_is_looked_up_once(
    client: Client, code: str, lookups: list[object]
) -> None:
    client.get(f"/{code}/join/")
    lookups.clear()
    assert client.get(f"/{code}/rendered/").content
    assert len(lookups) == 1


def test_template_shows_nobody_as_false(client: Client, code: str) -> None:
    assert client.get(f"/{code}/rendered/").content == b""


def test_join_decides_for_the_rest_of_the_request(client: Client, code: str) -> None:
    assert client.get(f"/{code}/join/?as=alice").json() == ["alice", "participant"]
    assert client.get(f"/{code}/ajoin/?as=bob").json() == ["bob", "participant"]
    assert client.get(f"/{code}/").json() == ["bob", "participant"]


def test_revoked_participant_is_nobody(client: Client, code: str) -> None:
    alice = client.get(f"/{code}/join/").json()[0]
    stores.revoke(code, alice)
    assert client.get(f"/{code}/").json() is None
    assert client.get(f"/{code}/private/").status_code == 403


def test_looking_early_does_not_decide_what_the_view_sees(
    client: Client, code: str, settings: Any
) -> None:
    settings.MIDDLEWARE = [*MIDDLEWARE, SECOND]
    alice = client.get(f"/{code}/join/").json()
    assert client.get(f"/{code}/").json() == alice


async def test_async_view_that_does_not_await_is_told_so(
    async_client: AsyncClient,
) -> None:
    with pytest.raises(SynchronousOnlyOperation, match="await"):
        await async_client.get("/K7Q2ZD/hasty/")


def test_request_stays_what_it_was() -> None:
    request: Any = RequestFactory().get("/?a=1")
    before = type(request)
    seen: list[Any] = []

    def view(request: HttpRequest) -> HttpResponseBase:
        seen.append(request)
        return HttpResponse()

    ParticipantMiddleware(view)(request)
    assert seen == [request]
    assert isinstance(request, before)
    assert isinstance(request, ParticipantRequest)
    assert request.GET["a"] == "1"
    assert request.participant is None
    again = RequestFactory().get("/")
    ParticipantMiddleware(view)(again)
    assert type(again) is type(request)


def test_participant_can_be_set_as_tests_of_a_site_do() -> None:
    request: Any = RequestFactory().get("/")
    ParticipantMiddleware(lambda request: HttpResponse())(request)
    request.participant = Participant("K7Q2ZD", "alice")
    assert private(request, "K7Q2ZD").content == b'["alice", "participant"]'


TOKEN_PAGES = ["page", "linked", "token", "guarded", "class"]
ASYNC_TOKEN_PAGES = ["apage", "aguarded", "aclass"]


def directives(response: Any) -> set[str]:
    given = response.headers.get("Cache-Control", "")
    return {each.strip() for each in given.split(",") if each}


@pytest.mark.parametrize("name", TOKEN_PAGES + ASYNC_TOKEN_PAGES)
async def test_no_cache_may_keep_a_page_with_a_token(
    async_client: AsyncClient, name: str
) -> None:
    code = await stores.acreate_session(keep=3600)
    await async_client.get(f"/{code}/ajoin/")
    response = await async_client.get(f"/{code}/{name}/")
    assert response.status_code == 200
    assert {"private", "no-store"} <= directives(response)
    assert "public" not in directives(response)


@pytest.mark.parametrize("name", TOKEN_PAGES + ASYNC_TOKEN_PAGES)
def test_no_cache_may_keep_a_page_with_a_token_under_wsgi(
    client: Client, code: str, name: str
) -> None:
    client.get(f"/{code}/join/")
    assert {"private", "no-store"} <= directives(client.get(f"/{code}/{name}/"))


@pytest.mark.parametrize("name", ["", "a/", "private/", "rendered/", "untouched/"])
def test_pages_without_a_token_may_be_kept(
    client: Client, code: str, name: str
) -> None:
    client.get(f"/{code}/join/")
    # What was made for the page before is not counted to this one.
    client.get(f"/{code}/page/")
    assert directives(client.get(f"/{code}/{name}")) == set()


@pytest.mark.parametrize("name", ["kept", "kept-class"])
def test_a_cached_view_gives_nobody_another_ones_token(code: str, name: str) -> None:
    alice, bob = Client(), Client()
    for client in (alice, bob):
        client.get(f"/{code}/join/")
    first = alice.get(f"/{code}/{name}/")
    assert first.status_code == 200
    second = bob.get(f"/{code}/{name}/")
    assert {"private", "no-store"} <= directives(second)
    if name == "kept":
        assert second.content != first.content
    assert Client().get(f"/{code}/{name}/").status_code == 403


@pytest.mark.parametrize("name", CACHED)
def test_no_cached_page_gives_somebody_anothers_token(code: str, name: str) -> None:
    alice, bob = Client(), Client()
    for client in (alice, bob):
        client.get(f"/{code}/join/")
    pages = [client.get(f"/{code}/cached/{name}/") for client in (alice, bob, alice)]
    assert [page.status_code for page in pages] == [200] * 3
    ids = []
    for page in pages:
        assert {"private", "no-store"} <= directives(page)
        _, is_link, signed = page.content.decode().rpartition("ss_participant=")
        salt = LINK_SALT if is_link else TOKEN_SALT
        ids.append(read_token(signed, max_age=60, salt=salt).participant)
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize("name", ["linked", "late-alone", "token"])
def test_a_cache_of_the_whole_site_keeps_no_token(
    code: str, settings: Any, name: str
) -> None:
    cache = "django.middleware.cache"
    update, fetch = (
        f"{cache}.{n}Middleware" for n in ("UpdateCache", "FetchFromCache")
    )
    settings.MIDDLEWARE = [update, *settings.MIDDLEWARE, fetch]
    place = f"cached/{name}" if "-" in name else name
    alice, bob = Client(), Client()
    pages = []
    for client in (alice, bob):
        client.get(f"/{code}/join/")
        pages.append(client.get(f"/{code}/{place}/").content)
    assert pages[0] != pages[1]
