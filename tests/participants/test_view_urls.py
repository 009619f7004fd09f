"""URLs of guarded views: one by which who has joined is nobody is reported."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path, re_path
from django.views import View
from django.views.generic import TemplateView

from sessionstores import Participant, stores
from sessionstores.middleware import ParticipantRequest
from sessionstores.participants.decorators import (
    ParticipantRequiredMixin,
    participant_required,
)
from tests.test_middleware import MIDDLEWARE, joined
from tests.workshop.states import Board

pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.django_db(transaction=True),
]

OK = b"the page"


@participant_required
def page(request: ParticipantRequest, *args: str, **named: str) -> HttpResponse:
    return HttpResponse(OK)


@participant_required
async def apage(request: ParticipantRequest, *args: str, **named: str) -> HttpResponse:
    return HttpResponse(OK)


@participant_required(join_url="enter")
def sent(request: ParticipantRequest, *args: str, **named: str) -> HttpResponse:
    return HttpResponse(OK)


@participant_required(join_url="enter")
async def asent(request: ParticipantRequest, *args: str, **named: str) -> HttpResponse:
    return HttpResponse(OK)


class Mixed(ParticipantRequiredMixin, View):
    def get(
        self, request: ParticipantRequest, *args: str, **named: str
    ) -> HttpResponse:
        return HttpResponse(OK)


VIEWS: dict[str, Any] = {
    "page": page,
    "apage": apage,
    "sent": sent,
    "asent": asent,
    "mixed": Mixed.as_view(),
}
urlpatterns = [
    path("enter/", joined, name="enter"),
    path("<code>/join/", joined),
    *[
        route
        for name, view in VIEWS.items()
        for route in (
            path(f"<str:code>/{name}/", view),
            path(f"<str:session>/{name}/named/", view),
            re_path(rf"^(\w{{6}})/{name}/unnamed/$", view),
            path(f"{name}/", view, name=f"{name}-bare"),
        )
    ],
]

# By where the session stands in the URL: what is said to who has joined it.
MISNAMED: dict[str, str] = {
    "{code}/{view}/named/": "has the session {code} as `session`, and .* as `code`",
    "{lower}/{view}/named/": "has the session {code} as `session`",
    "{code}/{view}/unnamed/": "has the session {code} without a name",
    "{lower}/{view}/": "has '{lower}' as `code`, and who has joined '{code}' is nobody",
}


def refused(client: Client, view: str, url: str) -> bool:
    """Whether a view answers as it answers a stranger."""
    response = client.get(url)
    if "sent" in view:
        return response.status_code == 302 and "/enter/" in response["Location"]
    return response.status_code == 403


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("where", MISNAMED)
def test_a_url_that_hides_the_session_says_so_to_who_has_joined_it(
    view: str, where: str, client: Client
) -> None:
    # With letters, which not each code has.
    code = "K7Q2ZD"
    assert stores.get(Board, code, "bob").state
    url = "/" + where.format(code=code, lower=code.lower(), view=view)
    # To nobody else: a stranger learns nothing, and one who comes by a link is in.
    assert refused(client, view, url)
    client.get(f"/{stores.create_session()}/join/")
    assert refused(client, view, url)
    client.get(f"/{code}/join/?as=alice")
    link = Participant(code, "alice").link(url)
    if "`code`, and who" not in MISNAMED[where]:
        assert client.get(link).content == OK
    elif "sent" in view:
        # The page to join sends them on to the one form.
        assert refused(client, view, url)
        return
    with pytest.raises(ImproperlyConfigured) as raised:
        client.get(url)
    text = str(raised.value)
    words = MISNAMED[where].format(code=code, lower=code.lower())
    assert re.search(words, text), text
    assert re.search(r"path\('<code:code>/', …\), after register_converter", text)


@pytest.mark.parametrize("view", VIEWS)
def test_a_url_without_a_session_is_one_for_links(
    view: str, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    code = stores.create_session()
    url = f"/{view}/"
    link = Participant(code, "alice").link(url)
    assert Client().get(link).content == OK
    with caplog.at_level(logging.WARNING):
        assert refused(client, view, url)
        strangers = caplog.records[:]
        client.get(f"/{code}/join/?as=alice")
        assert refused(client, view, url)
    told = [_written(record) for record in caplog.records]
    words = f"The URL of the view '{view}-bare' has no `code`, so that only a link of a"
    if "sent" in view:
        assert not strangers
        assert [record.name for record in caplog.records] == [
            "sessionstores.participants"
        ]
    assert words in told[-1]
    assert "path('<code:code>/', …)" in told[-1]


def _written(record: logging.LogRecord) -> str:
    """Return what a handler writes of a record, with its traceback."""
    trace = traceback.format_exception(*record.exc_info) if record.exc_info else []
    return "".join([record.getMessage(), *trace])


@pytest.mark.parametrize("view", VIEWS)
def test_a_participant_by_other_means_needs_no_session_in_the_url(
    view: str, settings: Any
) -> None:
    settings.MIDDLEWARE = [*MIDDLEWARE, f"{__name__}.known"]
    code = stores.create_session()
    client = Client()
    client.get(f"/{code}/join/?as=alice")
    for url in (f"/{view}/", f"/{code}/{view}/named/"):
        assert client.get(url, headers={"as": "bob"}).content == OK


def known(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Middleware of a site that knows its participants itself."""

    def middleware(request: HttpRequest) -> Any:
        if id := request.headers.get("as"):
            request.participant = Participant("K7Q2ZD", id)  # type: ignore[attr-defined]
        return get_response(request)

    return middleware


@pytest.mark.parametrize("join_url", ["nope", 5, "page-named"])
def test_a_page_to_join_that_is_not_there_is_named(
    join_url: Any, rf: Any, settings: Any
) -> None:
    request = rf.get("/")
    request.participant = None
    request.aparticipant = None
    view = participant_required(join_url=join_url)(current_page)
    with pytest.raises(ImproperlyConfigured) as raised:
        view(request)
    assert f"join_url={join_url!r} of the view '/' leads nowhere" in str(raised.value)
    assert "join_url='sessionstores:join', or a path" in str(raised.value)


def current_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(OK)


class Named(View):
    pass


def declared(*bases: type) -> type:
    return type("Board", bases, {})


class Guarded(ParticipantRequiredMixin):
    pass


class Method(View):
    @participant_required
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(OK)


# By the mistake: what it raises, and what that says.
MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "mixin behind View": (
        lambda: declared(View, ParticipantRequiredMixin),
        ImproperlyConfigured,
        r"behind View, .* class Board\(ParticipantRequiredMixin, View\)",
    ),
    "mixin behind a view of Django's": (
        lambda: declared(TemplateView, ParticipantRequiredMixin),
        ImproperlyConfigured,
        r"behind TemplateView, .* class Board\(ParticipantRequiredMixin, TemplateView",
    ),
    "mixin behind a view of the site's": (
        lambda: declared(Named, Guarded),
        ImproperlyConfigured,
        "names ParticipantRequiredMixin behind Named",
    ),
    "class": (
        lambda: participant_required(Named),
        TypeError,
        r"Named is a class: class Named\(ParticipantRequiredMixin, …\)",
    ),
    "class, with a page to join": (
        lambda: participant_required(join_url="enter")(Named),
        TypeError,
        "Named is a class",
    ),
    "page to join without its name": (
        lambda: participant_required("enter"),  # type: ignore[type-var]
        TypeError,
        r"participant_required\('enter'\): .* participant_required\(join_url='enter'\)",
    ),
    "method": (
        lambda: Method().get(HttpRequest()),
        ImproperlyConfigured,
        r"called with <.*Method object .* @method_decorator\(participant_required\)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_guard_is_never_silently_off(mistake: str) -> None:
    run, kind, words = MISTAKES[mistake]
    with pytest.raises(kind, match=words):
        run()


@pytest.mark.parametrize(
    "bases",
    [
        (ParticipantRequiredMixin, View),
        (Guarded, Named),
        (ParticipantRequiredMixin, TemplateView),
        (Guarded,),
    ],
)
def test_a_mixin_may_stand_wherever_it_guards(bases: tuple[type, ...]) -> None:
    declared(*bases)
