"""`manage.py demo`, as a process of its own."""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import pytest

from tests.demo_process import PATIENCE, DemoProcess, until

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="signals to a process differ on Windows"
)

Start = Callable[..., DemoProcess]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoProcess]:
    """A demo for all tests that do not end its workshop."""
    process = DemoProcess("--port", "0", temporary=tmp_path_factory.mktemp("demo"))
    yield process
    assert process.stop() == 0
    assert "Traceback" not in process.output


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[DemoProcess] = []

    def start_demo(*arguments: str, browser: str = "") -> DemoProcess:
        started.append(DemoProcess(*arguments, temporary=tmp_path, browser=browser))
        return started[-1]

    yield start_demo
    for demo in started:
        if demo.process.poll() is None:
            demo.stop(signal.SIGKILL)


class Visitor:
    """A browser without a window: cookies, forms, no scripts."""

    def __init__(self) -> None:
        self.cookies = CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.cookies), ProxyHandler({}))

    def get(self, url: str) -> tuple[int, str, dict[str, str]]:
        return self.answer(url, None)

    def post(self, url: str, **data: str) -> tuple[int, str, dict[str, str]]:
        """Submit the form that was seen last, with its CSRF token."""
        data["csrfmiddlewaretoken"] = self.csrf
        return self.answer(url, urlencode(data).encode())

    def answer(self, url: str, data: bytes | None) -> tuple[int, str, dict[str, str]]:
        try:
            response = self.opener.open(url, data, timeout=PATIENCE)
        except HTTPError as error:
            response = error
        with response:
            text = response.read().decode()
            found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', text)
            self.csrf = found[1] if found else ""
            return response.status, text, dict(response.headers)


def test_its_pages_are_in_the_language_of_the_browser(demo: DemoProcess) -> None:
    visitor = Visitor()
    visitor.opener.addheaders = [("Accept-Language", "de-AT,de;q=0.9")]
    home = demo.url("Join as a guest")
    base, code = home.split("?code=")
    _, text, _ = visitor.get(home)
    assert '<html lang="de"' in text
    for said in ("Eine bessere Arbeitswoche", "Code des Workshops", "Beitreten"):
        assert said in text
    _, text, _ = visitor.post(base, code="ZZZZZZ", name="Gast")
    assert "Eine Sitzung mit diesem Code gibt es nicht." in text
    _, text, _ = visitor.post(base, code=code, name="Gast")
    assert '<html lang="de"' in text
    assert "Brett von Gast" in text
    assert '"lang": "de"' in text
    assert "Offline. Was inzwischen geschieht" in text
    _, script, _ = visitor.get(f"{base}texts.js")
    assert "Was sollen wir tun?" in script
    for path, status, said in (
        ("nothing/", 404, "Hier ist nichts"),
        ("ZZZZZZ/", 403, "Noch nicht f"),
    ):
        found, text, _ = visitor.get(base + path)
        assert (found, said in text) == (status, True)


def test_every_printed_address_answers_and_static_files_are_served(
    demo: DemoProcess,
) -> None:
    for label, expected in [
        ("All in one page", "A store for each participant"),
        ("Ada", "Ada’s board"),
        ("Ben", "Ben’s board"),
        ("Join as a guest", "Workshop code"),
        ("Admin", "Django administration"),
    ]:
        status, text, headers = Visitor().get(demo.url(label))
        assert (status, expected in text) == (200, True), label
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "<style" not in text
        assert not re.search(r"\son\w+=|<script>|\sstyle=", text)
    for name in (
        "workshop/board.js",
        "workshop/base.css",
        "sessionstores/client.js",
        "vendor/react-18.3.1/react.production.min.js",
    ):
        assert Visitor().get(f"{demo.base}/static/{name}")[0] == 200


def test_the_printed_admin_login_opens_the_admin(demo: DemoProcess) -> None:
    found = re.search(r"\(admin / (\S+)\)", demo.output)
    assert found
    visitor = Visitor()
    visitor.get(demo.url("Admin"))
    login = f"{demo.base}/admin/login/?next=/admin/"
    status, text, _ = visitor.post(login, username="admin", password=found[1])
    assert status == 200
    assert "Site administration" in text


def test_a_guest_joins_by_code_and_name(demo: DemoProcess) -> None:
    visitor = Visitor()
    visitor.get(demo.url("Join as a guest"))
    code = demo.url("Join as a guest")[-6:]
    _, text, _ = visitor.post(f"{demo.base}/", code="222222", name="Zoe")
    assert "There is no session" in text
    status, text, _ = visitor.post(f"{demo.base}/", code=code.lower(), name="Zoe")
    assert (status, "Zoe’s board" in text) == (200, True)
    _, page, _ = Visitor().get(demo.url("All in one page"))
    assert "Start Zoe over" in page


def test_only_the_facilitator_sees_everybody(demo: DemoProcess) -> None:
    board = demo.url("Ada")
    path, query = board.split("?")
    assert Visitor().get(f"{path}together/?{query}")[0] == 403
    status, text, _ = Visitor().get(path)
    assert (status, "Join with a code" in text) == (403, True)
    assert Visitor().get(f"{demo.base}/nonsense/")[0] == 404


def test_ending_the_workshop_closes_its_pages(start: Start) -> None:
    demo = start("--port", "0")
    visitor = Visitor()
    together = demo.url("All in one page")
    visitor.get(together)
    status, text, _ = visitor.post(together.replace("/together/", "/end/"))
    assert (status, "Workshop code" in text) == (200, True)
    status, text, _ = Visitor().get(demo.url("Ada"))
    assert (status, "This workshop is over" in text) == (410, True)


def test_a_taken_port_leads_to_another_one(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo = start("--port", str(port))
        assert f"Port {port} is taken" in demo.output
        assert not demo.base.endswith(f":{port}")
        assert Visitor().get(demo.url("Ada"))[0] == 200


def test_more_participants_get_links_of_their_own(start: Start) -> None:
    demo = start("--port", "0", "--participants", "3")
    assert Visitor().get(demo.url("Chloe"))[0] == 200


def test_the_page_is_opened_in_a_browser_on_request(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("browser")
    script, seen = folder / "browser", folder / "seen"
    script.write_text(f'#!/bin/sh\necho "$1" > {seen}.new\nmv {seen}.new {seen}\n')
    script.chmod(0o755)
    demo = start("--port", "0", "--open", browser=f"{script} %s")
    until(seen.exists, "the browser")
    assert seen.read_text().strip() == demo.url("All in one page")


def test_no_admin_login_exists_where_others_can_reach_it(start: Start) -> None:
    demo = start("--port", "0", "--host", "0.0.0.0")
    assert "Admin" not in demo.output
    assert "//0.0.0.0" not in demo.output
    assert Visitor().get(demo.url("Ada"))[0] == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly_and_without_a_trace(
    start: Start, tmp_path: Path, number: int
) -> None:
    demo = start("--port", "0")
    assert Visitor().get(demo.url("All in one page"))[0] == 200
    assert list(tmp_path.iterdir())
    assert demo.stop(number) == 0
    assert "Traceback" not in demo.output
    assert "The demo has ended" in demo.output
    assert list(tmp_path.iterdir()) == []
