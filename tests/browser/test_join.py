"""The page to join, as people meet it: by sight, by keyboard, without scripts."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import include, path
from playwright.sync_api import Page, expect

from sessionstores import participant_required, stores
from sessionstores.middleware import ParticipantRequest
from tests.browser.conftest import Open
from tests.browser.staff import AXE, OVERFLOW
from tests.browser.test_admin_look import needs_axe
from tests.browser.test_look import CONTRAST

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
# Nothing but what the page needs.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
FAULTS = """async () => (await axe.run(document)).violations
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html)}`)"""


class SetPolicy:
    def __init__(self, get_response: object) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)  # type: ignore[operator]
        response.headers["Content-Security-Policy"] = POLICY
        return response


def start(request: HttpRequest) -> HttpResponse:
    return HttpResponse(stores.create_session(keep=3600))


@participant_required(join_url="sessionstores:join")
def inside(request: ParticipantRequest, code: str) -> HttpResponse:
    count = stores.participant_count(code)
    return HttpResponse(
        f"<!doctype html><html lang=en><title>In</title><h1>{code}: {count}</h1>"
    )


urlpatterns = [
    path("start/", start),
    path("favicon.ico", lambda request: HttpResponse()),
    path("join/", include("sessionstores.urls"), {"success_url": "inside"}),
    path("<code>/inside/", inside, name="inside"),
]

SETTINGS = {
    "ROOT_URLCONF": __name__,
    "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
    "MIDDLEWARE": [
        f"{__name__}.SetPolicy",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "sessionstores.middleware.ParticipantMiddleware",
    ],
}


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    """A site that has the page, without a database, in this process."""
    with override_settings(**SETTINGS):
        application = StaticFilesHandler(WSGIHandler())
        server = make_server(
            "127.0.0.1", 0, application, server_class=Server, handler_class=Quiet
        )
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()
        thread.join()


def started(site: str) -> str:
    """Return the code of a new session."""
    with urllib.request.urlopen(f"{site}/start/") as response:
        code: str = response.read().decode()
    return code


def send(page: Page, code: str, name: str) -> None:
    page.get_by_label("Session code", exact=True).fill(code)
    page.get_by_label("Your name", exact=True).fill(name)
    page.get_by_role("button", name="Join", exact=True).click()


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_fit_for_everybody(
    site: str, open_page: Open, tmp_path: Path, scheme: str
) -> None:
    code = started(site)
    page = open_page(f"{site}/join/", color_scheme=scheme, **PHONE)
    for wrong in (False, True):
        if wrong:
            send(page, "K7Q2ZD", "")
            expect(page.get_by_label("Your name", exact=True)).to_be_focused()
            page.get_by_label("Your name", exact=True).fill("Ada")
            page.keyboard.press("Enter")
            expect(page.locator("#id_code_error")).to_contain_text("no session")
            expect(page.get_by_label("Session code", exact=True)).to_be_focused()
            # What is wrong is said with the field.
            expect(page.locator("#id_code")).to_have_accessible_description(
                page.locator("#id_code_error").inner_text()
            )
            assert page.evaluate(CONTRAST, ".ss-join-error p") >= 4.5
        assert page.evaluate(OVERFLOW) <= 0
        assert page.evaluate(CONTRAST, "h1, label, .ss-join-help, button") >= 4.5
        page.evaluate(AXE.read_text())
        assert page.evaluate(FAULTS) == []
        page.screenshot(path=tmp_path / f"{scheme}-{wrong}.png")
    for box in page.locator("input:visible, button").all():
        size = box.bounding_box()
        assert size is not None
        assert size["height"] >= 44
    send(page, f"{code[:3].lower()} {code[3:]}", "Ada")
    expect(page.get_by_role("heading")).to_have_text(f"{code}: 1")


def test_a_double_click_is_one_person(site: str, open_page: Open) -> None:
    code = started(site)
    # They came by the link to a page, which sends them to join and takes them back.
    page = open_page(f"{site}/{code}/inside/")
    expect(page.get_by_label("Session code", exact=True)).to_have_value(code)
    page.get_by_label("Your name", exact=True).fill("Ada")
    page.get_by_role("button", name="Join", exact=True).dblclick()
    expect(page.get_by_role("heading")).to_have_text(f"{code}: 1")
    # So are two tabs.
    other = open_page(f"{site}/{code}/inside/", beside=page)
    expect(other.get_by_role("heading")).to_have_text(f"{code}: 1")


def test_without_scripts_and_from_right_to_left_the_page_works(
    site: str, open_page: Open
) -> None:
    code = started(site)
    page = open_page(
        f"{site}/join/?code={code}", java_script_enabled=False, locale="he-IL"
    )
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    page.locator("#id_name").fill("עדה")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading")).to_have_text(f"{code}: 1")
