"""The hint that tells an open admin page to look again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.core import signing
from django.db import InterfaceError, OperationalError
from django.test import RequestFactory
from pytest_django import Settings

from sessionstores import stores
from sessionstores.event_bus import Note, bus
from sessionstores.keys import StoreKey
from sessionstores.realtime import staff as nudging
from sessionstores.realtime.staff import (
    FORBIDDEN,
    GROUP,
    HELLO_TIMEOUT,
    STAFF_SALT,
    StaffConsumer,
    StaffNudger,
    allowed_user,
    make_staff_token,
)
from tests.sockets import CODE, PATIENCE, until
from tests.staff import member
from tests.workshop.states import Board

# Channels closes old connections of the database at every message.
pytestmark = pytest.mark.django_db

OTHER = "AAAAAA"
QUIET = 0.2


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nudging, "NUDGE_SECONDS", 0.05)
    monkeypatch.setattr(nudging, "SETTLE_SECONDS", 0.0)


@pytest.fixture
def staff(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Who counts as staff, by primary key."""
    allowed = {"1": True}
    monkeypatch.setattr(
        nudging, "allowed_user", lambda pk, mark: allowed.get(pk, False)
    )
    return allowed


def token(pk: str = "1") -> str:
    return signing.dumps([pk, "mark"], salt=STAFF_SALT)


class StaffPage:
    """An admin page's socket."""

    def __init__(self) -> None:
        self.communicator = WebsocketCommunicator(
            StaffConsumer.as_asgi(), "/ws/sessionstores/staff/"
        )

    async def open(self, text: str) -> None:
        accepted, _ = await self.communicator.connect(PATIENCE)
        assert accepted
        await self.communicator.send_to(text)

    async def listen(self, topic: str = "", pk: str = "1") -> StaffPage:
        await self.open(json.dumps({"token": token(pk), "topic": topic}))
        assert await self.said() == {"type": "ready"}
        return self

    async def said(self) -> Any:
        return json.loads(await self.communicator.receive_from(PATIENCE))

    async def silent(self) -> bool:
        return bool(await self.communicator.receive_nothing(QUIET))

    async def closed(self) -> int:
        while (event := await self.communicator.receive_output(PATIENCE))[
            "type"
        ] == "websocket.send":
            pass
        assert event["type"] == "websocket.close"
        code: int = event["code"]
        return code


@pytest.fixture
async def pages() -> AsyncIterator[list[StaffPage]]:
    opened: list[StaffPage] = []
    yield opened
    for each in opened:
        await each.communicator.disconnect()
    await until(lambda: not nudging.nudger.watching, "the pages to be gone")


@pytest.mark.usefixtures("staff")
async def test_a_change_reaches_the_pages_that_show_it(pages: list[StaffPage]) -> None:
    pages += [await StaffPage().listen(topic) for topic in ("", CODE, OTHER)]
    everything, ours, other = pages
    await stores.get(Board, CODE, "alice").adispatch(Board.note, "x")
    assert await everything.said() == {"type": "changed"}
    assert await ours.said() == {"type": "changed"}
    assert await other.silent()


@pytest.mark.usefixtures("staff")
async def test_many_changes_are_few_nudges(pages: list[StaffPage]) -> None:
    pages.append(await StaffPage().listen())
    for _burst in range(3):
        for _ in range(100):
            bus.publish(Note(StoreKey(CODE, "alice"), "changed"))
        assert await pages[0].said() == {"type": "changed"}
    assert await pages[0].silent()


@pytest.mark.usefixtures("staff")
async def test_each_change_of_one_record_reaches_the_pages(
    pages: list[StaffPage],
) -> None:
    board = stores.get(Board, CODE, "alice")
    await board.adispatch(Board.note, "before anybody watches")
    pages.append(await StaffPage().listen())
    for number in range(3):
        await board.adispatch(Board.note, str(number))
        assert await pages[0].said() == {"type": "changed"}
    assert await pages[0].silent()


@pytest.mark.usefixtures("staff")
async def test_where_very_much_changes_every_page_looks_again(
    pages: list[StaffPage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nudging, "MAX_CODES", 1)
    pages.append(await StaffPage().listen(OTHER))
    for code in (CODE, "BBBBBB"):
        bus.publish(Note(StoreKey(code, "alice"), "changed"))
    assert await pages[0].said() == {"type": "changed"}


@pytest.mark.usefixtures("staff")
async def test_what_comes_within_a_second_waits_until_it_is_over(
    pages: list[StaffPage], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages.append(await StaffPage().listen())
    (consumer,) = nudging.nudger.watching
    bus.publish(Note(StoreKey(CODE, "alice"), "changed"))
    assert await pages[0].said() == {"type": "changed"}
    monkeypatch.setattr(consumer, "_next", consumer.loop.time() + 3_600)
    bus.publish(Note(StoreKey(CODE, "alice"), "changed"))
    await until(lambda: consumer._timer is not None)
    assert await pages[0].silent()
    assert consumer._timer
    assert consumer._timer.when() > consumer.loop.time() + 3_000


@pytest.mark.usefixtures("staff")
async def test_another_process_reaches_them_through_the_layer(
    pages: list[StaffPage],
) -> None:
    pages.append(await StaffPage().listen(CODE))
    layer = get_channel_layer()
    assert layer is not None
    message = {"type": "nudge", "codes": [CODE], "origin": nudging.ORIGIN}
    await layer.group_send(GROUP, message)
    assert await pages[0].silent()
    await layer.group_send(GROUP, {**message, "origin": "another"})
    assert await pages[0].said() == {"type": "changed"}


@pytest.mark.usefixtures("staff")
async def test_pages_of_another_site_on_the_same_layer_hear_nothing(
    settings: Settings, pages: list[StaffPage]
) -> None:
    layer = get_channel_layer()
    assert layer is not None
    locmem = dict(settings.CACHES["default"])
    settings.CACHES = {"default": {**locmem, "KEY_PREFIX": "live"}}
    live = nudging.staff_group()
    pages.append(await StaffPage().listen(CODE))
    settings.CACHES = {"default": {**locmem, "KEY_PREFIX": "staging"}}
    assert len({GROUP, live, nudging.staff_group()}) == 3
    message = {"type": "nudge", "codes": [CODE], "origin": "another"}
    for group in (GROUP, nudging.staff_group()):
        await layer.group_send(group, message)
    assert await pages[0].silent()
    await layer.group_send(live, message)
    assert await pages[0].said() == {"type": "changed"}
    settings.CACHES = {"default": locmem}
    # As in earlier releases, which may run beside this one.
    assert nudging.staff_group() == GROUP == "sessionstores.staff"


async def test_this_process_tells_the_others_through_the_layer(
    monkeypatch: pytest.MonkeyPatch, staff: dict[str, bool], pages: list[StaffPage]
) -> None:
    told: list[Any] = []

    class Layer:
        async def group_send(self, group: str, message: Any) -> None:
            told.append((group, message))
            if len(told) == 1:
                raise OSError("The layer is away.")

    pages.append(await StaffPage().listen())
    monkeypatch.setattr(nudging, "get_channel_layer", Layer)
    monkeypatch.setattr(nudging, "reaches_others", lambda layer: True)
    for _ in range(2):
        bus.publish(Note(StoreKey(CODE, "alice"), "joined"))
        assert await pages[0].said() == {"type": "changed"}
    await until(lambda: len(told) == 2)
    expected = {"type": "nudge", "codes": [CODE], "origin": nudging.ORIGIN}
    assert told == [(GROUP, expected)] * 2
    monkeypatch.undo()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        "[1]",
        '{"token": 1}',
        '{"token": "forged"}',
        json.dumps({"token": signing.dumps(["1", "mark"], salt="another")}),
        json.dumps({"token": "x" * 5_000}),
    ],
    # Each process signs another token, and all must know the test by one name.
    ids=["cut", "without", "list", "number", "forged", "of another salt", "long"],
)
@pytest.mark.usefixtures("staff")
async def test_what_is_no_token_closes_the_socket(text: str) -> None:
    one = StaffPage()
    await one.open(text)
    assert await one.closed() == FORBIDDEN
    assert not nudging.nudger.watching


@pytest.mark.usefixtures("staff")
async def test_a_token_is_good_for_a_short_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = token()
    monkeypatch.setattr(nudging, "TOKEN_SECONDS", -1)
    one = StaffPage()
    await one.open(json.dumps({"token": old}))
    assert await one.closed() == FORBIDDEN


@pytest.mark.usefixtures("staff")
async def test_who_may_not_look_is_refused() -> None:
    one = StaffPage()
    await one.open(json.dumps({"token": token("2")}))
    assert await one.closed() == FORBIDDEN


async def test_who_may_no_longer_look_is_let_go(
    staff: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nudging, "RECHECK_SECONDS", 0.01)
    one = await StaffPage().listen()
    staff["1"] = False
    assert await one.closed() == FORBIDDEN
    assert not nudging.nudger.watching


@pytest.mark.usefixtures("staff")
async def test_a_page_is_not_left_idle_where_nothing_changes(
    pages: list[StaffPage], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many proxies close a connection on which nothing comes for a minute.
    assert nudging.RECHECK_SECONDS < 60
    monkeypatch.setattr(nudging, "RECHECK_SECONDS", 0.01)
    pages.append(await StaffPage().listen())
    for _ in range(3):
        assert await pages[0].said() == {"type": "ready"}


async def test_who_may_no_longer_look_is_let_go_once_the_database_answers_again(
    staff: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    outages: list[Exception] = []

    def asked(pk: str, mark: str) -> bool:
        if outages:
            raise outages.pop()
        return staff[pk]

    monkeypatch.setattr(nudging, "allowed_user", asked)
    monkeypatch.setattr(nudging, "RECHECK_SECONDS", 0.01)
    one = await StaffPage().listen()
    outages += [OperationalError("the connection is closed"), InterfaceError()]
    await until(lambda: not outages, "the outages")
    assert await one.said() == {"type": "ready"}
    staff["1"] = False
    assert await one.closed() == FORBIDDEN


async def test_who_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nudging, "HELLO_SECONDS", 0.01)
    one = StaffPage()
    accepted, _ = await one.communicator.connect(PATIENCE)
    assert accepted
    assert await one.closed() == HELLO_TIMEOUT


def test_where_no_loop_serves_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test's, which may have ended in the midst of it.
    monkeypatch.setattr(nudging, "hubs", {})
    nudger = StaffNudger()
    nudger.note(CODE)
    assert nudger._codes == set()


@pytest.mark.usefixtures("staff")
async def test_what_waits_to_be_told_is_dropped_with_its_backend(
    pages: list[StaffPage], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    pages.append(await StaffPage().listen())
    monkeypatch.setattr(nudging, "SETTLE_SECONDS", 0.1)
    nudging.nudger.note(OTHER)
    settings.CACHES = dict(settings.CACHES)
    assert await pages[0].silent()
    nudging.nudger.note(CODE)
    assert await pages[0].said() == {"type": "changed"}


def test_the_token_is_of_a_user_who_is_checked_anew_each_time() -> None:
    user = member("view_dashboard")
    request: Any = RequestFactory().get("/")
    request.user = user
    pk, mark = signing.loads(make_staff_token(request), salt=STAFF_SALT)
    assert allowed_user(pk, mark)
    assert not allowed_user(pk, "another")
    assert not allowed_user("999", mark)
    assert not allowed_user("no number", mark)
    for changed in ({"is_active": False}, {"is_staff": False}, {"password": "new"}):
        before = {name: getattr(user, name) for name in changed}
        User.objects.filter(pk=user.pk).update(**changed)
        assert not allowed_user(pk, mark), changed
        User.objects.filter(pk=user.pk).update(**before)
    assert allowed_user(pk, mark)
    user.user_permissions.clear()
    assert not allowed_user(pk, mark)
