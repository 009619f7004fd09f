"""The tutorial, pasted as it stands, is a site on which people play poker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.pasting import (
    PYTHON,
    SERVERS,
    Served,
    blocks,
    environment,
    manage,
    paste,
)
from tests.demo_process import ROOT

TUTORIAL = (ROOT / "docs" / "tutorial" / "planning-poker.md").read_text()
# What this machine is to a phone beside it: an address that is not localhost.
OTHER_ADDRESS = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
# Elsewhere they are installed by then.
QUIET_PIP = 'set -eu; pip() { test "$1" = install; }\n'


def commands() -> list[str]:
    """Return the blocks that are typed into a terminal."""
    return re.findall(r"```sh\n(.*?)```", TUTORIAL, re.S)


def type_in(folder: Path, lines: str) -> str:
    """Type them as they stand into a shell; return what they print."""
    path = os.pathsep.join([str(Path(PYTHON).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", QUIET_PIP + lines],
        cwd=folder,
        env={**environment(folder), "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first commands and all blocks of the tutorial make."""
    parent = tmp_path_factory.mktemp("tutorial")
    type_in(parent, commands()[0])
    folder = parent / "mysite"
    paste(folder, TUTORIAL)
    manage(folder, "manage.py", "migrate")
    return folder


@pytest.fixture(params=SERVERS)
def served(site: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    served = Served(site, request.param, host="0.0.0.0")
    try:
        yield served
    finally:
        served.stop()
    assert "Traceback" not in served.output


def enter(page: Page, name: str, code: str = "") -> None:
    page.get_by_label("Your name").fill(name)
    if code:
        page.get_by_label("Code").fill(code)
    page.get_by_role("button", name="Go").click()


def pick(page: Page, card: str) -> None:
    page.locator("#hand").get_by_role("button", name=card, exact=True).click()


def test_its_blocks_are_files_of_the_site() -> None:
    assert [place for place, _, _ in blocks(TUTORIAL)] == [
        "mysite/settings.py",
        "mysite/asgi.py",
        "poker/states.py",
        "poker/views.py",
        "mysite/urls.py",
        "poker/templates/poker/home.html",
        "poker/templates/poker/table.html",
        "poker/static/poker/poker.css",
        "poker/static/poker/table.js",
        "mysite/settings.py",
    ]


def test_its_commands_end_as_it_says(site: Path) -> None:
    *looks, server = commands()[1].strip().splitlines()
    assert server == "python manage.py runserver"
    said = type_in(site, "\n".join(looks))
    assert "System check identified no issues (0 silenced)." in said
    assert "All is well" in said


def test_a_round_is_played_on_it(served: Served, open_page: Open) -> None:
    frames: list[str] = []
    ada = open_page(served.base)
    enter(ada, "Ada")
    heading = ada.get_by_role("heading", level=1)
    expect(heading).to_have_text(re.compile("^[A-Z0-9]{6}$"))
    code = heading.inner_text()
    # As a phone comes in, as people type, with a wrong code first.
    bob = open_page(f"http://{OTHER_ADDRESS}:{served.port}")
    bob.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda text: frames.append(text)),
    )
    enter(bob, "Bob", "ABC123")
    expect(bob.get_by_role("alert")).to_contain_text("no session with this code")
    enter(bob, "Bob", f" {code[:3].lower()} {code[3:]}")
    expect(bob.locator("#people li")).to_have_text(["Ada", "Bob"])
    expect(bob.get_by_role("button", name="Reveal")).to_have_count(0)

    pick(ada, "13")
    pick(bob, "5")
    expect(bob.locator("#people li")).to_have_text(["Ada ✓", "Bob ✓"])
    expect(bob.locator("#table li")).to_have_count(0)
    assert frames
    assert "13" not in "".join(re.findall('"card":"(.*?)"', "".join(frames)))
    # A second tab is the same person.
    beside = open_page(bob.url, beside=bob)
    chosen = beside.locator("#hand [aria-pressed=true]")
    expect(chosen).to_have_text("5")
    pick(beside, "8")
    expect(bob.locator("#hand [aria-pressed=true]")).to_have_text("8")
    expect(bob.locator("#people li")).to_have_text(["Ada ✓", "Bob ✓"])

    ada.get_by_role("button", name="Reveal").click()
    for page in (ada, bob, beside):
        expect(page.locator("#table li")).to_have_text(["Ada: 13", "Bob: 8"])
    # Somebody late follows the address that they were sent.
    cleo = open_page(ada.url)
    expect(cleo.get_by_label("Code")).to_have_value(code)
    enter(cleo, "Cleo")
    expect(cleo.locator("#table li")).to_have_text(["Ada: 13", "Bob: 8"])
    pick(cleo, "1")
    expect(cleo.locator("#problem")).to_contain_text("Wait for the next round.")
    ada.get_by_role("button", name="Next round").click()
    expect(cleo.locator("#table li")).to_have_count(0)
    expect(chosen).to_have_count(0)
    pick(cleo, "1")
    expect(ada.locator("#people li")).to_have_text(["Ada", "Bob", "Cleo ✓"])
    ada.get_by_role("button", name="Reveal").click()
    expect(bob.locator("#table li")).to_have_text(["Cleo: 1"])


def test_its_pages_survive_a_restart(site: Path, open_page: Open) -> None:
    served = Served(site, "runserver")
    try:
        page = open_page(served.base)
        enter(page, "Ada")
        # The buttons are there before the script that listens to them.
        expect(page.locator("#people li")).to_have_text(["Ada"])
        pick(page, "3")
        # Actions on two stores, such as a card and its reveal, are not ordered.
        expect(page.locator("#hand [aria-pressed=true]")).to_have_text("3")
        page.get_by_role("button", name="Reveal").click()
        expect(page.locator("#table li")).to_have_text(["Ada: 3"])
        served.stop()
        served = Served(site, "runserver", port=served.port)
        expect(page.locator("#table li")).to_have_count(0)
        pick(page, "5")
        expect(page.locator("#hand [aria-pressed=true]")).to_have_text("5")
        # With the record, its name is gone.
        expect(page.locator("#people li")).to_have_text(["Somebody ✓"])
    finally:
        served.stop()
