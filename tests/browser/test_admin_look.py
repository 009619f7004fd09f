"""How the admin looks: in the dark, on a phone, in other scripts, on other sites."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.staff import (
    AXE,
    LONG,
    OVERFLOW,
    ask,
    code_of,
    confirm,
    join_as_long,
    lade,
    pages_of,
    resize,
    sign_in,
    violations,
    visit,
)
from tests.demo_process import DemoProcess

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
SECRET_KEY = "one-that-this-process-can-sign-with"

laden_demos: list[DemoProcess] = []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSHOP_SECRET_KEY", SECRET_KEY)
        process = DemoProcess("--port", "0", temporary=tmp_path_factory.mktemp("demo"))
    yield process
    assert process.stop() == 0
    assert "Traceback" not in process.output


@pytest.fixture
def laden(shared: DemoProcess, open_page: Open) -> DemoProcess:
    """The same demo, in which there is more than there should be."""
    if shared not in laden_demos:
        lade(shared, open_page, SECRET_KEY)
        laden_demos.append(shared)
    return shared


def laden_pages_of(demo: DemoProcess) -> list[str]:
    """Return the paths of all pages, those included on which something is wrong."""
    return [*pages_of(demo), f"{code_of(demo)}/{LONG}/"]


def test_without_a_script_everything_but_the_refresh_is_there(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page, java_script_enabled=False)
    code = code_of(shared)
    expect(page.locator("#ss-livebar")).to_be_hidden()
    page.get_by_role("link", name=code, exact=True).click()
    page.locator(".ss-people").get_by_role("link", name="Ada", exact=True).click()
    expect(page.locator(".ss-tree")).to_contain_text('name: "Ada"')
    page.locator("summary", has_text="deck").click()
    expect(page.get_by_text('"focus"', exact=True)).to_be_hidden()
    expect(page.get_by_role("button", name="Copy JSON", exact=True)).to_be_hidden()
    ask(page, "Reset…")
    expect(page.get_by_role("heading", name="Reset Ada?", exact=True)).to_be_visible()


# In a CI run its absence is a failure.
needs_axe = pytest.mark.skipif(
    not (AXE.exists() or os.environ.get("CI") == "true"),
    reason="axe-core is not installed (npm install)",
)


# What one colour scheme may break that the other does not.
COLOURS = ["color-contrast", "link-in-text-block"]


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(laden: DemoProcess, open_page: Open, scheme: str) -> None:
    page = sign_in(laden, open_page, color_scheme=scheme)
    rules = COLOURS if scheme == "dark" else None
    expect(page.locator(".ss-alerts")).to_contain_text(LONG)
    for fold in (".ss-alerts", ".ss-fold"):
        page.locator(f"{fold} > summary").click()
    for path in laden_pages_of(laden):
        visit(page, laden, path)
        assert violations(page, rules) == [], path
    # The last of them is that of a state with a long list, which is cut.
    page.locator(".ss-tree summary", has_text="deck:").click()
    expect(page.locator(".ss-cut a").first).to_be_visible()
    assert violations(page, rules) == []
    visit(page, laden, f"{code_of(laden)}/")
    for button in ("End session…", "Send a message…", "Keep longer…"):
        ask(page, button)
        assert violations(page, rules) == [], button
        page.get_by_role("link", name="Cancel", exact=True).click()


@pytest.mark.parametrize("locale", ["en-GB", "de-DE", "he-IL"])
def test_a_phone_needs_no_scrolling_sideways(
    laden: DemoProcess, open_page: Open, locale: str
) -> None:
    page = sign_in(laden, open_page, **PHONE, locale=locale)
    join_as_long(laden, open_page, SECRET_KEY)
    for path in laden_pages_of(laden):
        visit(page, laden, path)
        assert page.evaluate(OVERFLOW) <= 0, path


# What does not fit a table would be out of sight: it can be scrolled, yet who would.
# Of each table, the pixels that are cut off, and with them its heads' widths.
CUT = """() => {
    const cut = (table) => table.scrollWidth - table.clientWidth;
    const widths = (table) => [...table.querySelectorAll("th")].map(
        (head) => `${head.className} ${head.textContent}: ${head.offsetWidth}`);
    return [...document.querySelectorAll(".ss-scroll")].filter(cut)
        .map((table) => [cut(table), table.clientWidth, ...widths(table)]);
}"""


def test_tables_fit_every_width(laden: DemoProcess, open_page: Open) -> None:
    # German words are long.
    page = sign_in(laden, open_page, locale="de-DE")
    # Names, long ones too, are those of people who are there.
    join_as_long(laden, open_page, SECRET_KEY)
    code = code_of(laden)
    for path in ("", "health/", f"{code}/", f"{code}/{LONG}/"):
        visit(page, laden, path)
        if path == f"{code}/":
            expect(page.locator(".ss-c-person", has_text="aaaa")).to_be_visible()
        for width in (390, 768, 1024, 1200, 1366, 1440):
            resize(page, width)
            assert page.locator(".ss-scroll").count() >= 1
            assert page.evaluate(CUT) == [], (path, width)
    visit(page, laden, f"{code_of(laden)}/ada/")
    # What only some themes show is not shown twice.
    expect(page.locator("#content .ss-trail")).to_be_hidden()
    # A link that is a button is one: as high as the others, and not underlined.
    tools = page.locator(".ss-state-tools > :visible")
    for width in (390, 1280):
        resize(page, width)
        boxes = [box for each in tools.all() if (box := each.bounding_box())]
        assert len({box["height"] for box in boxes}) == 1
    expect(tools.last).to_have_css("text-decoration-line", "none")


# On how many lines the text of each cell is.
LINES = """(cells) => cells.map((cell) => {
    const text = document.createRange();
    text.selectNodeContents(cell);
    return text.getClientRects().length;
})"""
MOMENT = """(at) => new Intl.DateTimeFormat(
    document.documentElement.lang, { dateStyle: "long", timeStyle: "medium" }
).format(Date.parse(at))"""


def test_the_sheet_has_one_clock_and_whole_words_beside_long_ids(
    laden: DemoProcess, open_page: Open
) -> None:
    page = sign_in(laden, open_page, timezone_id="Asia/Tokyo", forced_colors="active")
    visit(page, laden, f"{code_of(laden)}/.print/")
    # The rows have the visitor's time, and so has the head.
    at = page.locator(".ss-head time")
    expect(at).to_have_text(page.evaluate(MOMENT, at.get_attribute("datetime")))
    resize(page, 660)
    roles = page.locator("td.ss-s-role")
    assert set(roles.evaluate_all(LINES)) == {1}
    visit(page, laden, f"{code_of(laden)}/")
    bar = page.locator(".ss-c-progress progress").first
    expect(bar).to_have_css("border-top-width", "1px")


def test_pages_mirror_for_right_to_left_scripts(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page, locale="he-IL")
    assert page.evaluate("document.documentElement.dir") == "rtl"
    title = page.locator("#ss h1").bounding_box()
    tools = page.locator(".ss-tools").bounding_box()
    heads = page.locator("#ss thead th").filter(visible=True)
    first, last = heads.nth(1).bounding_box(), heads.last.bounding_box()
    assert title
    assert tools
    assert first
    assert last
    assert first["x"] > last["x"]
    assert title["x"] + title["width"] >= tools["x"] + tools["width"]
    visit(page, shared, f"{code_of(shared)}/ada/")
    # JSON reads from the left in every script.
    expect(page.locator(".ss-tree")).to_have_css("direction", "ltr")
    expect(page.locator("#ss code").first).to_have_css("unicode-bidi", "isolate")


def test_the_admin_speaks_german_to_a_german_browser(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page, locale="de-DE")
    expect(
        page.get_by_role("heading", name="Live-Sitzungen", exact=True)
    ).to_be_visible()
    expect(page.locator("#ss-badge")).to_contain_text("Live · aktualisiert")
    ago = page.locator("time[data-ss-time=ago]").first
    # "vor 2 m" would be metres.
    expect(ago).to_have_text(re.compile(r"^(gerade eben|vor \d+ (Sek|Min)\.)$"))


def test_text_can_be_copied_and_downloaded(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page, permissions=["clipboard-read", "clipboard-write"])
    code = code_of(shared)
    visit(page, shared, f"{code}/ada/")
    page.locator(".ss-technical > summary").click()
    page.get_by_role("button", name="Copy", exact=True).click()
    read = "navigator.clipboard.readText()"
    expect(page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    assert page.evaluate(read) == f"{code}:ada"
    page.get_by_role("button", name="Copy JSON", exact=True).click()
    expect(page.locator("#ss-say")).to_have_text("Copied")
    deadline = time.monotonic() + 10
    while not (copied := page.evaluate(read)).startswith("{"):
        assert time.monotonic() < deadline, copied
        page.wait_for_timeout(50)
    assert json.loads(copied)["name"] == "Ada"
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()
    assert download.value.suggested_filename == f"{code}-ada-board.json"


class UnfoldDemo(DemoProcess):
    settings = "tests.settings_unfold"


class StrictDemo(DemoProcess):
    settings = "tests.settings_nonce"


@pytest.fixture
def own_demo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DemoProcess]:
    """A demo of the test's own. Ask for it before `open_page`: pages close first."""
    demo: DemoProcess = request.param("--port", "0", temporary=tmp_path)
    yield demo
    demo.stop()


@needs_axe
@pytest.mark.parametrize("own_demo", [UnfoldDemo], indirect=True)
def test_it_fits_into_unfold(own_demo: DemoProcess, open_page: Open) -> None:
    for scheme, rules in (("light", None), ("dark", COLOURS)):
        page = sign_in(own_demo, open_page, color_scheme=scheme)
        for path in pages_of(own_demo):
            visit(page, own_demo, path)
            assert page.evaluate(OVERFLOW) <= 0, path
            assert violations(page, rules) == [], path
        expect(page.get_by_role("heading", level=1).first).to_be_visible()


@pytest.mark.skipif(django.VERSION < (6,), reason="Django 6 is not installed")
@pytest.mark.parametrize("own_demo", [StrictDemo], indirect=True)
def test_a_policy_of_nonces_alone_is_kept_on_every_page(
    own_demo: DemoProcess, open_page: Open
) -> None:
    # The browser reports every violation as an error, which fails the test.
    page = sign_in(own_demo, open_page)
    for path in pages_of(own_demo):
        visit(page, own_demo, path)
    expect(page.locator("#ss")).to_be_visible()
    visit(page, own_demo, f"{code_of(own_demo)}/")
    expect(page.locator("#ss-badge")).to_contain_text("Live")
    policy = page.goto(page.url)
    assert policy
    assert "script-src 'nonce-" in policy.headers["content-security-policy"]
    ask(page, "End session…")
    confirm(page)


def test_on_paper_are_the_people_in_black_and_nothing_of_the_admin(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page, color_scheme="dark")
    for path in ("", ".print/"):
        visit(page, shared, f"{code_of(shared)}/{path}")
        page.emulate_media(media="print", color_scheme="dark")
        for gone in ("#header", "#nav-sidebar", ".breadcrumbs", "button", "form"):
            shown = page.locator(gone).filter(visible=True)
            expect(shown, gone).to_have_count(0)
        row = page.locator(".ss-table tbody tr").first
        expect(row.locator("th")).to_have_css("color", "rgb(0, 0, 0)")
        expect(row).to_have_css("break-inside", "avoid")
        expect(page.locator(".ss-table thead")).to_have_css(
            "display", "table-header-group"
        )
        # A page of the PDF by itself has neither of these as a part.
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf(format="A4"))) == 1
        page.emulate_media(media="screen")
