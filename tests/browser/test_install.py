"""The README's Install, pasted as it stands, gives a site that works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.demo_process import PATIENCE, ROOT, until
from tests.servers import free_port

README = (ROOT / "README.md").read_text()
SERVERS = {
    "runserver": [sys.executable, "manage.py", "runserver", "--noreload"],
    "uvicorn": [sys.executable, "-m", "uvicorn", "mysite.asgi:application", "--port"],
}


def blocks() -> Iterator[tuple[str, bool, str]]:
    """Yield what the README would have somebody paste: where, whether below, what."""
    for match in re.finditer(r"```(?:python|html|js)\n(.*?)\n(.*?)```", README, re.S):
        head, body = match.groups()
        named = re.match(r"(?:#|//|<!--) ([\w]+/[\w./]+)(, at its end)?", head)
        if named:
            yield named[1], bool(named[2]), body


def manage(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def environment(folder: Path) -> dict[str, str]:
    others = {
        name: value
        for name, value in os.environ.items()
        if name != "DJANGO_SETTINGS_MODULE"
    }
    return {**others, "PYTHONPATH": os.pathsep.join(map(os.fspath, (folder, ROOT)))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What startproject, startapp and the README's blocks make."""
    parent = tmp_path_factory.mktemp("install")
    manage(parent, "-m", "django", "startproject", "mysite")
    folder = parent / "mysite"
    manage(folder, "manage.py", "startapp", "workshop")
    for place, below, text in blocks():
        file = folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text() if below else ""
        file.write_text(before + text)
    manage(folder, "manage.py", "migrate")
    return folder


class Served:
    """A server of the site, and what it says."""

    def __init__(self, folder: Path, name: str) -> None:
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        self.output = ""
        self.process = subprocess.Popen(
            [*SERVERS[name], str(port)],
            cwd=folder,
            env={**environment(folder), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        until(self.answers, f"{name} to answer")

    def read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line

    def answers(self) -> bool:
        assert self.process.poll() is None, self.output
        try:
            with urllib.request.urlopen(self.base, timeout=PATIENCE):
                return True
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        assert self.process.stdout
        self.process.stdout.close()


def test_its_blocks_are_files_of_the_site() -> None:
    assert [place for place, _, _ in blocks()] == [
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


@pytest.mark.parametrize("server", SERVERS)
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
        expect(second.locator("form")).to_contain_text("There is no session ABC123.")
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
