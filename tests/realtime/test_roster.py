from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from sessionstores import event_bus
from sessionstores.backends import get_backend
from sessionstores.backends.types import UNKNOWN, Lease, Profile
from sessionstores.exceptions import StoreUnavailable
from sessionstores.keys import SESSION, StoreKey
from sessionstores.realtime import roster as module
from sessionstores.realtime.roster import NOBODY, Roster, RosterView
from tests.sockets import CODE, until


class Tab:
    """A tab of a roster that keeps what it is shown."""

    def __init__(self, participant: str, session: str = CODE) -> None:
        self.key = StoreKey(session, participant)
        self.views: list[RosterView] = []
        self.meta = b""

    def show_presence(self, view: RosterView) -> None:
        if view not in self.views[-1:]:
            self.views.append(view)

    def missing_from(self, profile: Profile) -> Profile:
        return UNKNOWN

    def lease(self) -> Lease:
        follows = frozenset({SESSION, self.key.participant})
        name = f"{self.key}/{id(self)}"
        return Lease(name, self.key, "here", "c", follows, self.meta)

    @property
    def shown(self) -> dict[str, tuple[bytes, ...]]:
        return self.views[-1].metas if self.views else {}


async def lease(tabs: Iterable[Any]) -> None:
    await get_backend(blocking=False).lease([tab.lease() for tab in tabs])


async def come(roster: Roster, *tabs: Tab) -> None:
    await lease(tabs)
    for tab in tabs:
        roster.enter(tab)


@pytest.fixture
def roster() -> Roster:
    roster = Roster(lease)
    roster.process = "here"
    return roster


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The sessions that were looked at, by look."""
    backend = type(get_backend(blocking=False))
    connections_of = backend.connections_of
    asked: list[list[str]] = []

    async def counted(self: Any, codes: Any) -> Any:
        asked.append(list(codes))
        return await connections_of(self, codes)

    monkeypatch.setattr(backend, "connections_of", counted)
    return asked


@pytest.fixture
def published() -> Iterator[list[event_bus.Event]]:
    events: list[event_bus.Event] = []
    with event_bus.bus.isolated():
        event_bus.bus.subscribe(events.append, *event_bus.SESSION_EVENTS)
        yield events


def failing(kind: type[Exception]) -> Callable[..., Any]:
    async def fails(*args: Any, **kwargs: Any) -> Any:
        raise kind("no answer")

    return fails


# What tabs are sent


def test_a_frame_leads_from_what_was_shown_to_what_is() -> None:
    before = RosterView({"alice": (b"",), "bob": (b"",), "carol": (b"",)})
    after = RosterView({"alice": (b"",), "bob": (b'{"n":1}', b""), "dan": (b"",)})
    assert json.loads(after.frame(before)) == {
        "type": "presence",
        "joined": {"bob": [{"n": 1}, {}], "dan": [{}]},
        "left": ["carol"],
    }
    assert json.loads(after.frame(NOBODY)) == {
        "type": "presence",
        "joined": {"alice": [{}], "bob": [{"n": 1}, {}], "dan": [{}]},
        "left": [],
    }


def test_all_tabs_that_were_shown_the_same_share_a_frame() -> None:
    before, after = RosterView({}), RosterView({"alice": (b"",)})
    assert after.frame(before) is after.frame(before)


def test_views_do_not_keep_older_ones() -> None:
    before, after = RosterView({}), RosterView({"alice": (b"",)})
    after.frame(before)
    assert before not in gc.get_referents(after)


# Looking


async def test_who_comes_is_shown_to_all_tabs_of_the_session(roster: Roster) -> None:
    alice, bob, other = Tab("alice"), Tab("bob"), Tab("carol", "AAAAAA")
    await come(roster, alice, other)
    await until(lambda: alice.shown and other.shown)
    await come(roster, bob)
    await until(lambda: set(bob.shown) == {"alice", "bob"})
    assert alice.views[-1] is bob.views[-1]
    assert set(other.shown) == {"carol"}
    assert len(other.views) == 1
    await roster.close()


async def test_the_first_look_comes_at_once_and_many_hints_make_one_more(
    roster: Roster, looks: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 30.0)
    tab = Tab("alice")
    await come(roster, tab)
    await until(lambda: tab.shown)
    for _ in range(100):
        roster.look(CODE)
        await asyncio.sleep(0)
    assert looks == [[CODE]]
    (room,) = roster._rooms.values()
    assert room.timer is not None
    await roster.close()
    assert room.timer.cancelled()


async def test_a_hint_that_comes_during_a_look_is_looked_into_as_well(
    roster: Roster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    alice, bob = Tab("alice"), Tab("bob")
    backend = type(get_backend(blocking=False))
    connections_of = backend.connections_of
    held = asyncio.Event()

    async def slow(self: Any, codes: Any) -> Any:
        found = await connections_of(self, codes)
        await held.wait()
        return found

    monkeypatch.setattr(backend, "connections_of", slow)
    await come(roster, alice)
    await until(lambda: roster._looking)
    await asyncio.sleep(0)
    await come(roster, bob)
    held.set()
    await until(lambda: set(alice.shown) == {"alice", "bob"})
    await roster.close()


async def test_a_look_that_took_longer_than_a_later_one_counts_for_nothing(
    roster: Roster, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = Tab("alice"), Tab("bob")
    await come(roster, alice)
    await until(lambda: alice.shown)
    backend = type(get_backend(blocking=False))
    connections_of = backend.connections_of
    answered = asyncio.Event()
    asked: list[Any] = []

    async def slow(self: Any, codes: Any) -> Any:
        found = await connections_of(self, codes)
        asked.append(codes)
        if len(asked) == 1:
            await answered.wait()
        return found

    monkeypatch.setattr(backend, "connections_of", slow)
    beat = asyncio.create_task(roster.beat())
    await until(lambda: asked)
    await come(roster, bob)
    await until(lambda: set(alice.shown) == {"alice", "bob"})
    answered.set()
    await beat
    assert set(alice.shown) == {"alice", "bob"}
    await roster.close()


async def test_a_heartbeat_looks_at_all_sessions_in_two_round_trips(
    roster: Roster, looks: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = [f"AAAA{number:02}" for number in range(20)]
    tabs = [Tab("alice", code) for code in codes]
    await come(roster, *tabs)
    await until(lambda: all(tab.shown for tab in tabs))
    looks.clear()
    backend = type(get_backend(blocking=False))
    reap = backend.reap
    reaped: list[list[str]] = []

    async def counted(self: Any, codes: Any) -> Any:
        reaped.append(list(codes))
        return await reap(self, codes)

    monkeypatch.setattr(backend, "reap", counted)
    await lease([Tab("bob", code) for code in codes])
    await roster.beat()
    assert looks == reaped == [codes]
    assert all(set(tab.shown) == {"alice", "bob"} for tab in tabs)
    await roster.close()
    await roster.beat()
    assert len(looks) == 1


async def test_an_outage_changes_nothing_of_what_is_shown(
    roster: Roster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    alice, bob = Tab("alice"), Tab("bob")
    await come(roster, alice, bob)
    await until(lambda: set(alice.shown) == {"alice", "bob"})
    backend = type(get_backend(blocking=False))
    with monkeypatch.context() as outage:
        for method in ("reap", "connections_of", "followers", "lease"):
            outage.setattr(backend, method, failing(StoreUnavailable))
        alice.meta = b'{"typing":true}'
        roster.change(alice)
        await until(lambda: "presence is read at the next heartbeat" in caplog.text)
        await roster.beat()
        await roster.announce("AAAAAA")
    assert len(alice.views) == 1
    await lease([alice])
    await roster.beat()
    assert alice.shown["alice"] == (b'{"typing":true}',)
    await roster.close()


async def test_a_look_that_breaks_is_logged_and_the_next_one_comes(
    roster: Roster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    tab = Tab("alice")
    backend = type(get_backend(blocking=False))
    with monkeypatch.context() as fault:
        fault.setattr(backend, "connections_of", failing(ZeroDivisionError))
        await come(roster, tab)
        await until(lambda: "reading who is present failed" in caplog.text)
    roster.look(CODE)
    await until(lambda: tab.shown)
    await roster.close()


# What others are told


async def test_changes_of_many_tabs_are_leased_and_told_together(
    roster: Roster, published: list[event_bus.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Lease("far", StoreKey(CODE, "far"), "far", "c", frozenset({SESSION}))
    await get_backend(blocking=False).lease([far])
    tabs = [Tab(f"p{number}") for number in range(20)]
    await come(roster, *tabs)
    await until(lambda: tabs[0].shown)
    published.clear()
    batches: list[int] = []

    async def counted(changed: Iterable[Any]) -> None:
        changed = list(changed)
        batches.append(len(changed))
        await lease(changed)

    monkeypatch.setattr(roster, "_lease", counted)
    for round in range(50):
        for tab in tabs:
            tab.meta = b'{"n":%d}' % round
            roster.change(tab)
    await until(lambda: tabs[0].shown["p0"] == (b'{"n":49}',))
    assert batches == [20]
    (event,) = published
    assert isinstance(event, event_bus.Attendance)
    assert event.followers == {"far"}
    await roster.close()


async def test_a_tab_that_is_not_taken_in_changes_nothing(roster: Roster) -> None:
    tab = Tab("alice")
    roster.change(tab)
    roster.look(CODE)
    assert not roster.leave(tab)
    await come(roster, Tab("bob"))
    roster.change(tab)
    assert not roster.leave(tab)
    (room,) = roster._rooms.values()
    assert not room.changed
    await roster.close()


async def test_with_its_last_tab_a_session_is_looked_at_no_more(
    roster: Roster, looks: list[list[str]]
) -> None:
    alice, bob = Tab("alice"), Tab("bob")
    await come(roster, alice, bob)
    await until(lambda: alice.shown)
    looks.clear()
    assert roster.leave(alice)
    roster.look(CODE)
    assert roster.leave(bob)
    roster.look(CODE)
    await roster.beat()
    await asyncio.sleep(0)
    assert looks == []
    assert not roster._rooms


# Leaving


async def test_who_does_not_come_back_is_reaped_when_the_grace_is_over(
    roster: Roster, settings: Any, published: list[event_bus.Event]
) -> None:
    settings.SESSIONSTORES = {"LEAVE_GRACE": 0.05}
    backend = get_backend(blocking=False)
    alice, bob = Tab("alice"), Tab("bob")
    await come(roster, alice, bob)
    await until(lambda: set(bob.shown) == {"alice", "bob"})
    roster.leave(alice)
    await backend.release(alice.lease(), grace=0.05)
    roster.reap_later(CODE)
    await until(lambda: set(bob.shown) == {"bob"})
    left = [event.key for event in published if isinstance(event, event_bus.Note)]
    assert left == [alice.key]
    await roster.close()


async def test_a_leave_is_told_of_even_if_no_tab_is_left_here(
    roster: Roster, settings: Any, published: list[event_bus.Event]
) -> None:
    settings.SESSIONSTORES = {"LEAVE_GRACE": 0.05}
    far = Lease("far", StoreKey(CODE, "far"), "far", "c", frozenset({SESSION}))
    await get_backend(blocking=False).lease([far])
    alice = Tab("alice")
    await come(roster, alice)
    roster.leave(alice)
    await get_backend(blocking=False).release(alice.lease(), grace=0.05)
    roster.reap_later(CODE)
    await roster.close()
    published.clear()
    await until(lambda: len(published) == 2)
    told, noted = published
    assert isinstance(told, event_bus.Attendance)
    assert told.followers == {"far"}
    assert isinstance(noted, event_bus.Note)
    assert (noted.key, noted.kind) == (alice.key, "left")


async def test_tabs_that_close_together_are_reaped_together(
    roster: Roster, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSIONSTORES = {"LEAVE_GRACE": 0.05}
    backend = type(get_backend(blocking=False))
    reap = backend.reap
    calls: list[Any] = []

    async def counted(self: Any, codes: Any) -> Any:
        calls.append(codes)
        return await reap(self, codes)

    monkeypatch.setattr(backend, "reap", counted)
    for _ in range(100):
        roster.reap_later(CODE)
    await until(lambda: calls and not roster._due and not roster._reaping)
    assert len(calls) <= 2


def test_what_is_due_when_a_loop_ends_is_not_begun(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SESSIONSTORES = {"LEAVE_GRACE": 0}

    async def far(*args: Any) -> list[StoreKey]:
        await asyncio.sleep(0.01)
        return []

    monkeypatch.setattr(type(get_backend(blocking=False)), "reap", far)

    async def end_slowly() -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            await asyncio.Event().wait()
        finally:
            # It falls due after all were cancelled.
            monkeypatch.setattr(loop, "time", lambda: now + 60)

    async def leave() -> asyncio.Task[None]:
        task = asyncio.create_task(end_slowly())
        await asyncio.sleep(0)
        Roster(lease).reap_later(CODE)
        return task

    gc.collect()  # What other tests left behind is not meant.
    caplog.clear()
    asyncio.run(leave())
    gc.collect()
    assert not [r for r in caplog.records if "was destroyed" in r.getMessage()]


async def test_an_outage_at_the_end_of_the_grace_is_left_to_a_later_beat(
    roster: Roster, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSIONSTORES = {"LEAVE_GRACE": 0.01}
    calls: list[Any] = []

    async def fails(*args: Any) -> Any:
        calls.append(args)
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(type(get_backend(blocking=False)), "reap", fails)
    roster.reap_later(CODE)
    await until(lambda: calls and not roster._reaping)
    assert not roster._due
