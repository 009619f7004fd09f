"""Mistakes in a site's tests are named where they are made, each with a way out."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import sys
import unittest
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import SynchronousOnlyOperation
from django.test import TestCase, override_settings

from sessionstores import ActionRejected, InvalidKey, UnknownState, stores
from sessionstores.testing import (
    LossyLayer,
    PageTab,
    SessionStoresTestMixin,
    TabClosed,
    aassert_isolated,
    advance,
    aparticipant,
    assert_isolated,
    blocking_tab,
    participant,
    tab,
)
from sessionstores.testing.stores import PLUGIN
from tests.sockets import opening_tabs
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.usefixtures("isolated")

# What Python says of itself, and no test's author can use.
RAW = re.compile(
    r"has no attribute|NoneType|not supported between|not callable|not iterable|"
    r"update sequence|__init__\(\)|protocol|AsyncToSync"
)
ACE = {"card": "ace", "pile": "keep"}

Calls = dict[str, tuple[Callable[..., Any], type[Exception], str]]


def entered(value: Any) -> None:
    with value:
        pass


def opened(*args: Any, **options: Any) -> None:
    """Open a tab, and close it."""

    async def open() -> None:
        async with tab(*args, **options):
            pass

    async_to_sync(open)()


def isolated_by(by: Any) -> None:
    assert_isolated(Board, Board.clear, by=by)


# By the call: what it raises, and what that says.
CALLS: Calls = {
    "tab('alice')": (
        lambda: tab("alice"),  # type: ignore[arg-type]
        TypeError,
        r"tab takes a Participant, not 'alice': tab\(participant\(\)\)",
    ),
    "tab(None)": (
        lambda: tab(None),  # type: ignore[arg-type]
        TypeError,
        r"tab takes a Participant, not None: tab\(participant\(\)\)",
    ),
    "tab(aparticipant())": (
        lambda: tab(aparticipant()),  # type: ignore[arg-type]
        TypeError,
        r"tab\(await aparticipant\(\)\)",
    ),
    "blocking_tab('alice')": (
        lambda: entered(blocking_tab("alice")),  # type: ignore[arg-type]
        TypeError,
        "takes a Participant, not 'alice'",
    ),
    "with tab(alice)": (
        lambda: entered(tab(participant())),
        TypeError,
        r"async with tab\(…\) as page, in a coroutine. Elsewhere, with blocking_tab",
    ),
    "tab(meta=['red'])": (
        lambda: tab(participant(), meta=["red"]),  # type: ignore[arg-type]
        TypeError,
        r"meta is \['red'\]: give a dict by name",
    ),
    "tab(meta='red')": (
        lambda: tab(participant(), meta="red"),  # type: ignore[arg-type]
        TypeError,
        "meta is 'red': give a dict by name",
    ),
    "tab(meta={'at': datetime})": (
        lambda: tab(participant(), meta={"at": datetime(2026, 1, 1)}),
        TypeError,
        r"meta is \{'at': datetime.* no page can send: .*datetime.* lists and dicts",
    ),
    "tab(meta=2000 bytes)": (
        lambda: tab(participant(), meta={"name": "x" * 1989}),
        ValueError,
        "meta has 2000 bytes, and others are shown at most 1024: .* in a state",
    ),
    "tab(url without a scheme)": (
        lambda: opened(participant(), url="127.0.0.1:9"),
        ValueError,
        r"url is '127.0.0.1:9': .* with its http:// .* url='http://127.0.0.1:9'",
    ),
    "tab(url='')": (
        lambda: opened(participant(), url=""),
        ValueError,
        r"url is '': .*url='http://127.0.0.1:8000'",
    ),
    "tab(url=live_server)": (
        lambda: opened(participant(), url=object()),
        TypeError,
        "url is <object object.*: give text",
    ),
    "tab(url where nobody listens)": (
        lambda: opened(participant(), url="http://127.0.0.1:9"),
        ConnectionError,
        r"No WebSocket at ws://127.0.0.1:9/ws/sessionstores/.* uvicorn .* asgi.py",
    ),
    "tab(application='site.asgi')": (
        lambda: opened(participant(), application="site.asgi"),
        TypeError,
        "application is 'site.asgi': give the ASGI application itself",
    ),
    "tab(headers={'cookie': 'x'})": (
        lambda: opened(participant(), headers={"cookie": "x"}),
        TypeError,
        r"headers has 'cookie': give pairs .*headers=\[\(b'cookie', b'sessionid=…'\)\]",
    ),
    "participant('alice', 'bob')": (
        lambda: participant("alice", "bob"),
        InvalidKey,
        r"a session first, and 'alice' is none: .* participant\(alice, 'bob'\)",
    ),
    "participant('k7q2zd')": (
        lambda: participant("k7q2zd"),
        InvalidKey,
        "'k7q2zd' is none: give its code, six characters of A-Z and 0-9",
    ),
    "participant(5)": (
        lambda: participant(5),  # type: ignore[arg-type]
        InvalidKey,
        "5 is none: give its code",
    ),
    "participant(id='of us')": (
        lambda: participant(id="of us"),
        InvalidKey,
        "'of us' is not a participant id",
    ),
    "advance('5m')": (
        lambda: advance("5m"),  # type: ignore[arg-type]
        TypeError,
        r"advance takes seconds as a number, as in advance\(300\), not '5m'",
    ),
    "advance(timedelta)": (
        lambda: advance(timedelta(minutes=5)),  # type: ignore[arg-type]
        TypeError,
        r"not datetime.timedelta\(seconds=300\); of a timedelta, its total_seconds",
    ),
    "advance(None)": (
        lambda: advance(None),  # type: ignore[arg-type]
        TypeError,
        "advance takes seconds as a number, .* not None",
    ),
    "advance(-1)": (
        lambda: advance(-1),
        ValueError,
        r"cannot go back.* by advance\(-1\): give seconds from 0 on",
    ),
    "advance(inf)": (
        lambda: advance(float("inf")),
        ValueError,
        r"or jump to its end by advance\(inf\)",
    ),
    "assert_isolated('bord', …)": (
        lambda: assert_isolated("bord", "move", ACE),
        UnknownState,
        "No state 'bord' is declared. Did you mean 'board'?",
    ),
    "assert_isolated(5, …)": (
        lambda: assert_isolated(5, "move", ACE),  # type: ignore[arg-type]
        UnknownState,
        "5 is not a declared State class",
    ),
    "assert_isolated(Board, 5)": (
        lambda: assert_isolated(Board, 5),  # type: ignore[arg-type]
        TypeError,
        "5 is no action: give the method, as in Board.move",
    ),
    "assert_isolated(args=['ace'])": (
        lambda: assert_isolated(Board, Board.move, ["ace"]),  # type: ignore[arg-type]
        TypeError,
        r"args is \['ace'\]: give a dict by name",
    ),
    "assert_isolated(callable, ['ace'])": (
        lambda: assert_isolated(
            Board,
            lambda board: None,
            ["ace"],  # type: ignore[arg-type]
        ),
        TypeError,
        r"args is \['ace'\]: give a dict by name",
    ),
    "assert_isolated(by='alice')": (
        lambda: isolated_by("alice"),
        TypeError,
        r"by takes a Participant, not 'alice': by=participant\(\)",
    ),
    "LossyLayer(sed=7)": (
        lambda: LossyLayer(sed=7),
        TypeError,
        "no option 'sed'. Did you mean 'seed'\\? .* takes seed, drop, delay, delay_sec",
    ),
    "LossyLayer(hosts=[])": (
        lambda: LossyLayer(hosts=[]),
        TypeError,
        "no option 'hosts'. In the CONFIG .* capacity",
    ),
    "LossyLayer(drop=5)": (
        lambda: LossyLayer(drop=5),
        ValueError,
        "drop=5 is no share of the messages: give a number from 0",
    ),
    "LossyLayer(delay='a bit')": (
        lambda: LossyLayer(delay="a bit"),  # type: ignore[arg-type]
        ValueError,
        "delay='a bit' is no share",
    ),
    "LossyLayer(delay_seconds=-1)": (
        lambda: LossyLayer(delay_seconds=-1),
        ValueError,
        "delay_seconds=-1 is no number of seconds from 0 on",
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_mistaken_call_says_what_is_wrong_and_the_way_out(call: str) -> None:
    run, kind, words = CALLS[call]
    with pytest.raises(kind) as raised:
        run()
    assert re.search(words, str(raised.value)), str(raised.value)
    assert not RAW.search(str(raised.value))


@pytest.mark.parametrize("seconds", [5, 0.5, Decimal(5), True, 0])
def test_whatever_is_a_number_of_seconds_is_taken(seconds: Any) -> None:
    advance(seconds)


@pytest.mark.parametrize(
    "args", [ACE, ACE.items(), [*ACE.items()], iter(ACE.items()), None, (), ""]
)
def test_arguments_are_taken_in_each_way_that_a_dict_is_made(args: Any) -> None:
    action: Any = Board.move if args else Board.clear
    assert_isolated("board", action, args)


def test_a_callable_without_a_name_is_given_what_no_page_could_send() -> None:
    def keep(board: Board, piles: set[str]) -> None:
        board.notes = str(piles)

    assert_isolated(Board, functools.partial(keep), {"piles": {"ace"}})


# By the call on a tab that is open: likewise.
ON_A_TAB: dict[str, tuple[Callable[[PageTab], Any], type[Exception], str]] = {
    "dispatch(args=['ace'])": (
        lambda page: page.dispatch("board", "move", ["ace"]),  # type: ignore[arg-type]
        TypeError,
        r"args is \['ace'\]: give a dict by name, as in \{'card': 'ace'\}",
    ),
    "dispatch(args='ace')": (
        lambda page: page.dispatch("board", "move", "ace"),  # type: ignore[arg-type]
        TypeError,
        "args is 'ace': give a dict by name",
    ),
    "dispatch(args=['ab'])": (
        lambda page: page.dispatch("board", "move", ["ab"]),  # type: ignore[arg-type]
        TypeError,
        r"args is \['ab'\]: give a dict by name",
    ),
    "dispatch(args={'card': {1}})": (
        lambda page: page.dispatch("board", "move", {"card": {1}}),
        TypeError,
        r"args is \{'card': \{1\}\}, which no page can send: .*set.*",
    ),
    "dispatch(5, …)": (
        lambda page: page.dispatch(5, "move"),  # type: ignore[arg-type]
        UnknownState,
        "5 is not a declared State class",
    ),
    "dispatch('board', None)": (
        lambda page: page.dispatch("board", None),  # type: ignore[arg-type]
        TypeError,
        "None is no action: give the method, as in Board.move, or its name",
    ),
    "state(5)": (
        lambda page: page.state(5),  # type: ignore[arg-type]
        UnknownState,
        "5 is not a declared State class",
    ),
    "watched('bob', 'board')": (
        lambda page: page.watched("bob", "board"),
        UnknownState,
        r"no state 'board' of 'bob', whom it does not watch: await page.watch\('bob'\)",
    ),
    "rev('board')": (
        lambda page: page.rev("board"),  # type: ignore[arg-type]
        LookupError,
        "no document 'board', only 'me' and 'session'",
    ),
    "wait_until(page.ended)": (
        lambda page: page.wait_until(page.ended),  # type: ignore[arg-type]
        TypeError,
        r"takes a function, .* not None: give a lambda, .*wait_until\(lambda: page.end",
    ),
    "wait_until(coroutine function)": (
        lambda page: page.wait_until(page.catch_up),
        TypeError,
        "takes a function, .* not <bound method.* that awaits nothing",
    ),
    "wait_until(lambda: coroutine)": (
        lambda page: page.wait_until(lambda: page.catch_up()),
        TypeError,
        "returned <coroutine object .*, which would have to be awaited",
    ),
    "set_meta(['red'])": (
        lambda page: page.set_meta(["red"]),  # type: ignore[arg-type]
        TypeError,
        r"meta is \['red'\]: give a dict by name",
    ),
    "set_meta(2000 bytes)": (
        lambda page: page.set_meta({"name": "x" * 1989}),
        ValueError,
        "meta has 2000 bytes, and others are shown at most 1024",
    ),
    "set_meta(what no tab reads)": (
        lambda page: page.set_meta({"name": 2**60}),
        TypeError,
        "meta.name: ",
    ),
    "assert_isolated(…)": (
        lambda page: assert_isolated(Board, Board.clear),
        SynchronousOnlyOperation,
        r"await aassert_isolated\(…\)",
    ),
    "aassert_isolated(by='alice')": (
        lambda page: aassert_isolated(
            Board,
            Board.clear,
            by="alice",  # type: ignore[arg-type]
        ),
        TypeError,
        "by takes a Participant, not 'alice'",
    ),
    "async with blocking_tab(…)": (
        lambda page: around(blocking_tab(page.participant)),
        TypeError,
        r"with blocking_tab\(…\) as page. In a coroutine, async with tab",
    ),
}


async def around(value: Any) -> None:
    async with value:
        pass


async def awaited(value: Any) -> None:
    if asyncio.iscoroutine(value):
        await value


@pytest.mark.parametrize("call", ON_A_TAB)
async def test_a_mistake_with_a_tab_says_what_is_wrong_and_the_way_out(
    call: str,
) -> None:
    run, kind, words = ON_A_TAB[call]
    async with tab(await aparticipant()) as page:
        with pytest.raises(kind) as raised:
            await awaited(run(page))
        assert re.search(words, str(raised.value)), str(raised.value)
        assert not RAW.search(str(raised.value))
        assert page.status == "live"


# What a tab is asked that is not open, or not any more.
UNOPENED: dict[str, Callable[[PageTab], Any]] = {
    "state": lambda page: page.state("board"),
    "watched": lambda page: page.watched("bob", "board"),
    "dispatch": lambda page: page.dispatch("board", "clear"),
    "watch": lambda page: page.watch("bob"),
    "catch_up": lambda page: page.catch_up(),
    "leave": lambda page: page.leave(),
    "resume": lambda page: page.resume(),
}


@pytest.mark.parametrize("call", UNOPENED)
async def test_a_tab_that_is_not_open_says_so_at_once(call: str) -> None:
    page = tab(await aparticipant(), patience=3600)
    with pytest.raises((RuntimeError, UnknownState), match="this tab is not open") as e:
        async with asyncio.timeout(60):
            await awaited(UNOPENED[call](page))
    assert "async with tab(…) as page" in str(e.value)


async def test_an_action_may_wait_for_a_tab_that_opens() -> None:
    page = tab(await aparticipant())
    await asyncio.gather(page.dispatch("board", "move", ACE), page.open())
    assert page.state("board")["piles"] == {"keep": ["ace"]}
    await page.close()


async def ended(page: PageTab) -> None:
    await stores.aend_session(page.participant.session)


async def kicked(page: PageTab) -> None:
    await stores.akick(page.participant.session, page.participant.id)


async def disconnected(page: PageTab) -> None:
    await stores.adisconnect(page.participant.session, page.participant.id)


ENDS: dict[Callable[[PageTab], Coroutine[Any, Any, None]], str] = {
    PageTab.close: r"This tab is closed, and its session goes on: .*async with tab",
    PageTab.leave: "This tab has ended: left. Open another one",
    ended: "The session is over: ended",
    kicked: "This tab has ended: kicked",
    disconnected: "This tab has ended: disconnected",
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_a_tab_that_has_ended_says_why_it_sends_nothing(end: Any) -> None:
    alice = await aparticipant()
    async with tab(alice) as page:
        await end(page)
        await page.wait_until(lambda: page.ended)
        with pytest.raises(ActionRejected, match=ENDS[end]):
            await page.dispatch("board", "clear")


# By the dispatch: the code of the refusal, and what its note says.
REFUSALS: dict[str, tuple[Any, Any, dict[str, Any], str, str]] = {
    "state": ("bord", "move", ACE, "unknown_state", "Did you mean 'board'?"),
    "action": (
        "board",
        "mov",
        ACE,
        "unknown_action",
        "board has no action 'mov'. Did you mean 'move'?",
    ),
    "method": (
        Board,
        lambda board: None,
        {},
        "unknown_action",
        "board has no action '<lambda>'",
    ),
    "argument": (
        Board,
        Board.move,
        {"crad": "ace", "pile": "keep"},
        "invalid_arguments",
        "move: crad: unknown; it takes card, pile",
    ),
    "missing": (Board, Board.move, {"card": "ace"}, "invalid_arguments", "pile"),
    "type": (Board, Board.note, {"text": 1}, "invalid_arguments", "note: text"),
    "role": (
        Agenda,
        Agenda.advance,
        {},
        "forbidden",
        "advance is not for the role 'participant': @action(role=…) admits 'facil",
    ),
    "size": (Board, Board.note, {"text": "x" * 70_000}, "too_large", "less than"),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("debug", [False, True])
async def test_a_refusal_has_a_note_of_what_developers_are_told(
    case: str, debug: bool
) -> None:
    state, action, args, code, words = REFUSALS[case]
    with override_settings(DEBUG=debug):
        async with tab(await aparticipant()) as page:
            with pytest.raises(ActionRejected) as refused:
                await page.dispatch(state, action, args)
            frame = page.frames[-1]
    assert refused.value.code == code
    (note,) = refused.value.__notes__
    assert words in note
    # The error and the frames are what a page gets.
    assert words not in str(refused.value)
    assert frame["code"] == code
    assert ("hint" in frame) is debug


@pytest.mark.parametrize("case", ["action", "argument", "role", "size"])
async def test_a_server_logs_for_developers_what_a_page_is_not_told(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    state, action, args, code, words = REFUSALS[case]
    with caplog.at_level(logging.DEBUG, "sessionstores.delivery"):
        async with tab(await aparticipant()) as page:
            with pytest.raises(ActionRejected):
                await page.dispatch(state, action, args)
    (record,) = (each for each in caplog.records if "refused as" in each.getMessage())
    assert record.levelno == logging.DEBUG
    assert f"refused as {code}: " in record.getMessage()
    assert words in record.getMessage()


async def test_a_refusal_that_says_it_all_has_no_note() -> None:
    async with tab(await aparticipant()) as page:
        with pytest.raises(ActionRejected, match="no card 'joker'") as refused:
            await page.dispatch(Board, Board.move, {**ACE, "card": "joker"})
    assert not hasattr(refused.value, "__notes__")


async def test_no_other_tab_is_told_what_only_developers_are() -> None:
    """Not even one that the same person has open, in the same process."""
    alice = await aparticipant("K7Q2ZD", "alice")
    async with tab(alice), opening_tabs() as open_tab:
        other = await open_tab("alice")
        rejected = await other.act(1, "board.fly")
        assert rejected["code"] == "unknown_action"
        assert "hint" not in rejected


@pytest.mark.parametrize(
    ("config", "words"),
    [({"sed": 7}, "no option 'sed'. Did you mean 'seed'?"), ({"drop": 5}, "drop=5")],
)
async def test_a_layer_with_mistaken_options_fails_the_test_that_meets_it(
    config: dict[str, Any], words: str
) -> None:
    layer = {"BACKEND": "sessionstores.testing.LossyLayer", "CONFIG": config}
    alice = await aparticipant()
    with (
        override_settings(CHANNEL_LAYERS={"default": layer}),
        pytest.raises(TabClosed) as closed,
    ):
        await tab(alice).open()
    (note,) = closed.value.__notes__
    assert words in note


@pytest.mark.parametrize("case", [unittest.TestCase, TestCase])
@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_mixin_that_a_test_case_would_hide_is_refused(
    case: Any, cache: bool, loaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pytest's plugin gives such classes their stores, but not the site's cache."""
    monkeypatch.delitem(sys.modules, PLUGIN, raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, PLUGIN, ModuleType(PLUGIN))
    members = {"sessionstores_cache": cache}

    class Mixed(SessionStoresTestMixin):
        pass

    type("First", (SessionStoresTestMixin, case), members)
    type("First", (Mixed, case), members)
    for mixin in (SessionStoresTestMixin, Mixed):
        if loaded and not cache:
            type("Second", (case, mixin), members)
            continue
        with pytest.raises(TypeError, match=r"class Second\(SessionStoresTest") as e:
            type("Second", (case, mixin), members)
        assert "behind TestCase, which hides it" in str(e.value)
