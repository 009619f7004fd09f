"""The README's Install, pasted as it stands, gives a site that works."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.pasting import Served, blocks, manage, paste
from tests.demo_process import ROOT

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What startproject, startapp and the README's blocks make."""
    parent = tmp_path_factory.mktemp("install")
    manage(parent, "-m", "django", "startproject", "mysite")
    folder = parent / "mysite"
    manage(folder, "manage.py", "startapp", "workshop")
    paste(folder, README)
    manage(folder, "manage.py", "migrate")
    return folder


def test_its_blocks_are_files_of_the_site() -> None:
    assert [place for place, _, _ in blocks(README)] == [
        "workshop/states.py",
        "mysite/settings.py",
        "mysite/asgi.py",
        "mysite/urls.py",
        "workshop/views.py",
        "workshop/templates/home.html",
        "workshop/templates/board.html",
        "workshop/static/workshop/board.js",
    ]


def test_the_site_passes_its_checks(site: Path) -> None:
    checked = manage(site, "manage.py", "check", "--fail-level", "WARNING")
    assert checked.stdout == "System check identified no issues (0 silenced).\n"
    report = manage(site, "manage.py", "sessionstores_doctor").stdout
    assert "accepts a WebSocket at /ws/sessionstores/" in report
    assert "All is well" in report


@pytest.mark.parametrize("server", ["runserver", "uvicorn"])
def test_two_browsers_meet_on_it(site: Path, open_page: Open, server: str) -> None:
    served = Served(site, server)
    try:
        first = open_page(served.base)
        first.get_by_role("button", name="Go").click()
        code = first.get_by_role("heading").inner_text()
        cards = first.locator("#deck button")
        expect(cards).to_have_text(["ace", "king", "queen"])
        second = open_page(served.base)
        second.locator("[name=code]").fill("ABC123")
        second.get_by_role("button", name="Go").click()
        expect(second.locator("form")).to_contain_text(
            "There is no session with this code."
        )
        second.locator("[name=code]").fill(f" {code[:3].lower()} {code[3:]}")
        second.get_by_role("button", name="Go").click()
        expect(second).to_have_url(f"{served.base}/{code}/")
        cards.nth(1).click()
        expect(cards).to_have_text(["ace", "queen"])
        # Another tab of theirs follows; the other one's board is their own.
        beside = open_page(first.url, beside=first)
        expect(beside.locator("#deck button")).to_have_text(["ace", "queen"])
        beside.locator("#deck button").first.click()
        expect(cards).to_have_text(["queen"])
        theirs = second.locator("#deck button")
        expect(theirs).to_have_text(["ace", "king", "queen"])
        theirs.first.click()
        expect(theirs).to_have_text(["king", "queen"])
        expect(cards).to_have_text(["queen"])
    finally:
        served.stop()
    assert "Traceback" not in served.output
