"""How the admin looks: in the dark, on a phone, in other scripts, on other sites."""

from __future__ import annotations

import json
import os
import time

import django
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.staff import (
    AXE,
    OVERFLOW,
    ask,
    code_of,
    confirm,
    pages_of,
    serious,
    sign_in,
    visit,
)
from tests.demo_process import DemoProcess

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def test_without_a_script_everything_but_the_refresh_is_there(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page, java_script_enabled=False)
    code = code_of(shared)
    expect(page.locator("#ss-livebar")).to_be_hidden()
    page.get_by_role("link", name=code).click()
    page.get_by_role("link", name="ada").click()
    expect(page.locator(".ss-tree")).to_contain_text('name: "Ada"')
    page.locator("summary", has_text="deck").click()
    expect(page.get_by_text('"focus"')).to_be_hidden()
    expect(page.get_by_role("button", name="Copy JSON")).to_be_hidden()
    page.get_by_role("button", name="Reset…").click()
    expect(page.get_by_role("heading", name="Reset 1 participant?")).to_be_visible()


# In a CI run its absence is a failure.
needs_axe = pytest.mark.skipif(
    not (AXE.exists() or os.environ.get("CI") == "true"),
    reason="Needs axe-core: npm install.",
)


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    shared: DemoProcess, open_page: Open, scheme: str
) -> None:
    page = sign_in(shared, open_page, color_scheme=scheme)
    for path in pages_of(shared):
        visit(page, shared, path)
        assert serious(page) == [], path
    visit(page, shared, f"{code_of(shared)}/")
    for button in ("End session…", "Send a message…", "Extend…"):
        ask(page, button)
        assert serious(page) == [], button
        page.get_by_role("link", name="Cancel").click()


@pytest.mark.parametrize("locale", ["en-GB", "de-DE", "he-IL"])
def test_a_phone_needs_no_scrolling_sideways(
    shared: DemoProcess, open_page: Open, locale: str
) -> None:
    page = sign_in(shared, open_page, **PHONE, locale=locale)
    for path in pages_of(shared):
        visit(page, shared, path)
        assert page.evaluate(OVERFLOW) <= 0, path


def test_pages_mirror_for_right_to_left_scripts(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page, locale="he-IL")
    assert page.evaluate("document.documentElement.dir") == "rtl"
    title = page.locator("#ss h1").bounding_box()
    tools = page.locator(".ss-tools").bounding_box()
    first = page.locator("#ss thead th").nth(1).bounding_box()
    last = page.locator("#ss thead th").last.bounding_box()
    assert title
    assert tools
    assert first
    assert last
    assert first["x"] > last["x"]
    assert title["x"] + title["width"] >= tools["x"] + tools["width"]
    visit(page, shared, f"{code_of(shared)}/ada/")
    # JSON reads from the left in every script.
    expect(page.locator(".ss-tree")).to_have_css("direction", "ltr")


def test_the_admin_speaks_german_to_a_german_browser(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page, locale="de-DE")
    expect(page.get_by_role("heading", name="Live-Sitzungen")).to_be_visible()
    expect(page.locator("#ss-badge")).to_contain_text("Live · aktualisiert")
    expect(page.locator("time[data-ss-time=ago]").first).to_contain_text("vor")


def test_text_can_be_copied_and_downloaded(
    shared: DemoProcess, open_page: Open
) -> None:
    page = sign_in(shared, open_page, permissions=["clipboard-read", "clipboard-write"])
    code = code_of(shared)
    visit(page, shared, f"{code}/ada/")
    page.get_by_role("button", name="Copy", exact=True).click()
    read = "navigator.clipboard.readText()"
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate(read) == f"{code}:ada"
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.locator("#ss-say")).to_have_text("Copied")
    deadline = time.monotonic() + 10
    while not (copied := page.evaluate(read)).startswith("{"):
        assert time.monotonic() < deadline, copied
        page.wait_for_timeout(50)
    assert json.loads(copied)["name"] == "Ada"
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"{code}-ada-board.json"


class UnfoldDemo(DemoProcess):
    settings = "tests.settings_unfold"


@needs_axe
def test_it_fits_into_unfold(
    tmp_path_factory: pytest.TempPathFactory, open_page: Open
) -> None:
    demo = UnfoldDemo("--port", "0", temporary=tmp_path_factory.mktemp("unfold"))
    try:
        for scheme in ("light", "dark"):
            page = sign_in(demo, open_page, color_scheme=scheme)
            for path in pages_of(demo):
                visit(page, demo, path)
                assert page.evaluate(OVERFLOW) <= 0, path
                assert serious(page) == [], path
            expect(page.get_by_role("heading", level=1).first).to_be_visible()
    finally:
        demo.stop()


class StrictDemo(DemoProcess):
    settings = "tests.settings_nonce"


@pytest.mark.skipif(django.VERSION < (6,), reason="Needs Django 6's nonces.")
def test_a_policy_of_nonces_alone_is_kept_on_every_page(
    tmp_path_factory: pytest.TempPathFactory, open_page: Open
) -> None:
    strict = StrictDemo("--port", "0", temporary=tmp_path_factory.mktemp("strict"))
    try:
        # The browser reports every violation as an error, which fails the test.
        page = sign_in(strict, open_page)
        for path in pages_of(strict):
            visit(page, strict, path)
        expect(page.locator("#ss")).to_be_visible()
        visit(page, strict, f"{code_of(strict)}/")
        expect(page.locator("#ss-badge")).to_contain_text("Live")
        policy = page.goto(page.url)
        assert policy
        assert "script-src 'nonce-" in policy.headers["content-security-policy"]
        ask(page, "End session…")
        confirm(page)
    finally:
        strict.stop()
