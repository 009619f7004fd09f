"""What staff come for, in a real browser: in how few clicks each thing is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.boards import BoardView
from tests.browser.conftest import Open
from tests.browser.staff import BASE, code_of, sign_in
from tests.browser.workshops import Workshop


class Staff:
    """Somebody at the overview, whose `clicks` are counted; a search is one, too."""

    def __init__(self, page: Page, code: str) -> None:
        self.page, self.code = page, code
        self.clicks = 0

    def click(self, found: Locator) -> None:
        """Click, where it is not ambiguous."""
        self.clicks += 1
        found.click()

    def press(self, button: str) -> None:
        """Click the button of this name."""
        self.click(self.page.get_by_role("button", name=button, exact=True))

    def open(self) -> None:
        """Go to the session."""
        self.click(self.page.get_by_role("link", name=self.code, exact=True))

    def row(self, id: str) -> Locator:
        """Return the row of a participant."""
        return self.page.locator(f'tr[data-ss-key="{id}"]')


def find_who_is_offline(staff: Staff) -> None:
    staff.open()
    staff.page.get_by_label("Search id or name", exact=True).fill("ben")
    staff.press("Search")
    expect(staff.page.locator("[data-ss-rows] tr")).to_have_count(1)
    expect(staff.row("ben")).to_contain_text("Offline")


def see_who_is_stuck_at_the_first_step(staff: Staff) -> None:
    staff.open()
    staff.click(staff.page.locator(".ss-steps").get_by_role("link", name="Step 1"))
    expect(staff.page.locator("[data-ss-rows] tr")).to_have_count(1)
    expect(staff.row("ada")).to_contain_text("Online")


def bring_everybody_to_the_second_step(staff: Staff) -> None:
    staff.open()
    staff.press("Open the next step…")
    staff.press("Open the next step")
    expect(staff.page.locator(".messagelist")).to_contain_text("Now at step 2.")


def remove_a_troublemaker_for_good(staff: Staff) -> None:
    staff.open()
    staff.click(staff.row("ben").get_by_role("button", name="Remove Ben", exact=True))
    staff.press("Remove from session")
    expect(staff.row("ben")).to_have_count(0)
    expect(staff.page.locator("#ss-kicked")).to_contain_text("ben")


def see_why_it_is_slow(staff: Staff) -> None:
    staff.click(staff.page.get_by_role("link", name="Health", exact=True))
    expect(staff.page.locator("#ss")).to_contain_text("p95")
    expect(staff.page.get_by_role("heading", name="Processes")).to_be_visible()


TASKS: dict[Callable[[Staff], None], int] = {
    find_who_is_offline: 2,
    see_who_is_stuck_at_the_first_step: 2,
    bring_everybody_to_the_second_step: 3,
    remove_a_troublemaker_for_good: 3,
    see_why_it_is_slow: 2,
}


@pytest.fixture
def overview(demo: Workshop, open_page: Open) -> Page:
    """The overview, while Ada is at her board and Ben has left."""
    for name in ("Ben", "Ada"):
        tab = open_page(demo.url(name))
        BoardView(tab).expect_live()
        if name == "Ben":
            tab.close()
    return sign_in(demo, open_page)


def test_each_task_takes_few_clicks(demo: Workshop, overview: Page) -> None:
    for task, most in TASKS.items():
        overview.goto(f"{demo.base}{BASE}")
        staff = Staff(overview, code_of(demo))
        task(staff)
        assert staff.clicks <= most, task.__name__
