"""The admin in a real browser: watched, used, cut off, by keyboard alone."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.boards import BoardView
from tests.browser.conftest import Open
from tests.browser.staff import ask, code_of, confirm, sign_in, visit
from tests.browser.workshops import Workshop
from tests.demo_process import DemoProcess
from tests.servers import Valkey


def row(page: Page, id: str) -> str:
    return f'tr[data-ss-key="{id}"]'


def test_staff_watch_somebody_join_edit_their_board_and_end_it_all(
    own_demo: DemoProcess, open_page: Open
) -> None:
    code = code_of(own_demo)
    staff = sign_in(own_demo, open_page)
    expect(staff.locator(row(staff, code))).to_contain_text("A better working week")
    staff.get_by_role("link", name=code, exact=True).click()
    expect(staff.locator("[data-ss-rows] tr")).to_have_count(2)

    # They join in another browser, and their row comes by itself.
    guest = open_page(own_demo.url("Join as a guest"))
    guest.get_by_label("Your name", exact=True).fill("Zoe <b>")
    guest.get_by_role("button", name="Join", exact=True).click()
    board = BoardView(guest)
    board.expect_live()
    expect(staff.locator("[data-ss-rows] tr")).to_have_count(3, timeout=4_000)
    theirs = staff.locator("[data-ss-rows] tr", has_text="Zoe <b>")
    expect(theirs).to_contain_text("Online")
    expect(staff.locator("#ss-timeline")).to_contain_text("joined", timeout=20_000)

    # Their moves are seen, and an edit arrives in their tab.
    board.move("Team lunch", "start")
    theirs.get_by_role("rowheader").get_by_role("link").click()
    expect(staff.locator(".ss-tree")).to_contain_text('start: ["lunch"]')
    board.move("Fewer tools", "later")
    expect(staff.locator(".ss-tree")).to_contain_text('later: ["tools"]')
    staff.get_by_role("link", name="Edit", exact=True).click()
    staff.get_by_role("button", name="As JSON", exact=True).click()
    box = staff.locator("#ss-json")
    state = json.loads(box.input_value())
    state["piles"]["leave"] = [state["deck"].pop(0)]
    box.fill(json.dumps(state))
    staff.get_by_role("button", name="Save", exact=True).click()
    expect(staff.locator(".messagelist")).to_contain_text("Saved: deck, piles.")
    board.expect_cards("leave", "Focus mornings")

    # A message reaches them; then they are put out, and may come back.
    ask(staff, "Send a message…")
    staff.locator("#ss-text").fill("Five minutes left")
    confirm(staff)
    expect(guest.get_by_text("Five minutes left", exact=True)).to_be_visible()
    ask(staff, "Disconnect…")
    confirm(staff)
    expect(guest.locator("#status")).to_have_text("Disconnected")
    expect(guest.locator("#notice")).to_contain_text("has disconnected you")
    guest.get_by_role("button", name="Reload the page", exact=True).click()
    board.expect_live()
    board.expect_cards("leave", "Focus mornings")

    # Who has its page open as well sees what they do to it.
    staff.get_by_role("link", name=f"Session {code}", exact=True).click()
    other = open_page(staff.url, beside=staff)
    expect(other.get_by_role("button", name="Lock…", exact=True)).to_be_visible()
    other.get_by_label("Search id or name", exact=True).fill("typed")
    ask(staff, "Lock…")
    confirm(staff)
    expect(other.get_by_role("button", name="Unlock…", exact=True)).to_be_visible()
    expect(other.get_by_label("Search id or name", exact=True)).to_have_value("typed")

    # And it ends, for all.
    ask(staff, "End session…")
    expect(staff.locator(".ss-counts")).to_contain_text("3 participants")
    confirm(staff)
    ended = f"Ended “A better working week” ({code})."
    expect(staff.locator(".messagelist")).to_contain_text(ended)
    expect(staff.get_by_text("No session is live", exact=True)).to_be_visible()
    expect(guest.locator("#status")).to_have_text("Ended")
    gone = other.get_by_role("heading", name="This session is over", exact=True)
    expect(gone).to_be_visible()
    for left in ("button[name=action]", "a[href*=export]", ".ss-list", ".ss-aside"):
        expect(other.locator(left).filter(visible=True)).to_have_count(0)
    staff.get_by_text("Technical", exact=True).click()
    ask(staff, "Sweep now")
    confirm(staff)
    expect(staff.locator(".messagelist")).to_contain_text("Swept:")


def test_who_edits_what_somebody_has_changed_sees_both(
    demo: Workshop, open_page: Open
) -> None:
    code = code_of(demo)
    staff = sign_in(demo, open_page)
    visit(staff, demo, f"{code}/ada/board/edit/")
    ada = BoardView(open_page(demo.url("Ada")))
    ada.expect_live()
    ada.move("Team lunch", "start")
    fresh = BoardView(open_page(demo.url("Ada")))
    fresh.expect_live()
    fresh.expect_cards("start", "Team lunch")
    # Enter saves; what Ada has moved meanwhile stays where she has put it.
    staff.get_by_label("name", exact=True).fill("Ada L.")
    staff.get_by_label("name", exact=True).press("Enter")
    heading = "Someone else changed this first"
    expect(staff.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    theirs = staff.locator(".ss-by-theirs", has_text="/piles/start")
    expect(theirs).to_contain_text('["lunch"]')
    expect(staff.locator(".ss-by-mine")).to_contain_text('"Ada L."')
    staff.get_by_role("button", name="Apply only my changes", exact=True).click()
    expect(staff.locator(".messagelist")).to_contain_text("Saved: name.")
    ada.expect_cards("start", "Team lunch")


def test_it_can_be_done_with_the_keyboard_alone(
    demo: Workshop, open_page: Open
) -> None:
    code = code_of(demo)
    page = sign_in(demo, open_page)
    keys = page.keyboard

    def reach(selector: str, most: int = 60) -> None:
        """Press Tab until the focus is there; it can be seen that it is."""
        for _ in range(most):
            keys.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                style = "getComputedStyle(document.activeElement).outlineStyle"
                assert page.evaluate(style) != "none", selector
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    reach(f'#ss a[href$="/{code}/"]')
    keys.press("Enter")
    expect(page.locator("#ss h1")).to_contain_text(code)
    reach('input[name=chosen][value="ben"]')
    keys.press("Space")
    expect(page.locator("input[value=ben]")).to_be_checked()
    page.locator("#ss-action").focus()
    keys.type("Remove")
    keys.press("Tab")
    keys.press("Enter")
    question = "Remove Ben, who may come back?"
    expect(page.get_by_role("heading", name=question, exact=True)).to_be_visible()
    # The way back has the focus, and what cannot be undone is one key further.
    expect(page.get_by_role("link", name="Cancel", exact=True)).to_be_focused()
    reach(".ss-ask .ss-button-strong", most=1)
    keys.press("Enter")
    expect(page.locator(".messagelist")).to_contain_text("Removed Ben")
    expect(page.locator(row(page, "ben"))).to_have_count(0)
    expect(page.locator(row(page, "ada"))).to_be_visible()


def test_a_refresh_keeps_focus_ticks_folds_and_the_order_of_rows(
    demo: Workshop, open_page: Open
) -> None:
    code = code_of(demo)
    page = sign_in(demo, open_page)
    visit(page, demo, f"{code}/?o=-person")
    page.locator("#ss-every").select_option("2")
    order = page.locator("[data-ss-rows] tr").evaluate_all(
        "rows => rows.map(r => r.dataset.ssKey)"
    )
    page.locator("input[value=ben]").check()
    page.locator(".ss-technical > summary").click()
    page.locator(f"{row(page, order[0])} a").focus()

    guest = open_page(demo.url("Ben"))
    board = BoardView(guest)
    board.expect_live()
    for card in ("Team lunch", "Fewer tools", "Friday demos", "Remote weeks"):
        board.move(card, "start")
    expect(page.locator(row(page, "ben"))).to_contain_text("Online")
    placed = page.locator(f"{row(page, 'ben')} .ss-c-progress")
    expect(placed).to_contain_text("4 of 12")
    after = page.locator("[data-ss-rows] tr").evaluate_all(
        "rows => rows.map(r => r.dataset.ssKey)"
    )
    assert after == order
    expect(page.locator("input[value=ben]")).to_be_checked()
    expect(page.locator("[data-ss-all]")).to_have_js_property(
        "indeterminate", value=True
    )
    expect(page.locator(f"{row(page, order[0])} a")).to_be_focused()
    assert page.locator(".ss-technical").get_attribute("open") is not None


def test_what_is_chosen_for_refreshing_is_remembered_and_can_be_paused(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page)
    asked: list[int] = []
    page.on(
        "response",
        lambda each: asked.append(each.status) if "/live/" in each.url else None,
    )
    expect(page.locator("#ss-badge")).to_contain_text("Live · updated")
    page.locator("#ss-every").select_option("2")
    with page.expect_response(lambda each: "/live/" in each.url):
        pass
    # Nothing has changed since.
    with page.expect_response(lambda each: "/live/" in each.url and each.status == 304):
        pass
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("#ss-badge")).to_have_text("Paused")
    expect(page.get_by_role("button", name="Resume", exact=True)).to_be_visible()
    assert page.locator("#ss-pause").get_attribute("aria-pressed") == "true"
    page.reload()
    assert page.locator("#ss-every").input_value() == "2"
    page.locator("#ss-every").select_option("0")
    expect(page.locator("#ss-badge")).to_have_text("Refreshing is off")
    assert set(asked) <= {200, 304}


def test_a_server_that_does_not_answer_makes_the_page_say_that_it_is_stale(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page)
    page.locator("#ss-every").select_option("2")
    broken = {"now": True}

    def answer(route: Route) -> None:
        if broken["now"]:
            route.abort("connectionrefused")
        else:
            route.continue_()

    page.route(re.compile("/live/"), answer)
    badge = page.locator("#ss-badge")
    expect(badge).to_contain_text("Stale: the server does not answer.")
    expect(badge).to_have_attribute("data-state", "stale")
    expect(page.locator(".ss-line")).to_be_visible()
    broken["now"] = False
    expect(badge).to_contain_text("Live · updated", timeout=15_000)


def test_who_is_signed_out_meanwhile_is_told(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page)
    page.locator("#ss-every").select_option("2")
    page.context.clear_cookies()
    expect(page.locator("#ss-badge")).to_contain_text("You are signed out.")
    # Who looks over their shoulder now sees nothing.
    expect(page.locator("#ss .ss-notice")).to_contain_text("You are signed out.")
    expect(page.locator("[data-ss-rows], .ss-line, .ss-fold")).to_have_count(0)


def test_who_may_look_no_longer_is_told_and_sees_no_more(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page)
    visit(page, shared, f"{code_of(shared)}/ada/")
    expect(page.locator(".ss-tree")).to_be_visible()
    page.evaluate("window.fetch = async () => new Response('', { status: 403 })")
    page.locator("#ss-every").select_option("2")
    expect(page.locator("#ss-badge")).to_contain_text("You have no permission")
    expect(page.locator("#ss-say")).to_contain_text("You have no permission")
    expect(page.locator(".ss-tree, .ss-cards, #ss-operations button")).to_have_count(0)


class CachedDemo(DemoProcess):
    settings = "tests.settings_cached"


@pytest.fixture
def server() -> Iterator[Valkey]:
    server = Valkey()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def cached(
    server: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CachedDemo]:
    """A demo on that server. Ask for it before `open_page`: pages close first."""
    monkeypatch.setenv("WORKSHOP_REDIS_URL", server.url)
    demo = CachedDemo("--port", "0", temporary=tmp_path)
    yield demo
    demo.stop()


def test_a_cache_that_goes_away_leaves_nothing_old_on_the_page(
    server: Valkey, cached: CachedDemo, open_page: Open
) -> None:
    page = sign_in(cached, open_page)
    expect(page.locator(row(page, code_of(cached)))).to_be_visible()
    page.locator("#ss-every").select_option("2")
    server.kill()
    badge = page.locator("#ss-badge")
    expect(badge).to_have_text("The cache does not answer")
    expect(badge).to_have_attribute("data-state", "stale")
    expect(page.locator(".ss-card-bad")).to_be_visible()
    for left in (".ss-line", ".ss-list", ".ss-menu", ".ss-fold"):
        expect(page.locator(left).filter(visible=True)).to_have_count(0)
    # It comes back empty, and the page by itself.
    server.start()
    expect(page.get_by_text("No session is live", exact=True)).to_be_visible(
        timeout=15_000
    )
    expect(badge).to_contain_text("Live · updated")


def test_a_killed_server_is_noticed_without_losing_the_page(
    own_demo: DemoProcess, open_page: Open
) -> None:
    page = sign_in(own_demo, open_page)
    page.locator("#ss-every").select_option("2")
    expect(page.locator("#ss-badge")).to_contain_text("Live")
    os.kill(own_demo.process.pid, signal.SIGSTOP)
    try:
        expect(page.locator("#ss-badge")).to_contain_text("Stale", timeout=20_000)
        expect(page.locator(".ss-line")).to_be_visible()
    finally:
        os.kill(own_demo.process.pid, signal.SIGCONT)
    expect(page.locator("#ss-badge")).to_contain_text("Live", timeout=20_000)
