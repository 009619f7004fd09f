"""The page to join, and every way into a page by every state of a session."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from django import forms
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.forms import Form
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import include, path, re_path, register_converter, reverse_lazy
from django.utils import translation
from django.utils.functional import lazy

from sessionstores import leave, participant_required, stores
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.cas.keys import record_key
from sessionstores.converters import SessionCodeConverter
from sessionstores.exceptions import StoreUnavailable
from sessionstores.forms import JoinForm
from sessionstores.keys import StoreKey, generate_code
from sessionstores.middleware import ParticipantRequest
from sessionstores.participants.participant import Participant
from sessionstores.participants.tokens import LINK_SALT, Claims, make_token
from sessionstores.views import JoinView
from tests.participants.browsers import COOKIES
from tests.sockets import PATIENCE
from tests.workshop.states import Board

pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.django_db,
]

register_converter(SessionCodeConverter, "typed_code")


@participant_required
def page(request: ParticipantRequest, code: str) -> HttpResponse:
    assert request.participant is not None
    request.participant.config()
    return HttpResponse(request.participant.id)


@participant_required(join_url="sessionstores:join")
async def apage(request: ParticipantRequest, code: str) -> HttpResponse:
    participant = await request.aparticipant()
    assert participant is not None
    await participant.aconfig()
    return HttpResponse(participant.id)


@participant_required
def bare(request: ParticipantRequest, code: str) -> HttpResponse:
    assert request.participant is not None
    return HttpResponse(request.participant.id)


def left(request: ParticipantRequest, code: str) -> HttpResponse:
    leave(request, code)
    return HttpResponse(status=204)


class Entrance(JoinView):
    success_url = "/{code}/page/"
    role = "guest"

    def joined(self, participant: Participant, form: JoinForm) -> None:
        store = stores.get(Board, *participant.key)
        store.dispatch(Board.note, f"of {form.cleaned_data['name']}")


class HiddenCode(JoinForm):
    name = None
    code = forms.CharField(widget=forms.HiddenInput)


class TeamForm(JoinForm):
    team = forms.ChoiceField(
        choices=[("red", "Red"), ("blue", "Blue")], widget=forms.RadioSelect
    )


urlpatterns = [
    path("team/", JoinView.as_view(form_class=TeamForm, success_url="page")),
    path("hidden/", JoinView.as_view(form_class=HiddenCode, success_url="page")),
    path("join/", include("sessionstores.urls"), {"success_url": "page"}),
    path("entrance/", Entrance.as_view()),
    path("nowhere/", JoinView.as_view()),
    path("<typed_code:code>/page/", page, name="page"),
    path("<typed_code:code>/apage/", apage, name="apage"),
    path("<typed_code:code>/bare/", bare),
    path("<typed_code:code>/leave/", left),
    path("<typed_code:code>/turn/<int:turn>/", page, name="turn"),
    path("<str:code>/plain/", apage, name="plain"),
    re_path(r"^1234/(?P<code>TEAM\d\d)/$", page, name="numbered"),
]


def come_in(client: Client, code: str, url: str = "/join/", name: str = "Ada") -> Any:
    return client.post(url, {"code": code, "name": name})


def ghost(code: str, name: str = "alice", age: float = 0) -> str:
    """Return the query of a link for somebody who has no record yet."""
    claims = Claims(code, name, "participant", time.time() - age)
    return f"?ss_participant={make_token(claims, salt=LINK_SALT)}"


# Ways into a page: each leaves a client in front of it, and gives the link's query.


def stranger(client: Client, code: str) -> str:
    return ""


def guest(client: Client, code: str) -> str:
    come_in(client, code)
    return ""


def user(client: Client, code: str) -> str:
    client.force_login(get_user_model().objects.create(username="ann"))
    return guest(client, code)


def linked(client: Client, code: str) -> str:
    return ghost(code)


def outdated(client: Client, code: str) -> str:
    come_in(client, code)
    return ghost(code, age=10**6)


def of_another_session(client: Client, code: str) -> str:
    come_in(client, code)
    return ghost("ABC234")


def gone(client: Client, code: str) -> str:
    come_in(client, code)
    assert client.post(f"/{code}/leave/").status_code == 204
    return ""


# States of a session.


def unknown(code: str, settings: Any) -> None:
    stores.cleanup_session(code)


def live(code: str, settings: Any) -> None:
    pass


def locked(code: str, settings: Any) -> None:
    stores.lock(code)


def full(code: str, settings: Any) -> None:
    come_in(Client(), code)
    most = stores.participant_count(code)
    settings.SESSIONSTORES = {**settings.SESSIONSTORES, "MAX_PARTICIPANTS": most}


def over(code: str, settings: Any) -> None:
    stores.end_session(code)


def kicked(code: str, settings: Any) -> None:
    for each in {*stores.participants(code), "alice"}:
        stores.kick(code, each)


def corrupt(code: str, settings: Any) -> None:
    backend: Any = get_backend(blocking=True)
    name = record_key(StoreKey.of_session(code))
    found = run(backend.store.read([name]))[name]
    assert run(backend.store.cas(name, found.token, b"\xc1 no record", 60))


OPEN = {"unknown", "live", "locked", "full", "corrupt"}
STATES = [unknown, live, locked, full, over, kicked, corrupt]
# With the status of a page in each state; None: the page to join, or 403 without one.
WAYS: dict[Callable[..., str], dict[str, int | None]] = {
    stranger: {},
    guest: {**dict.fromkeys(OPEN, 200), "over": 410, "kicked": 403},
    user: {**dict.fromkeys(OPEN, 200), "over": 410, "kicked": 403},
    # Whom it names has no record yet: there is no room for them.
    linked: {**dict.fromkeys(OPEN, 200), "full": 403, "over": 410, "kicked": 403},
    outdated: {},
    of_another_session: {},
    gone: {},
}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", ["page", "apage"])
def test_every_way_into_a_page_by_every_state_of_a_session(
    kind: str, way: Callable[..., str], state: Any, settings: Any, client: Client
) -> None:
    code = stores.create_session(keep=3600)
    query = way(client, code)
    state(code, settings)
    before = set(stores.participants(code))
    expected = WAYS[way].get(state.__name__)
    if expected is None:
        expected = 403 if kind == "page" else 302
    for ask in (client.head, client.get, client.get):
        response = ask(f"/{code}/{kind}/{query}")
        assert response.status_code == expected
    if expected == 302:
        after = quote(f"/{code}/{kind}/{query}", safe="")
        assert response["Location"] == f"/join/?code={code}&next={after}"
    # Nobody is made by looking, but for who is let in.
    if expected != 200:
        assert set(stores.participants(code)) == before
        assert not stores.sessions() or state is not unknown


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_to_join_by_every_state_of_a_session(
    way: Callable[..., str], state: Any, settings: Any, client: Client
) -> None:
    code = stores.create_session(keep=3600)
    way(client, code)
    before = set(stores.participants(code))
    state(code, settings)
    response = come_in(client, f" {code[:3].lower()}-{code[3:]} ")
    # Whom the browser keeps is no newcomer; where they have left, they are one.
    is_kept = way in (guest, user, outdated, of_another_session)
    takes = (live, corrupt, locked, full) if is_kept else (live, corrupt, kicked)
    if state in takes:
        assert response.status_code == 302
        assert response["Location"] == f"/{code}/page/"
        assert client.get(f"/{code}/page/").status_code == 200
        if is_kept:
            assert before <= set(stores.participants(code))
            assert len(stores.participants(code)) <= len(before) + (state is full)
        return
    assert response.status_code == 200
    (error,) = response.context["form"].errors["code"]
    assert error
    if state in (unknown, over, kicked):
        code_of_it = "kicked" if state is kicked else "unknown_session"
        assert response.context["form"].refusal.code == code_of_it
    if state in (unknown, over):
        assert code not in stores.sessions()


@pytest.mark.parametrize("method", ["get", "head", "options"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_looking_at_the_page_makes_nobody_and_tells_nothing(
    method: str, state: Any, settings: Any, client: Client
) -> None:
    code = stores.create_session(keep=3600)
    state(code, settings)
    before = stores.participants(code)
    for query in ("", ghost(code)):
        mark = "&" if query else "?"
        response = getattr(client, method)(f"/join/{query}{mark}code={code}")
        assert response.status_code == 200
    assert stores.participants(code) == before
    assert "sessionid" not in response.cookies
    for refused in ("put", "patch", "delete"):
        assert getattr(client, refused)("/join/").status_code == 405


def test_a_preview_of_a_link_is_nobody_where_the_page_needs_no_record(
    client: Client, settings: Any
) -> None:
    code = stores.create_session(keep=3600)
    for ask in (client.head, client.get):
        assert ask(f"/{code}/bare/{ghost(code)}").status_code == 200
    assert stores.participants(code) == []
    # Where it needs one, who only looked in is gone again, for all that is kept.
    assert client.get(f"/{code}/page/{ghost(code)}").status_code == 200
    assert stores.participants(code) == ["alice"]
    settings.SESSIONSTORES = {**settings.SESSIONSTORES, "IDLE_TIMEOUT": 0.05}
    deadline = time.monotonic() + PATIENCE
    while stores.participants(code):
        assert time.monotonic() < deadline
        stores.sweep()
    assert stores.sessions() == [code]


# The form sent twice


@pytest.mark.parametrize("engine", [None, COOKIES])
def test_a_form_that_is_sent_twice_makes_one_person(
    engine: str | None, settings: Any
) -> None:
    if engine:
        settings.SESSION_ENGINE = engine
    code = stores.create_session()
    shown = Client()
    shown.get("/join/")
    # Neither request knows of the other's answer.
    clicks = [Client(), Client()]
    for client in clicks:
        client.cookies.load(shown.cookies.output(header="", sep=";"))
        assert come_in(client, code).status_code == 302
    assert len(stores.participants(code)) == 1
    for client in clicks:
        assert client.get(f"/{code}/page/").content.decode() in stores.participants(
            code
        )
        assert not client.cookies["ss_visitor"].value


def test_two_people_are_two_and_so_are_those_at_one_computer() -> None:
    code = stores.create_session()
    client = Client()
    for joined in (1, 2, 3):
        client.get("/join/")
        come_in(client, code)
        assert len(stores.participants(code)) == joined
        # The next one finds no session of Django's.
        client.cookies.pop("sessionid")


def test_the_cookie_follows_the_settings_of_djangos_session(settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = True
    settings.SESSION_COOKIE_PATH = "/site/"
    settings.SESSION_COOKIE_SAMESITE = "Strict"
    response = Client().get("/join/")
    cookie = response.cookies["ss_visitor"]
    assert cookie["secure"]
    assert cookie["httponly"]
    assert (cookie["path"], cookie["samesite"]) == ("/site/", "Strict")
    assert "no-store" in response["Cache-Control"]


# Where they are sent


def test_who_was_sent_to_join_comes_back_to_the_page(client: Client) -> None:
    code = stores.create_session()
    sent = client.get(f"/{code}/apage/?tab=2")
    response = client.get(sent["Location"])
    assert f'value="{code}"' in response.content.decode()
    response = come_in(client, code, sent["Location"])
    assert response["Location"] == f"/{code}/apage/?tab=2"
    assert client.get(response["Location"]).status_code == 200


def test_who_types_another_code_comes_to_the_page_of_that_session(
    client: Client,
) -> None:
    sent = client.get("/K7Q2ZD/apage/")
    code = stores.create_session()
    # Without a success_url, to the one that they came from.
    url = sent["Location"].replace("/join/", "/nowhere/")
    assert come_in(client, code, url)["Location"] == f"/{code}/apage/"
    assert come_in(client, code, sent["Location"])["Location"] == f"/{code}/page/"


@pytest.mark.parametrize(
    "page", ["https://elsewhere.example/", "//elsewhere.example/", "javascript:x()", ""]
)
def test_nobody_is_sent_to_another_site(page: str, client: Client) -> None:
    code = stores.create_session()
    response = come_in(client, code, f"/entrance/?next={quote(page)}")
    assert response["Location"] == f"/{code}/page/"


def test_a_view_without_a_place_to_send_people_says_so(client: Client) -> None:
    with pytest.raises(ImproperlyConfigured, match="success_url"):
        client.get("/nowhere/")
    assert client.get("/nowhere/?next=/K7Q2ZD/page/").status_code == 200


lazily: Any = lazy(lambda: "/{code}/page/", str)

# By what is given to JoinView: what it says, before anybody joins.
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "number": ({"success_url": 5}, "success_url=5 is no text"),
    "view": ({"success_url": page}, "success_url=<function page .* is no text"),
    "unknown name": ({"success_url": "nope"}, "'nope' is the name of no URL: Reverse"),
    "no name": ({"success_url": ""}, "success_url='' is the name of no URL"),
    "unknown namespace": ({"success_url": "a:b"}, "no URL: 'a' is not a registered"),
    "name that takes no code": (
        {"success_url": "sessionstores:join"},
        "is the name of /join/, which takes no code",
    ),
    "name that takes more": (
        {"success_url": "turn"},
        "is the name of /K7Q2ZD/turn/1/, which takes more than a code",
    ),
    "other name in braces": (
        {"success_url": "/x/{cod}/"},
        "has {cod}, which is not filled in: only {code} is",
    ),
    "empty braces": ({"success_url": "/x/{}/"}, "has {}, which is not filled in"),
    "relative path": (
        {"success_url": "board/"},
        "does not begin with /, so that it leads from /joined/ to /joined/board/",
    ),
    "role": ({"role": 5, "success_url": "page"}, "JoinView.role: 5 is not a role"),
    "form": (
        {"form_class": Form, "success_url": "page"},
        "form_class is <class '.*Form'>, which lets nobody join: base it on JoinForm",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistaken_option_is_named_before_anybody_joins(
    mistake: str, client: Client, rf: RequestFactory
) -> None:
    options, words = MISTAKES[mistake]
    code = stores.create_session()
    view = JoinView.as_view(**options)
    typed = {"code": code, "name": "Ada"}
    # Who comes from a page of one session, and types the code of another.
    sent = "?code=K7Q2ZD&next=/K7Q2ZD/page/"
    for request in (
        rf.get("/joined/"),
        rf.post("/joined/", typed),
        rf.post(f"/joined/{sent}", typed),
    ):
        request.session = SessionBase()
        request._dont_enforce_csrf_checks = True
        with pytest.raises(ImproperlyConfigured) as raised:
            view(request)
        assert re.search(words, str(raised.value)), str(raised.value)
    assert stores.participants(code) == []


@pytest.mark.parametrize(
    ("url", "leads"),
    [
        ("page", "/{code}/page/"),
        ("/{code}/page/", "/{code}/page/"),
        (lazily(), "/{code}/page/"),
        (reverse_lazy("sessionstores:join"), "/join/"),
        ("/thanks/", "/thanks/"),
        ("https://play.example.com/{code}", "https://play.example.com/{code}"),
        ("../{code}/page/", "../{code}/page/"),
        ("{code}/page/", "{code}/page/"),
        ("numbered", "/1234/{code}/"),
    ],
)
def test_people_are_sent_wherever_a_success_url_may_lead(
    url: Any, leads: str, rf: RequestFactory
) -> None:
    code = "TEAM01" if url == "numbered" else stores.create_session()
    assert stores.get(Board, code, "bob").state
    view = JoinView.as_view(success_url=url)
    page = "/" if url == "{code}/page/" else "/joined/"
    for request in (rf.get(page), rf.post(page, {"code": code, "name": "Ada"})):
        request.session = SessionBase()
        request._dont_enforce_csrf_checks = True
        response = view(request)
    assert response.status_code == 302
    assert response["Location"] == leads.replace("{code}", code)


def test_who_comes_back_is_not_hindered_by_a_mistake_that_is_not_used(
    rf: RequestFactory,
) -> None:
    code = stores.create_session()
    request = rf.post(f"/?code={code}&next=/{code}/page/", {"code": code, "name": "A"})
    request.session = SessionBase()
    request._dont_enforce_csrf_checks = True
    response = JoinView.as_view(success_url="nope")(request)
    assert response["Location"] == f"/{code}/page/"


def test_who_comes_back_to_a_page_by_a_code_as_typed_comes_to_its_one_form(
    client: Client,
) -> None:
    code = "K7Q2ZD"
    assert stores.get(Board, code, "bob").state
    sent = client.get(f"/{code.lower()}/plain/?tab=2")["Location"]
    assert come_in(client, code, sent)["Location"] == f"/{code}/plain/?tab=2"
    assert client.get(f"/{code}/plain/").status_code == 200


def test_a_view_may_have_a_role_and_do_more(client: Client) -> None:
    code = stores.create_session()
    come_in(client, code, "/entrance/", "Ada Lovelace")
    (id,) = stores.participants(code)
    board = stores.get(Board, code, id).peek()
    assert board is not None
    assert board.state.notes == "of Ada Lovelace"
    (person,) = stores.people(code)
    assert (person.id, person.name, person.role) == (id, "Ada Lovelace", "guest")


class AsDjangoHasIt(JoinView):
    def get_success_url(self) -> str:
        return f"/for/{self.participant.name}/"


class AsItWas(JoinView):
    def get_success_url(self, participant: Participant) -> str:  # type: ignore[override]
        return f"/for/{participant.name}/"


class Inherited(JoinView):
    success_url = "page"

    def get_success_url(self) -> str:
        return f"{super().get_success_url()}?welcome=1"


@pytest.mark.parametrize("view", [AsDjangoHasIt, AsItWas, Inherited])
def test_a_view_may_say_itself_where_to_send_people(
    view: type[JoinView], rf: RequestFactory
) -> None:
    code = stores.create_session()
    request = rf.post("/joined/", {"code": code, "name": "Ada"})
    request.session = SessionBase()
    request._dont_enforce_csrf_checks = True
    leads = f"/{code}/page/?welcome=1" if view is Inherited else "/for/Ada/"
    assert view.as_view()(request)["Location"] == leads


# Errors


def test_too_many_guesses_are_answered_429(client: Client, settings: Any) -> None:
    settings.SESSIONSTORES = {**settings.SESSIONSTORES, "GUESS_LIMIT": (2, 60)}
    code = stores.create_session()
    statuses = [come_in(client, generate_code()).status_code for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    response = come_in(client, code)
    assert (response.status_code, response["Retry-After"]) == (429, "60")
    assert stores.participants(code) == []


def test_thirty_newcomers_at_one_address_of_whom_ten_mistype_all_get_in() -> None:
    code = stores.create_session()
    for number in range(30):
        client = Client()
        client.get("/join/")
        if number % 3 == 0:
            for typed in ("K7Q2ZD", "not a code", generate_code()):
                assert come_in(client, typed).status_code == 200
        assert come_in(client, code, name=f"Pupil {number}").status_code == 302
    assert stores.participant_count(code) == 30


def test_an_outage_is_answered_503(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr("sessionstores.forms.join", fail)
    response = come_in(client, "K7Q2ZD")
    assert response.status_code == 503
    assert response.context["form"].errors["code"]


def test_errors_are_described_and_the_first_has_the_focus(client: Client) -> None:
    response = come_in(client, "K7", name="\x00")
    text = response.content.decode()
    assert "<title>Error: Join a session</title>" in text
    fields = re.findall(r'<input type="text"[^>]*>', text)
    assert [("autofocus" in field) for field in fields] == [True, False]
    for name, field in zip(("code", "name"), fields, strict=True):
        assert 'aria-invalid="true"' in field
        described = re.search(r'aria-describedby="([^"]*)"', field)
        assert described is not None
        for id in described[1].split():
            assert f'id="{id}"' in text
        assert f"id_{name}_error" in described[1]
        assert f'<label for="id_{name}">' in text
    assert "<script" not in text
    assert " style=" not in text
    response = come_in(client, "K7Q2ZD", name="")
    fields = re.findall(r'<input type="text"[^>]*>', response.content.decode())
    assert [("autofocus" in field) for field in fields] == [False, True]


def test_what_is_wrong_with_a_code_that_is_hidden_is_shown(client: Client) -> None:
    code = stores.create_session()
    stores.lock(code)
    told = client.post("/hidden/", {"code": code}).content.decode()
    (shown,) = re.findall(r'<p class="ss-join-error" role="alert">(.*?)</p>', told)
    assert "no more people" in shown
    stores.unlock(code)
    assert client.post("/hidden/", {"code": code}).status_code == 302
    assert [each.name for each in stores.people(code)] == [None]


def test_a_group_of_controls_has_a_legend_and_its_error(client: Client) -> None:
    told = client.post("/team/", {"code": "K7Q2ZD", "name": "Ada"}).content.decode()
    (group,) = re.findall(r"<fieldset.*?</fieldset>", told, re.DOTALL)
    assert re.search(r"<legend[^>]*>Team</legend>", group)
    assert group.startswith('<fieldset aria-describedby="id_team_error"')
    assert 'id="id_team_error"' in group
    assert group.count("<label") == 2
    assert told.count("</fieldset>") == 1


def test_what_was_typed_is_shown_escaped(client: Client) -> None:
    for text in (
        come_in(client, '"><script>', name="<b>").content.decode(),
        client.get(f"/join/?code={quote('<script>')}").content.decode(),
    ):
        assert "<script" not in text
        assert html.escape("<script>") in text


def test_the_page_is_in_the_language_of_its_visitor(client: Client) -> None:
    with translation.override("he"):
        text = client.get("/join/").content.decode()
    assert '<html lang="he" dir="rtl">' in text
