"""Tests of a site, as a type checker in strict mode sees them."""

from __future__ import annotations

from typing import assert_type

from django.test import TestCase

from sessionstores import Participant
from sessionstores.testing import (
    BlockingTab,
    LossyLayer,
    PageTab,
    SessionStoresTestMixin,
    TabClosed,
    aassert_isolated,
    advance,
    aparticipant,
    assert_isolated,
    blocking_tab,
    isolated_stores,
    participant,
    tab,
)
from tests.workshop.states import Board


class BoardTests(SessionStoresTestMixin, TestCase):
    sessionstores_cache = True

    def test_a_tab(self) -> None:
        alice = participant(role="facilitator")
        assert_type(alice, Participant)
        with isolated_stores(cache=True), blocking_tab(alice) as page:
            assert_type(page, BlockingTab)
            page.dispatch(Board, Board.move, {"card": "ace", "pile": "keep"})
            page.wait_until(lambda: page.state("board")["piles"])
        advance(1.5)
        assert_isolated(Board, lambda board: board.piles.clear())

    async def test_tabs(self) -> None:
        alice = await aparticipant("K7Q2ZD", "alice")
        async with tab(alice, meta={"x": 1}) as page:
            assert_type(page, PageTab)
            assert_type(page.closed, int | None)
            await page.dispatch("board", "clear")
        await aassert_isolated(Board, "clear", by=alice)


def code_of(error: TabClosed, layer: LossyLayer) -> tuple[int, int]:
    return error.code, layer.dropped
