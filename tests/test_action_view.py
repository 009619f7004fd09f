"""Forms of actions in a browser without scripts: from the page, by POST, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.http import HttpResponse
from django.template import engines
from django.test import AsyncClient, Client
from django.urls import include, path
from django.utils import translation

from sessionstores import ActionRejected, join, participant_required, stores, views
from sessionstores.action_forms.kept import ENTRY, MAX_BYTES
from sessionstores.backends.locmem import LocMemStore
from sessionstores.exceptions import Conflict, OutcomeUnknown, StoreUnavailable
from sessionstores.middleware import ParticipantRequest
from sessionstores.participants.participant import Participant
from sessionstores.state.declaration import registry
from tests.action_forms.states import Kinds, Shared
from tests.action_forms.test_form import REFUSED, TABLE, Controls, sent
from tests.participants.browsers import COOKIES

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]

# What the page shows, by its `?show=`.
FORMS = {
    "few": '{% sessionstores_form "kinds" "few" %}',
    "text": '{% sessionstores_form "kinds" "text" %}',
    "full": '{% sessionstores_form "kinds" "full" next="/elsewhere/" %}',
    "nothing": '{% sessionstores_form "kinds" "nothing" label="Go & see" %}',
    "write": '{% sessionstores_form "shared" "write" %}',
    "wipe": '{% sessionstores_form "shared" "wipe" %}',
    "preset": "{% for each in each_of %}"
    '{% sessionstores_form "kinds" "full" value=each label=each %}{% endfor %}',
    "own": '{% autoescape off %}{% sessionstores_form "kinds" "text" '
    "label=request.GET.label values=values %}{% endautoescape %}",
}


@participant_required
def page(request: ParticipantRequest, code: str) -> HttpResponse:
    text = "{% load sessionstores %}" + FORMS[request.GET.get("show", "few")]
    values = {"value": request.GET["value"]} if "value" in request.GET else {}
    template = engines["django"].from_string(text)
    context = {"values": values, "each_of": ["a", "b\nc"]}
    return HttpResponse(template.render(context, request))


@participant_required
async def apage(request: ParticipantRequest, code: str) -> HttpResponse:
    template = engines["django"].from_string("{% load sessionstores %}" + FORMS["few"])
    return HttpResponse(template.render({}, request))


def entered(request: ParticipantRequest, code: str) -> HttpResponse:
    return HttpResponse(join(request, code, role=request.GET.get("role")).id)


urlpatterns = [
    path("join/", include("sessionstores.urls"), {"success_url": "page"}),
    path("<str:code>/page/", page, name="page"),
    path("<str:code>/apage/", apage),
    path("<str:code>/enter/", entered),
]


@pytest.fixture(autouse=True)
def _declared() -> Iterator[None]:
    with registry.isolated(Kinds, Shared):
        yield


@pytest.fixture
def code() -> str:
    return stores.create_session()


def enter(client: Client, code: str, role: str = "participant") -> str:
    return client.get(f"/{code}/enter/?role={role}").content.decode()


def url(code: str, action: str, state: str = "kinds") -> str:
    return f"/join/act/{code}/{state}/{action}/"


def got(code: str, id: str) -> list[Any]:
    found = stores.get(Kinds, code, id).peek()
    return [] if found is None else found.state.got


def submit(client: Client, html: str, typed: dict[str, str], place: int = 0) -> Any:
    """Send a form of a page as a browser does, with what somebody types."""
    forms = re.findall(r"<form.*?</form>", html, re.DOTALL)
    controls = Controls(forms[place])
    (form,) = controls.of("form")
    data = {
        each["name"]: each.get("value") or ""
        for each in controls.of("input")
        if each.get("type") != "checkbox"
    }
    data |= typed
    # As browsers do.
    lines = {name: value.replace("\n", "\r\n") for name, value in data.items()}
    return client.post(form["action"], lines)


def test_a_form_acts_once_and_sends_the_browser_back(code: str) -> None:
    client = Client(enforce_csrf_checks=True)
    id = enter(client, code)
    html = client.get(f"/{code}/page/").content.decode()
    response = submit(client, html, {"value": "5"})
    assert (response.status_code, response["Location"]) == (303, f"/{code}/page/")
    assert got(code, id) == [5]
    again = client.get(response["Location"]).content.decode()
    assert got(code, id) == [5]
    assert 'role="alert"' not in again
    assert "aria-invalid" not in again


@pytest.mark.parametrize("name", [row[0] for row in TABLE])
def test_a_value_of_each_kind_is_stored_as_from_a_tab(name: str, code: str) -> None:
    values = next(row[3] for row in TABLE if row[0] == name)
    client = Client()
    id = enter(client, code)
    good = {"day": "2030-02-01", "moment": "2030-02-01T10:00:00Z"}
    good |= {"uuid": "0190163d-8694-739b-aea5-966c26f8ad91", "point": '{"x": 1}'}
    accepted = [v for v in values if isinstance(v, str) and client_takes(name, v)]
    sample = good.get(name) or accepted[-1]
    response = client.post(url(code, name), {"value": sample})
    assert response.status_code == 303
    assert len(got(code, id)) == 1
    refused = [v for v in values if isinstance(v, str) and not client_takes(name, v)]
    for value in refused:
        assert client.post(url(code, name), {"value": value}).status_code in (200, 303)
    assert len(got(code, id)) == 1


def client_takes(name: str, value: str) -> bool:
    return sent(name, value) is not REFUSED


@pytest.mark.parametrize("engine", [None, COOKIES])
def test_what_was_wrong_is_shown_once_at_its_argument_with_what_was_typed(
    engine: str | None, code: str, settings: Any
) -> None:
    settings.SESSION_ENGINE = engine or settings.SESSION_ENGINE
    client = Client()
    id = enter(client, code)
    back = submit(
        client, client.get(f"/{code}/page/").content.decode(), {"value": "77"}
    )
    assert back.status_code == 303
    html = client.get(back["Location"]).content.decode()
    (control,) = [
        each for each in Controls(html).of("input") if each["name"] == "value"
    ]
    assert control["value"] == "77"
    assert control["aria-invalid"] == "true"
    assert "less than or equal to 9" in html
    html = client.get(back["Location"]).content.decode()
    assert "aria-invalid" not in html
    assert "less than" not in html
    (control,) = [
        each for each in Controls(html).of("input") if each["name"] == "value"
    ]
    assert control.get("value", "") == ""
    assert got(code, id) == []


@pytest.mark.parametrize("engine", [None, COOKIES, "none"])
def test_a_refusal_with_half_a_character_is_shown_without_it(
    engine: str | None, code: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise ActionRejected("Not <\ud83d>.", code="half\udc00")

    settings.SESSION_ENGINE = engine if engine == COOKIES else settings.SESSION_ENGINE
    client = Client()
    enter(client, code)
    html = client.get(f"/{code}/page/?show=full").content.decode()
    monkeypatch.setattr(views, "act", refuse)
    if engine == "none":
        # The page of its own, where Django's session cannot keep it.
        monkeypatch.setattr(views.kept, "keep", lambda *_: False)
        shown = submit(client, html, {"value": "v"})
    else:
        back = submit(client, html, {"value": "v"})
        assert back.status_code == 303
        shown = client.get(f"/{code}/page/?show=full")
    assert "Not &lt;\ufffd&gt;." in shown.content.decode()


def test_a_refusal_of_the_action_is_shown_of_the_form_and_escaped(code: str) -> None:
    client = Client()
    id = enter(client, code)
    html = client.get(f"/{code}/page/?show=full").content.decode()
    response = submit(client, html, {"value": '"><img src=x>'})
    assert response["Location"] == "/elsewhere/"
    html = client.get(f"/{code}/page/?show=full").content.decode()
    assert '<div role="alert"><ul class="errorlist nonfield"' in html
    assert "&lt;No&gt; &quot;&gt;&lt;img src=x&gt;, " + id in html
    assert "<img" not in html
    assert "<No>" not in html
    assert Controls(html).of("input")[2]["value"] == '"><img src=x>'


def test_a_refusal_is_shown_in_the_form_whose_button_was_pressed(code: str) -> None:
    client = Client()
    enter(client, code)
    html = client.get(f"/{code}/page/?show=preset").content.decode()
    ids = [each["id"] for each in Controls(html).of("input") if "id" in each]
    assert len(ids) == len({*ids}) == 4
    submit(client, html, {}, place=1)
    html = client.get(f"/{code}/page/?show=preset").content.decode()
    first, second = re.findall(r"<form.*?</form>", html, re.DOTALL)
    assert "alert" not in first
    assert "&lt;No&gt; b\nc, " in second
    # So that the page is shown there.
    assert "autofocus" not in first
    assert '<button type="submit" autofocus>' in second


def test_texts_are_escaped_wherever_a_template_puts_the_form(code: str) -> None:
    client = Client()
    enter(client, code)
    evil = '"><script>alert(1)</script>'
    given = {"show": "own", "label": evil, "value": evil}
    html = client.get(f"/{code}/page/", given).content.decode()
    assert "<script" not in html
    controls = Controls(html)
    assert controls.of("input")[-1]["value"] == evil
    assert evil in controls.texts
    assert not [attrs for _, attrs in controls.found if "style" in attrs]
    assert not [
        name for _, attrs in controls.found for name in attrs if name[:2] == "on"
    ]


@pytest.mark.parametrize(
    ("method", "status"),
    [("get", 405), ("head", 405), ("put", 405), ("delete", 405), ("options", 405)],
)
def test_only_a_post_acts(method: str, status: int, code: str) -> None:
    client = Client()
    id = enter(client, code)
    assert getattr(client, method)(url(code, "nothing")).status_code == status
    assert got(code, id) == []


def test_a_post_without_the_pages_token_is_refused(code: str) -> None:
    client = Client(enforce_csrf_checks=True)
    id = enter(client, code)
    client.get(f"/{code}/page/")
    response = client.post(url(code, "nothing"))
    assert response.status_code == 403
    assert got(code, id) == []


def test_without_middleware_against_forgery_the_view_refuses_it_all_the_same(
    code: str, settings: Any
) -> None:
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "csrf" not in each]
    client = Client(enforce_csrf_checks=True)
    id = enter(client, code)
    assert client.post(url(code, "nothing")).status_code == 403
    assert got(code, id) == []


@pytest.mark.parametrize(
    "evil",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "javascript:alert(1)",
        "http:evil.example",
        "ftp://testserver/",
        " https://evil.example",
        "",
    ],
)
@pytest.mark.parametrize("value", ["5", "77"])
@pytest.mark.parametrize("way", ["next", "referrer"])
def test_nobody_is_sent_to_another_site(
    evil: str, value: str, way: str, code: str
) -> None:
    client = Client()
    enter(client, code)
    data = {"value": value} | ({"ss_next": evil} if way == "next" else {})
    headers = {"referer": evil} if way == "referrer" else {}
    response = client.post(url(code, "few"), data, headers=headers)
    assert (response.status_code, response["Location"]) == (303, "/")
    here = "http://testserver/here/"
    response = client.post(url(code, "few"), data, headers={"referer": here})
    assert response["Location"] == here


@pytest.mark.parametrize(
    ("state", "action"),
    [
        ("kinds", "no_such"),
        ("kinds", "got"),
        ("kinds", "migrate"),
        ("kinds", "__init__"),
        ("no_such", "few"),
        ("kinds", "<script>"),
    ],
)
def test_what_there_is_not_is_answered_404_in_words_for_people(
    state: str, action: str, code: str
) -> None:
    client = Client()
    id = enter(client, code)
    response = client.post(url(code, action, state), {"ss_next": "/here/"})
    html = response.content.decode()
    assert response.status_code == 404
    assert "This page is no longer up to date. Reload it, then try again." in html
    assert '<a href="/here/">' in html
    assert "<script" not in html
    assert got(code, id) == []


def test_an_action_of_another_role_is_refused_in_the_form(code: str) -> None:
    guest, host = Client(), Client()
    enter(guest, code)
    host_id = enter(host, code, "facilitator")
    shared = stores.get(Shared, code)
    shared.dispatch(Shared.write, "a", by=Participant(code, host_id))
    guest.post(url(code, "wipe", "shared"))
    assert len(shared.state.log) == 1
    html = guest.get(f"/{code}/page/?show=wipe").content.decode()
    assert "You may not do this." in html
    assert host.post(url(code, "wipe", "shared")).status_code == 303
    assert shared.state.log == []
    # The record's role decides, from the next request on.
    stores.set_role(code, host_id, "participant")
    shared.dispatch(Shared.write, "a", by=Participant(code, host_id))
    host.post(url(code, "wipe", "shared"))
    assert len(shared.state.log) == 1


def test_who_acts_is_the_participant_whatever_is_sent(code: str) -> None:
    client = Client()
    id = enter(client, code)
    data = {"text": "hi", "by": "mallory", "participant": "mallory", "code": "x"}
    client.post(url(code, "write", "shared"), data)
    assert stores.get(Shared, code).state.log == [f"{id}: hi"]


def test_strangers_and_who_is_out_change_nothing(code: str) -> None:
    client, other = Client(), stores.create_session()
    enter(Client(), code)
    data = {"text": "hi"}
    enter(client, other)
    assert client.post(url(code, "write", "shared"), data).status_code == 403
    id = enter(client, code)
    stores.kick(code, id)
    response = client.post(url(code, "write", "shared"), data)
    assert response.status_code == 403
    assert "You were removed from this session." in response.content.decode()
    assert stores.get(Shared, code).state.log == []
    late = Client()
    enter(late, code)
    stores.end_session(code)
    response = late.post(url(code, "write", "shared"), data)
    assert response.status_code == 410
    assert "This session is over." in response.content.decode()


def test_who_comes_by_a_link_and_finds_no_room_changes_nothing(
    code: str, settings: Any
) -> None:
    settings.SESSIONSTORES = {**settings.SESSIONSTORES, "MAX_PARTICIPANTS": 1}
    stores.get(Kinds, code, "ann").touch()
    ann, bob = Participant(code, "ann", "facilitator"), Participant(code, "bob")
    text = {"text": "hi"}
    there = ann.link(url(code, "write", "shared"))
    assert Client().post(there, text).status_code == 303
    # The link's role is kept, as by a tab.
    assert [(each.id, each.role) for each in stores.people(code)] == [
        ("ann", "facilitator")
    ]
    response = Client().post(bob.link(url(code, "write", "shared")), text)
    assert response.status_code == 200
    assert '<div role="alert">' in response.content.decode()
    assert stores.get(Shared, code).state.log == ["ann: hi"]
    assert stores.participants(code) == ["ann"]


def test_two_participants_in_one_browser_act_as_themselves_only(code: str) -> None:
    client = Client(enforce_csrf_checks=True)
    id = enter(client, code)
    links = {
        name: Participant(code, name).link(f"/{code}/page/") for name in ("ann", "bob")
    }
    pages = {name: client.get(link).content.decode() for name, link in links.items()}
    pages[id] = client.get(f"/{code}/page/").content.decode()
    for value, name in (("1", "ann"), ("2", "bob"), ("3", id), ("4", "ann")):
        response = submit(client, pages[name], {"value": value})
        assert response.status_code == 303
        target = urlsplit(response["Location"])
        assert target.path == f"/{code}/page/"
        assert ("ss_participant" in parse_qs(target.query)) == (name != id)
        assert client.get(response["Location"]).status_code == 200
    assert got(code, "ann") == [1, 4]
    assert got(code, "bob") == [2]
    assert got(code, id) == [3]
    # What ann was refused is shown to her, at once, and to nobody else.
    before = dict(client.session)
    shown = submit(client, pages["ann"], {"value": "77"})
    html = shown.content.decode()
    assert shown.status_code == 200
    assert "less than or equal to 9" in html
    assert "no-store" in shown["Cache-Control"]
    assert dict(client.session) == before
    for page_of in (links["bob"], links["ann"], f"/{code}/page/"):
        assert "less than" not in client.get(page_of).content.decode()
    # The page that shows it can be sent again.
    again = submit(client, html, {"value": "7"})
    assert again.status_code == 303
    assert got(code, "ann") == [1, 4, 7]
    assert urlsplit(again["Location"]).path == f"/{code}/page/"


def test_what_somebody_was_refused_is_not_shown_to_the_next_at_the_browser(
    code: str,
) -> None:
    client, other = Client(), stores.create_session()
    id = enter(client, code)
    enter(client, other)
    client.post(url(code, "few"), {"value": "77"})
    assert client.session[ENTRY]["whose"] == f"{code}:{id}"
    assert "less than" not in client.get(f"/{other}/page/").content.decode()
    assert "less than" in client.get(f"/{code}/page/").content.decode()
    assert ENTRY not in client.session


def test_a_success_forgets_what_was_refused_before(code: str) -> None:
    client = Client()
    enter(client, code)
    client.post(url(code, "few"), {"value": "77"})
    client.post(url(code, "nothing"))
    assert ENTRY not in client.session


@pytest.mark.parametrize("junk", [7, None, "x", {}, {"whose": 1}, {"a": "b"}, [[]]])
def test_what_no_release_has_kept_is_left_alone(junk: object, code: str) -> None:
    client = Client()
    enter(client, code)
    session = client.session
    session[ENTRY] = junk
    session.save()
    assert client.get(f"/{code}/page/").status_code == 200


def test_what_is_too_large_to_keep_is_shown_at_once(code: str) -> None:
    client = Client()
    enter(client, code)
    long = "ä" * MAX_BYTES
    response = client.post(url(code, "full"), {"value": long})
    assert response.status_code == 200
    assert long in response.content.decode()
    assert ENTRY not in client.session
    assert response["Cache-Control"].count("no-store") == 1


def broken(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: Any, **kwargs: Any) -> Any:
        raise kind("127.0.0.1:6379 said no")

    monkeypatch.setattr("sessionstores.views.act", fail)


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        (StoreUnavailable, 503, "cannot do this at the moment"),
        (OutcomeUnknown, 503, "not known whether this was done"),
        (Conflict, 303, "Others were changing this at the same time."),
    ],
)
def test_a_failure_is_told_in_words_for_people(
    kind: type[Exception],
    status: int,
    words: str,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client()
    enter(client, code)
    with monkeypatch.context() as patch:
        broken(kind, patch)
        response = client.post(url(code, "few"), {"value": "5"})
    assert response.status_code == status
    if status == 303:
        response = client.get(f"/{code}/page/")
    html = response.content.decode()
    assert words in html
    assert "6379" not in html
    assert 'value="5"' in html


def test_a_mistake_in_an_action_is_the_sites_error_and_changes_nothing(
    code: str,
) -> None:
    client = Client(raise_request_exception=False)
    enter(client, code)
    assert client.post(url(code, "breaks")).status_code == 500


def test_the_action_runs_once_though_others_write_at_the_same_time(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    id = enter(client, code)
    client.post(url(code, "few"), {"value": "1"})
    real, tries = LocMemStore.cas, []

    async def beaten(self: Any, name: str, *args: Any) -> Any:
        tries.append(name)
        if len(tries) in (1, 2):
            return None
        return await real(self, name, *args)

    monkeypatch.setattr(LocMemStore, "cas", beaten)
    client.post(url(code, "few"), {"value": "2"})
    assert len(tries) >= 3
    assert got(code, id) == [1, 2]


def test_everything_is_told_in_german(code: str) -> None:
    client = Client()
    enter(client, code)
    with translation.override("de"):
        client.post(url(code, "few"), {"value": "77"})
        assert "kleiner oder gleich 9" in client.get(f"/{code}/page/").content.decode()
        client.post(url(code, "wipe", "shared"))
        html = client.get(f"/{code}/page/?show=wipe").content.decode()
        assert "Das ist hier nicht erlaubt." in html
        response = client.post(url(code, "no_such"))
        assert '<html lang="de"' in response.content.decode()
        assert "nicht mehr aktuell" in response.content.decode()


def test_the_page_of_a_refusal_needs_no_style_or_script_of_its_own(code: str) -> None:
    response = Client().post(
        Participant(code, "ann").link(url(code, "few")), {"value": "77"}
    )
    controls = Controls(response.content.decode())
    assert not controls.of("script", "style")
    assert not [attrs for _, attrs in controls.found if "style" in attrs]
    (viewport,) = [a for a in controls.of("meta") if a.get("name") == "viewport"]
    assert viewport["content"] == "width=device-width, initial-scale=1"
    labels = {each["for"] for each in controls.of("label")}
    assert labels == {a["id"] for a in controls.of("input") if a["type"] != "hidden"}


@pytest.mark.django_db(transaction=True)
async def test_a_form_of_an_async_view_acts_and_shows_what_was_wrong() -> None:
    code, client = await stores.acreate_session(), AsyncClient()
    id = (await client.get(f"/{code}/enter/")).content.decode()
    here = {"ss_next": f"/{code}/apage/"}
    html = (await client.get(f"/{code}/apage/")).content.decode()
    assert hidden_of(html)["ss_next"] == here["ss_next"]
    await client.post(url(code, "few"), {"value": "5", **here})
    board = await stores.get(Kinds, code, id).apeek()
    assert board is not None
    assert board.state.got == [5]
    back = await client.post(url(code, "few"), {"value": "77", **here})
    assert back.status_code == 303
    html = (await client.get(back["Location"])).content.decode()
    assert 'value="77"' in html
    assert 'aria-invalid="true"' in html


def hidden_of(html: str) -> dict[str, str]:
    found = Controls(html).of("input")
    return {a["name"]: a.get("value", "") for a in found if a["type"] == "hidden"}
