"""The overview in a real browser: what is in view, and what stays where it is."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Open
from tests.browser.staff import resize, sign_in, visit
from tests.browser.workshops import Workshop
from tests.demo_process import DemoProcess

DESKTOP = {"viewport": {"width": 1366, "height": 768}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
SESSIONS = 27

# The rows that are in view as a whole.
ROWS = """() => [...document.querySelectorAll("[data-ss-rows] tr")].filter((row) => {
  const { top, bottom, height } = row.getBoundingClientRect();
  return height > 0 && top >= 0 && bottom <= innerHeight;
}).length"""


@pytest.fixture(scope="module")
def crowded(shared: DemoProcess) -> DemoProcess:
    """A demo with so many sessions that their list has two pages."""
    for _ in range(SESSIONS - 1):
        Workshop(shared)
    return shared


def first_row(page: Page) -> str | None:
    return page.locator("[data-ss-rows] tr").first.get_attribute("data-ss-key")


def test_the_list_is_in_view_on_opening_and_its_order_at_every_width(
    crowded: DemoProcess, open_page: Open
) -> None:
    page = sign_in(crowded, open_page, **DESKTOP)
    visit(page, crowded)
    assert page.evaluate(ROWS) >= 10
    for order in ("", "bytes", "average", "created", "activity", "online", "people"):
        visit(page, crowded, f"?o=-{order}" if order else "")
        for width in (1366, 1024, 768, 390):
            resize(page, width, 844)
            head = page.locator("th[aria-sort=descending]")
            expect(head).to_be_visible()
            box = head.bounding_box()
            assert box
            assert box["x"] + box["width"] <= width, (order, width)
    phone = sign_in(crowded, open_page, **PHONE)
    visit(phone, crowded)
    assert phone.evaluate(ROWS) >= 4
    for shown in ("code", "label", "people", "seen"):
        expect(phone.locator(f"td.ss-c-{shown}, th.ss-c-{shown}").last).to_be_visible()
    expect(phone.locator("td.ss-c-bytes").first).to_be_hidden()
    # What can be done with ticked rows is at hand once there are some.
    expect(phone.locator(".ss-menu")).to_be_hidden()
    phone.locator("input[name=chosen]").first.check()
    expect(phone.get_by_role("button", name="Go", exact=True)).to_be_in_viewport()


def test_search_order_and_pages_leave_the_place_and_the_focus(
    crowded: DemoProcess, open_page: Open
) -> None:
    page = sign_in(crowded, open_page, viewport={"width": 1366, "height": 500})
    page.evaluate("window.isTheSame = true")
    page.evaluate("scrollTo(0, 90)")
    head = page.get_by_role("link", name="Code", exact=True)
    head.focus()
    page.keyboard.press("Enter")
    expect(page.locator("thead .ss-c-code")).to_have_attribute("aria-sort", "ascending")
    expect(page).to_have_url(re.compile(r"\?o=code$"))
    codes = page.locator("[data-ss-rows] tr").evaluate_all(
        "rows => rows.map((row) => row.dataset.ssKey)"
    )
    assert codes == sorted(codes)
    expect(head).to_be_focused()
    assert page.evaluate("scrollY") == 90

    following = page.get_by_role("link", name="Next", exact=True)
    following.click()
    # Other tests may have added some.
    expect(page.get_by_text(re.compile(r"26–(\d+) of \1$"))).to_be_visible()
    # It has gone, as this is the last page; the focus stays in the list.
    expect(page.locator("#ss-list")).to_be_focused()

    page.get_by_label("Search code or name", exact=True).fill(codes[0].lower())
    page.keyboard.press("Enter")
    found = re.compile(rf"1 of \d+ sessions matches “{codes[0].lower()}”")
    expect(page.locator("#ss-found")).to_contain_text(found)
    expect(page.locator("#ss-say")).to_contain_text(found)
    expect(page.locator("#ss-q")).to_be_focused()
    assert first_row(page) == codes[0]
    page.go_back()
    expect(page.locator("#ss-found")).to_have_count(0)
    expect(page.locator("#ss-q")).to_have_value("")
    assert page.evaluate("window.isTheSame")


def test_a_new_session_is_on_top_and_waits_while_the_rows_are_in_use(
    crowded: DemoProcess, open_page: Open
) -> None:
    page = sign_in(crowded, open_page, **DESKTOP)
    page.locator("#ss-every").select_option("2")
    before = first_row(page)
    page.locator("[data-ss-rows] tr").nth(2).hover()
    waiting = Workshop(crowded)
    button = page.get_by_role("button", name="1 new session · show", exact=True)
    expect(button).to_be_visible()
    assert first_row(page) == before
    button.click()
    expect(page.locator("[data-ss-rows] tr").first).to_contain_text(waiting.code)
    expect(button).to_be_hidden()
    # Nobody points at a row now.
    newest = Workshop(crowded)
    expect(page.locator("[data-ss-rows] tr").first).to_contain_text(newest.code)


def test_the_focus_is_not_lost_with_the_row_that_had_it(
    crowded: DemoProcess, open_page: Open
) -> None:
    page = sign_in(crowded, open_page, **DESKTOP)
    keys = page.locator("[data-ss-rows] tr").evaluate_all(
        "rows => rows.map((row) => row.dataset.ssKey)"
    )

    def without_the_second(route: Route) -> None:
        row = rf'<tr data-ss-key="{keys[1]}">.*?</tr>'
        answer = route.fetch(headers={**route.request.headers, "if-none-match": ""})
        html = re.sub(row, "", answer.text(), flags=re.DOTALL)
        route.fulfill(response=answer, body=html)

    page.get_by_role("link", name=keys[1], exact=True).focus()
    page.route(re.compile("/live/"), without_the_second)
    page.locator("#ss-every").evaluate(
        "select => { select.value = '2'; select.dispatchEvent(new Event('change')); }"
    )
    expect(page.get_by_role("link", name=keys[1], exact=True)).to_have_count(0)
    expect(page.get_by_role("link", name=keys[2], exact=True)).to_be_focused()


def test_what_an_outage_hides_has_the_focus_again_after_it(
    crowded: DemoProcess, open_page: Open
) -> None:
    page = sign_in(crowded, open_page, **DESKTOP)
    page.locator("#ss-every").select_option("2")
    search = page.get_by_label("Search code or name", exact=True)
    search.fill("half a wo")
    answers = re.compile("/live/")
    # All of an answer in an outage that matters here.
    without = '<div data-ss-part="ss-table"></div>'
    page.route(answers, lambda route: route.fulfill(body=without))
    expect(search).to_be_hidden()
    expect(page.locator("#ss")).to_be_focused()
    page.unroute(answers)
    expect(search).to_be_focused()
    expect(search).to_have_value("half a wo")


def test_what_is_technical_stays_unfolded_for_who_unfolds_it(
    crowded: DemoProcess, open_page: Open
) -> None:
    page = sign_in(crowded, open_page, **DESKTOP)
    charts = page.locator(".ss-charts")
    expect(charts).to_be_hidden()
    page.locator(".ss-fold > summary").click()
    expect(charts).to_be_visible()
    page.reload()
    expect(charts).to_be_visible()


def test_why_it_is_slow_is_two_clicks_from_the_index(
    crowded: DemoProcess, open_page: Open
) -> None:
    page = sign_in(crowded, open_page, **DESKTOP)
    page.goto(f"{crowded.base}/admin/")
    page.locator("#content-main").get_by_role("link", name="Live sessions").last.click()
    page.get_by_role("link", name="Health", exact=True).click()
    expect(page.get_by_role("heading", name="Health", exact=True)).to_be_visible()
    expect(page.locator(".ss-findings")).to_be_in_viewport()
    expect(page.locator("#ss-workers tbody tr")).not_to_have_count(0)
    page.get_by_role("link", name="Last day", exact=True).click()
    expect(page.get_by_text("last 24 hours").first).to_be_visible()
