"""A session's people as its page lists them: who is stuck, who is quiet, how far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from sessionstores import State, field, stores
from sessionstores.admin.people import AT_STEP
from sessionstores.admin.views import session as module
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import MAX_EVENTS
from sessionstores.state.declaration import registry
from tests.admin.views.test_overview import codes, text_of
from tests.admin.views.test_session import row_of
from tests.staff import ALL, CODE, connect, page, signed_in
from tests.trips import trips_of

pytestmark = pytest.mark.django_db

SEEN = "view_dashboard"


with registry.isolated():

    class Sorting(State, name="sorting", progress="placed"):
        deck: list[int] = field(default_factory=lambda: list(range(14)))
        step: int = 1

        @property
        def placed(self) -> tuple[int, int]:
            return 14 - len(self.deck), 14

    class Stage(State, name="stage", scope="session", progress="round"):
        step: int = 2
        round: tuple[int, int] = (3, 5)


@pytest.fixture(autouse=True)
def _own_states() -> Iterator[None]:
    with registry.isolated(Sorting, Stage):
        yield


def sit(id: str, placed: int, step: int, name: str = "") -> None:
    """Let somebody have a board with so many cards placed."""

    def change(board: Sorting) -> None:
        del board.deck[:placed]
        board.step = step

    stores.get(Stage, CODE).snapshot()
    stores.get(Sorting, CODE, id).dispatch(change)
    if name:
        stores.set_name(CODE, id, name)


def event(at: float, kind: str, who: str, text: str = "") -> dict[str, Any]:
    return {"at": at, "kind": kind, "who": who, "text": text, "count": 1}


def look(client: Client, **query: str) -> Any:
    return client.get(page("session", CODE), query)


def test_the_head_says_where_the_session_is_and_how_far_all_are() -> None:
    sit("alice", 14, 2)
    sit("bob", 4, 1)
    text = text_of(look(signed_in(SEEN)))
    assert "Step 2 " in text
    assert "Session 3 of 5 round" in text
    assert "Progress 18 of 28 placed · 1 of 2 done" in text
    assert "Kept until while in use" in text
    html = look(signed_in(SEEN, name="kim")).content.decode()
    assert '<progress class="ss-progress" max="28" value="18"' in html
    assert '<progress class="ss-progress" max="14" value="4"' in html


def test_who_is_stuck_at_the_first_step_is_named_and_a_click_away() -> None:
    for number in range(8):
        sit(f"p{number}", number, 1 if number < 7 else 2, f"Person {number}")
    client = signed_in(SEEN)
    response = look(client)
    text = text_of(response)
    named = "Person 0, Person 1, Person 2, Person 3, Person 4 and 2 more"
    assert f"Step 1 7 {named} Step 2 1" in text
    assert f'href="?show={AT_STEP.replace(":", "%3A")}1#ss-list"' in (
        response.content.decode()
    )
    assert codes(look(client, show=f"{AT_STEP}2")) == ["p7"]
    assert codes(look(client, o="-step"))[0] == "p7"
    assert codes(look(client, o="progress"))[:2] == ["p0", "p1"]
    assert codes(look(client, o="-progress"))[0] == "p7"


def test_a_step_that_a_tab_publishes_comes_before_the_one_in_a_state() -> None:
    sit("alice", 2, 1)
    sit("bob", 2, 1)
    connect("alice", step="vote")
    client = signed_in(SEEN)
    assert "vote 2 of 14" in row_of(look(client), "alice")
    assert "1 2 of 14" in row_of(look(client), "bob")
    assert codes(look(client, show=f"{AT_STEP}vote")) == ["alice"]


def test_those_who_are_there_come_first_by_name_and_twins_are_told_apart() -> None:
    for id, name in (("a1", "Zoe"), ("b2", "Ben"), ("c3", "Ben"), ("d4", "Ada")):
        sit(id, 0, 1, name)
    connect("a1")
    connect("c3")
    response = look(signed_in(SEEN))
    assert codes(response) == ["c3", "a1", "d4", "b2"]
    assert "c3" in row_of(response, "c3")
    assert "d4" not in row_of(response, "d4")


def test_who_has_done_nothing_for_minutes_can_be_picked_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()
    for id in ("alice", "bob", "carol"):
        sit(id, 1, 1)
        connect(id)
    events = [
        event(now - 400 + number, "changed", "carol", "sorting.x")
        for number in range(MAX_EVENTS - 1)
    ]
    run(get_backend(blocking=True).note(CODE, events))
    run(
        get_backend(blocking=True).note(
            CODE, [event(now + 200, "changed", "alice", "sorting.y")]
        )
    )
    client = signed_in(SEEN)
    # They have come just now, so nobody is quiet yet.
    assert codes(look(client, show="quiet")) == []
    assert "none since" in row_of(look(client), "bob")
    assert "changed sorting.y" in row_of(look(client), "alice")
    assert codes(look(client, o="last"))[0] == "carol"
    # Later, only who has done something meanwhile is not.
    monkeypatch.setattr(
        type(get_backend(blocking=True).clock), "__call__", lambda _: now + 310
    )
    assert codes(look(client, show="quiet")) == ["bob", "carol"]


@pytest.mark.parametrize("rights", [(SEEN,), ALL])
def test_only_staff_who_may_see_states_are_told_texts_of_them(
    rights: tuple[str, ...],
) -> None:
    class Talk(State, name="talk", progress="share"):
        share: str = "private words"

    sit("alice", 3, 1)
    stores.get(Talk, CODE, "bob").snapshot()
    response = look(signed_in(*rights))
    assert ("private words" in response.content.decode()) is (rights == ALL)
    assert "3 of 14" in row_of(response, "alice")


def test_a_published_name_that_a_state_calls_sensitive_is_not_shown() -> None:
    class Secret(State, name="secret", sensitive=("name",)):
        name: str = ""

    sit("alice", 0, 1)
    connect("alice", name="Beatriz", step=1)
    client = signed_in(*ALL)
    assert "Beatriz" not in look(client).content.decode()
    own = client.get(page("participant", CODE, "alice"))
    assert "Beatriz" not in own.content.decode()


@pytest.mark.usefixtures("redis_site")
def test_states_are_read_in_one_trip_of_all_or_above_a_bound_of_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WHOLE", 60)
    client = signed_in(SEEN)
    trips = trips_of(get_backend(blocking=True), monkeypatch)
    counts, texts = [], []
    for people in (1, 60, 61):
        for number in range(people):
            sit(f"p{number:03}", 1, 1)
        look(client)
        trips.clear()
        response = look(client)
        counts.append(len(trips))
        texts.append(text_of(response))
    assert counts == [6, 6, 6]
    assert "Progress 61 of 840 placed" in texts[1]
    assert "Progress of those on this page 101 of 700 placed" in texts[2]
    assert "2 of 14" in row_of(response, "p049")
