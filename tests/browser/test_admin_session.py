"""A session's page in a real browser: what fits beside what, and who is found how."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser.boards import BoardView
from tests.browser.conftest import Open
from tests.browser.staff import code_of, resize, sign_in, visit
from tests.browser.workshops import Workshop


def box(found: Locator) -> Any:
    box = found.bounding_box()
    assert box
    return box


def row(page: Page, id: str) -> Locator:
    return page.locator(f'tr[data-ss-key="{id}"]')


def test_people_come_first_and_the_timeline_has_the_room_that_there_is(
    demo: Workshop, open_page: Open
) -> None:
    code = code_of(demo)
    board = BoardView(open_page(demo.url("Ada")))
    board.expect_live()
    board.move("Team lunch", "start")
    page = sign_in(demo, open_page)
    # From the index to who is stuck, and how far: one click.
    page.get_by_role("link", name=code, exact=True).click()
    expect(row(page, "ada")).to_contain_text("Online")
    expect(page.locator("[data-ss-rows] tr").first).to_contain_text("Ada")
    expect(row(page, "ada").locator(".ss-c-step")).to_have_text("1")
    expect(row(page, "ada").locator(".ss-c-progress")).to_have_text("1 of 12")
    expect(page.locator(".ss-steps")).to_contain_text("Step 1 1")
    # Ben is offline, and is found by his name all the same.
    page.get_by_label("Search id or name", exact=True).fill("ben")
    page.keyboard.press("Enter")
    expect(page.locator("[data-ss-rows] tr")).to_have_count(1)
    expect(row(page, "ben")).to_contain_text("Offline")

    visit(page, demo, f"{code}/")
    people, timeline = page.locator("#ss-table"), page.locator(".ss-aside")
    resize(page, 1100)
    assert box(timeline)["x"] >= box(people)["x"] + box(people)["width"]
    resize(page, 1099)
    assert box(timeline)["y"] >= box(people)["y"] + box(people)["height"]
    resize(page, 390)
    for part in (".ss-c-person", ".ss-under", ".ss-c-progress", ".ss-c-last"):
        expect(row(page, "ada").locator(part).first).to_be_visible()
    expect(row(page, "ada").locator(".ss-under")).to_contain_text("Online · Step 1")


def test_a_menu_over_the_page_goes_when_it_is_left(
    demo: Workshop, open_page: Open
) -> None:
    page = sign_in(demo, open_page)
    visit(page, demo, f"{code_of(demo)}/")
    button = page.locator(".ss-dropdown > summary")
    choices = page.locator(".ss-dropdown > ul")
    button.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(choices.get_by_role("link").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(choices).to_be_hidden()
    expect(button).to_be_focused()
    # It would lie over what is used then.
    button.click()
    page.locator("#ss-q").focus()
    expect(choices).to_be_hidden()
    expect(page.locator("#ss-q")).to_be_focused()
    for width in (390, 1366):
        resize(page, width)
        button.click()
        assert 0 < box(choices)["x"] <= width - box(choices)["width"]
        with page.expect_download():
            choices.get_by_role("link", name="(CSV)").first.click()
        expect(choices).to_be_hidden()
        expect(button).to_be_focused()
