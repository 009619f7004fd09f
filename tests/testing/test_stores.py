"""Stores of tests are fresh, in memory or under a prefix, and their time passes."""

from __future__ import annotations

import threading
import unittest
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import caches
from django.db import connection, transaction
from django.test import RequestFactory, TestCase, override_settings

from sessionstores import (
    InsideTransaction,
    InvalidToken,
    LimitReached,
    UnknownSession,
    join,
    stores,
)
from sessionstores.backends import get_backend
from sessionstores.backends.locmem import LocMemBackend
from sessionstores.participants.tokens import check_standing, read_token
from sessionstores.realtime.timeline import timeline
from sessionstores.sessions.autosweep import autosweep
from sessionstores.testing import (
    LossyLayer,
    SessionStoresTestMixin,
    advance,
    aparticipant,
    isolated_stores,
    participant,
)
from sessionstores.testing.stores import no_stores
from tests.servers import Memcached, Valkey
from tests.workshop.states import Board

CODE = "K7Q2ZD"
CACHES = "django.core.cache.backends"


def note(text: str, code: str = CODE) -> None:
    stores.get(Board, code, "alice").dispatch(Board.note, text)


def notes() -> str:
    found = stores.get(Board, CODE, "alice").peek()
    return found.state.notes if found else ""


# In memory


def test_stores_are_fresh_in_each_block_and_as_before_after_it() -> None:
    note("before")
    for text in ("one", "two"):
        with isolated_stores():
            assert stores.sessions() == []
            note(text)
            assert notes() == text
    assert notes() == "before"


def test_a_block_inside_begins_with_a_copy() -> None:
    with isolated_stores():
        note("outer")
        for _ in range(2):
            with isolated_stores():
                assert notes() == "outer"
                note("inner")
                stores.create_session()
        assert notes() == "outer"
        assert stores.sessions() == [CODE]


def test_blocks_may_end_in_any_order() -> None:
    first, second = isolated_stores(), isolated_stores()
    first.__enter__()
    note("first")
    second.__enter__()
    note("second")
    first.__exit__(None, None, None)
    assert notes() == "second"
    second.__exit__(None, None, None)
    assert notes() == ""


@pytest.mark.parametrize(
    "entry",
    [
        {"BACKEND": f"{CACHES}.dummy.DummyCache"},
        {"BACKEND": f"{CACHES}.filebased.FileBasedCache", "LOCATION": "/nowhere"},
        {"BACKEND": f"{CACHES}.redis.RedisCache", "LOCATION": "redis://127.0.0.1:9"},
        {"BACKEND": f"{CACHES}.db.DatabaseCache", "LOCATION": "nowhere"},
        {"BACKEND": f"{CACHES}.memcached.PyMemcacheCache", "LOCATION": "127.0.0.1:9"},
    ],
    ids=lambda entry: entry["BACKEND"].rpartition(".")[2],
)
def test_they_are_in_memory_whatever_the_cache_is(entry: dict[str, Any]) -> None:
    with override_settings(CACHES={"default": entry}), isolated_stores():
        note("in memory")
        assert notes() == "in memory"


def test_settings_that_change_meanwhile_leave_them() -> None:
    with isolated_stores():
        note("stays")
        with override_settings(SESSIONSTORES={"MAX_SESSIONS": 1}):
            assert notes() == "stays"
            with pytest.raises(LimitReached):
                stores.create_session()
        with override_settings(CACHES={"default": {"BACKEND": "nowhere.Cache"}}):
            assert notes() == "stays"


def test_all_threads_have_them() -> None:
    with isolated_stores():
        thread = threading.Thread(target=note, args=["elsewhere"])
        thread.start()
        thread.join()
        assert notes() == "elsewhere"


def test_the_sites_own_cache_is_left_alone() -> None:
    caches["default"].set("page", "kept")
    with isolated_stores():
        note("x")
        assert caches["default"].get("page") == "kept"
    assert caches["default"].get("page") == "kept"


@override_settings(SESSIONSTORES={"AUTO_SWEEP": True, "IDLE_TIMEOUT": 0.001})
def test_nothing_sweeps_by_itself() -> None:
    with isolated_stores():
        note("x")
        assert not autosweep().is_running


def test_nothing_waits_to_be_written_into_the_next_ones_timeline() -> None:
    with isolated_stores():
        note("x")
        assert not timeline.is_empty
    assert timeline.is_empty


def test_a_layer_that_leaves_the_process_is_not_asked() -> None:
    far = {"BACKEND": "channels_redis.core.RedisChannelLayer"}
    with override_settings(CHANNEL_LAYERS={"default": far}):
        configured = get_channel_layer()
        with isolated_stores():
            assert type(get_channel_layer()) is InMemoryChannelLayer
            with isolated_stores():
                assert type(get_channel_layer()) is InMemoryChannelLayer
        assert get_channel_layer() is configured
    lossy = {"BACKEND": "sessionstores.testing.LossyLayer"}
    for given, kind in ({"default": lossy}, LossyLayer), ({}, type(None)):
        with override_settings(CHANNEL_LAYERS=given), isolated_stores():
            assert type(get_channel_layer()) is kind
    assert "default" in channel_layers


def test_outside_of_tests_stores_say_what_to_do() -> None:
    with no_stores():
        with pytest.raises(RuntimeError, match=r"with isolated_stores\(\): yield"):
            stores.sessions()
        with isolated_stores():
            assert stores.sessions() == []


# In the site's cache


def test_a_cache_is_used_under_a_prefix_of_its_own_and_cleaned(
    redis_site: None, valkey: Valkey
) -> None:
    note("the site's")
    with valkey.client() as client:
        before = set(client.keys())
        with isolated_stores(), isolated_stores(cache=True):
            assert stores.sessions() == []
            with override_settings(SESSIONSTORES={"KEY_PREFIX": "other"}):
                note("a test's")
            assert notes() == "a test's"
            ours = set(client.keys()) - before
            assert {key[:5] for key in ours} == {b"test-"}
        assert set(client.keys()) == before
    assert notes() == "the site's"


def test_on_memcached_nothing_else_is_removed(memcached: Memcached) -> None:
    location = f"127.0.0.1:{memcached.port}"
    entry = {"BACKEND": f"{CACHES}.memcached.PyMemcacheCache", "LOCATION": location}
    with override_settings(CACHES={"default": entry}):
        caches["default"].set("page", "kept")
        note("the site's")
        with isolated_stores(cache=True):
            assert stores.sessions() == []
            note("a test's")
        assert notes() == "the site's"
        assert caches["default"].get("page") == "kept"


TABLE = {"default": {"BACKEND": f"{CACHES}.db.DatabaseCache", "LOCATION": "cached"}}


@pytest.mark.django_db
def test_inside_a_transaction_a_table_is_refused_with_the_way_out() -> None:
    with (
        override_settings(CACHES=TABLE),
        transaction.atomic(),
        pytest.raises(InsideTransaction, match="transaction=True"),
        isolated_stores(cache=True),
    ):
        raise AssertionError("never reached")
    assert isinstance(get_backend(blocking=True), LocMemBackend)


# Time


def test_the_idle_are_swept_after_their_time(isolated: None) -> None:
    alice = participant()
    advance(250)
    stores.sweep()
    bob = participant(alice)
    advance(100)
    assert stores.participants(alice.session) == ["alice", "bob"]
    stores.sweep()
    assert stores.participants(alice.session) == [bob.id]


def test_a_kept_session_goes_when_its_keep_is_over(isolated: None) -> None:
    code = stores.create_session(keep=3600)
    note("x", code)
    advance(3000)
    stores.sweep()
    assert stores.participants(code) == ["alice"]
    advance(902)
    stores.sweep()
    with pytest.raises(UnknownSession):
        stores.extend(code, 1)


async def test_tokens_expire_by_the_same_clock(isolated: None) -> None:
    old = participant()
    token = old.token()
    advance(43_100)
    claims = read_token(token, max_age=43_200)
    await check_standing(get_backend(blocking=False), claims, max_age=43_200)
    advance(200)
    with pytest.raises(InvalidToken):
        read_token(token, max_age=43_200)
    assert read_token(old.token(), max_age=43_200)


@override_settings(SESSIONSTORES={"GUESS_LIMIT": [1, 60]})
def test_wrong_codes_are_forgotten_after_their_time(isolated: None) -> None:
    request = RequestFactory().get("/")
    request.session = SessionBase()
    for refused in (UnknownSession, LimitReached):
        with pytest.raises(refused):
            join(request, "K7Q2ZD")
    advance(61)
    with pytest.raises(UnknownSession):
        join(request, "K7Q2ZD")


def test_time_moved_on_stays_so_in_a_block_inside() -> None:
    with isolated_stores():
        before = get_backend(blocking=True).clock()
        advance(1000)
        with isolated_stores():
            assert get_backend(blocking=True).clock() - before >= 1000
            advance(1000)
        assert get_backend(blocking=True).clock() - before < 2000


def test_advance_says_what_it_cannot_do() -> None:
    with pytest.raises(RuntimeError, match="isolated_stores"):
        advance(1)
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="Time cannot go back"):
            advance(seconds)


# Participants


def test_participants_are_named_and_join_the_session_of_others(isolated: None) -> None:
    first = participant()
    ids = [participant(first).id for _ in range(6)]
    assert [first.id, *ids] == ["alice", "bob", "carol", "dave", "erin", "p6", "p7"]
    assert participant(first.session, "zoe", role="facilitator").role == "facilitator"
    assert participant("MYOWN2").session == "MYOWN2"
    assert participant().session != first.session
    assert "zoe" in stores.participants(first.session)


def test_their_roles_and_names_are_kept_as_a_join_keeps_them(isolated: None) -> None:
    ada = participant(role="facilitator", name="Ada")
    assert (ada.role, ada.name) == ("facilitator", "Ada")
    again = participant(ada, ada.id, role="participant", name="Ada L.")
    assert (again.role, again.name) == ("facilitator", "Ada L.")
    people = stores.people(ada.session)
    assert [(each.name, each.role) for each in people] == [("Ada L.", "facilitator")]


async def test_they_can_be_had_in_a_loop(isolated: None) -> None:
    alice = await aparticipant()
    assert participant(alice).id == "bob"


# For unittest


def ran(*cases: type[unittest.TestCase]) -> unittest.TestResult:
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    result = unittest.TestResult()
    unittest.TestSuite(map(load, cases)).run(result)
    return result


def test_the_mixin_gives_each_test_its_own() -> None:
    note("before")

    class Plain(SessionStoresTestMixin, unittest.TestCase):
        @classmethod
        def setUpClass(cls) -> None:
            super().setUpClass()
            note("of the class")

        def tearDown(self) -> None:
            assert notes() == "of the test"

        def test_one(self) -> None:
            assert notes() == "of the class"
            note("of the test")

        def test_another(self) -> None:
            self.test_one()

    result = ran(Plain)
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])
    assert notes() == "before"


@pytest.mark.django_db
def test_the_mixin_refuses_a_table_inside_a_transaction_once_for_a_class() -> None:
    class InTable(SessionStoresTestMixin, TestCase):
        sessionstores_cache = True

        def test_one(self) -> None: ...

        def test_two(self) -> None: ...

    before = list(connection.atomic_blocks)
    with override_settings(CACHES=TABLE):
        result = ran(InTable)
    assert connection.atomic_blocks == before
    assert result.testsRun == 0
    ((_, text),) = result.errors
    assert "TransactionTestCase" in text
