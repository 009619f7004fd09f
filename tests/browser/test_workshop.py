"""The workshop as people use it, each in a browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.boards import BoardView, place_of
from tests.browser.conftest import Open
from tests.browser.staff import resize
from tests.browser.workshops import Workshop
from tests.demo_process import DemoProcess

DECK = (
    "Focus mornings",
    "Shorter meetings",
    "Faster tests",
    "Customer visits",
    "Writing days",
    "Team lunch",
    "Kinder on-call",
    "Learning budget",
    "Fewer tools",
    "Pair programming",
    "Friday demos",
    "Remote weeks",
)

# Both ways in which a board is drawn.
EITHER = pytest.mark.parametrize("ada", ["Ada", "Ada in React"])


def side_by_side(page: Page) -> tuple[BoardView, BoardView]:
    ada, ben = (BoardView.framed(page, f"{name}’s board") for name in ("Ada", "Ben"))
    ada.expect_live()
    ben.expect_live()
    return ada, ben


def test_interleaved_moves_of_two_people_reach_only_their_own_board(
    demo: Workshop, open_page: Open
) -> None:
    ada, ben = side_by_side(open_page(demo.url("All in one page")))
    ada.move("Team lunch", "start")
    ben.move("Team lunch", "leave")
    ada.move("Fewer tools", "start")
    ben.move("Friday demos", "later")
    ada.move("Friday demos", "leave")
    ada.expect_cards("start", "Team lunch", "Fewer tools")
    ada.expect_cards("later")
    ada.expect_cards("leave", "Friday demos")
    ben.expect_cards("start")
    ben.expect_cards("later", "Friday demos")
    ben.expect_cards("leave", "Team lunch")
    expect(ada.cards_in("pool")).to_have_count(9)
    expect(ben.cards_in("pool")).to_have_count(10)


@EITHER
def test_a_second_tab_of_one_participant_follows_within_a_second(
    demo: Workshop, open_page: Open, ada: str
) -> None:
    here, elsewhere = open_page(demo.url(ada)), open_page(demo.url(ada))
    first, second = BoardView(here), BoardView(elsewhere)
    first.expect_live()
    second.expect_live()
    first.move("Team lunch", "start")
    expect(second.cards_in("start")).to_have_text(["Team lunch"], timeout=1000)
    second.move("Team lunch", "leave")
    expect(first.cards_in("leave")).to_have_text(["Team lunch"], timeout=1000)
    expect(first.cards_in("start")).to_have_count(0)


def test_moves_made_without_a_connection_wait_and_are_applied_once(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("All in one page"))
    ada, ben = side_by_side(page)
    ada.root.get_by_role("button", name="Drop connection", exact=True).click()
    expect(ada.root.locator("#status")).to_have_text("Offline")
    ada.move("Team lunch", "start")
    ada.move("Fewer tools", "start")
    ada.move("Fewer tools", "later")
    expect(ada.root.locator("#status")).to_have_text("Offline · 3 waiting")
    ada.expect_cards("start", "Team lunch")  # seen at once, though not yet true

    fresh = BoardView(open_page(demo.url("Ada")))  # what the server knows
    fresh.expect_live()
    expect(fresh.cards_in("pool")).to_have_count(12)

    ada.root.get_by_role("button", name="Reconnect", exact=True).click()
    ada.expect_live()
    for board in (ada, fresh):
        board.expect_cards("start", "Team lunch")
        board.expect_cards("later", "Fewer tools")
        expect(board.cards_in("pool")).to_have_count(10)
    expect(ben.cards_in("pool")).to_have_count(12)


# Notes, whenever anything on the board changes, what does not fit what was done.
WATCH_CARDS = """() => {
  Object.assign(window, { faults: [], waited: 0 });
  const found = (selector) => [...document.querySelectorAll(selector)];
  const look = () => {
    const waiting = found('[data-zone="start"] [data-waiting]');
    window.waited = Math.max(window.waited, waiting.length);
    const cards = found("[data-zone] .card").length;
    if (cards !== 12) window.faults.push(`${cards} cards`);
    const there = found('[data-zone="start"] .card').map((card) => card.textContent);
    for (const title of window.moved ?? []) {
      if (!there.includes(title)) window.faults.push(`${title} is not there`);
    }
  };
  new MutationObserver(look).observe(document.getElementById("table"), {
    childList: true, subtree: true, attributeFilter: ["data-waiting"],
  });
}"""


@EITHER
def test_on_a_slow_network_cards_are_where_they_were_put_at_every_moment(
    demo: Workshop, open_page: Open, ada: str
) -> None:
    page = open_page(demo.url(ada))
    board = BoardView(page)
    board.expect_live()
    page.get_by_label("Slow network: 600 ms there and back", exact=True).check()
    page.evaluate(WATCH_CARDS)
    moved = ["Team lunch", "Fewer tools", "Faster tests"]
    for number, title in enumerate(moved, 1):
        board.card(title).focus()
        page.keyboard.press("1")
        page.evaluate("moved => { window.moved = moved }", moved[:number])
    board.expect_cards("start", *moved)
    expect(page.locator("[data-waiting]")).to_have_count(0)
    assert page.evaluate("window.waited") >= 1
    assert page.evaluate("window.faults") == []
    fresh = BoardView(open_page(demo.url(ada)))
    fresh.expect_live()
    fresh.expect_cards("start", *moved)
    expect(fresh.cards_in("pool")).to_have_count(9)


def test_the_react_board_is_a_link_away_and_ones_own(
    demo: Workshop, open_page: Open
) -> None:
    ben = BoardView(open_page(demo.url("Ben")))
    page = open_page(demo.url("Ada"))
    ada = BoardView(page)
    ada.expect_live()
    page.get_by_role("link", name="React board", exact=True).click()
    expect(page).to_have_title("Ada’s board (React)")
    ada.expect_live()
    expect(page.locator("#others")).to_have_text("Here too: Ben")
    ada.move("Team lunch", "start")
    ada.card("Fewer tools").press("3")
    ada.expect_cards("start", "Team lunch")
    ada.expect_cards("leave", "Fewer tools")
    expect(page.locator("[data-waiting]")).to_have_count(0)
    page.get_by_role("link", name="The board without React", exact=True).click()
    expect(page).to_have_title("Ada’s board")
    ada.expect_cards("start", "Team lunch")
    ada.expect_cards("leave", "Fewer tools")
    ben.expect_live()
    expect(ben.cards_in("pool")).to_have_count(12)


def test_the_react_board_drops_its_connection_and_goes_on(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("Ada in React"))
    ada = BoardView(page)
    ada.expect_live()
    page.get_by_role("button", name="Drop connection", exact=True).click()
    expect(page.locator("#status")).to_have_text("Offline")
    ada.move("Team lunch", "start")
    expect(page.locator("#status")).to_have_text("Offline · 1 waiting")
    ada.expect_cards("start", "Team lunch")
    page.get_by_role("button", name="Reconnect", exact=True).click()
    ada.expect_live()
    expect(page.locator("[data-waiting]")).to_have_count(0)
    ada.expect_cards("start", "Team lunch")


def test_without_scripts_cards_are_moved_by_forms_and_other_tabs_follow(
    demo: Workshop, open_page: Open
) -> None:
    live = BoardView(open_page(demo.url("Ada")))
    live.expect_live()
    page = open_page(demo.url("Ada"), java_script_enabled=False)
    page.get_by_role("link", name="The board without scripts", exact=True).click()
    card = page.get_by_role("listitem").filter(has_text="Team lunch")
    card.get_by_role("button", name="Start now", exact=True).click()
    expect(card.get_by_role("paragraph").first).to_have_text("Team lunch Start now")
    live.expect_cards("start", "Team lunch")
    page.get_by_role("button", name="I’m done", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("11 of 12 are still open.")
    # Who comes by a link is shown it on a page of its own.
    page.get_by_role("link", name="Back to the page", exact=True).click()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("link", name="The board with scripts", exact=True).click()
    expect(page.get_by_role("heading", name="Ada", exact=True)).to_be_visible()


DEBUG = """async () => {
  const { connect } = await import("/static/sessionstores/client.js");
  const { debug } = await import("/static/sessionstores/debug.js");
  const predict = { board: { move: (board) => ({ ...board, deck: [] }) } };
  window.session = debug(connect, "#sessionstores", { storage: null, predict });
}"""


def test_the_panel_for_developers_shows_frames_and_what_is_predicted(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("Ada"))
    BoardView(page).expect_live()
    page.evaluate(DEBUG)
    panel = page.locator("#sessionstores-debug")
    expect(panel.get_by_role("status")).to_have_text("live · 0 pending")
    # Who sees the screen does not get the token.
    expect(panel).to_contain_text('"token":"…"')
    expect(panel).to_contain_text('← {"type":"welcome"')
    panel.get_by_label("Delay there and back").select_option("1000 ms")
    panel.get_by_role("button", name="Drop", exact=True).click()
    expect(panel.get_by_role("status")).to_have_text("offline · 0 pending")
    page.evaluate(
        "() => void session.store('board').actions.move({ card: 'lunch', pile: null })"
    )
    expect(panel.get_by_role("status")).to_have_text("offline · 1 pending")
    expect(panel).to_contain_text("confirmed: {")
    panel.get_by_role("button", name="Reconnect", exact=True).click()
    expect(panel.get_by_role("status")).to_have_text("live · 0 pending")
    expect(panel).not_to_contain_text("confirmed: {")
    expect(panel).to_contain_text('"action":"move"')
    panel.get_by_role("button", name="Close", exact=True).click()
    expect(panel).to_have_count(0)


def test_moves_that_the_workshop_has_outrun_are_refused_and_taken_back(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("All in one page"))
    ada, _ = side_by_side(page)
    ada.root.get_by_role("button", name="Drop connection", exact=True).click()
    ada.move("Team lunch", "start")
    page.get_by_role("button", name="Next step", exact=True).click()
    expect(page.locator("#steps [aria-current]")).to_contain_text("Choose")
    ada.root.get_by_role("button", name="Reconnect", exact=True).click()
    expect(ada.root.get_by_role("alert")).to_have_text("The workshop is at step 2.")
    page.get_by_role("button", name="Back", exact=True).click()
    expect(ada.cards_in("pool")).to_have_count(12)


def test_the_facilitators_step_reaches_everybody(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("All in one page"))
    ada, ben = side_by_side(page)
    guest = open_page(demo.url("Join as a guest"))
    guest.get_by_label("Your name", exact=True).fill("Zoe")
    guest.get_by_role("button", name="Join", exact=True).click()
    expect(guest.get_by_role("heading", name="Zoe", exact=True)).to_be_visible()
    ada.move("Team lunch", "start")
    ada.expect_saved()

    page.get_by_role("button", name="Next step", exact=True).click()
    for board in (ada, ben, BoardView(guest)):
        current = board.root.locator("#steps [aria-current]")
        expect(current).to_contain_text("Choose")
    ada.move("Team lunch", "rank-2")
    ada.expect_cards("rank-2", "Team lunch")
    ada.expect_saved()

    page.get_by_role("button", name="Next step", exact=True).click()
    ada.move("Team lunch", "low-high")
    ada.expect_cards("low-high", "Team lunch")
    page.get_by_role("button", name="Back", exact=True).click()
    ada.expect_cards("rank-2", "Team lunch")


def test_the_facilitator_sees_everybodys_progress_and_can_start_them_over(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("All in one page"))
    ada, ben = side_by_side(page)
    ada.card(DECK[0]).focus()
    for _ in DECK:
        page.keyboard.press("2")
    ada.root.get_by_role("button", name="I’m done", exact=True).click()
    ben.move("Team lunch", "start")
    expect(page.locator('.standings [data-person="ada"]')).to_contain_text("Done")
    expect(page.locator('.standings [data-person="ben"]')).to_contain_text("1 of 12")
    expect(page.locator(".summary")).to_have_text("1 of 2 done with step 1")
    # One person's end must not show on another's screen: the bug of the origin.
    expect(ben.root.locator("#finish")).to_have_text("I’m done")

    page.get_by_role("button", name="Start Ada over", exact=True).click()
    expect(ada.cards_in("pool")).to_have_count(12)
    expect(ben.cards_in("pool")).to_have_count(11)
    expect(page.locator('.standings [data-person="ada"]')).to_contain_text("0 of 12")


def test_the_facilitator_sees_who_is_here_and_in_how_many_tabs(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("All in one page"))
    ada, _ = side_by_side(page)
    here = page.locator("#here li")
    expect(here).to_have_text([re.compile("Ada.*Online$"), re.compile("Ben.*Online$")])
    other = open_page(demo.url("Ada"))
    expect(here.first).to_contain_text("Online · 2 tabs")
    BoardView(other).expect_live()
    other.reload()
    BoardView(other).expect_live()
    expect(here.first).to_contain_text("Online · 2 tabs")
    other.context.close()
    expect(here.first).to_have_text(re.compile("Online$"))

    ada.root.locator("body").evaluate(
        """body => {
          Object.defineProperty(document, "hidden", { value: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(here.first).to_contain_text("Away")
    ada.root.get_by_role("button", name="Drop connection", exact=True).click()
    expect(here).to_have_text([re.compile("Ben.*Online$")], timeout=15_000)
    ada.root.get_by_role("button", name="Reconnect", exact=True).click()
    expect(here.first).to_contain_text("Ada")


def test_the_shared_store_bleeds_and_the_isolated_one_does_not(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("All in one page"))
    ada, ben = side_by_side(page)
    page.get_by_role(
        "switch", name="Shared store (the origin’s bug)", exact=True
    ).click()
    shared_ada, shared_ben = (
        BoardView.framed(page, f"{name}’s board, shared") for name in ("Ada", "Ben")
    )
    shared_ada.expect_live()
    shared_ben.expect_live()
    shared_ada.move("Team lunch", "start")
    shared_ben.expect_cards("start", "Team lunch")
    ada.expect_cards("start")
    ada.move("Fewer tools", "leave")
    ada.expect_cards("leave", "Fewer tools")
    for other in (ben, shared_ada, shared_ben):
        other.expect_cards("leave")
    page.get_by_role(
        "switch", name="Shared store (the origin’s bug)", exact=True
    ).click()
    expect(page.locator("iframe")).to_have_count(2)


@EITHER
def test_cards_are_sorted_by_keyboard_alone(
    demo: Workshop, open_page: Open, ada: str
) -> None:
    page = open_page(demo.url(ada))
    board = BoardView(page)
    board.expect_live()
    first = board.card(DECK[0])
    for _ in range(5):  # the way there is short
        page.keyboard.press("Tab")
        if first.evaluate("card => card === document.activeElement"):
            break
    expect(first).to_be_focused()
    assert first.evaluate("card => getComputedStyle(card).outlineStyle") == "solid"

    page.keyboard.press("Enter")
    expect(first).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#announcer")).to_contain_text("Focus mornings picked up.")
    page.keyboard.press("Escape")
    expect(first).to_have_attribute("aria-pressed", "false")

    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    board.expect_cards("later", DECK[0])
    announcer = page.locator("#announcer")
    expect(announcer).to_have_text("Focus mornings: Maybe later. 11 left.")

    expect(board.card(DECK[1])).to_be_focused()
    for _ in DECK[1:]:
        page.keyboard.press("1")
    board.expect_cards("start", *DECK[1:])
    finish = page.get_by_role("button", name="I’m done", exact=True)
    expect(finish).to_be_enabled()
    finish.press("Enter")
    expect(page.locator("#finish")).to_contain_text("Done")


@EITHER
def test_a_card_is_dragged_with_the_mouse(
    demo: Workshop, open_page: Open, ada: str
) -> None:
    page = open_page(demo.url(ada))
    board = BoardView(page)
    board.expect_live()
    card = place_of(board.card("Team lunch"))
    pile = place_of(board.zone("leave"))
    page.mouse.move(card["x"] + 10, card["y"] + 10)
    page.mouse.down()
    page.mouse.move(pile["x"] + 30, pile["y"] + 60, steps=5)
    page.mouse.up()
    board.expect_cards("leave", "Team lunch")
    expect(board.card("Team lunch")).to_have_attribute("aria-pressed", "false")
    # The click that ended the drag was swallowed; this one is not.
    board.card("Team lunch").click()
    expect(board.card("Team lunch")).to_have_attribute("aria-pressed", "true")


def test_a_click_while_the_page_scrolls_beneath_it_picks_the_card(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("All in one page"))
    ada, _ = side_by_side(page)
    resize(page, 1280, 500)
    card = ada.card("Team lunch")
    box = place_of(card)
    at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*at)
    page.mouse.down()
    page.evaluate("scrollBy({ top: 12, behavior: 'instant' })")
    assert page.evaluate("scrollY") == 12
    page.mouse.move(*at)
    page.mouse.up()
    expect(card).to_have_attribute("aria-pressed", "true")


@EITHER
def test_what_another_tab_does_leaves_a_click_and_a_drag_under_way_alone(
    demo: Workshop, open_page: Open, ada: str
) -> None:
    page = open_page(demo.url(ada))
    board, elsewhere = BoardView(page), BoardView(open_page(demo.url(ada)))
    board.expect_live()
    elsewhere.expect_live()
    card = board.card("Team lunch")
    box = place_of(card)
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    elsewhere.move("Remote weeks", "later")
    board.expect_cards("later", "Remote weeks")
    page.mouse.up()
    expect(card).to_have_attribute("aria-pressed", "true")

    # A card that is picked stays so, and so does the focus on a place for it.
    put = board.zone("start").locator(".put")
    put.focus()
    elsewhere.move("Friday demos", "later")
    board.expect_cards("later", "Remote weeks", "Friday demos")
    expect(card).to_have_attribute("aria-pressed", "true")
    expect(put).to_be_focused()
    page.keyboard.press("Enter")
    board.expect_cards("start", "Team lunch")

    # A card in somebody's hand stays there.
    held = board.card("Fewer tools")
    held.click(trial=True)  # once it has glided to its place
    box = place_of(held)
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 60, steps=3)
    place = place_of(held)
    elsewhere.move("Pair programming", "later")
    board.expect_cards("later", "Remote weeks", "Friday demos", "Pair programming")
    assert place_of(held) == pytest.approx(place, abs=0.5)
    target = place_of(board.zone("leave"))
    page.mouse.move(target["x"] + 30, target["y"] + 60, steps=3)
    page.mouse.up()
    board.expect_cards("leave", "Fewer tools")


def test_the_next_step_keeps_a_card_picked_that_it_has_and_drops_another(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("All in one page"))
    ada, ben = side_by_side(page)
    for board in (ada, ben):
        board.move("Team lunch", "start")
        board.expect_cards("start", "Team lunch")
        board.expect_saved()
    ada.card("Team lunch").click()
    ben.card("Fewer tools").click()
    page.get_by_role("button", name="Next step", exact=True).click()
    for board in (ada, ben):
        current = board.root.locator("#steps [aria-current]")
        expect(current).to_contain_text("Choose")
    ada.zone("rank-1").locator(".put").click()
    ada.expect_cards("rank-1", "Team lunch")
    # Nothing is picked any more, so that Tab leads to what there is.
    expect(ben.zone("rank-1").locator(".put")).to_be_hidden()
    expect(ben.card("Team lunch")).to_have_js_property("tabIndex", 0)
    page.get_by_role("button", name="Back", exact=True).click()
    expect(ben.card("Fewer tools")).to_have_attribute("aria-pressed", "false")


@EITHER
def test_a_card_that_another_tab_moves_keeps_the_focus(
    demo: Workshop, open_page: Open, ada: str
) -> None:
    board = BoardView(open_page(demo.url(ada)))
    elsewhere = BoardView(open_page(demo.url(ada)))
    board.expect_live()
    elsewhere.expect_live()
    board.card("Team lunch").focus()
    elsewhere.move("Team lunch", "start")
    board.expect_cards("start", "Team lunch")
    expect(board.card("Team lunch")).to_be_focused()


@EITHER
def test_a_board_goes_through_all_steps(
    demo: Workshop, open_page: Open, ada: str
) -> None:
    facilitator = open_page(demo.url("All in one page"))
    onward = facilitator.get_by_role("button", name="Next step", exact=True)
    page = open_page(demo.url(ada))
    board = BoardView(page)
    board.expect_live()
    board.move("Team lunch", "start")
    board.expect_saved()
    onward.click()
    expect(page.locator("#announcer")).to_contain_text("Step 2: Which three first?")
    expect(page.locator(".steps [aria-current]")).to_have_text("2 Choose")
    board.move("Team lunch", "rank-1")
    board.expect_cards("rank-1", "Team lunch")
    board.expect_cards("pool")
    board.expect_saved()
    onward.click()
    expect(page.get_by_role("heading", name="What is it worth?")).to_be_visible()
    board.card("Team lunch").press("2")
    board.expect_cards("high-high", "Team lunch")
    finish = page.get_by_role("button", name="I’m done", exact=True)
    finish.click()
    expect(page.locator("#finish")).to_have_text("Done. Waiting for the others")


@EITHER
def test_a_reload_brings_the_board_back(
    demo: Workshop, open_page: Open, ada: str
) -> None:
    page = open_page(demo.url(ada))
    board = BoardView(page)
    board.expect_live()
    board.move("Team lunch", "start")
    page.reload()
    board.expect_live()
    board.expect_cards("start", "Team lunch")


@EITHER
def test_ending_the_workshop_tells_everybody(
    demo: Workshop, open_page: Open, ada: str
) -> None:
    guest = open_page(demo.url(ada))
    BoardView(guest).expect_live()
    page = open_page(demo.url("All in one page"))
    side_by_side(page)
    page.get_by_text("End the workshop", exact=True).click()
    page.get_by_role("button", name="End it for everybody", exact=True).click()
    expect(page.get_by_label("Workshop code", exact=True)).to_be_visible()
    expect(guest.get_by_role("alert")).to_contain_text("The workshop has ended")
    expect(guest.locator("#status")).to_have_text("Ended")


def test_anyone_can_start_a_workshop_of_their_own(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(f"{demo.base}/")
    page.get_by_role("button", name="Start a workshop of your own", exact=True).click()
    side_by_side(page)
    code = demo.url("Join as a guest")[-6:]
    expect(page.locator(".panel .code")).not_to_have_text(code)


def test_the_demo_ends_quietly_with_tabs_open(
    own_demo: DemoProcess, open_page: Open
) -> None:
    page = open_page(own_demo.url("All in one page"))
    ada, _ = side_by_side(page)
    assert own_demo.stop() == 0
    assert "Traceback" not in own_demo.output
    expect(ada.root.locator("#status")).to_have_text("Reconnecting")


def test_a_browser_without_network_says_so_and_comes_back(
    demo: Workshop, open_page: Open
) -> None:
    page = open_page(demo.url("Ada"))
    BoardView(page).expect_live()
    page.context.set_offline(True)
    expect(page.locator("#status")).to_have_text("Offline")
    page.context.set_offline(False)
    BoardView(page).expect_live()
