"""People come to the site of the tutorial and go: users, leaving, kicks, languages."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import ARGUMENTS, Open
from tests.browser.pasting import Served, manage, paste
from tests.browser.tutorial import TUTORIAL, commands, enter, pick, type_in

# What a site adds next: a login, a way out, and what whoever runs it does.
MORE = """
from django.contrib.auth import get_user_model, login
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.http import require_POST
from sessionstores import Participant, leave, stores

def log_in(request):
    user, _ = get_user_model().objects.get_or_create(username="ann")
    login(request, user, "django.contrib.auth.backends.ModelBackend")
    return HttpResponse("in")

@require_POST
def go(request, code):
    leave(request, code)
    return HttpResponse("<!doctype html><title>Left</title><h1>Goodbye</h1>")

def users(request, code):
    return HttpResponse(",".join(str(person.user) for person in stores.people(code)))

def kick(request, code, name):
    (person,) = [each for each in stores.people(code) if each.name == name]
    return HttpResponse(str(stores.kick(code, person.id)))

def lock(request, code):
    stores.lock(code)
    return HttpResponse("locked")

def link(request, code):
    return HttpResponse(Participant(code, "cat", "participant").link(f"/{code}/"))

urlpatterns += [
    path("log-in/", log_in),
    path("go/<code:code>/", go),
    path("users/<code:code>/", users),
    path("kick/<code:code>/<name>/", kick),
    path("lock/<code:code>/", lock),
    path("link/<code:code>/", link),
]
"""
LANGUAGES = """
MIDDLEWARE.insert(
    MIDDLEWARE.index("django.contrib.sessions.middleware.SessionMiddleware") + 1,
    "django.middleware.locale.LocaleMiddleware",
)
"""
# Of chromium: 2 blocks the cookies of all sites, and their storage with them.
NO_COOKIES = {"profile": {"default_content_setting_values": {"cookies": 2}}}
REVEAL = """async () => {
  const { connect } = await import("/static/sessionstores/client.js");
  const table = connect("#sessionstores").store("table");
  return table.dispatch("reveal").then(() => "", (error) => error.message);
}"""
LEAVE = """(address) => {
  const form = document.createElement("form");
  const token = document.createElement("input");
  form.method = "post";
  form.action = address;
  token.name = "csrfmiddlewaretoken";
  token.value = document.cookie.match(/csrftoken=(\\w+)/)[1];
  form.append(token);
  document.body.append(form);
  form.submit();
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The tutorial's site, and what it lacks."""
    parent = tmp_path_factory.mktemp("people")
    type_in(parent, commands()[0])
    folder = parent / "mysite"
    paste(folder, TUTORIAL)
    for name, more in {"urls": MORE, "settings": LANGUAGES}.items():
        file = folder / "mysite" / f"{name}.py"
        file.write_text(file.read_text() + more)
    manage(folder, "manage.py", "migrate")
    served = Served(folder, "uvicorn")
    yield served
    served.stop()
    assert "Traceback" not in served.output


@pytest.fixture
def ada(served: Served, open_page: Open) -> Page:
    """Whoever has begun a session, at its table."""
    page = open_page(served.base)
    enter(page, "Ada")
    expect(people(page)).to_have_text(["Ada"])
    return page


def people(page: Page) -> Locator:
    return page.locator("#people li")


def code_of(page: Page) -> str:
    return page.get_by_role("heading", level=1).inner_text()


def asked(served: Served, address: str) -> str:
    with urllib.request.urlopen(f"{served.base}/{address}/") as response:
        told: str = response.read().decode()
    return told


def test_a_user_is_one_person_in_two_browsers(
    served: Served, ada: Page, open_page: Open
) -> None:
    for _ in range(2):
        page = open_page(f"{served.base}/log-in/")
        page.goto(ada.url)
        enter(page, "Ann")
        expect(people(page)).to_have_text(["Ada", "Ann"])
    users = asked(served, f"users/{code_of(ada)}").split(",")
    assert sorted(users) == ["1", "None"]
    expect(people(ada)).to_have_text(["Ada", "Ann"])


def test_who_leaves_is_gone_and_no_back_button_brings_them_back(
    served: Served, ada: Page, open_page: Open
) -> None:
    code = code_of(ada)
    bob = open_page(ada.url)
    enter(bob, "Bob")
    expect(people(ada)).to_have_text(["Ada", "Bob"])
    beside = open_page(bob.url, beside=bob)
    expect(people(beside)).to_have_text(["Ada", "Bob"])
    bob.evaluate(LEAVE, f"/go/{code}/")
    expect(bob.get_by_role("heading", name="Goodbye")).to_be_visible()
    expect(people(ada)).to_have_text(["Ada"])
    bob.go_back()
    expect(bob.get_by_label("Code")).to_have_value(code)
    pick(beside, "5")
    expect(beside.get_by_role("alert")).not_to_be_empty()
    beside.reload()
    expect(beside.get_by_label("Code")).to_have_value(code)
    expect(people(ada)).to_have_text(["Ada"])
    assert asked(served, f"users/{code}") == "None"


def test_who_is_kicked_or_late_to_a_locked_session_reads_so(
    served: Served, ada: Page, open_page: Open, browser: Browser
) -> None:
    code = code_of(ada)
    # Not by `open_page`: chromium complains of each page that is answered 403.
    with browser.new_context(locale="en-GB") as context:
        ben = context.new_page()
        ben.goto(ada.url)
        enter(ben, "Ben")
        expect(people(ada)).to_have_text(["Ada", "Ben"])
        assert asked(served, f"kick/{code}/Ben") == "True"
        expect(people(ada)).to_have_text(["Ada"])
        ben.reload()
        expect(ben.get_by_text("You were removed from this session.")).to_be_visible()
        ben.goto(served.base)
        enter(ben, "Ben", code)
        expect(ben.get_by_role("alert")).to_contain_text("You were removed")
    assert asked(served, f"lock/{code}") == "locked"
    cleo = open_page(ada.url)
    enter(cleo, "Cleo")
    expect(cleo.get_by_role("alert")).to_contain_text("takes no more people")
    ada.reload()
    expect(people(ada)).to_have_text(["Ada"])


def test_a_german_browser_is_told_in_german(
    served: Served, ada: Page, open_page: Open
) -> None:
    page = open_page(served.base, locale="de-DE")
    enter(page, "Uli", "ABC123")
    expect(page.get_by_role("alert")).to_contain_text("Sitzung mit diesem Code gibt es")
    enter(page, "Uli", code_of(ada).lower())
    expect(people(page)).to_have_text(["Ada", "Uli"])
    # What only a tab is told: its page has the language too.
    assert "Das ist hier nicht erlaubt." in page.evaluate(REVEAL)


def test_without_cookies_a_signed_link_lets_somebody_play(
    served: Served, ada: Page, browser: Browser, chromium: str, tmp_path: Path
) -> None:
    (tmp_path / "Default").mkdir()
    (tmp_path / "Default" / "Preferences").write_text(json.dumps(NO_COOKIES))
    link = asked(served, f"link/{code_of(ada)}")
    with browser.browser_type.launch_persistent_context(
        tmp_path, executable_path=chromium, args=ARGUMENTS
    ) as context:
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{served.base}{link}")
        storage = "try { sessionStorage.length } catch (error) { error.name }"
        assert page.evaluate(storage) == "SecurityError"
        for _ in range(2):
            expect(people(ada)).to_have_count(2)
            pick(page, "8")
            expect(page.locator("#hand [aria-pressed=true]")).to_have_text("8")
            page.reload()
        assert errors == []
    ada.get_by_role("button", name="Reveal").click()
    expect(ada.locator("#table li")).to_have_text(["Somebody: 8"])
