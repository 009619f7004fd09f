"""The README's site behind a real nginx, deployed as docs/how-to/deploy.md has it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import (
    HTTPCookieProcessor,
    HTTPHandler,
    ProxyHandler,
    Request,
    build_opener,
)

import pytest
from websockets.sync.client import connect

from sessionstores import ActionRejected, Participant, conf
from sessionstores.realtime.staff import RECHECK_SECONDS
from sessionstores.testing import PageTab, tab
from tests.browser.pasting import environment, manage, paste
from tests.certificates import certificate
from tests.demo_process import ROOT
from tests.faults.tabs import eventually
from tests.faults.test_client import CLIENT, NODE, Page
from tests.project.test_demo import Visitor
from tests.servers import PATIENCE, Nginx, Server

DEPLOY = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
# What servers say of a request or a socket that has failed.
FAILURES = ("Internal Server Error", "Exception in", "raised an exception")
AT_THE_ROOT, BELOW_A_PATH = re.findall(r"```nginx\n(.*?)```", DEPLOY, re.DOTALL)
KEPT, STRIPPED = "proxy_pass http://mysite;", "proxy_pass http://mysite/;"
PAGE = ROOT / "tests" / "faults" / "page.mjs"

# What the docs ask for beside the README, and a table that may hold the records.
PRODUCTION = """
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
STATIC_ROOT = BASE_DIR / "static"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "sessions": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "live_sessions",
        "OPTIONS": {"MAX_ENTRIES": 10**9},
    },
}
"""
BEHIND_TLS = """
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
"""
# A state that may become large, as the README's cards do not.
NOTES = """

class Notes(State):
    lines: list[str] = field(default_factory=list[str])

    @action
    def write(self, line: str) -> None:
        self.lines.append(line)
"""
# A page whose strangers are sent to the package's page to join.
DOOR = """

from django.urls import include
from sessionstores import participant_required

@participant_required(join_url="sessionstores:join")
def door(request, code):
    return views.board(request, code)

urlpatterns += [
    path("join/", include("sessionstores.urls"), {"success_url": "board"}),
    path("<code:code>/door/", door),
]
"""
STAFF = {"username": "staff", "password": "a password"}
PREPARE = f"""
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("createcachetable", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
User.objects.create_superuser(**{STAFF})
"""


def command(name: str, *, workers: str = "") -> str:
    """Return what the docs start a server with; `unit` is in their systemd unit.

    Without `workers`, as one process, in whose memory the README keeps its records.
    """
    rows = rf"^\| {name} \| .*?`({name} [^`]*)` \|$"
    pattern = r"^ExecStart=(.*)$" if name == "unit" else rows
    (found,) = re.findall(pattern, DEPLOY, re.MULTILINE)
    return str(found).replace(" --workers 4", workers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site that the README's blocks make, ready to be deployed."""
    parent = tmp_path_factory.mktemp("proxied")
    manage(parent, "-m", "django", "startproject", "mysite")
    folder = parent / "mysite"
    manage(folder, "manage.py", "startapp", "workshop")
    readme = (ROOT / "README.md").read_text()
    paste(folder, readme)
    declared, *_ = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (folder / "workshop" / "states.py").write_text(declared + NOTES)
    with (folder / "mysite" / "settings.py").open("a") as settings:
        settings.write(PRODUCTION)
    asgi = folder / "mysite" / "asgi.py"
    handler = '"http": ASGIStaticFilesHandler(application)'
    assert handler in asgi.read_text()
    asgi.write_text(asgi.read_text().replace(handler, '"http": application'))
    with (folder / "mysite" / "urls.py").open("a") as urls:
        urls.write(DOOR)
    manage(folder, "manage.py", "shell", "-c", PREPARE)
    return folder


class ProxiedSite(Server):
    """The site, run by a command of the docs, with settings of its own besides."""

    # It imports the site first, on a machine that may be busy.
    patience = 3 * PATIENCE

    def __init__(self, folder: Path, command: str, settings: str) -> None:
        super().__init__()
        self.folder = folder
        self.path = self.directory / "mysite.sock"
        self.line = command
        name = f"served_at_{self.port}"
        module = folder / "mysite" / f"{name}.py"
        module.write_text(f"from mysite.settings import *\n{settings}")
        self.environment = {
            **environment(folder),
            "DJANGO_SETTINGS_MODULE": f"mysite.{name}",
        }

    @property
    def address(self) -> str:
        """Where nginx finds it."""
        uses_path = "--uds" in self.line
        return f"unix:{self.path}" if uses_path else f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """See `Server.command`."""
        here = self.line.replace("/run/mysite/mysite.sock", str(self.path))
        for shown, ours in (
            ("0.0.0.0", "127.0.0.1"),
            ("8000", str(self.port)),
            # Of the proxy.
            ("10.0.0.2", "127.0.0.1"),
        ):
            here = here.replace(shown, ours)
        program, *arguments = shlex.split(here)
        return [sys.executable, "-m", Path(program).name, *arguments]

    def ready(self) -> bool:
        """See `Server.ready`."""
        if not self.address.startswith("unix:"):
            return super().ready()
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            return probe.connect_ex(str(self.path)) == 0

    def kill(self) -> None:
        """See `Server.kill`; its workers end before it."""
        if self.process is not None:
            self.signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
        super().kill()


@contextmanager
def deployed(
    folder: Path, command: str, settings: str = "", *options: str
) -> Iterator[ProxiedSite]:
    """Run the site; nothing in it may fail."""
    site = ProxiedSite(folder, " ".join([command, *options]), settings)
    try:
        site.start(env=site.environment)
        yield site
        said = site.log()
        assert not [failure for failure in FAILURES if failure in said], said
    finally:
        site.stop()


@pytest.fixture
def proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate that this process's clients trust."""
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def in_front_of(site: ProxiedSite, proof: Path, *, block: str = AT_THE_ROOT) -> str:
    """Return the docs' block, but for addresses, ports and paths."""
    for shown, ours in (
        ("server unix:/run/mysite/mysite.sock;", f"server {site.address};"),
        ("listen 443 ssl;", "listen 127.0.0.1:PORT ssl;"),
        ("server_name workshop.example;", "server_name 127.0.0.1;"),
        ("/etc/ssl/workshop.example.pem;", f"{proof};"),
        ("/etc/ssl/workshop.example.key;", f"{proof.with_suffix('.key')};"),
        ("/srv/mysite/static/;", f"{site.folder / 'static'}/;"),
    ):
        assert shown in block
        block = block.replace(shown, ours)
    return block


def below_a_path(proxy_pass: str) -> str:
    """Return the docs' block with their locations below a path in place of its own."""
    assert KEPT in BELOW_A_PATH
    locations = BELOW_A_PATH.replace(KEPT, proxy_pass)
    block, count = re.subn(r"(?: +location .*\n)+", locations, AT_THE_ROOT)
    assert count == 1
    return block


class FromAddress(HTTPHandler):
    """Has requests come from one address of this machine."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address

    def http_open(self, request: Request) -> Any:
        source: Any = (self.address, 0)
        return self.do_open(HTTPConnection, request, source_address=source)


class Guest(Visitor):
    """A visitor as browsers are: what they send says which page it is from."""

    def __init__(self, base: str, address: str = "127.0.0.1") -> None:
        super().__init__()
        self.base = base
        self.origin = "{0.scheme}://{0.netloc}".format(urlsplit(base))
        self.opener = build_opener(
            HTTPCookieProcessor(self.cookies), ProxyHandler({}), FromAddress(address)
        )
        self.headers = {"Origin": self.origin, "Referer": f"{base}/"}
        self.get(f"{base}/")

    def answer(self, url: Any, data: bytes | None) -> tuple[int, str, dict[str, str]]:
        return super().answer(Request(url, headers=self.headers), data)

    def enter(self, code: str = "") -> str:
        """Send the form in; return what comes of it."""
        _, text, _ = self.post(f"{self.base}/", code=code)
        return text

    def join(self, code: str = "") -> dict[str, Any]:
        """Join; return the config of the page that follows."""
        return config_of(self.enter(code))


def config_of(page: str, id: str = "sessionstores") -> dict[str, Any]:
    """Return what a page tells its scripts."""
    found = re.search(rf'<script id="{id}"[^>]*>(.*?)</script>', page)
    assert found, page
    config: dict[str, Any] = json.loads(found[1])
    return config


def open_tab(base: str, config: dict[str, Any], **given: Any) -> PageTab:
    """Return a tab of a page that has this config."""
    who = Participant(config["session"], config["participant"])
    url = urljoin(base, config["url"])
    return tab(who, url=url, token=config["token"], patience=PATIENCE, **given)


def check_pages(base: str) -> dict[str, Any]:
    """Look at the pages and what they load; return the config of one who is in."""
    guest = Guest(base)
    assert "There is no session" in guest.enter("ABC123")
    config = guest.join()
    path = urlsplit(base).path
    assert config["url"] == f"{path}/ws/sessionstores/"
    status, text, _ = guest.get(f"{base}/{config['session']}/")
    assert status == 200
    (script,) = re.findall(r'src="([^"]+)"', text)
    assert script == f"{path}/static/workshop/board.js"
    for module in (script, urljoin(script, "../sessionstores/client.js")):
        status, text, headers = guest.get(urljoin(base, module))
        assert (status, "javascript" in headers["Content-Type"]) == (200, True)
        assert headers["Server"].startswith("nginx")
    cookies = {cookie.name: cookie for cookie in guest.cookies}
    assert cookies.keys() == {"csrftoken", "sessionid"}
    assert all(each.secure == base.startswith("https") for each in guest.cookies)
    # Others are kept out, at the same door.
    assert Guest(base).get(f"{base}/{config['session']}/")[0] == 403
    guest.get(f"{base}/")
    guest.headers["Origin"] = "https://elsewhere.example"
    assert guest.post(f"{base}/", code="")[0] == 403
    guest.headers = {"Host": "elsewhere.example"}
    assert guest.get(f"{base}/")[0] == 400
    check_the_door(base, config["session"])
    check_the_admin(base)
    return config


def check_the_door(base: str, code: str) -> None:
    """Have a stranger be sent to the page to join, and from there on to the board."""
    guest = Guest(base)
    status, text, _ = guest.get(f"{base}/{code}/door/")
    assert (status, f'value="{code}"' in text) == (200, True)
    wanted = f"{urlsplit(base).path}/{code}/door/"
    query = urlencode({"code": code, "next": wanted})
    _, text, _ = guest.post(f"{base}/join/?{query}", code=code, name="Bea")
    assert config_of(text)["session"] == code
    assert guest.get(f"{base}/{code}/door/")[1].count(f"<h1>{code}</h1>") == 1


def check_the_admin(base: str) -> None:
    """Sign in, and listen for changes as the page of live sessions does."""
    guest = Guest(base)
    guest.get(f"{base}/admin/login/")
    wanted = f"{urlsplit(base).path}/admin/sessionstores/livesession/"
    login = f"{base}/admin/login/?{urlencode({'next': wanted})}"
    _, text, _ = guest.post(login, **STAFF)
    live = config_of(text, "ss-live")
    url = urljoin(base, live["socket"]).replace("http", "ws", 1)
    origin: Any = guest.origin
    with connect(url, origin=origin, proxy=None) as staff:
        staff.send(json.dumps({"token": live["token"], "topic": ""}))
        assert json.loads(staff.recv(PATIENCE)) == {"type": "ready"}
    assert guest.get(urljoin(base, live["url"]))[0] == 200


async def check_sockets(base: str, config: dict[str, Any]) -> None:
    """Have two people at work, one with two tabs, and with frames of any size."""
    code = config["session"]
    theirs = Guest(base).join(f" {code[:3].lower()}-{code[3:]}")
    assert theirs["session"] == code
    async with (
        open_tab(base, config) as first,
        open_tab(base, config) as beside,
        open_tab(base, theirs) as other,
    ):
        await first.dispatch("board", "keep", {"card": "ace"})
        await beside.wait_until(lambda: beside.state("board")["kept"] == ["ace"])
        with pytest.raises(ActionRejected, match="already placed"):
            await beside.dispatch("board", "keep", {"card": "ace"})
        await other.dispatch("board", "keep", {"card": "king"})
        assert other.state("board")["kept"] == ["king"]
        both = {config["participant"], theirs["participant"]}
        await first.wait_until(lambda: first.presence.keys() == both)
        lines = ["é" * 30_000, "b" * 60_000, "c" * 60_000]
        for line in lines:
            await first.dispatch("notes", "write", {"line": line})
        await beside.wait_until(lambda: beside.state("notes")["lines"] == lines)
        async with open_tab(base, config) as later:
            assert later.state("notes")["lines"] == lines
        assert first.state("board")["kept"] == ["ace"]
    with pytest.raises(ConnectionError, match="403"):
        await open_tab(base, config, origin="https://elsewhere.example").open()


async def test_pages_and_sockets_come_through_in_the_clear(
    folder: Path, nginx: Callable[[str], Nginx], proof: Path
) -> None:
    with deployed(folder, command("unit")) as site:
        block = in_front_of(site, proof)
        front = nginx(block.replace(":PORT ssl;", ":PORT;"))
        base = f"http://127.0.0.1:{front.port}"
        await check_sockets(base, check_pages(base))


async def test_pages_and_sockets_come_through_tls(
    folder: Path, nginx: Callable[[str], Nginx], proof: Path
) -> None:
    with deployed(folder, command("unit"), BEHIND_TLS) as site:
        base = f"https://127.0.0.1:{nginx(in_front_of(site, proof)).port}"
        await check_sockets(base, check_pages(base))


ROOT_PATH = "--root-path /workshop"
SCRIPT_NAME = 'FORCE_SCRIPT_NAME = "/workshop"\n'


@pytest.mark.parametrize(
    ("server", "option", "setting", "ways"),
    [
        ("uvicorn", "", SCRIPT_NAME, (KEPT, STRIPPED)),
        ("uvicorn", ROOT_PATH, "", (STRIPPED,)),
        ("daphne", "", SCRIPT_NAME, (KEPT, STRIPPED)),
        ("daphne", ROOT_PATH, "", (KEPT, STRIPPED)),
        ("granian", "", SCRIPT_NAME, (KEPT, STRIPPED)),
    ],
    ids=lambda each: each.strip() if isinstance(each, str) else "",
)
async def test_pages_and_sockets_come_through_below_a_path(
    folder: Path,
    nginx: Callable[[str], Nginx],
    proof: Path,
    server: str,
    option: str,
    setting: str,
    ways: tuple[str, ...],
) -> None:
    cookies = 'SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = "/workshop/"\n'
    settings = f"{BEHIND_TLS}{setting}{cookies}"
    with deployed(folder, command(server), settings, option) as site:
        for way in ways:
            front = nginx(in_front_of(site, proof, block=below_a_path(way)))
            base = f"https://127.0.0.1:{front.port}/workshop"
            await check_sockets(base, check_pages(base))


# Visitors' addresses


GUESSES = 4
WATCHFUL = f'SESSIONSTORES = {{"GUESS_LIMIT": ({GUESSES}, 3600)}}\n'
LOCKED_OUT = "Too many wrong codes"


def guess_until_locked_out(base: str, address: str) -> None:
    """Try one code more than may be wrong, from an address, under made-up ones."""
    guest = Guest(base, address)
    for number in range(GUESSES):
        guest.headers["X-Forwarded-For"] = f"10.1.{number}.1"
        assert "There is no session" in guest.enter("ABC123")
    guest.headers["X-Forwarded-For"] = "10.1.200.1, 10.1.200.2"
    assert LOCKED_OUT in guest.enter("ABC123")


def with_wrapped_application(folder: Path) -> None:
    """Write the asgi.py that the docs have for granian."""
    (line,) = re.findall(r"`(application = wrap_asgi\w+\(.*?\))`", DEPLOY)
    (folder / "mysite" / "wrapped.py").write_text(
        "from granian.utils.proxies import wrap_asgi_with_proxy_headers\n"
        "from mysite.asgi import application\n"
        f"{line.replace('10.0.0.2', '127.0.0.1')}\n"
    )


@pytest.mark.parametrize("server", ["unit", "uvicorn", "daphne", "granian"])
def test_wrong_codes_count_for_the_visitor_who_tries_them(
    folder: Path, nginx: Callable[[str], Nginx], proof: Path, server: str
) -> None:
    with_wrapped_application(folder)
    line = command(server)
    if server == "granian":
        line = line.replace("mysite.asgi:", "mysite.wrapped:")
    with deployed(folder, line, WATCHFUL) as site:
        block = in_front_of(site, proof).replace(":PORT ssl;", ":PORT;")
        base = f"http://127.0.0.1:{nginx(block).port}"
        guess_until_locked_out(base, "127.0.0.2")
        assert Guest(base, "127.0.0.3").join()["session"]
        assert "seems to be a proxy" not in site.log()


def test_wrong_codes_count_for_a_visitor_behind_a_further_proxy(
    folder: Path, nginx: Callable[[str], Nginx], proof: Path
) -> None:
    (lines,) = re.findall(r"`(set_real_ip_from .*?;)`", DEPLOY)
    with deployed(folder, command("unit"), WATCHFUL) as site:
        block = in_front_of(site, proof).replace(":PORT ssl;", ":PORT;")
        trusting = f"server {{\n{lines.replace('10.0.0.1', '127.0.0.1')}\n"
        ours = nginx(block.replace("server {\n", trusting))
        # One that adds to what it is sent.
        block = block.replace(site.address, f"127.0.0.1:{ours.port}")
        block = block.replace("$remote_addr", "$proxy_add_x_forwarded_for")
        base = f"http://127.0.0.1:{nginx(block).port}"
        guess_until_locked_out(base, "127.0.0.2")
        assert Guest(base, "127.0.0.3").join()["session"]


def test_a_server_that_does_not_use_the_headers_is_told_so(
    folder: Path, nginx: Callable[[str], Nginx], proof: Path
) -> None:
    line = command("unit")
    trusting = " --forwarded-allow-ips=*"
    assert trusting in line
    with deployed(folder, line.replace(trusting, ""), WATCHFUL) as site:
        block = in_front_of(site, proof).replace(":PORT ssl;", ":PORT;")
        base = f"http://127.0.0.1:{nginx(block).port}"
        guess_until_locked_out(base, "127.0.0.2")
        assert LOCKED_OUT in Guest(base, "127.0.0.3").enter("ABC123")
        assert "seems to be a proxy" in site.log()
        assert "--forwarded-allow-ips" in site.log()


# Time


def test_an_idle_socket_speaks_more_often_than_nginx_wants_to_hear() -> None:
    asked = re.findall(r"every (\d+) seconds \(`HEARTBEAT`\), so nginx's (\d+)", DEPLOY)
    # That is how long nginx waits for the site and for the visitor, unless told.
    assert asked == [(str(conf.Conf().heartbeat), "60")]
    assert max(conf.Conf().heartbeat, RECHECK_SECONDS) < 60
    assert "timeout" not in AT_THE_ROOT + BELOW_A_PATH


@asynccontextmanager
async def page(base: str, config: dict[str, Any], proof: Path) -> AsyncIterator[Page]:
    """Open the page in Node.js, with the real client."""
    given = {**config, "url": urljoin(base, config["url"])}
    process = await asyncio.create_subprocess_exec(
        NODE,
        *(str(PAGE), CLIENT.as_uri(), json.dumps(given)),
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(proof)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    opened = Page(process)
    listening = asyncio.create_task(opened.listen())
    try:
        yield opened
    finally:
        process.kill()
        await process.wait()
        await listening


async def test_a_page_loses_nothing_while_nginx_and_the_site_are_restarted(
    folder: Path, nginx: Callable[[str], Nginx], proof: Path
) -> None:
    def lines(count: int) -> list[tuple[str, str, dict[str, Any]]]:
        numbers = range(len(alice.actions), len(alice.actions) + count)
        return [("notes", "write", {"line": f"{number}"}) for number in numbers]

    settings = f'{BEHIND_TLS}SESSIONSTORES = {{"CACHE": "sessions"}}\n'
    with deployed(folder, command("unit", workers=" --workers 2"), settings) as site:
        front = nginx(in_front_of(site, proof))
        base = f"https://127.0.0.1:{front.port}"
        config = Guest(base).join()
        async with page(base, config, proof) as alice:
            alice.dispatch(*lines(5))
            await eventually(lambda: alice.settled, "the first lines")
            # The worker that has the socket serves it on, beside its successor.
            alice.dispatch(*lines(5))
            front.reload()
            alice.dispatch(*lines(5))
            await eventually(lambda: alice.settled, "what came beside a reload")
            assert alice.sent == len(alice.actions)
            alice.dispatch(*lines(5))
            front.kill()
            alice.dispatch(*lines(5))
            front.start()
            await eventually(lambda: alice.settled, "what came beside a restart")
            # Until the site is there again, nginx answers that it is not.
            alice.dispatch(*lines(5))
            site.kill()
            alice.dispatch(*lines(5))
            assert Guest(base).get(f"{base}/")[0] == 502
            site.start(env=site.environment)
            await eventually(
                lambda: alice.settled, "what came beside a deploy", PATIENCE
            )
            assert set(alice.outcomes) == {"resolved"}
            async with open_tab(base, config) as beside:
                written = beside.state("notes")["lines"]
                assert written == [args["line"] for _, _, args in alice.actions]
                assert beside.resets == []
