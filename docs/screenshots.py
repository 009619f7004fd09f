"""Screenshots of the demo, the admin and the tutorial, taken by `make screenshots`.

The few of the docs are written beside them; `make screenshots ARGS=pages` takes each
page of the admin in each look instead, into build/screenshots, to be judged by eye.
Needs chromium and what the tests need. What they show is real, but for the hour of
figures in the admin's charts, which nobody wants to wait for.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.boards import DRAWN, BoardView
from tests.browser.pasting import Served, manage, paste
from tests.browser.staff import code_of, pages_of, sign_in, visit
from tests.demo_process import DemoProcess
from tests.servers import Valkey

DOCS = Path(__file__).parent
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
ADMIN = {"viewport": {"width": 1440, "height": 1000}}
PHONE = {"viewport": {"width": 390, "height": 844}}
LABELS = ("Strategy offsite", "Lecture 7, questions", "Card sort", "Onboarding quiz")
CONFLICT = "Someone else changed this first"
SAMPLES = 119
BUILD = DOCS.parent / "build" / "screenshots"
# How each page of the admin is looked at; 200 % is half a window at twice the density.
LOOKS: dict[str, dict[str, Any]] = {
    "1366": {"viewport": {"width": 1366, "height": 768}},
    "1920": {"viewport": {"width": 1920, "height": 1080}},
    "390": PHONE,
    "200-percent": {
        "viewport": {"width": 683, "height": 384},
        "device_scale_factor": 2,
    },
    "print": {"viewport": {"width": 794, "height": 1123}},
    "dark": {"viewport": {"width": 1366, "height": 768}, "color_scheme": "dark"},
    "forced-colours": {
        "viewport": {"width": 1366, "height": 768},
        "forced_colors": "active",
    },
    "rtl": {"viewport": {"width": 1366, "height": 768}, "locale": "he-IL"},
    "rtl-390": {**PHONE, "locale": "he-IL"},
    "german": {"viewport": {"width": 1366, "height": 768}, "locale": "de-DE"},
    "german-390": {**PHONE, "locale": "de-DE"},
}
MANY_SESSIONS = 2_000
# As staff see it who look at sessions, not for other pages.
FOLDED = "localStorage.setItem('django.admin.navSidebarIsOpen', 'false')"
MOVES = {
    "Ada": {"start": "Focus mornings", "later": "Fewer tools", "leave": "Team lunch"},
    "Ben": {"start": "Writing days", "later": "Remote weeks"},
}


class CachedDemo(DemoProcess):
    """A demo whose records other processes see."""

    settings = "tests.settings_pictures"


class LayeredDemo(DemoProcess):
    """One of several demos that share records, and a channel layer beside them."""

    settings = "tests.settings_layered"


class UnfoldDemo(DemoProcess):
    """A demo with django-unfold around its admin."""

    settings = "tests.settings_unfold"


class Studio:
    """A browser that opens pages and takes pictures of them."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def open(self, url: str, *, beside: Page | None = None, **options: Any) -> Page:
        """Open an address as somebody else, or in another tab."""
        context = beside.context if beside else None
        options = {"locale": "en-GB", **options}
        context = context or self.browser.new_context(**options)
        context.add_init_script(FOLDED)
        page = context.new_page()
        page.goto(url)
        return page

    def take(
        self, page: Page, name: str, *, full: bool = False, folder: Path = DOCS
    ) -> None:
        """Take a picture once nothing moves any more."""
        page.evaluate(DRAWN)
        path = folder / f"{name}.png"
        page.screenshot(path=path, full_page=full, animations="disabled")
        print(path.relative_to(DOCS.parent))


def sort_cards(page: Page) -> None:
    """Let both people sort; then one of them loses the connection."""
    boards = {name: BoardView.framed(page, f"{name}’s board") for name in MOVES}
    for name, board in boards.items():
        board.expect_live()
        for zone, card in MOVES[name].items():
            board.move(card, zone)
            board.expect_cards(zone, card)
    ada = boards["Ada"]
    ada.root.locator("#drop").click()
    ada.move("Kinder on-call", "start")
    ada.move("Friday demos", "later")
    boards["Ben"].card("Pair programming").click()


def of_the_demo(studio: Studio, temporary: Path) -> None:
    """Two people and a facilitator, in the light and in the dark."""
    for scheme, name in (("light", "demo"), ("dark", "demo-dark")):
        demo = DemoProcess("--port", "0", temporary=temporary)
        try:
            page = studio.open(
                demo.url("All in one page"), color_scheme=scheme, **DESKTOP
            )
            sort_cards(page)
            studio.take(page, name)
        finally:
            demo.stop()


def plant_sessions() -> None:
    """Let there be other sessions, and an hour of figures."""
    from project.states import Board
    from sessionstores import stores
    from sessionstores.backends import get_backend
    from sessionstores.backends.base import run
    from sessionstores.backends.shared_values import update_value
    from sessionstores.monitoring import health
    from sessionstores.monitoring.counts import Counts
    from sessionstores.monitoring.history import KEPT, NAME, Series, _encode
    from sessionstores.monitoring.latency import bucket_of
    from sessionstores.monitoring.samples import Slot, Totals

    for people, label in enumerate(LABELS, 4):
        code = stores.create_session(label=label, keep=86_400)
        for number in range(people):
            board = stores.get(Board, code, f"person-{number}")
            board.dispatch(Board.introduce, f"Person {number}")
    stores.lock(code)
    stores.sweep()
    now = time.time()
    samples, slots = [], []
    for number in range(SAMPLES):
        wave = 3.5 + 1.5 * math.cos(number / 20) + math.sin(number * 2.4)
        online, actions = round(wave), round(9 * wave)
        size = 3_600 + 17 * number + 90 * (number % 3)
        at = now - (SAMPLES - number) * 30
        samples.append(Totals(at, 5, 25, online, online, size, 1_800_000))
        slow = bucket_of(0.004 + 0.03 * (number % 29 == 0))
        refused = {"wrong_step": 1} if number % 17 == 0 else {}
        latency = {bucket_of(0.001): actions, slow: 1 + actions // 12}
        slots.append(Slot(at, at - 30, Counts(latency, refused)))
    series = _encode(Series(tuple(samples)))
    backend = get_backend(blocking=True)
    run(update_value(backend, NAME, lambda _: series, seconds=KEPT))
    counted = health.encode(health.HealthSeries(now - 30, tuple(slots)))
    run(update_value(backend, health.NAME, lambda _: counted, seconds=KEPT))


@contextmanager
def demo_on_valkey(temporary: Path) -> Iterator[tuple[CachedDemo, Valkey]]:
    """Run the demo over a Valkey which this process uses as well."""
    server = Valkey()
    server.start()
    try:
        os.environ["WORKSHOP_REDIS_URL"] = server.url
        os.environ["DJANGO_SETTINGS_MODULE"] = CachedDemo.settings
        django.setup()
        demo = CachedDemo("--port", "0", temporary=temporary)
        try:
            yield demo, server
        finally:
            demo.stop()
    finally:
        server.stop()


def of_the_admin(studio: Studio, temporary: Path) -> None:
    """The overview, a session, a participant, a conflict, and a phone."""
    with demo_on_valkey(temporary) as (demo, _server):
        plant_sessions()
        code = code_of(demo)
        page = studio.open(demo.url("All in one page"), **DESKTOP)
        sort_cards(page)
        page.frame_locator('iframe[title="Ada’s board"]').locator("#drop").click()
        BoardView.framed(page, "Ada’s board").expect_live()
        staff = sign_in(demo, studio.open, color_scheme="light", **ADMIN)
        expect(staff.locator("#ss-badge")).to_contain_text("Live · updated")
        studio.take(staff, "admin-overview")
        dark = sign_in(demo, studio.open, color_scheme="dark", **ADMIN)
        studio.take(dark, "admin-overview-dark")
        visit(staff, demo, "health/")
        studio.take(staff, "admin-health")
        visit(staff, demo, f"{code}/")
        # What has happened is told with a heartbeat.
        expect(staff.locator("#ss-timeline")).to_contain_text(
            "Put a card on a pile", timeout=60_000
        )
        studio.take(staff, "admin-session")
        visit(staff, demo, f"{code}/ada/")
        studio.take(staff, "admin-participant")
        phone = sign_in(demo, studio.open, **PHONE)
        visit(phone, demo, f"{code}/")
        studio.take(phone, "admin-phone", full=True)
        visit(staff, demo, f"{code}/ada/board/edit/")
        staff.get_by_label("name", exact=True).fill("Ada L.")
        BoardView.framed(page, "Ada’s board").move("Faster tests", "start")
        expect(page.locator("body")).to_be_visible()
        BoardView.framed(page, "Ada’s board").expect_live()
        staff.get_by_role("button", name="Save", exact=True).click()
        expect(staff.get_by_role("heading", name=CONFLICT)).to_be_visible()
        studio.take(staff, "admin-conflict")


def of_the_tutorial(studio: Studio, temporary: Path) -> None:
    """A round of poker on a phone, after the cards are on the table."""
    manage(temporary, "-m", "django", "startproject", "mysite")
    folder = temporary / "mysite"
    manage(folder, "manage.py", "startapp", "poker")
    paste(folder, (DOCS / "tutorial" / "planning-poker.md").read_text())
    manage(folder, "manage.py", "migrate")
    served = Served(folder, "runserver")
    try:
        players: list[Page] = []
        for name, card in (("Ada", "5"), ("Ben", "8"), ("Chloe", "5")):
            page = studio.open(served.base, **PHONE)
            if players:
                code = players[0].get_by_role("heading", level=1).inner_text()
                page.get_by_label("Code").fill(code)
            page.get_by_label("Your name").fill(name)
            page.get_by_role("button", name="Go").click()
            # The script is there: a click before would be one for nothing.
            expect(page.locator("#people")).to_contain_text(name)
            page.locator("#hand").get_by_role("button", name=card, exact=True).click()
            expect(page.locator("#people")).to_contain_text(f"{name} ✓")
            players.append(page)
        expect(players[0].locator("#people")).to_contain_text("Chloe ✓")
        players[0].get_by_role("button", name="Reveal").click()
        expect(players[0].locator("#table li")).to_have_count(3)
        studio.take(players[0], "tutorial/planning-poker")
    finally:
        served.stop()


def looked_at(studio: Studio, demo: DemoProcess, paths: list[str], name: str) -> None:
    """Take pages of the admin in each look; `name` is a folder of build/screenshots."""
    for look, options in LOOKS.items():
        folder = BUILD / name / look
        folder.mkdir(parents=True, exist_ok=True)
        page = sign_in(demo, studio.open, **options)
        for path in paths:
            # What says that the script has begun is not on paper.
            page.emulate_media(media="screen")
            visit(page, demo, path)
            if look == "print":
                page.emulate_media(media="print")
            title = path.strip("/").replace("/", "-") or "overview"
            title = title.replace("?", "").replace("*", "own")
            studio.take(page, title, full=look == "print", folder=folder)
        page.context.close()


def without_a_layer(studio: Studio, temporary: Path) -> None:
    """Pages of a site whose channel layer does not answer; its cache does."""
    layer = Valkey()
    layer.start()
    os.environ["WORKSHOP_LAYER_URL"] = layer.url
    # So that both know the links of one.
    os.environ["WORKSHOP_SECRET_KEY"] = "of-two-processes-of-one-site"
    demos: list[DemoProcess] = []
    try:
        for name in ("one", "other"):
            folder = temporary / name
            folder.mkdir()
            demos.append(LayeredDemo("--port", "0", temporary=folder))
        one, other = demos
        link = one.url("Ada")
        here = BoardView(studio.open(link, **DESKTOP))
        there = BoardView(studio.open(link.replace(one.base, other.base), **DESKTOP))
        here.expect_live()
        there.expect_live()
        here.move("Team lunch", "start")
        there.expect_cards("start", "Team lunch")
        layer.kill()
        here.move("Friday demos", "later")
        # It comes with a heartbeat.
        there.expect_cards("later", "Friday demos")
        staff = sign_in(one, studio.open, **DESKTOP)
        visit(staff, one, "health/")
        expect(staff.locator(".ss-findings")).to_contain_text(
            "channel layer", timeout=60_000
        )
        looked_at(studio, one, ["", "health/", f"{code_of(one)}/"], "layer-down")
    finally:
        for demo in demos:
            demo.stop()
        layer.stop()


def of_every_page(studio: Studio, temporary: Path) -> None:
    """Each page in each look: as usual, many sessions, cut off, empty, in unfold."""
    from sessionstores import stores

    with demo_on_valkey(temporary) as (demo, server):
        plant_sessions()
        page = studio.open(demo.url("All in one page"), **DESKTOP)
        sort_cards(page)
        looked_at(studio, demo, pages_of(demo), "usual")
        for number in range(MANY_SESSIONS):
            stores.create_session(label=f"Table {number}", keep=86_400)
        looked_at(studio, demo, [""], "many")
        server.kill()
        looked_at(studio, demo, ["", "health/", f"{code_of(demo)}/"], "cut-off")
        server.start()
        looked_at(studio, demo, ["", "health/", f"{code_of(demo)}/"], "empty")
        without_a_layer(studio, temporary)
    folder = temporary / "unfold"
    folder.mkdir()
    unfold = UnfoldDemo("--port", "0", temporary=folder)
    try:
        # Its sessions are in its own memory, so what other processes know is missing.
        looked_at(studio, unfold, [*pages_of(unfold), "ZZZZZZ/"], "unfold")
    finally:
        unfold.stop()


def main() -> None:
    """Take those of the docs, or with the argument `pages` all of the admin."""
    parts = [of_the_demo, of_the_tutorial, of_the_admin]
    if sys.argv[1:] == ["pages"]:
        parts = [of_every_page]
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as temporary:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        studio = Studio(browser)
        # An event loop runs in this thread, and only pages are waited for.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
        for number, part in enumerate(parts):
            folder = Path(temporary, str(number))
            folder.mkdir()
            part(studio, folder)
        browser.close()


if __name__ == "__main__":
    main()
