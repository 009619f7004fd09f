"""The admin of the demo, as a member of staff uses it."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from django.core import signing
from playwright.sync_api import Page, expect

from sessionstores.participants.tokens import LINK_SALT
from tests.browser.boards import DRAWN, BoardView
from tests.browser.conftest import Open
from tests.browser.workshops import Demo
from tests.demo_process import ROOT

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
BASE = "/admin/sessionstores/livesession/"

# As long as an id can be; before "ada", whose page so has it as a neighbour.
LONG = "a" * 64
# As long, of somebody who is kept out.
KEPT_OUT = "z" * 64

# All that axe has to say would take longer to hand over than to find out.
VIOLATIONS = """async (rules) => {
  const runOnly = { type: "rule", values: rules };
  const options = { resultTypes: ["violations"], ...(rules && { runOnly }) };
  const { violations } = await axe.run("#ss", options);
  return violations.flatMap(({ id, impact, nodes }) =>
    nodes.map((node) => `${impact}, ${id}: ${node.html}`));
}"""

OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


def code_of(demo: Demo) -> str:
    """Return the code of the demo's workshop."""
    match = re.search(r"workshop (\w{6})", demo.output)
    assert match
    return match[1]


def sign_in(demo: Demo, open_page: Open, **options: Any) -> Page:
    """Open the overview as the demo's superuser."""
    address = demo.url("Admin")
    if cookies := demo.signed_in:
        return open_page(address, storage_state={"cookies": cookies}, **options)
    match = re.search(r"Admin .*\((\w+) / (\S+)\)", demo.output)
    assert match
    page = open_page(address, **options)
    page.locator("#id_username").fill(match[1])
    page.locator("#id_password").fill(match[2])
    page.keyboard.press("Enter")
    expect(page.locator("#ss")).to_be_visible(timeout=20_000)
    demo.signed_in += page.context.cookies()
    return page


def visit(page: Page, demo: Demo, path: str = "") -> None:
    """Go to one of our pages, and wait until its script has begun."""
    page.goto(f"{demo.base}{BASE}{path}")
    if page.locator("#ss-live").count():
        expect(page.locator("#ss-livebar")).to_be_visible()


def resize(page: Page, width: int, height: int = 900) -> None:
    """Make the window so large, and wait until it has been drawn at that size."""
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate(DRAWN)


def violations(page: Page, rules: list[str] | None = None) -> list[str]:
    """Return all that axe-core finds about our part of a page.

    `rules` names those to be applied instead of all.
    """
    # As the debugger would, so that the page's policy does not forbid it.
    page.evaluate(AXE.read_text())
    found: list[str] = page.evaluate(VIOLATIONS, rules)
    return found


def pages_of(demo: Demo) -> list[str]:
    """Return the paths of all pages that can be opened."""
    code = code_of(demo)
    return [
        "",
        "?q=nothing+is+called+so",
        "health/",
        "health/?range=day",
        f"{code}/",
        f"{code}/ada/",
        f"{code}/*/",
        f"{code}/ada/board/edit/",
        f"{code}/ada/board/edit/?as=json",
        f"{code}/.print/",
        f"{code}/.history/",
    ]


def join_as_long(demo: Demo, open_page: Open, secret_key: str, id: str = LONG) -> Page:
    """Let somebody with a `LONG` id be there, until their page is closed."""
    code = code_of(demo)
    claims = [code, id, "participant", time.time()]
    signer = signing.Signer(key=secret_key, salt=LINK_SALT)
    token = signer.sign_object(claims)
    guest = open_page(f"{demo.base}/{code}/?ss_participant={token}")
    BoardView(guest).expect_live()
    return guest


def lade(demo: Demo, open_page: Open, secret_key: str) -> None:
    """Let somebody with a `LONG` id join, with a state so large that it is cut.

    Somebody else, with an id as long, is kept out.
    """
    code = code_of(demo)
    join_as_long(demo, open_page, secret_key, KEPT_OUT).close()
    guest = join_as_long(demo, open_page, secret_key)
    BoardView(guest).move("Team lunch", "start")
    guest.close()
    page = sign_in(demo, open_page)
    visit(page, demo, f"{code}/{LONG}/board/edit/?as=json")
    state = json.loads(page.locator("#ss-json").input_value())
    # Within what is allowed, past what should be.
    state["deck"] = ["x" * 1_000] * 220
    page.locator("#ss-json").fill(json.dumps(state))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("Saved:")
    visit(page, demo, f"{code}/{KEPT_OUT}/")
    ask(page, "Remove from session…")
    confirm(page)
    expect(page.locator("#ss-kicked")).to_contain_text(KEPT_OUT)
    page.close()


def ask(page: Page, button: str) -> None:
    """Press a button that asks first, in the menu of the others if it is there."""
    found = page.get_by_role("button", name=button, exact=True)
    if not found.count():
        page.locator(".ss-others > summary").click()
    found.click()
    expect(page.get_by_role("link", name="Cancel", exact=True)).to_be_visible()


def confirm(page: Page) -> None:
    """Do what was asked for."""
    page.locator(".ss-ask .ss-button-strong").click()
    expect(page.locator(".ss-ask")).to_have_count(0)
