"""Whatever clients send in headers, links and codes, the answer is one of ours."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sessionstores.exceptions import InvalidKey, SessionStoresError
from sessionstores.manager import stores
from sessionstores.participants.decorators import participant_required
from sessionstores.participants.joining import join
from sessionstores.participants.participant import Participant
from tests.participants.browsers import Browser

# Of any kind, lone surrogates and control characters too.
anything = st.text(st.characters(exclude_categories=()), max_size=40)
headers = st.text(st.characters(max_codepoint=255), max_size=60)
quick = settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def enter(request: HttpRequest, code: str) -> HttpResponse:
    """Join as the visitor; a page of a site."""
    try:
        join(request, code)
    except SessionStoresError as error:
        return HttpResponse(error.code, status=404)
    return HttpResponse("in")


@participant_required
def board(request: HttpRequest, code: str) -> HttpResponse:
    """Show who the visitor is."""
    return HttpResponse(str(request.participant))  # type: ignore[attr-defined]


urlpatterns = [path("enter/<str:code>/", enter), path("board/<str:code>/", board)]


@pytest.fixture
def site() -> Any:
    """A site with these pages, whose sessions are in cookies."""
    middleware = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "sessionstores.middleware.ParticipantMiddleware",
    ]
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=middleware,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    ):
        yield


@quick
@given(link=anything, address=headers, forwarded=headers, host=headers)
@example(link="\ud800", address="\xff", forwarded="[::1", host="[::1")
def test_no_request_is_an_error_of_the_server(
    site: None, link: str, address: str, forwarded: str, host: str
) -> None:
    code = stores.create_session()
    client = Client(raise_request_exception=True)
    query = quote(link.encode(errors="surrogatepass"))
    for page in ("enter", "board"):
        answer = client.get(
            f"/{page}/{code}/?ss_participant={query}",
            REMOTE_ADDR=address,
            HTTP_X_FORWARDED_FOR=forwarded,
            HTTP_HOST=host,
            HTTP_ORIGIN=host,
        )
        assert answer.status_code < 500
    stores.cleanup_session(code)


@given(anything)
def test_what_is_no_code_is_refused_by_name(code: str) -> None:
    with suppress(SessionStoresError):
        join(Browser().request(), code)
    with suppress(InvalidKey):
        join(Browser().request(), "K7Q2ZD", participant=code, create=True)


@given(
    st.lists(
        st.sampled_from(
            ["/", "//", "[", "]", ":", "?", "&", "#", "a=b", "ss_participant=x"]
        ),
        max_size=8,
    ).map("".join)
)
def test_any_address_can_carry_a_link(url: str) -> None:
    link = Participant("K7Q2ZD", "alice").link(url)
    page, mark, fragment = url.partition("#")
    assert link.endswith(mark + fragment)
    assert link.startswith(page.partition("?")[0] + "?")
    query = link.removesuffix(mark + fragment).partition("?")[2]
    (signed,) = parse_qs(query)["ss_participant"]
    url = f"/?ss_participant={signed}"
    assert Browser().join("K7Q2ZD", url=url, create=True).id == "alice"
    assert urlsplit("/?" + query).query == query


@quick
@given(headers)
@example("Bearer \xff")
def test_no_bearer_token_is_an_error_of_the_server(value: str) -> None:
    with override_settings(SESSIONSTORES={"STATS_TOKEN": "secret"}):
        answer = Client().get(
            "/admin/sessionstores/livesession/stats.json", HTTP_AUTHORIZATION=value
        )
        assert answer.status_code in (302, 401, 404)
