"""A site's tests: one code for all, so that whatever leaks is seen."""

from __future__ import annotations

import asyncio

import pytest
from django.test import TestCase
from poker.states import Hand, Table

from sessionstores import ActionRejected, UnknownSession, stores
from sessionstores.testing import (
    advance,
    aparticipant,
    assert_isolated,
    blocking_tab,
    participant,
    tab,
)

CODE = "POKER2"


def choose(id: str, card: str) -> None:
    assert stores.get(Hand, CODE, id).state.card == ""
    stores.get(Hand, CODE, id).dispatch(Hand.choose, card)
    assert stores.participants(CODE) == [id]


@pytest.mark.parametrize("card", ["1", "2", "3", "5", "8", "13"])
def test_a_card_is_chosen(card: str) -> None:
    choose("alice", card)


@pytest.mark.parametrize("card", ["", "4"])
def test_no_other_card_can_be_chosen(card: str) -> None:
    with pytest.raises(ActionRejected):
        choose("alice", card)
    assert stores.get(Hand, CODE, "alice").state.card == ""


def test_nobody_is_there() -> None:
    assert stores.sessions() == []


def test_sessions_are_counted() -> None:
    stores.create_session()
    assert stores.session_count() == 1


def test_a_session_ends() -> None:
    choose("alice", "8")
    stores.end_session(CODE)
    assert stores.sessions() == []


def test_the_idle_are_swept() -> None:
    choose("alice", "8")
    advance(400)
    assert stores.sweep().participants == 1


def test_a_kept_session_stays() -> None:
    code = stores.create_session(keep=3600)
    advance(3000)
    stores.sweep()
    stores.extend(code, 60)


def test_a_session_that_is_over_cannot_be_extended() -> None:
    with pytest.raises(UnknownSession):
        stores.extend(CODE, 60)


def test_choosing_concerns_nobody_else() -> None:
    assert_isolated(Hand, Hand.choose, {"card": "5"})


@pytest.mark.django_db
def test_a_page_joins(client) -> None:
    for _ in range(2):
        answer = client.get(f"/{CODE}/", {"card": "5"}, headers={"host": "testserver"})
        assert answer.json() == {"participants": 1}


def test_a_tab_chooses() -> None:
    with blocking_tab(participant(CODE)) as page:
        assert page.dispatch("hand", "choose", {"card": "8"}) == "8"
        assert page.page.presence in ({}, {"alice": [{}]})


async def test_the_table_is_revealed() -> None:
    ada = await aparticipant(CODE, "ada", role="facilitator")
    bob = await aparticipant(CODE, "bob")
    async with tab(ada) as first, tab(bob) as second:
        await second.dispatch(Hand, Hand.choose, {"card": "3"})
        await first.dispatch(Table, Table.reveal)
        await second.wait_until(lambda: second.state(Table)["revealed"])
        assert second.state(Table)["revealed"] == {"bob": "3"}


async def test_a_tab_comes_back() -> None:
    async with tab(await aparticipant(CODE)) as page:
        await page.drop()
        chosen = asyncio.create_task(page.dispatch("hand", "choose", {"card": "1"}))
        await asyncio.sleep(0)
        await page.resume()
        assert await chosen == "1"


@pytest.fixture
def begun() -> str:
    code = stores.create_session(label="Begun")
    stores.get(Hand, code, "ada").dispatch(Hand.choose, "13")
    return code


@pytest.mark.parametrize("turn", [1, 2])
def test_a_game_goes_on(begun: str, turn: int) -> None:
    assert stores.participants(begun) == ["ada"]
    stores.get(Hand, begun, "ada").dispatch(Hand.choose, "1")
    stores.get(Hand, begun, "bob").dispatch(Hand.choose, "1")


class TestGame(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.code = stores.create_session()

    def test_one_may_choose(self) -> None:
        assert stores.participant_count() == 0
        stores.get(Hand, self.code, "ada").dispatch(Hand.choose, "1")

    def test_another_may_choose(self) -> None:
        assert stores.participant_count() == 0
        stores.get(Hand, self.code, "bob").dispatch(Hand.choose, "2")


@pytest.mark.sessionstores_cache
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", [1, 2])
def test_the_real_cache_is_fresh_too(turn: int) -> None:
    assert stores.sessions() == []
    choose("alice", "8")


@pytest.mark.sessionstores_cache
@pytest.mark.django_db(transaction=True)
async def test_the_real_cache_serves_tabs() -> None:
    async with tab(await aparticipant(CODE)) as page:
        assert await page.dispatch("hand", "choose", {"card": "8"}) == "8"
    assert await stores.asessions() == [CODE]
