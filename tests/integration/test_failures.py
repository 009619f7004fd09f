"""Each refusal and each error is counted once, whichever way it came."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import include, path

from sessionstores import (
    ActionRejected,
    Health,
    InvalidKey,
    SessionLocked,
    State,
    action,
    participant_required,
    stores,
)
from sessionstores.forms import JoinForm
from sessionstores.state.declaration import registry
from tests.realtime.conftest import tab as tab
from tests.sockets import CODE, Opener, Socket
from tests.test_forms import enter, filled
from tests.workshop.states import Agenda, Board

with registry.isolated():

    class Kinds(State, name="kinds"):
        """Has actions that fail in different ways."""

        count: int = 0

        @action
        def refuse(self, value: int = 0) -> None:
            raise ActionRejected("No.", code="not_now")

        @action
        def fail(self, value: int = 0) -> None:
            self.count = value // 0

    class Shared(State, name="shared", scope="session"):
        """The same, for all of a session."""

        count: int = 0

        @action
        def add(self, value: int) -> None:
            if value < 0:
                raise ActionRejected("No.", code="not_now")
            self.count += 10 // value


@participant_required
def page(request: Any, code: str) -> HttpResponse:
    return HttpResponse(request.participant.id)


def entered(request: Any, code: str) -> HttpResponse:
    joined = JoinForm({"code": code, "name": "Ada"})
    return HttpResponse(joined.is_valid() and joined.join(request))


urlpatterns = [
    path("join/", include("sessionstores.urls"), {"success_url": "/"}),
    path("<str:code>/page/", page),
    path("<str:code>/enter/", entered),
]


@pytest.fixture(autouse=True)
def _declared(fresh_stores: None) -> Iterator[None]:
    with registry.isolated(Board, Agenda, Kinds, Shared):
        yield


def health() -> Health:
    return stores.stats().health


async def ahealth() -> Health:
    return (await stores.astats()).health


# Sockets


@pytest.mark.parametrize(
    ("name", "args", "code", "ran"),
    [
        ("board.move", {"card": "no such", "pile": "keep"}, "no_such_card", 1),
        ("board.move", {"card": 3, "pile": "keep"}, "invalid_arguments", 0),
        ("board.nothing", {}, "unknown_action", 0),
        ("nothing.move", {}, "unknown_state", 0),
        ("agenda.advance", {}, "forbidden", 0),
    ],
)
async def test_an_action_of_a_tab(
    tab: Opener, name: str, args: dict[str, Any], code: str, ran: int
) -> None:
    socket = await tab()
    for number in (1, 2):
        answer = await socket.act(number, name, **args)
        assert (answer["type"], answer["code"]) == ("reject", code)
    found = await ahealth()
    assert found.refused == {code: 2}
    assert (found.actions, found.errors) == (2 * ran, 0)


async def test_an_action_of_a_tab_that_fails(tab: Opener) -> None:
    socket = await tab()
    assert (await socket.act(1, "kinds.fail"))["code"] == "internal"
    found = await stores.astats()
    assert (found.health.errors, found.health.refused) == (1, {})
    assert found.health.actions == 1
    (error,) = found.errors
    assert (error.type, error.action, error.count) == (
        "ZeroDivisionError",
        "kinds.fail",
        1,
    )
    assert error.place.startswith("tests/integration/test_failures.py:")


async def test_an_action_that_comes_too_fast(tab: Opener) -> None:
    with override_settings(SESSIONSTORES={"RATE_LIMIT": (0.001, 1)}):
        socket = await tab()
        assert (await socket.act(1, "board.clear"))["type"] == "ack"
        assert (await socket.act(2, "board.clear"))["code"] == "limit_reached"
        found = await ahealth()
    assert (found.refused, found.actions) == ({"limit_reached": 1}, 1)


async def test_an_action_that_is_sent_again_and_had_run_is_no_refusal(
    tab: Opener,
) -> None:
    socket = await tab()
    assert (await socket.act(1, "board.note", text="x"))["type"] == "ack"
    # What it was then is unknown by now, but not that it ran.
    frame = {"type": "action", "id": 1, "state": "board", "action": "gone"}
    await socket.say(**frame, args={}, client=socket.welcome["client"])
    assert (await socket.receive())["type"] == "ack"
    assert (await ahealth()).refused == {}


async def test_frames_that_are_refused(tab: Opener) -> None:
    socket = await tab()
    await socket.say_text("no json")
    assert (await socket.receive())["code"] == "bad_json"
    await socket.say(type="sync", doc="p:bob", rev=None)
    frame = await socket.receive()
    assert (await ahealth()).refused == {"bad_json": 1, frame["code"]: 1}


async def test_a_tab_that_is_not_let_in() -> None:
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token="forged", client="c1")
    assert (await socket.receive())["code"] == "invalid_token"
    await socket.closed()
    stores_ = await ahealth()
    assert (stores_.refused, stores_.sockets) == ({"invalid_token": 1}, 0)


async def test_the_refusals_and_errors_of_a_group(tab: Opener) -> None:
    sockets = [await tab(f"p{number}", client=f"c{number}") for number in range(6)]
    for value, socket in zip((1, 2, -1, 0, -1, 5), sockets, strict=True):
        args = {"value": value}
        await socket.say(type="action", id=1, state="shared", action="add", args=args)
    answers = []
    for socket in sockets:
        frame = await socket.receive()
        while frame["type"] not in ("ack", "reject"):
            frame = await socket.receive()
        answers.append(frame.get("code"))
    assert answers == [None, None, "not_now", "internal", "not_now", None]
    found = await ahealth()
    assert (found.actions, found.refused, found.errors) == (6, {"not_now": 2}, 1)


# Server code


def test_a_dispatch_of_server_code() -> None:
    store = stores.get(Kinds, CODE, "alice")
    with pytest.raises(ActionRejected):
        store.dispatch(Kinds.refuse)
    with pytest.raises(ZeroDivisionError):
        store.dispatch(Kinds.fail)
    store.dispatch(lambda kinds: None)
    found = health()
    assert (found.actions, found.refused, found.errors) == (3, {"not_now": 1}, 1)


async def test_dispatches_of_one_event_loop() -> None:
    store = stores.get(Shared, CODE)
    answers = await asyncio.gather(
        *(store.adispatch(Shared.add, value) for value in (1, -1, 2, -1, 0)),
        return_exceptions=True,
    )
    failed = [type(each).__name__ for each in answers if each is not None]
    assert failed == ["ActionRejected", "ActionRejected", "ZeroDivisionError"]
    found = await ahealth()
    assert (found.actions, found.refused, found.errors) == (5, {"not_now": 2}, 1)


def test_what_is_slow_is_counted_each_time() -> None:
    with override_settings(SESSIONSTORES={"SLOW_OPERATION_MS": 0}):
        store = stores.get(Board, CODE, "alice")
        for _ in range(3):
            store.dispatch(Board.note, "x")
        assert health().slow >= 3


# Forms and pages


@pytest.fixture
def browser() -> Iterator[Client]:
    with override_settings(ROOT_URLCONF=__name__):
        yield Client()


def post(client: Client, code: str, name: str, **typed: Any) -> Any:
    return client.post(f"/join/act/{code}/{name.replace('.', '/')}/", typed)


@pytest.mark.django_db
def test_forms(browser: Client) -> None:
    code = stores.create_session()
    browser.get(f"/{code}/enter/")
    post(browser, code, "kinds.refuse", value="1")
    assert health().refused == {"not_now": 1}
    # Shown again, it is not refused again.
    browser.get(f"/{code}/page/")
    post(browser, code, "kinds.refuse", value="no number")
    post(browser, code, "kinds.gone", value="1")
    post(browser, code, "agenda.advance")
    expected = {"not_now": 1, "invalid_arguments": 1, "unknown_action": 1}
    found = health()
    assert found.refused == {**expected, "forbidden": 1}
    assert (found.errors, found.actions) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        post(browser, code, "kinds.fail", value="1")
    assert (health().errors, health().refused) == (1, found.refused)


@pytest.mark.django_db
def test_pages_of_sessions_that_are_over_or_keep_somebody_out(browser: Client) -> None:
    code = stores.create_session()
    id = browser.get(f"/{code}/enter/").content.decode()
    assert Client().get(f"/{code}/page/").status_code == 403
    # Who has not joined is refused nothing yet.
    assert health().refused == {}
    (participant,) = stores.participants(code)
    assert participant in id
    stores.kick(code, participant)
    assert browser.get(f"/{code}/page/").status_code == 403
    assert health().refused == {"kicked": 1}
    stores.end_session(code)
    assert browser.get(f"/{code}/page/").status_code == 410
    assert health().refused == {"kicked": 1, "session_ended": 1}


@pytest.mark.django_db
def test_a_session_that_closes_while_a_form_is_sent(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = stores.create_session()
    browser.get(f"/{code}/enter/")

    async def refuse(*args: Any, **kwargs: Any) -> None:
        raise SessionLocked("It is locked.")

    monkeypatch.setattr("sessionstores.participants.acting.open_document", refuse)
    assert post(browser, code, "kinds.refuse", value="1").status_code in (200, 303)
    assert health().refused == {"session_locked": 1}


@pytest.mark.parametrize("way", ["join", "ajoin"])
def test_forms_to_join(way: str) -> None:
    code = stores.create_session()
    stores.lock(code)
    assert enter(filled("ABCDEF"), way) is None
    assert enter(filled(code), way) is None
    expected = {"unknown_session": 1, "session_locked": 1}
    assert health().refused == expected
    form = JoinForm({"code": "K7", "name": "Ada"})
    assert not form.is_valid()
    assert form.errors
    assert health().refused == {**expected, InvalidKey.code: 1}
