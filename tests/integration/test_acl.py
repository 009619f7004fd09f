"""A Redis user that may do what docs/caches.md lists, and no more."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.management import call_command
from django.test import Client, RequestFactory
from pytest_django import Settings

from sessionstores import join, stores
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.redis import errors
from sessionstores.exceptions import StoreUnavailable
from tests.servers import Valkey
from tests.sockets import CODE, Socket
from tests.workshop.states import Agenda, Board

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/caches.md").read_text()
FOLDER = Path(errors.__file__).parent
RULES = [line.split()[3:] for line in re.findall(r"^ACL SETUSER site .*$", PAGE, re.M)]
LISTED = {rule[1:] for line in RULES for rule in line if rule.startswith("+")}
# Of the channel layer, which is not ours.
LAYER = {"publish", "subscribe", "unsubscribe"}


@pytest.fixture
def own() -> Iterator[Valkey]:
    server = Valkey()
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["with INFO", "without INFO"])
def has_info(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "with INFO")


@pytest.fixture
def site(own: Valkey, has_info: bool, settings: Settings) -> Valkey:
    """A site whose cache and channel layer are that user's; the server is empty."""
    with own.client() as client:
        for rules in RULES:
            client.execute_command("ACL", "SETUSER", "site", *rules)
        if not has_info:
            client.execute_command("ACL", "SETUSER", "site", "-info")
        client.execute_command("ACL", "LOG", "RESET")
    url = f"redis://site:password@127.0.0.1:{own.port}/1"
    backend = "django.core.cache.backends.redis.RedisCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": url}}
    layer = "channels_redis.pubsub.RedisPubSubChannelLayer"
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": layer, "CONFIG": {"hosts": [url]}}
    }
    return own


def refusals(server: Valkey) -> set[str]:
    """Return the commands that the server has refused to anybody."""
    with server.client() as client:
        entries = client.acl_log()
    # redis-py tells its name, and does not mind.
    return {entry["object"] for entry in entries} - {"client|setinfo"}


def expected(has_info: bool) -> set[str]:
    return set() if has_info else {"info"}


def test_pages_work(site: Valkey, has_info: bool) -> None:
    code = stores.create_session(label="Team day", keep=600)
    request = RequestFactory().get("/")
    request.session = SessionStore()
    participant = join(request, code)
    board = stores.get(Board, code, participant.id)
    board.dispatch(Board.note, "one")
    stores.get(Agenda, code).dispatch(lambda agenda: None)
    assert board.state.notes == "one"
    assert board.snapshot().rev
    board.touch()
    assert stores.participants(code) == [participant.id]
    assert stores.participant_count() == stores.session_count() == 1
    stores.lock(code)
    stores.unlock(code)
    stores.extend(code, 900)
    assert not stores.presence(code)
    board.replace(Board(), base=board.snapshot().rev)
    board.delete()
    board.dispatch(Board.note, "two")
    stores.set_name(code, participant.id, "Ada")
    stores.set_role(code, participant.id, "facilitator")
    assert [each.name for each in stores.people(code)] == ["Ada"]
    assert stores.kick(code, participant.id)
    assert stores.readmit(code, participant.id)
    board.dispatch(Board.note, "three")
    stores.cleanup_participant(code, participant.id)
    stores.cleanup_session(code)
    stores.end_session(code)
    assert refusals(site) <= expected(has_info)


async def test_sockets_work(site: Valkey, has_info: bool) -> None:
    tabs = [await Socket().hello(), await Socket().hello("bob", client="c2")]
    assert (await tabs[0].act(1, "board.note", text="one"))["type"] == "ack"
    await tabs[0].say(type="sync", doc="me", rev=tabs[0].snapshots["me"]["rev"])
    assert (await tabs[0].receive())["type"] == "snapshot"
    for tab in tabs:
        await tab.drop()
    assert await asyncio.to_thread(refusals, site) <= expected(has_info)


@pytest.mark.django_db
def test_sweeps_work(site: Valkey, has_info: bool, settings: Settings) -> None:
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 0.001, "AUTO_SWEEP": False}
    code = stores.create_session()
    stores.get(Board, code, "alice").dispatch(Board.note, "one")
    call_command("sweepstores", stdout=StringIO())
    assert stores.sessions() == []
    assert run(get_backend(blocking=True).orphans()) == []
    assert refusals(site) <= expected(has_info)


@pytest.mark.django_db
def test_figures_work(site: Valkey, has_info: bool, admin_client: Client) -> None:
    stores.get(Board, CODE, "alice").dispatch(Board.note, "one")
    out = StringIO()
    call_command("storestats", "--json", stdout=out)
    figures = json.loads(out.getvalue())
    assert figures["participants"] == 1
    assert (figures["server"] is not None) is has_info
    assert admin_client.get("/admin/sessionstores/livesession/").status_code == 200
    findings = run(get_backend(blocking=True).examine())
    assert any("INFO" in each.text for each in findings) is not has_info
    assert not [each for each in findings if each.level == "error"]
    assert refusals(site) <= expected(has_info)


def test_a_user_with_less_is_told_what_is_missing(site: Valkey) -> None:
    with site.client() as client:
        client.execute_command("ACL", "SETUSER", "site", "-hset")
    with pytest.raises(StoreUnavailable, match=r"docs/caches\.md"):
        stores.get(Board, CODE, "alice").dispatch(Board.note, "one")


def test_the_page_lists_exactly_the_commands_that_the_code_has(own: Valkey) -> None:
    with own.client() as client:
        known = {name.decode() for name in client.command_list()}
    words: set[str] = set()
    for script in sorted((FOLDER / "lua").glob("*.lua")):
        lines = re.sub(r"--.*", "", script.read_text())
        words |= set(re.findall(r"""['"]([A-Z]+)['"]""", lines))
        # A name that is put together would be missed.
        assert "redis.call(" not in lines.replace("redis.call('", "")
    # Its codes are no commands.
    for module in sorted({*FOLDER.glob("*.py")} - {Path(errors.__file__)}):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words |= {node.value} if node.value.isupper() else set()
    used = {word.lower() for word in words} & known
    used = used - {"cluster", "command"} | {"cluster|slots"}
    # For tests alone, which own the server.
    used -= {"unlink"}
    # redis-py sends it.
    used |= {"select"}
    in_cluster = set(re.findall(r"`\+(cluster\|slots) \+(asking)`", PAGE)[0])
    assert used == (LISTED - LAYER) | in_cluster
