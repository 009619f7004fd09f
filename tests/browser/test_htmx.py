"""Pages that htmx 2 and 4 draw, in a browser, with their own extensions."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Browser, Page, Route, expect

from sessionstores.realtime.htmx import PACE_SECONDS
from tests.browser.conftest import Open
from tests.demo_process import ROOT, until
from tests.fragment_pages import needs_htmx
from tests.servers import PATIENCE, Server, Valkey

CHANGES = 300
pytestmark = needs_htmx
VERSIONS = [2, 4]
both = pytest.mark.parametrize("version", VERSIONS)


class HtmxSite(Server):
    """One uvicorn with the site, which keeps its records on a Valkey."""

    # It imports the site first, on a machine that may be busy.
    patience = 3 * PATIENCE

    def __init__(self, redis_url: str, program: str = "uvicorn") -> None:
        super().__init__()
        self.redis_url = redis_url
        self.program = program

    def command(self) -> list[str]:
        """See `Server.command`."""
        options = {
            "uvicorn": ["--log-level", "warning", "--lifespan", "off"],
            "daphne": ["--verbosity", "0"],
        }
        return [
            *(sys.executable, "-m", self.program, "--port", str(self.port)),
            *(*options[self.program], "tests.browser.htmx_site:application"),
        ]

    def start(self, **options: Any) -> None:
        """Run it, and return when it accepts connections."""
        environment = {
            **os.environ,
            "SITE_REDIS": self.redis_url,
            "DJANGO_SETTINGS_MODULE": "tests.browser.htmx_settings",
            "PYTHONPATH": str(ROOT),
        }
        super().start(env=environment, **options)

    def ask(self, path: str) -> str:
        """Return what it answers."""
        url = f"http://127.0.0.1:{self.port}/{path}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            text: str = response.read().decode()
        return text


class Session:
    """A session of that site; `figures` are of one participant."""

    def __init__(self, site: HtmxSite, open_page: Open) -> None:
        self.site = site
        self.open_page = open_page
        self.code = site.ask("")

    def way_in(self, id: str, kind: str, version: int) -> str:
        """Return the address by which a participant comes in, and to a page."""
        page = f"/{self.code}/{kind}/{version}/"
        base = f"http://127.0.0.1:{self.site.port}"
        return f"{base}/{self.code}/enter/{id}/?next={page}"

    def enter(self, id: str, kind: str, version: int, **options: Any) -> Page:
        """Open the page of a participant, who comes in by that."""
        return self.open_page(self.way_in(id, kind, version), **options)

    def act(self, id: str, what: str) -> dict[str, int]:
        """Do something, and return the participant's figures."""
        told: dict[str, int] = json.loads(
            self.site.ask(f"{self.code}/act/{id}/{what}/")
        )
        return told


@pytest.fixture(scope="module")
def site(valkey_server: Valkey) -> Iterator[HtmxSite]:
    server = HtmxSite(valkey_server.url)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def session(site: HtmxSite, open_page: Open) -> Session:
    return Session(site, open_page)


def expect_notes(page: Page, notes: str) -> None:
    expect(page.locator("#notes")).to_have_text(notes)


@both
def test_each_page_is_sent_its_own_participants_fragments_only(
    session: Session, version: int
) -> None:
    pages = {id: session.enter(id, "page", version) for id in ("alice", "bob")}
    received: dict[str, list[str]] = {"alice": [], "bob": []}
    for id, page in pages.items():
        expect(page.get_by_role("heading")).to_have_text(id)
        expect(page.locator("#step")).to_have_text("1")
    # From the first frame on: what a page shows it may have been sent by mistake.
    for id, page in pages.items():
        page.on(
            "websocket",
            lambda socket, id=id: socket.on(
                "framereceived", lambda text: received[id].append(str(text))
            ),
        )
        page.reload()
        expect(page.get_by_role("heading")).to_have_text(id)
    session.act("alice", "1")
    expect_notes(pages["alice"], "alice 1")
    session.act("bob", "2")
    expect_notes(pages["bob"], "bob 2")
    # What belongs to all of the session reaches all.
    session.act("*", "advance")
    for page in pages.values():
        expect(page.locator("#step")).to_have_text("2")
    expect_notes(pages["alice"], "alice 1")
    assert "alice 1" in "".join(received["alice"])
    assert "bob" not in "".join(received["alice"])
    assert "alice" not in "".join(received["bob"])


@both
def test_many_changes_cost_few_renderings_and_the_last_is_shown(
    session: Session, version: int
) -> None:
    page = session.enter("alice", "page", version, locale="de-DE")
    expect_notes(page, "")
    expect(page.locator("#language")).to_have_text("de")
    before, began = session.act("alice", "look")["drawn"], time.monotonic()
    session.act("alice", str(CHANGES))
    expect_notes(page, f"alice {CHANGES}")
    most = 2 + (time.monotonic() - began) / PACE_SECONDS
    assert session.act("alice", "look")["drawn"] - before <= most


@both
def test_a_form_is_sent_over_the_socket_and_shows_what_is_wrong(
    session: Session, version: int
) -> None:
    alice = session.enter("alice", "page", version)
    bob = session.enter("bob", "page", version)
    for page in (alice, bob):
        expect(page.get_by_role("heading")).to_be_visible()
    gone: list[str] = []
    alice.on("framenavigated", lambda frame: gone.append(frame.url))
    card = alice.get_by_label("Card")
    card.fill(str(2**53))
    alice.keyboard.press("Enter")
    expect(card).to_have_attribute("aria-invalid", "true")
    expect(card).to_have_value(str(2**53))
    expect(card).to_have_accessible_description(re.compile("does not fit here"))
    # What others change takes nothing from a form that is no part of it.
    session.act("*", "advance")
    expect(alice.locator("#step")).to_have_text("2")
    expect(card).to_have_value(str(2**53))
    card.fill("7")
    alice.get_by_role("button", name="Vote").click()
    for page in (alice, bob):
        expect(page.locator("#votes")).to_have_text("alice: 7")
    expect(card).to_have_value("")
    expect(card).not_to_have_attribute("aria-invalid", "true")
    assert gone == []


@both
def test_after_the_end_of_its_server_a_page_comes_back(
    session: Session, browser: Browser, version: int
) -> None:
    # The extensions say in the console that it was away.
    context = browser.new_context()
    page = context.new_page()
    page.goto(session.way_in("alice", "page", version))
    session.act("alice", "1")
    expect_notes(page, "alice 1")
    session.site.kill()
    session.site.start()
    session.act("alice", "2")
    expect_notes(page, "alice 2")
    until(lambda: session.act("alice", "look")["tabs"] == 1, "the old lease to expire")
    context.close()


@both
@pytest.mark.parametrize("program", ["uvicorn", "daphne"])
def test_a_page_that_cannot_be_shown_yet_tries_again(
    valkey_server: Valkey, site: HtmxSite, browser: Browser, program: str, version: int
) -> None:
    with ExitStack() as stack:
        if program == "daphne":
            site = HtmxSite(valkey_server.url, program)
            stack.callback(site.stop)
            site.start()
        context = stack.enter_context(browser.new_context())
        page = context.new_page()
        session = Session(site, lambda url: page)
        tries: list[str] = []
        page.on("websocket", lambda socket: tries.append(socket.url))
        session.act("alice", "break")
        page.goto(session.way_in("alice", "page", version))
        until(lambda: page.evaluate("1") and len(tries) > 1, "another try")
        session.act("alice", "mend")
        expect(page.get_by_role("heading")).to_have_text("alice")


@both
@pytest.mark.parametrize(
    ("id", "what", "told"),
    [
        ("alice", "kick", "You were removed from this session."),
        ("alice", "revoke", "your access has changed"),
        ("*", "end", "This session is over."),
    ],
)
def test_a_page_that_is_to_stay_away_is_told_and_does(
    session: Session, version: int, id: str, what: str, told: str
) -> None:
    page = session.enter("alice", "page", version)
    expect(page.get_by_role("heading")).to_have_text("alice")
    page.evaluate(
        """() => {
            window.opened = 0;
            const Real = window.WebSocket;
            window.WebSocket = class extends Real {
                constructor(...given) { super(...given); window.opened += 1; }
            };
        }"""
    )
    closes = page.evaluate_handle(
        """() => {
            const closes = [];
            for (const name of ["htmx:wsClose", "htmx:ws:close"])
                document.body.addEventListener(name, ({ detail }) =>
                    closes.push(detail.event?.code ?? detail.code));
            return closes;
        }"""
    )
    session.act(id, what)
    expect(page.get_by_role("alert")).to_contain_text(told)
    until(lambda: closes.evaluate("closes => closes.length"), "the close")
    (code,) = closes.json_value()
    assert 4000 <= code < 4200
    # Neither extension has planned to come back.
    page.clock.install()
    page.clock.run_for(120_000)
    assert page.evaluate("window.opened") == 0


LAST = """() => document.body.addEventListener("sessionstores:board",
    ({ detail }) => { window.last = detail.state.notes; })"""


@both
def test_a_burst_of_changes_costs_two_fetches(session: Session, version: int) -> None:
    page = session.enter("alice", "fetching", version)
    page.evaluate(LAST)
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        answer = route.fetch()
        if held:
            route.fulfill(response=answer)
        else:
            held.append((route, answer))

    page.route("**/fragment/", hold)
    before = session.act("alice", "look")["fetched"]
    session.act("alice", "1")
    until(lambda: page.evaluate("window.last") and held, "the first fetch")
    # While that one is under way.
    session.act("alice", str(CHANGES))
    until(lambda: page.evaluate("window.last") == f"alice {CHANGES}", "the last change")
    route, answer = held[0]
    route.fulfill(response=answer)
    expect(page.locator("#board")).to_have_text(f"alice {CHANGES}")
    assert session.act("alice", "look")["fetched"] - before == 2
