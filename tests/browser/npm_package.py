"""The package for npm, judged and built into a site; run by `make sites`.

It downloads what a front end is built with, so it is no part of `make test`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open
from tests.browser.pasting import Served, manage, paste
from tests.demo_process import ROOT

README = (ROOT / "README.md").read_text()
POLICY = """
# The strictest policy under which scripts and sockets of one's own run at all.
class Policy:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self'; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        return response
"""
PLAIN = 'MIDDLEWARE += ["mysite.policy.Policy"]\n'
# As behind a web server that serves what `collectstatic` has gathered.
HASHED = """
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
STATIC_ROOT = BASE_DIR / "collected"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    },
}
"""
SERVED_URL = """
from django.conf import settings
from django.urls import re_path
from django.views.static import serve
urlpatterns += [
    re_path("^static/(?P<path>.*)$", serve, {"document_root": settings.STATIC_ROOT})
]
"""


def run(folder: Path, *command: str) -> str:
    """Run a tool of npm's; return what it prints."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", "CI": "true"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An app of Vite, React and TypeScript in which the package is installed."""
    run(ROOT, "node", "npm/build.js")
    folder = tmp_path_factory.mktemp("npm") / "app"
    shutil.copytree(ROOT / "npm" / "app", folder)
    packed = ROOT / "build" / "npm" / "sessionstores"
    run(packed, "npm", "pack", "--silent", "--pack-destination", str(folder))
    (tarball,) = folder.glob("sessionstores-*.tgz")
    quiet = ("--silent", "--no-audit", "--no-fund", "--no-package-lock")
    run(folder, "npm", "install", *quiet, f"./{tarball.name}")
    return folder


def test_its_version_and_files_are_those_of_the_python_package(app: Path) -> None:
    installed = app / "node_modules" / "sessionstores"
    stated = json.loads((installed / "package.json").read_text())
    source = (ROOT / "sessionstores" / "__init__.py").read_text()
    numbers, _, phase = stated["version"].partition("-")
    assert f'__version__ = "{numbers}' in source
    assert phase.replace(".", "") in source
    static = ROOT / "sessionstores" / "static" / "sessionstores"
    names = {path.name for path in installed.glob("*.js")}
    assert names == {
        path.name for path in static.glob("*.js") if "admin" not in path.name
    }
    for name in names:
        assert (installed / name).read_bytes() == (static / name).read_bytes()
    assert not (installed / "node_modules").exists()


def test_it_is_found_well_by_those_who_judge_packages(app: Path) -> None:
    said = run(app, "npx", "publint", "--strict", "node_modules/sessionstores")
    assert "All good!" in said
    (tarball,) = app.glob("sessionstores-*.tgz")
    run(app, "npx", "attw", tarball.name, "--profile", "esm-only")


def test_an_app_in_typescript_is_checked_and_built(app: Path) -> None:
    run(app, "npx", "tsc")
    said = run(app, "npx", "vite", "build")
    assert "warn" not in said.lower()
    source = app / "src" / "main.tsx"
    right = source.read_text()
    for before, after in (
        ('useAction("board", "keep")', 'useAction("board", "kep")'),
        ("keep({ card })", "keep({ card: 5 })"),
        ("board.deck.filter", "board.dek.filter"),
    ):
        assert before in right
        source.write_text(right.replace(before, after))
        with pytest.raises(AssertionError, match=r"main\.tsx"):
            run(app, "npx", "tsc")
    source.write_text(right)


@pytest.mark.parametrize("static", ["plain", "hashed"])
def test_it_runs_on_a_site_under_a_strict_policy(
    app: Path, tmp_path: Path, open_page: Open, static: str
) -> None:
    run(app, "npx", "vite", "build")
    manage(tmp_path, "-m", "django", "startproject", "mysite")
    folder = tmp_path / "mysite"
    manage(folder, "manage.py", "startapp", "workshop")
    paste(folder, README)
    bundle = (app / "dist" / "board.js").read_text()
    (folder / "workshop/static/workshop/board.js").write_text(bundle)
    (folder / "mysite/policy.py").write_text(POLICY)
    below(folder / "mysite/settings.py", PLAIN)
    if static == "hashed":
        below(folder / "mysite/settings.py", HASHED)
        below(folder / "mysite/urls.py", SERVED_URL)
        asgi = folder / "mysite/asgi.py"
        text = asgi.read_text()
        wrapped = "ASGIStaticFilesHandler(application)"
        assert wrapped in text
        asgi.write_text(text.replace(wrapped, "application"))
        manage(folder, "manage.py", "collectstatic", "--noinput")
    manage(folder, "manage.py", "migrate")
    served = Served(folder, "uvicorn")
    try:
        play(open_page, served.base)
    finally:
        served.stop()
    assert "Traceback" not in served.output


def below(file: Path, text: str) -> None:
    """Add to the end of a file."""
    file.write_text(file.read_text() + text)


def play(open_page: Open, base: str) -> None:
    """Have two people and a second tab keep cards."""
    first = open_page(base)
    first.get_by_role("button", name="Go").click()
    code = first.get_by_role("heading").inner_text()
    second = open_page(base)
    second.locator("[name=code]").fill(code)
    second.get_by_role("button", name="Go").click()
    beside = open_page(first.url, beside=first)
    for page in (first, second, beside):
        expect(page.locator("section")).to_have_attribute("data-status", "live")
        expect(cards(page)).to_have_text(["ace", "king", "queen"])
    cards(first).nth(1).click()
    for page in (first, beside):
        expect(cards(page)).to_have_text(["ace", "queen"])
    expect(cards(second)).to_have_text(["ace", "king", "queen"])
    first.reload()
    expect(cards(first)).to_have_text(["ace", "queen"])


def cards(page: Page) -> Locator:
    return page.locator("#deck button")
