"""How the pages look: on a phone, in the dark, from right to left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.boards import BoardView, place_of
from tests.browser.conftest import Open
from tests.demo_process import DemoProcess

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
LABELS = ["All in one page", "Ada", "Join as a guest", "Admin"]

# Luminance and contrast as WCAG 2.2 defines them, of text on what is behind it.
CONTRAST = """selector => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => {
    const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = channels(text).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return Math.min(...[...document.querySelectorAll(selector)].map((node) => {
    const style = (node) => getComputedStyle(node);
    const isClear = (node) => style(node).backgroundColor === "rgba(0, 0, 0, 0)";
    let behind = node;
    while (isClear(behind)) behind = behind.parentElement;
    const a = light(style(node).color);
    const b = light(style(behind).backgroundColor);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
}"""


# Nothing here depends on what another test has left on the boards.
@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoProcess]:
    process = DemoProcess("--port", "0", temporary=tmp_path_factory.mktemp("demo"))
    yield process
    assert process.stop() == 0


def settle(page: Page) -> None:
    if page.locator("#status").count():
        expect(page.locator("#status")).to_have_text("Live")


def overflow(page: Page) -> int:
    return int(
        page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    )


@pytest.mark.parametrize("label", LABELS)
def test_a_phone_needs_no_scrolling_sideways(
    demo: DemoProcess, open_page: Open, label: str
) -> None:
    page = open_page(demo.url(label), **PHONE)
    settle(page)
    assert overflow(page) <= 0


def test_the_board_is_sorted_on_a_phone_by_taps(
    demo: DemoProcess, open_page: Open
) -> None:
    page = open_page(demo.url("Ben"), **PHONE)
    board = BoardView(page)
    board.expect_live()
    board.card("Team lunch").tap()
    target = board.zone("start").locator(".put")
    box = place_of(target)
    assert min(box["width"], box["height"]) >= 44
    target.tap()
    board.expect_cards("start", "Team lunch")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_keeps_its_contrast(
    demo: DemoProcess, open_page: Open, tmp_path: Path, scheme: str
) -> None:
    page = open_page(demo.url("Ada"), color_scheme=scheme)
    board = BoardView(page)
    board.expect_live()
    board.card("Team lunch").press("1")
    board.expect_cards("start", "Team lunch")
    for selector in (".card", ".zone h3", ".hint", "h1, h2", "#status", ".steps li"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (light == "rgb(246, 244, 239)") is (scheme == "light")
    page.screenshot(path=tmp_path / f"{scheme}.png")


@pytest.mark.parametrize("width", [390, 320])
def test_the_names_of_the_piles_fit_into_them_on_a_phone(
    demo: DemoProcess, open_page: Open, width: int
) -> None:
    viewport = {"width": width, "height": 844}
    page = open_page(demo.url("Ada"), locale="de-DE", viewport=viewport)
    expect(page.locator(".zone h3")).to_have_count(4)
    wider = "nodes => nodes.some((node) => node.scrollWidth > node.clientWidth)"
    assert not page.locator(".zone h3").evaluate_all(wider)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_way_out_without_scripts_keeps_its_contrast(
    demo: DemoProcess, open_page: Open, scheme: str
) -> None:
    page = open_page(demo.url("Ada"), color_scheme=scheme, java_script_enabled=False)
    expect(page.locator(".notice a")).to_have_count(1)
    assert page.evaluate(CONTRAST, ".notice, .notice a") >= 4.5


def test_the_react_board_fits_a_phone_and_keeps_its_contrast_in_the_dark(
    demo: DemoProcess, open_page: Open
) -> None:
    page = open_page(demo.url("Ben"), color_scheme="dark", **PHONE)
    page.get_by_role("link", name="React board", exact=True).tap()
    expect(page.locator("#root .card")).to_have_count(12)
    settle(page)
    assert overflow(page) <= 0
    for selector in (".card", ".zone h3", ".hint", "h1, h2", "#status", ".steps li"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    link = place_of(page.get_by_role("link"))
    assert link["height"] >= 24


def test_the_pages_mirror_for_right_to_left_scripts(
    demo: DemoProcess, open_page: Open
) -> None:
    page = open_page(demo.url("Ada"))
    BoardView(page).expect_live()
    page.evaluate("document.documentElement.dir = 'rtl'")
    name, button = page.locator(".who"), page.locator("#drop")
    left, right = place_of(button), place_of(name)
    assert left["x"] < right["x"]
    assert overflow(page) <= 0
