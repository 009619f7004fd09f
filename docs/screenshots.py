"""Screenshots of the demo, the admin and the tutorial, taken by `make screenshots`.

Needs chromium and what the tests need. What they show is real, but for the hour of
figures in the admin's charts, which nobody wants to wait for.
"""

from __future__ import annotations

import math
import os
import shutil
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
from tests.browser.staff import code_of, sign_in, visit
from tests.demo_process import DemoProcess
from tests.servers import Valkey

DOCS = Path(__file__).parent
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
ADMIN = {"viewport": {"width": 1440, "height": 1000}}
PHONE = {"viewport": {"width": 390, "height": 844}}
LABELS = ("Strategy offsite", "Lecture 7, questions", "Card sort", "Onboarding quiz")
CONFLICT = "Someone else changed this first"
SAMPLES = 119
# As staff see it who look at sessions, not for other pages.
FOLDED = "localStorage.setItem('django.admin.navSidebarIsOpen', 'false')"
MOVES = {
    "Ada": {"start": "Focus mornings", "later": "Fewer tools", "leave": "Team lunch"},
    "Ben": {"start": "Writing days", "later": "Remote weeks"},
}


class CachedDemo(DemoProcess):
    """A demo whose records other processes see."""

    settings = "tests.settings_cached"


class Studio:
    """A browser that opens pages and takes pictures of them."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def open(self, url: str, *, beside: Page | None = None, **options: Any) -> Page:
        """Open an address as somebody else, or in another tab."""
        context = beside.context if beside else None
        context = context or self.browser.new_context(locale="en-GB", **options)
        context.add_init_script(FOLDED)
        page = context.new_page()
        page.goto(url)
        return page

    def take(self, page: Page, name: str, *, full: bool = False) -> None:
        """Take a picture once nothing moves any more."""
        page.evaluate(DRAWN)
        path = DOCS / f"{name}.png"
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
    from sessionstores.monitoring.health import Sample
    from sessionstores.monitoring.history import KEPT, NAME, Series, _encode

    for people, label in enumerate(LABELS, 4):
        code = stores.create_session(label=label, keep=86_400)
        for number in range(people):
            board = stores.get(Board, code, f"person-{number}")
            board.dispatch(Board.introduce, f"Person {number}")
    stores.lock(code)
    stores.sweep()
    now = time.time()
    samples = []
    for number in range(SAMPLES):
        online = round(3.5 + 1.5 * math.cos(number / 20) + math.sin(number * 2.4))
        size = 3_600 + 17 * number + 90 * (number % 3)
        at = now - (SAMPLES - number) * 30
        samples.append(Sample(at, 5, 25, online, online, size, 1_800_000))
    series = _encode(Series(tuple(samples)))
    run(update_value(get_backend(blocking=True), NAME, lambda _: series, seconds=KEPT))


@contextmanager
def demo_on_valkey(temporary: Path) -> Iterator[CachedDemo]:
    """Run the demo over a Valkey which this process uses as well."""
    server = Valkey()
    server.start()
    try:
        os.environ["WORKSHOP_REDIS_URL"] = server.url
        os.environ["DJANGO_SETTINGS_MODULE"] = CachedDemo.settings
        django.setup()
        demo = CachedDemo("--port", "0", temporary=temporary)
        try:
            yield demo
        finally:
            demo.stop()
    finally:
        server.stop()


def of_the_admin(studio: Studio, temporary: Path) -> None:
    """The overview, a session, a participant, a conflict, and a phone."""
    with demo_on_valkey(temporary) as demo:
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
        visit(staff, demo, f"{code}/")
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


def main() -> None:
    """Take all of them."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as temporary:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        studio = Studio(browser)
        # An event loop runs in this thread, and only pages are waited for.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
        for number, part in enumerate((of_the_demo, of_the_tutorial, of_the_admin)):
            folder = Path(temporary, str(number))
            folder.mkdir()
            part(studio, folder)
        browser.close()


if __name__ == "__main__":
    main()
