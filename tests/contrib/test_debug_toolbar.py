"""The panel in Django Debug Toolbar, on sites under ASGI and WSGI."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

from tests.servers import PATIENCE, Server
from tests.sockets import CODE

ROOT = Path(__file__).parents[2]
SECRET = "the-cat-sat-on-it"
TOGETHER = 6
CODES = [f"AAAAA{number}" for number in range(2, 2 + TOGETHER)]
REV = r"[0-9a-f]{4}\.\d+-[0-9a-f]{8}"


class Site(Server):
    """The site of `tests.contrib.site`, under ASGI or WSGI."""

    # It imports Django and the site, half a second's work on an idle machine.
    patience = 60.0

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def command(self) -> list[str]:
        """See `Server.command`."""
        if self.kind == "wsgi":
            return [sys.executable, "-m", "tests.contrib.site", str(self.port)]
        uvicorn = [sys.executable, "-m", "uvicorn", "tests.contrib.site:application"]
        return [*uvicorn, "--port", str(self.port), "--log-level", "warning"]

    def get(self, path: str, language: str = "en") -> str:
        """Return the text of a page; raises for any answer but a 200."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}",
            headers={"Accept-Language": language},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
        return text

    def look(self, path: str, language: str = "en") -> Look:
        """Return what the panel shows of a request for a page."""
        page = self.get(path, language)
        match = re.search(r'data-request-id="(\w+)"', page)
        assert match, page
        query = {"request_id": match[1], "panel_id": "SessionStoresPanel"}
        answer = self.get(f"__debug__/render_panel/?{urlencode(query)}", language)
        content = json.loads(answer)["content"]
        reader = Reader()
        reader.feed(content)
        (button,) = re.findall(
            r'<li id="djdt-SessionStoresPanel".*?</li>', page, re.DOTALL
        )
        return Look(text_of(button), content, reader.rows)


class Look(NamedTuple):
    """What the panel shows: its button, its HTML, and the table's rows."""

    button: str
    content: str
    rows: list[list[str]]

    def column(self, place: int) -> list[str]:
        """Return the cells of a column."""
        return [row[place] for row in self.rows]

    @property
    def text(self) -> str:
        """What it says, without markup."""
        return text_of(self.content)


class Reader(HTMLParser):
    """Reads the cells of a table, and refuses what a strict policy would."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See `HTMLParser`."""
        assert tag not in {"script", "style", "link", "iframe"}
        assert [name for name, _ in attrs if name == "style" or name[:2] == "on"] == []
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """See `HTMLParser`."""
        if tag == "td":
            self.in_cell = False
            self.rows[-1][-1] = " ".join(self.rows[-1][-1].split())
        if tag == "thead":
            self.rows.clear()

    def handle_data(self, data: str) -> None:
        """See `HTMLParser`."""
        if self.in_cell:
            self.rows[-1][-1] += data


def text_of(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).split())


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    server = Site(request.param)
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    try:
        server.start(env=environment)
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("way", ["act", "aact"])
def test_each_call_shows_whose_it_is_and_what_it_led_to(site: Site, way: str) -> None:
    look = site.look(f"{way}/{CODE}/{way}/")
    a = way.removesuffix("act")
    assert look.column(0) == [
        f"{a}snapshot",
        *[f"{a}dispatch"] * 4,
        f"{a}peek",
        f"{a}participants",
    ]
    assert look.column(1) == [CODE] * 7
    assert look.column(2) == [way] * 5 + ["–"] * 2
    assert look.column(3) == ["board"] * 5 + ["agenda", "–"]
    assert look.column(4) == [
        "–",
        "Board.move",
        "Board.note",
        "Board.note",
        "Board.move",
        "–",
        "–",
    ]
    outcomes = look.column(5)
    assert outcomes[1:5] == [
        "committed",
        "committed",
        "nothing changed",
        "refused: no_such_card",
    ]
    for revs, outcome in zip(look.column(6), outcomes, strict=True):
        if outcome == "committed":
            assert re.fullmatch(f"{REV} → {REV}", revs), revs
    # The commit of one is the base of the next, and the refusal's.
    first, second = (re.findall(REV, revs) for revs in look.column(6)[1:3])
    assert first[1] == second[0]
    assert re.findall(REV, look.column(6)[0]) == [first[0]]
    assert re.findall(REV, look.column(6)[3]) == [second[1]]
    assert re.findall(REV, look.column(6)[4]) == [second[1]]
    assert "commit" in look.column(8)[1]
    assert "commit" not in look.column(8)[4]
    assert all(re.fullmatch(r"\d+\.\d\d ms", time) for time in look.column(9))
    assert re.search(r"7 calls in \d+\.\d\d ms, [\d.]+ K?B read", look.button)


@pytest.mark.parametrize("path", ["act/{}/bob/", "aact/{}/bob/", "fail/{}/"])
def test_no_value_argument_or_text_of_an_error_is_shown(site: Site, path: str) -> None:
    look = site.look(path.format(CODE))
    assert look.rows
    assert SECRET not in look.content
    assert "before" not in look.content


def test_an_error_is_named_by_its_kind(site: Site) -> None:
    assert site.look(f"fail/{CODE}/").column(5) == ["failed: LookupError"]


def test_a_request_without_stores_says_so(site: Site) -> None:
    look = site.look("")
    assert look.rows == []
    assert "This request called no store." in look.text
    assert "0 calls in 0.00 ms, 0 B read" in look.button


def test_what_joining_asks_the_cache_is_counted_and_no_token_shown(site: Site) -> None:
    look = site.look("join/JJJJJ2/")
    assert look.rows == []
    assert "Besides, to know the participant and the session: " in look.text
    assert re.search(r"open\b", look.text)
    # A token is longer than anything that is shown.
    assert max(map(len, re.split(r"\s", look.text))) < 40


@pytest.mark.parametrize("way", ["meet", "ameet"])
def test_requests_at_once_see_their_own_calls_only(site: Site, way: str) -> None:
    with ThreadPoolExecutor(TOGETHER) as pool:
        looks = list(pool.map(lambda code: site.look(f"{way}/{code}/me/"), CODES))
    for code, look in zip(CODES, looks, strict=True):
        assert look.column(1) == [code] * 2
        assert look.column(5) == ["committed"] * 2


@pytest.mark.parametrize("way", ["meet", "ameet"])
def test_requests_at_once_on_one_session_see_their_own_calls_only(
    site: Site, way: str
) -> None:
    names = [f"{way}{number}" for number in range(TOGETHER)]
    with ThreadPoolExecutor(TOGETHER) as pool:
        looks = list(pool.map(lambda who: site.look(f"{way}/{CODE}/{who}/"), names))
    for who, look in zip(names, looks, strict=True):
        assert look.column(2) == [who] * 2


def test_calls_that_share_a_commit_have_its_revs(site: Site) -> None:
    look = site.look("group/GGGGG2/")
    assert look.column(0) == ["adispatch"] * 4
    outcomes = look.column(5)
    assert set(outcomes) <= {"committed", "committed, with other calls"}
    assert "committed, with other calls" in outcomes
    shared = {
        revs
        for outcome, revs in zip(outcomes, look.column(6), strict=True)
        if "other" in outcome
    }
    assert len(shared) == 1
    assert re.fullmatch(f"{REV} → {REV}", shared.pop())


def test_the_panel_speaks_german(site: Site) -> None:
    look = site.look(f"act/{CODE}/carla/", "de")
    assert "Live-Sitzungen" in look.button
    assert re.search(r"7 Aufrufe in \d+,\d\d ms", look.button)
    assert "abgelehnt: no_such_card" in look.text
    assert re.fullmatch(r"\d+,\d\d ms", look.column(9)[0])


def test_nothing_is_wrapped_or_imported_unless_the_panel_is_named() -> None:
    code = (
        "import sys, django; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['sessionstores']); django.setup();"
        "from sessionstores import Store, stores;"
        "assert 'debug_toolbar' not in sys.modules;"
        "assert 'sessionstores.contrib' not in sys.modules;"
        "assert not hasattr(Store.snapshot, 'is_recorded')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
