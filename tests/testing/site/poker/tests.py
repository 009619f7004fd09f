"""The same for unittest's runner: `manage.py test`."""

from __future__ import annotations

import unittest

from django.test import SimpleTestCase, TestCase, TransactionTestCase

from sessionstores import stores
from sessionstores.testing import (
    SessionStoresTestMixin,
    advance,
    aparticipant,
    participant,
    tab,
)

from .states import Hand

CODE = "POKER2"


class HandTests(SessionStoresTestMixin, SimpleTestCase):
    def setUp(self) -> None:
        # Without a call of super().
        assert stores.sessions() == []

    def test_choosing(self) -> None:
        stores.get(Hand, CODE, "alice").dispatch(Hand.choose, "1")

    def test_idling(self) -> None:
        stores.get(Hand, CODE, "alice").dispatch(Hand.choose, "1")
        advance(400)
        assert stores.sweep().participants == 1


class GameTests(SessionStoresTestMixin, TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.ada = participant(CODE, "ada")

    def test_one(self) -> None:
        assert stores.participants(CODE) == ["ada"]
        participant(CODE)

    def test_another(self) -> None:
        assert stores.participants(CODE) == ["ada"]
        stores.end_session(CODE)

    async def test_a_tab(self) -> None:
        async with tab(self.ada) as page:
            await page.dispatch("hand", "choose", {"card": "8"})


class TabTests(SessionStoresTestMixin, unittest.IsolatedAsyncioTestCase):
    async def test_a_tab(self) -> None:
        async with tab(await aparticipant(CODE)) as page:
            await page.dispatch("hand", "choose", {"card": "8"})
        assert await stores.asessions() == [CODE]


class CacheTests(SessionStoresTestMixin, TransactionTestCase):
    sessionstores_cache = True

    def test_one(self) -> None:
        assert stores.sessions() == []
        participant(CODE)

    def test_another(self) -> None:
        assert stores.sessions() == []
        participant(CODE)
