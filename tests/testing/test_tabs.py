"""Tabs of tests do what client.js does, over ASGI in process and over a real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.security.websocket import OriginValidator
from django.test import override_settings
from django.utils import translation

from sessionstores import ActionRejected, Participant, UnknownState, stores
from sessionstores.exceptions import MESSAGES
from sessionstores.realtime.hub import hubs
from sessionstores.routing import websocket_urlpatterns
from sessionstores.state.revisions import Rev
from sessionstores.testing import (
    PageTab,
    TabClosed,
    advance,
    aparticipant,
    blocking_tab,
    participant,
    tab,
    transports,
)
from tests.serving import serving
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.usefixtures("isolated")

MOVE = {"card": "ace", "pile": "keep"}


async def noted(who: Participant, text: str) -> None:
    await stores.get(Board, who.session, who.id).adispatch(Board.note, text)


def commits(page: PageTab) -> int:
    """Return how often the session's record has changed, as the tab has it."""
    return Rev.parse(str(page.rev("session"))).counter


# Acting


async def test_an_action_returns_once_its_effect_is_here() -> None:
    alice = await aparticipant()
    async with tab(alice) as page, tab(alice) as other:
        assert await page.dispatch("board", "move", MOVE) is None
        assert page.state("board")["piles"] == {"keep": ["ace"]}
        await other.wait_until(lambda: other.rev() == page.rev())
        assert other.state(Board) == page.state(Board)
        await page.dispatch(Agenda, Agenda.vote, {"card": 3})
        assert page.state(Agenda)["votes"] == {"alice": 3}


async def test_a_refusal_is_raised_as_a_page_gets_it() -> None:
    async with tab(await aparticipant()) as page:
        with pytest.raises(ActionRejected, match="There is no card 'joker'") as refused:
            await page.dispatch("board", "move", {**MOVE, "card": "joker"})
        assert refused.value.code == "no_such_card"
        for state, action, args, code in (
            ("agenda", "advance", {}, "forbidden"),
            ("board", "fly", {}, "unknown_action"),
            ("boat", "move", {}, "unknown_state"),
            ("board", "note", {"text": 1}, "invalid_arguments"),
            ("board", "note", {"text": "x" * 70_000}, "too_large"),
        ):
            with pytest.raises(ActionRejected) as refused:
                await page.dispatch(state, action, args)
            assert refused.value.code == code


@pytest.mark.parametrize("letter", ["a", "é", "л", "字", "😀"])
async def test_a_text_that_a_page_can_send_is_not_too_large_for_a_tab(
    letter: str,
) -> None:
    text = letter * (65_000 // len(letter.encode()))
    async with tab(await aparticipant()) as page:
        await page.dispatch("board", "note", {"text": text})
        assert page.state("board")["notes"] == text
        with pytest.raises(ActionRejected) as refused:
            await page.dispatch("board", "note", {"text": f"{text} \ud800"})
        assert refused.value.code == "bad_value"


async def test_a_tab_paces_itself_to_the_rate_limit() -> None:
    with override_settings(SESSIONSTORES={"RATE_LIMIT": (100, 10)}):
        async with tab(await aparticipant()) as page:
            notes = ({"text": str(number)} for number in range(30))
            await asyncio.gather(*(page.dispatch("board", "note", n) for n in notes))
            assert page.state("board")["notes"] == "29"


async def test_what_a_tab_shows_is_a_copy() -> None:
    async with tab(await aparticipant()) as page:
        page.state("board")["deck"].clear()
        assert page.state("board")["deck"]
        with pytest.raises(UnknownState, match="only 'agenda', 'board'"):
            page.state("boat")


# Losing the connection


async def test_a_tab_that_was_away_catches_up_and_sends_what_waits() -> None:
    alice = await aparticipant()
    async with tab(alice) as page:
        client, rev = page.frames[0]["client"], page.rev()
        await page.drop()
        waiting = asyncio.create_task(page.dispatch("board", "move", MOVE))
        await noted(alice, "meanwhile")
        assert (page.status, page.rev()) == ("dropped", rev)
        await page.resume()
        await waiting
        assert page.state("board")["notes"] == "meanwhile"
        assert page.state("board")["piles"] == {"keep": ["ace"]}
        assert page.frames[-1]["type"] != "welcome"
        assert page.resets == []
        assert client


async def test_no_action_is_lost_or_done_twice() -> None:
    """Connections are lost at any moment of it."""
    alice = await aparticipant()
    async with tab(alice) as page:
        before = commits(page)
        for number in range(20):
            acting = asyncio.create_task(
                page.dispatch("agenda", "vote", {"card": number})
            )
            for _ in range(number % 7):
                await asyncio.sleep(0)
            await page.drop()
            await page.resume()
            await acting
            assert page.state("agenda")["votes"] == {"alice": number}
        assert commits(page) - before == 20


async def test_a_tab_that_is_current_gets_no_states_again() -> None:
    async with tab(await aparticipant()) as page:
        await page.drop()
        await page.resume()
        snapshots = [f for f in page.frames if f["type"] == "snapshot"]
        assert ["states" in each for each in snapshots] == [True, True, False, False]


async def test_lost_state_shows_as_a_reset() -> None:
    alice = await aparticipant()
    async with tab(alice) as page:
        await noted(alice, "gone")
        await page.wait_until(lambda: page.state("board")["notes"] == "gone")
        await stores.areset(alice.session, alice.id)
        await page.wait_until(lambda: page.resets)
        assert page.state("board")["notes"] == ""
        assert page.resets == ["me"]


# Others


async def test_presence_metas_and_messages_arrive() -> None:
    alice = await aparticipant()
    bob = await aparticipant(alice)
    async with tab(alice, meta={"color": "red"}) as first:
        async with tab(bob) as second:
            both = {"alice": [{"color": "red"}], "bob": [{}]}
            await first.wait_until(lambda: first.presence == both)
            await second.wait_until(lambda: second.presence == both)
            await second.set_meta({"typing": True})
            await first.wait_until(lambda: first.presence["bob"] == [{"typing": True}])
            await stores.asend(alice.session, "to all")
            await stores.asend(alice.session, "to bob", "bob")
            await second.wait_until(lambda: len(second.messages) == 2)
            await first.catch_up()
            assert first.messages == ["to all"]
            assert second.messages == ["to all", "to bob"]
            await second.leave()
            assert (second.status, second.ended) == ("ended", "left")
        await first.wait_until(lambda: "bob" not in first.presence)


@override_settings(SESSIONSTORES={"LEAVE_GRACE": 60})
async def test_who_is_connected_stays_so_as_time_passes() -> None:
    alice = await aparticipant()
    bob = await aparticipant(alice)
    async with tab(alice) as page:
        advance(3_600)
        await stores.asweep()
        assert await stores.aparticipants(alice.session) == ["alice"]
        assert list(await stores.apresence(alice.session)) == ["alice"]
        await noted(alice, "still here")
        await page.wait_until(lambda: page.state("board")["notes"] == "still here")
    # A reload may come back within `LEAVE_GRACE`.
    assert (await stores.apresence(alice.session))["alice"].leaving
    advance(61)
    await stores.asweep()
    assert not await stores.apresence(alice.session)
    assert bob.id not in await stores.aparticipants(alice.session)


# The end


async def test_a_session_that_ends_ends_its_tabs() -> None:
    alice = await aparticipant()
    async with tab(alice) as page:
        await stores.aend_session(alice.session)
        await page.wait_until(lambda: page.ended)
        assert (page.ended, page.closed, page.status) == ("ended", 4004, "ended")
        with pytest.raises(ActionRejected) as refused:
            await page.dispatch("board", "clear")
        assert refused.value.code == "session_ended"
        with pytest.raises(AssertionError, match=r"in vain for ever: it is ended"):
            await page.wait_until(lambda: False, "ever")
        with pytest.raises(RuntimeError, match="reload"):
            await page.resume()
    with pytest.raises(TabClosed) as closed:
        await tab(alice).open()
    assert (closed.value.code, closed.value.reason) == (4004, "session_ended")


async def test_actions_under_way_end_with_the_session() -> None:
    alice = await aparticipant()
    async with tab(alice) as page:
        await page.drop()
        waiting = asyncio.create_task(page.dispatch("board", "clear"))
        await asyncio.sleep(0)
        await stores.aend_session(alice.session)
        with pytest.raises(TabClosed):
            await page.resume()
        with pytest.raises(ActionRejected, match="over"):
            await waiting


async def test_the_door_tells_why() -> None:
    alice = await aparticipant()
    with pytest.raises(TabClosed) as closed:
        await tab(alice, token="forged").open()
    assert (closed.value.code, closed.value.reason) == (4100, "invalid_token")
    with override_settings(SESSIONSTORES={"MAX_CONNECTIONS": 1}):
        async with tab(alice):
            second = tab(alice)
            with pytest.raises(TabClosed, match="too many tabs") as closed:
                await second.open()
            assert (closed.value.code, closed.value.reason) == (4204, "limit_reached")
        # Which is no reason to stay away.
        await second.resume()
        await second.close()


async def test_names_and_roles_reach_tabs() -> None:
    ada = await aparticipant(name="Ada")
    bob = await aparticipant(ada, role="facilitator")
    async with tab(ada) as first, tab(bob) as second:
        assert (first.name, second.role) == ("Ada", "facilitator")
        await second.wait_until(lambda: "alice" in second.people)
        assert second.people["alice"] == {"name": "Ada", "role": "participant"}
        await stores.aset_role(ada.session, ada.id, "facilitator")
        await stores.aset_name(ada.session, ada.id, "Ada L.")
        await first.wait_until(lambda: first.role == "facilitator")
        await first.wait_until(lambda: first.name == "Ada L.")
        await first.dispatch(Agenda, Agenda.advance)


async def test_a_refusal_is_in_the_language_of_the_page() -> None:
    async with tab(await aparticipant(), language="de") as page:
        with pytest.raises(ActionRejected) as refused:
            await page.dispatch(Agenda, Agenda.advance)
    with translation.override("de"):
        assert str(refused.value) == str(MESSAGES["forbidden"])
    assert str(refused.value) != str(MESSAGES["forbidden"])


async def test_who_is_kicked_is_told_so() -> None:
    alice = await aparticipant()
    async with tab(alice) as page:
        await stores.akick(alice.session, alice.id)
        await page.wait_until(lambda: page.ended)
        assert (page.ended, page.closed) == ("kicked", 4007)
    with pytest.raises(TabClosed) as closed:
        await tab(alice).open()
    assert (closed.value.code, closed.value.reason) == (4007, "kicked")


async def test_a_disconnected_tab_is_told_so() -> None:
    alice = await aparticipant()
    async with tab(alice) as page:
        await stores.adisconnect(alice.session, "alice")
        await page.wait_until(lambda: page.ended)
        assert page.ended == "disconnected"


async def test_a_condition_that_never_holds_says_what_is_there() -> None:
    async with tab(await aparticipant()) as page:
        page.patience = 0.1
        with pytest.raises(AssertionError, match=r"for gold: it is live.*'step': 1"):
            await page.wait_until(lambda: False, "gold")
        await page.drop()
        with pytest.raises(TimeoutError, match="the tab is dropped"):
            await page.dispatch("board", "clear")


# What it talks to


# A consumer of Channels' own, which refuses here, looks after old connections to the
# database: after a test that has left one open, it needs the mark.
@pytest.mark.django_db
async def test_a_refused_origin_is_explained() -> None:
    app = OriginValidator(URLRouter(websocket_urlpatterns), ["https://example.com"])
    alice = await aparticipant()
    with pytest.raises(ConnectionError, match=r"origin='https://…'"):
        await tab(alice, application=app).open()
    async with tab(alice, application=app, origin="https://example.com") as page:
        assert page.status == "live"


async def test_an_application_without_the_route_is_explained() -> None:
    with pytest.raises(ValueError, match="No route found") as failed:
        await tab(await aparticipant(), application=URLRouter([])).open()
    assert "allowed_hosts_only" in failed.value.__notes__[0]


async def test_an_application_that_fails_later_fails_the_test() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await tab(await aparticipant(), application=failing).open()


async def test_it_speaks_with_a_real_server() -> None:
    alice = await aparticipant()
    async with serving() as url, tab(alice, url=url) as page:
        await page.dispatch("board", "move", MOVE)
        await page.drop()
        await noted(alice, "meanwhile")
        await page.resume()
        assert page.state("board")["notes"] == "meanwhile"
        await stores.aend_session(alice.session)
        await page.wait_until(lambda: page.ended)
        assert page.closed == 4004
    async with serving() as url:
        with pytest.raises(ConnectionError, match="No WebSocket at"):
            await tab(alice, url=url + "elsewhere/").open()


async def test_an_address_of_pages_is_one_of_sockets() -> None:
    alice = await aparticipant()
    async with serving() as url:
        pages = url.replace("ws://", "http://").removesuffix("ws/sessionstores/")
        async with tab(alice, url=pages) as page:
            assert page.status == "live"


async def test_without_websockets_a_url_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transports, "connect", None)
    with pytest.raises(ModuleNotFoundError, match="pip install 'websockets"):
        await tab(await aparticipant(), url="http://127.0.0.1:9").open()


async def stand_in(scope: Any, receive: Any, send: Any) -> None:
    """Speak as a server does that lets participants be watched."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "sessionstores.v1"})
    own = {"rev": "7f3a.1-00000000", "states": {}, "run": "1", "reset": False}
    conflicts = 0
    while (event := await receive())["type"] != "websocket.disconnect":
        frame = json.loads(event["text"])
        answers: list[dict[str, Any]] = []
        if frame["type"] == "hello":
            answers = [
                {"type": "welcome", "client": "c", "ping": 10, "role": "facilitator"},
                {"type": "snapshot", "doc": "me", **own},
                {"type": "snapshot", "doc": "session", **own},
                {"type": "self", "name": "Ada", "role": "boss"},
                {"type": "presence", "joined": {}, "left": [], "people": {"bob": {}}},
                {"type": "of a later release"},
            ]
        elif frame["type"] == "watch" and frame["participant"] == "bob":
            bobs = {**own, "states": {"board": {"notes": "bob's"}}}
            answers = [{"type": "snapshot", "doc": "p:bob", **bobs}]
        elif frame["type"] == "watch":
            error = {"code": "forbidden", "message": "Not you.", "of": "watch"}
            answers = [{"type": "error", **error}]
        elif frame["type"] == "action":
            conflicts += 1
            refusal = {"code": "conflict", "message": f"{frame['id']}"}
            answers = [{"type": "reject", "id": frame["id"], **refusal}]
        for answer in answers:
            await send({"type": "websocket.send", "text": json.dumps(answer)})


async def test_what_later_servers_say_is_understood() -> None:
    async with tab(await aparticipant(), application=stand_in) as page:
        await page.wait_until(lambda: page.people)
        assert (page.name, page.role, page.people) == ("Ada", "boss", {"bob": {}})
        await page.watch("bob")
        assert page.watched("bob", "board") == {"notes": "bob's"}
        await page.unwatch("bob")
        with pytest.raises(UnknownState):
            page.watched("bob", "board")
        with pytest.raises(ActionRejected, match="Not you"):
            await page.watch("carol")


async def test_a_conflict_is_tried_again_and_at_last_raised() -> None:
    async with tab(await aparticipant(), application=stand_in) as page:
        with pytest.raises(ActionRejected, match="6") as refused:
            await page.dispatch("board", "clear")
        assert refused.value.code == "conflict"


def test_a_tab_needs_no_loop() -> None:
    alice = participant()
    bob = participant(alice)
    with blocking_tab(alice) as first, blocking_tab(bob) as second:
        first.dispatch(Agenda, Agenda.vote, {"card": 3})
        second.wait_until(lambda: second.state("agenda")["votes"] == {"alice": 3})
        stores.get(Board, alice.session, "alice").dispatch(Board.note, "from here")
        first.wait_until(lambda: first.state("board")["notes"] == "from here")
        second.set_meta({"x": 1})
        first.wait_until(lambda: first.page.presence.get("bob") == [{"x": 1}])
        first.drop()
        first.resume()
        second.leave()
        assert second.page.ended == "left"
    assert not hubs


def test_a_tab_without_a_loop_has_all_methods_and_names_where_the_rest_is() -> None:
    with blocking_tab(participant()) as page:
        for name in dir(page.page):
            if name.startswith("_") or name in ("open", "close"):
                continue
            value = getattr(page.page, name)
            if callable(value):
                assert callable(getattr(page, name)), name
            else:
                with pytest.raises(AttributeError, match=rf"\.page\.{name}\b"):
                    getattr(page, name)
        assert page.rev("me") == page.page.rev("me")
        with pytest.raises(AttributeError, match=r"has no 'endde'$"):
            page.endde  # noqa: B018


# Watching others


async def test_a_tab_watches_whom_its_role_may() -> None:
    alice = await aparticipant(name="Alice")
    ada = await aparticipant(alice, "ada", role="facilitator")
    async with tab(alice) as page, tab(ada) as desk:
        await desk.watch(alice.id)
        assert desk.watched("alice", "board")["deck"][0] == "ace"
        # They are sensitive.
        assert "notes" not in desk.watched("alice", Board)
        await page.dispatch("board", "move", MOVE)
        await desk.wait_until(lambda: desk.rev("p:alice") == page.rev())
        assert desk.watched("alice", Board)["piles"] == {"keep": ["ace"]}
        with pytest.raises(UnknownState):
            desk.watched("alice", "agenda")
        await desk.unwatch("alice")
        with pytest.raises(UnknownState):
            desk.watched("alice", "board")
        with pytest.raises(ActionRejected) as refused:
            await page.watch("ada")
        assert refused.value.code == "forbidden"
        assert page.watching == set()


async def test_a_tab_watches_everybody_and_is_told_who_goes() -> None:
    alice = await aparticipant(name="Alice")
    ada = await aparticipant(alice, "ada", role="facilitator")
    bob = await aparticipant(alice, "bob")
    async with tab(ada) as desk:
        await desk.watch()
        assert desk.participants == {
            "alice": {"name": "Alice", "role": "participant"},
            "bob": {"name": None, "role": "participant"},
        }
        await noted(bob, "x")
        await desk.wait_until(lambda: moved(desk))
        # Whoever comes later, too.
        async with tab(await aparticipant(alice, "carol")) as page:
            await desk.wait_until(lambda: "p:carol" in desk._documents)
            await page.dispatch("board", "move", MOVE)
            await desk.catch_up()
            assert desk.watched("carol", "board")["piles"] == {"keep": ["ace"]}
        await stores.akick(alice.session, "bob")
        await desk.wait_until(lambda: desk.gone == {"bob": "kicked"})
        with pytest.raises(UnknownState):
            desk.watched("bob", "board")
        await stores.aset_role(alice.session, "ada", "participant")
        await desk.wait_until(lambda: desk.role == "participant" and not desk.watching)
        with pytest.raises(UnknownState):
            desk.watched("alice", "board")


def moved(desk: PageTab) -> bool:
    return Rev.parse(str(desk.rev("p:bob"))).counter == 2


async def test_a_tab_that_resumes_watches_on() -> None:
    alice = await aparticipant()
    ada = await aparticipant(alice, "ada", role="facilitator")
    async with tab(ada) as desk, tab(alice) as page:
        await desk.watch("alice")
        await desk.watch("nobody")
        assert desk.gone == {"nobody": "absent"}
        await desk.drop()
        await page.dispatch("board", "move", MOVE)
        await desk.resume()
        assert desk.watched("alice", "board")["piles"] == {"keep": ["ace"]}
        (shown,) = [
            frame
            for frame in desk.frames[-6:]
            if frame["type"] == "snapshot" and frame["doc"] == "p:alice"
        ]
        assert not shown["reset"]
        assert desk.resets == []


def test_a_tab_without_a_loop_watches() -> None:
    alice = participant()
    ada = participant(alice, "ada", role="facilitator")
    with blocking_tab(ada) as desk:
        desk.watch()
        assert desk.watched("alice", Board)["piles"] == {}
        desk.unwatch()
        with pytest.raises(UnknownState):
            desk.watched("alice", Board)
