"""Fragments over a WebSocket: who is sent what, how often, and how it ends."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils import translation

from sessionstores.backends import get_backend
from sessionstores.exceptions import StoreUnavailable
from sessionstores.fragments import FragmentConsumer
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.realtime import consumers
from sessionstores.realtime.htmx import PACE_SECONDS, close_code
from sessionstores.realtime.hub import current_hub, hubs
from sessionstores.realtime.protocol import Close
from sessionstores.state import codec
from sessionstores.state.declaration import State, registry
from tests.fragment_pages import (
    NODE_MODULES,
    SETTINGS,
    BoardFragments,
    FragmentPage,
    OpenPage,
    cookie_of,
    needs_htmx,
    opening_pages,
    routed,
)
from tests.sockets import CODE, until
from tests.workshop.states import Agenda, Board

TRIES_AGAIN = 1013
OTHER = "MMMMM2"


@pytest.fixture(autouse=True)
async def empty() -> AsyncIterator[None]:
    with override_settings(**SETTINGS):
        await get_backend(blocking=False).clear()
        channel_layers.set("default", InMemoryChannelLayer())
        yield
    assert not hubs


@pytest.fixture
async def open_page(empty: None) -> AsyncIterator[OpenPage]:
    """Opens pages of participants; all are dropped after the test."""
    async with opening_pages() as opened:
        yield opened
    assert not hubs


async def note(id: str, text: str, code: str = CODE) -> None:
    await stores.get(Board, code, id).adispatch(Board.note, text)


async def advance() -> None:
    await stores.get(Agenda, CODE).adispatch(lambda each: setattr(each, "step", 2))


async def fails(*args: Any, **kwargs: Any) -> Any:
    raise StoreUnavailable("redis at 10.0.0.7 does not answer")


# What is sent


async def test_a_page_shows_its_participant_at_once_and_after_each_change(
    open_page: OpenPage,
) -> None:
    page = await open_page("alice")
    assert await page.shown() == "alice/participant//1"
    await note("alice", "a")
    assert await page.shown() == "alice/participant/a/1"
    await advance()
    assert await page.shown() == "alice/participant/a/2"


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_changes_each_page_shows_its_own_states_only(
    open_page: OpenPage, seed: int
) -> None:
    chance = random.Random(seed)
    people = ["alice", "bob", "carol"]
    whose = [(code, id) for code in (CODE, OTHER) for id in people]
    pages = {(code, id): await open_page(id, code=code) for code, id in whose}
    seen = {each: [await pages[each].shown()] for each in whose}
    for number in range(40):
        code, id = chance.choice(whose)
        await note(id, f"{code}-{id}-{number}", code)
        if not chance.randrange(5):
            await asyncio.sleep(0)
    for code, id in whose:
        last = f"{code}-{id}-last"
        await note(id, last, code)
        seen[code, id] += await pages[code, id].until_shown(
            f"{id}/participant/{last}/1"
        )
    own = re.compile(r"(\w+)/participant/(?:(\w+)-(\w+)-\w+)?/1")
    for code, id in whose:
        for text in seen[code, id]:
            shown = own.fullmatch(text)
            assert shown
            assert shown.groups() in ((id, code, id), (id, None, None))
        assert pages[code, id].silent


async def test_changes_at_once_are_rendered_together(open_page: OpenPage) -> None:
    page = await open_page("alice")
    assert await page.shown() == "alice/participant//1"
    began = time.monotonic()
    for number in range(300):
        await note("alice", str(number))
    shown = await page.until_shown("alice/participant/299/1")
    assert len(shown) <= 2 + (time.monotonic() - began) / PACE_SECONDS
    assert page.silent


class OwnBoard(FragmentConsumer):
    template_name = "board.html"
    states = (Board,)


async def test_what_is_not_on_the_page_is_not_rendered(open_page: OpenPage) -> None:
    page = await open_page("alice", routed(OwnBoard))
    assert await page.shown() == "alice/participant//"
    await advance()
    await note("bob", "b")
    await note("alice", "a")
    assert await page.shown() == "alice/participant/a/"
    await current_hub().heartbeat.pulse()
    assert page.silent


async def test_another_role_and_name_are_shown(open_page: OpenPage) -> None:
    page = await open_page("alice", role="guest")
    assert await page.shown() == "alice/guest//1"
    await stores.aset_role(CODE, "alice", "facilitator")
    assert await page.shown() == "alice/facilitator//1"


async def test_what_no_hint_told_of_is_shown_with_a_beat(open_page: OpenPage) -> None:
    page = await open_page("alice")
    assert await page.shown() == "alice/participant//1"
    # To make the record was a change, too.
    (connection,) = current_hub().connections.values()
    await until(lambda: not connection.outbox._writing, "all to be written")
    # Nothing tells us of a commit in which no process takes part.
    backend = get_backend(blocking=False)
    record: Any = await backend.read(StoreKey(CODE, "alice"))
    board = {"board": codec.encode(Board(notes="a"))}
    await backend.commit(record, record.rev.next(), board)
    assert page.silent
    await current_hub().heartbeat.pulse()
    assert await page.shown() == "alice/participant/a/1"
    await current_hub().heartbeat.pulse()
    assert page.silent


async def test_a_record_that_was_lost_is_made_anew(open_page: OpenPage) -> None:
    page = await open_page("alice")
    await note("alice", "a")
    await page.until_shown("alice/participant/a/1")
    await get_backend(blocking=False).clear()
    await current_hub().heartbeat.pulse()
    assert await page.shown() == "alice/participant//1"


async def test_after_an_outage_the_page_is_rendered_with_a_beat(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await open_page("alice")
    assert await page.shown() == "alice/participant//1"
    failed: list[int] = []

    async def fail(*args: Any, **kwargs: Any) -> Any:
        failed.append(1)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as outage:
        outage.setattr("sessionstores.realtime.connection.open_document", fail)
        await note("alice", "a")
        await until(lambda: failed, "a rendering to fail")
    await current_hub().heartbeat.pulse()
    assert await page.shown() == "alice/participant/a/1"


class Languages(BoardFragments):
    def get_context_data(self, **context: Any) -> dict[str, Any]:
        context["board"].notes = translation.get_language()
        return context


async def test_a_page_is_rendered_in_its_language(open_page: OpenPage) -> None:
    application = routed(Languages)
    german = (b"accept-language", b"de")
    by_query = await open_page("alice", application, query="lang=de")
    by_site = await open_page("bob", application, headers=(german,))
    assert await by_query.shown() == "alice/participant/de/1"
    assert await by_site.shown() == "bob/participant/en/1"
    middleware = ["django.middleware.locale.LocaleMiddleware"]
    with override_settings(MIDDLEWARE=middleware):
        by_browser = await open_page("carol", application, headers=(german,))
        assert await by_browser.shown() == "carol/participant/de/1"
    # Nor do others' changes render it in theirs.
    with translation.override("fr"):
        await advance()
    assert await by_query.shown() == "alice/participant/de/2"
    assert await by_browser.shown() == "carol/participant/de/2"


class Broken(BoardFragments):
    def get_context_data(self, **context: Any) -> dict[str, Any]:
        if context["board"].notes == "bad":
            raise ValueError("a mistake of the site's")
        return context


async def test_what_cannot_be_rendered_leaves_the_page_as_it_is(
    open_page: OpenPage, caplog: pytest.LogCaptureFixture
) -> None:
    page = await open_page("alice", routed(Broken))
    assert await page.shown() == "alice/participant//1"
    await note("alice", "bad")
    await until(lambda: "a mistake of the site's" in caplog.text, "the log")
    await note("alice", "good")
    assert await page.shown() == "alice/participant/good/1"


# Who is let in, and how it ends


async def test_a_signed_link_decides_alone() -> None:
    await cookie_of("bob")
    link = Participant(CODE, "bob").link("/ws/board/")
    query = link.partition("?")[2]
    page = await FragmentPage(await cookie_of("alice"), query=query).open()
    assert await page.shown() == "bob/participant//1"
    await page.drop()
    page = await FragmentPage(await cookie_of("alice"), query=f"{query}x").open()
    assert "Reload the page" in await page.shown()
    assert await page.closed() == Close.TOKEN


@pytest.mark.parametrize("code", [CODE, OTHER, "nonsense"])
@pytest.mark.parametrize(
    "query", ["", b"\xff=\xff", "ss_participant=x&" * 9, "a&" * 2_000, "lang=\0"]
)
async def test_a_stranger_is_told_and_stays_away(code: str, query: Any) -> None:
    page = await FragmentPage(code=code, query=query).open()
    assert "Reload the page" in await page.shown()
    assert await page.closed() == Close.TOKEN
    assert await stores.apeople(CODE) == []


async def test_a_page_of_another_site_is_let_in_nowhere() -> None:
    evil = (b"origin", b"http://evil.example")
    page = await FragmentPage(await cookie_of("alice"), headers=(evil,)).open()
    assert "alice" not in await page.shown()
    assert await page.closed() == Close.FORBIDDEN


ENDS = {
    "kicked": (Close.KICKED, "You were removed", lambda: stores.akick(CODE, "alice")),
    "ended": (Close.ENDED, "is over", lambda: stores.aend_session(CODE)),
    "revoked": (Close.TOKEN, "has changed", lambda: stores.arevoke(CODE, "alice")),
    "removed": (
        Close.ENDED,
        "has removed",
        lambda: stores.acleanup_participant(CODE, "alice"),
    ),
    "disconnected": (
        Close.DISCONNECTED,
        "disconnected",
        lambda: stores.adisconnect(CODE, "alice"),
    ),
}


@pytest.mark.parametrize("how", ENDS)
async def test_who_is_to_stay_away_is_told_why_before_the_close(
    open_page: OpenPage, how: str
) -> None:
    close, told, end = ENDS[how]
    alice, bob = await open_page("alice"), await open_page("bob")
    assert await alice.shown() == "alice/participant//1"
    assert await bob.shown() == "bob/participant//1"
    await end()
    shown = await alice.shown()
    assert told in shown
    assert 'id="ss-closed" hx-swap-oob="true" role="alert"' in shown
    assert await alice.closed() == close
    if how != "ended":
        await note("bob", "b")
        assert await bob.shown() == "bob/participant/b/1"
    # Nor is anybody let in who comes back.
    if how in ("kicked", "ended"):
        again = await FragmentPage(alice.cookie).open()
        assert told in await again.shown()
        assert await again.closed() == close


class Patient(BoardFragments):
    retry_seconds = FragmentConsumer.retry_seconds


async def test_what_passes_is_tried_again(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = await cookie_of("alice")
    with monkeypatch.context() as outage:
        outage.setattr(consumers, "check_standing", fails)
        page = await FragmentPage(cookie).open()
        assert await page.closed() == TRIES_AGAIN
    with override_settings(SESSIONSTORES={"MAX_CONNECTIONS": 1}):
        first = await open_page("alice")
        assert await first.shown() == "alice/participant//1"
        # It gives its place back before it is made to wait.
        waits: list[tuple[float, int]] = []

        def uniform(lowest: float, highest: float) -> float:
            waits.append((highest, len(current_hub().connections)))
            return 0.0

        monkeypatch.setattr("sessionstores.fragments.random.uniform", uniform)
        second = await FragmentPage(cookie, routed(Patient)).open()
        assert await second.closed() == TRIES_AGAIN
        assert waits == [(4.0, 1)]


async def test_a_page_that_takes_nothing_is_rendered_once_and_then_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[str] = []
    blocked = asyncio.Event()

    class Counted(BoardFragments):
        def get_context_data(self, **context: Any) -> dict[str, Any]:
            drawn.append(context["board"].notes)
            return context

    application = routed(Counted)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        async def send_slowly(message: Any) -> None:
            if message.get("text", "").startswith("alice") and len(drawn) > 1:
                blocked.set()
                await asyncio.Event().wait()
            await send(message)

        await application(scope, receive, send_slowly)

    with override_settings(SESSIONSTORES={"HEARTBEAT": 0.05}):
        page = await FragmentPage(await cookie_of("alice"), slow).open()
        assert await page.shown() == "alice/participant//1"
        await note("alice", "first")
        await blocked.wait()
        for number in range(20):
            await note("alice", str(number))
        assert await page.closed() == TRIES_AGAIN
    assert drawn == ["", "first"]


async def test_a_page_is_present_and_its_lease_ends_with_it(
    open_page: OpenPage,
) -> None:
    page = await open_page("alice")
    assert await page.shown() == "alice/participant//1"
    assert [each.tabs for each in await stores.apeople(CODE)] == [1]
    await page.say("nonsense")
    await page.say('{"type": "hello"}')
    await note("alice", "a")
    assert await page.shown() == "alice/participant/a/1"
    await page.drop()
    assert [each.tabs for each in await stores.apeople(CODE)] == [0]


@needs_htmx
@pytest.mark.parametrize("close", Close)
def test_the_extensions_come_back_if_they_are_to(close: Close) -> None:
    code = close_code(close)
    assert (code == TRIES_AGAIN) == (close >= 4200)
    sources = {
        "htmx-ext-ws/ws.js": r"&& \[([\d, ]+)\]\.indexOf\(e\.code\)",
        "htmx4/dist/ext/hx-ws.js": r"reconnectCodes: \[(.*?)\]",
    }
    for path, pattern in sources.items():
        found = re.search(pattern, (NODE_MODULES / path).read_text(), re.DOTALL)
        assert found
        known = set(map(int, re.findall(r"\b\d{4}\b", found[1])))
        assert {1006, 1012, TRIES_AGAIN} <= known
        assert (code in known) == (close >= 4200)


# What a site may get wrong

with registry.isolated():

    class Taken(State, name="participant"):
        """Has the name of something else in the template."""


def test_a_consumer_that_can_show_nothing_is_refused() -> None:
    class Empty(FragmentConsumer):
        states = (Board,)

    class Wrong(FragmentConsumer):
        template_name = "board.html"

    with pytest.raises(ImproperlyConfigured, match="template_name = "):
        Empty.as_asgi()
    for states in ((Board, Board), (Taken,)):
        Wrong.states = states
        with pytest.raises(ImproperlyConfigured, match="under its own name"):
            Wrong.as_asgi()
    for states in ((Board, "agenda"), Board, None):
        Wrong.states = states  # type: ignore[assignment]
        with pytest.raises(ImproperlyConfigured, match=r"states = \(Board,\)"):
            Wrong.as_asgi()


async def test_a_route_without_a_code_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = await FragmentPage(application=BoardFragments.as_asgi()).open()
    assert await page.closed() == TRIES_AGAIN
    assert "needs the code of the session in its path" in caplog.text
