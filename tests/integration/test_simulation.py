"""The protocol under simulation: every tab ends equal to the server, nothing twice."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sessionstores.exceptions import ActionRejected
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.state.declaration import State, action, field, registry
from tests.sockets import until

from .tab import Tab, settle

CODE = "K7Q2ZD"


@pytest.fixture(autouse=True)
def no_rate_limit(settings: Any) -> None:
    """These tabs do not pace themselves, as the client does."""
    settings.SESSIONSTORES = {"RATE_LIMIT": None}


@pytest.fixture
def states() -> Any:
    """Log: every action leaves its name, so that lost and doubled ones show."""
    with registry.isolated():

        class Log(State):
            lines: list[str] = field(default_factory=list[str])
            cards: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

            @action
            def write(self, line: str) -> int:
                if line.startswith("bad"):
                    raise ActionRejected("Not this one.", code="bad_line")
                self.lines.append(line)
                self.cards.setdefault(line[-1], []).insert(0, line)
                return len(self.lines)

            @action
            def look(self) -> int:
                return len(self.lines)

        class Wall(State, scope="session"):
            lines: list[str] = field(default_factory=list[str])

            @action
            def shout(self, line: str) -> None:
                self.lines.append(line)

        yield Log, Wall


@pytest.fixture
async def tabs() -> AsyncIterator[list[Tab]]:
    """Tabs that a test makes; all are closed after it."""
    made: list[Tab] = []
    yield made
    for tab in made:
        await tab.drop()


def token(participant: str = "alice") -> str:
    return Participant(CODE, participant).token()


async def open_tabs(tabs: list[Tab], *participants: str) -> list[Tab]:
    for participant in participants:
        tab = Tab(token(participant))
        await tab.connect()
        tabs.append(tab)
    return tabs


async def read_up_to(tab: Tab, kind: str) -> None:
    """Wait for a frame of a kind, and have the tab read what came before it.

    Who is present is told when it has been looked up, between any two frames.
    """

    def is_next() -> bool:
        while tab.inbox and tab.inbox[0]["type"] != kind:
            tab.read()
        return bool(tab.inbox)

    await until(is_next, f"a frame {kind!r}")


async def stored(states: Any, participant: str = "alice") -> tuple[Any, Any]:
    log = await stores.get(states[0], CODE, participant).asnapshot()
    wall = await stores.get(states[1], CODE).asnapshot()
    return log, wall


async def assert_equal_to_server(
    states: Any, *tabs: Tab, participant: str = "alice"
) -> None:
    log, wall = await stored(states, participant)
    for tab in tabs:
        assert tab.docs["me"]["log"]["lines"] == log.state.lines
        assert tab.docs["me"]["log"]["cards"] == log.state.cards
        assert tab.docs["session"]["wall"]["lines"] == wall.state.lines
        assert tab.revs == {"me": log.rev, "session": wall.rev}


async def test_two_tabs_acting_at_once_end_equal_without_a_second_snapshot(
    states: Any, tabs: list[Tab]
) -> None:
    one, two = await open_tabs(tabs, "alice", "alice")
    for n in range(40):
        one.act("log", "write", {"line": f"one{n}"})
        two.act("log", "write", {"line": f"two{n}"})
        if n % 3 == 0:
            two.act("wall", "shout", {"line": f"two{n}"})
    await settle(one, two)
    await assert_equal_to_server(states, one, two)
    assert len(one.docs["me"]["log"]["lines"]) == 80
    assert len(set(one.docs["me"]["log"]["lines"])) == 80
    assert (one.snapshots, two.snapshots) == (0, 0)


async def test_acks_that_overtake_patches_need_no_snapshot(
    states: Any, tabs: list[Tab]
) -> None:
    """The other tab's patch is read only after the ack that builds on it."""
    one, two = await open_tabs(tabs, "alice", "alice")
    one.act("log", "write", {"line": "from one"})
    await read_up_to(two, "patch")
    late = two.inbox.popleft()
    two.act("log", "write", {"line": "from two"})
    await read_up_to(two, "ack")
    two.inbox.append(late)
    assert two.read()["type"] == "ack"
    assert two.docs["me"]["log"]["lines"] == []
    await settle(one, two)
    await assert_equal_to_server(states, one, two)
    assert (one.snapshots, two.snapshots) == (0, 0)


async def test_fifty_tabs_on_the_session_document_end_equal(
    states: Any, tabs: list[Tab]
) -> None:
    await open_tabs(tabs, *(f"p{n}" for n in range(50)))
    for n, tab in enumerate(tabs):
        for turn in range(4):
            tab.act("wall", "shout", {"line": f"{n}-{turn}"})
    await settle(*tabs)
    wall = (await stores.get(states[1], CODE).asnapshot()).state
    assert sorted(wall.lines) == sorted(f"{n}-{t}" for n in range(50) for t in range(4))
    for tab in tabs:
        assert tab.docs["session"]["wall"]["lines"] == wall.lines
        assert tab.snapshots == 0


async def test_a_lost_reply_is_answered_at_the_resend_and_nothing_runs_twice(
    states: Any, tabs: list[Tab]
) -> None:
    (tab,) = await open_tabs(tabs, "alice")
    number = tab.act("log", "write", {"line": "once"})
    await read_up_to(tab, "ack")
    await tab.drop()
    await tab.connect()
    await settle(tab)
    assert tab.answers[number]["type"] == "ack"
    await assert_equal_to_server(states, tab)
    assert tab.docs["me"]["log"]["lines"] == ["once"]


async def test_a_rejected_action_between_two_accepted_ones_stays_rejected(
    states: Any, tabs: list[Tab]
) -> None:
    (tab,) = await open_tabs(tabs, "alice")
    first = tab.act("log", "write", {"line": "first"})
    bad = tab.act("log", "write", {"line": "bad"})
    last = tab.act("log", "write", {"line": "last"})
    replies = ("ack", "reject")
    await until(
        lambda: sum(frame["type"] in replies for frame in tab.inbox) == 3,
        "three replies that will be lost",
    )
    await tab.drop()
    await tab.connect()
    await settle(tab)
    assert tab.answers[first]["type"] == "ack"
    assert tab.answers[bad]["type"] == "reject"
    assert tab.answers[bad]["code"] == "bad_line"
    assert tab.answers[last]["type"] == "ack"
    await assert_equal_to_server(states, tab)
    assert tab.docs["me"]["log"]["lines"] == ["first", "last"]


async def test_a_duplicated_tab_gets_a_client_of_its_own(
    states: Any, tabs: list[Tab]
) -> None:
    (one,) = await open_tabs(tabs, "alice")
    two = Tab(token(), client=one.client, next_id=one.next_id)
    await two.connect()
    tabs.append(two)
    assert two.client != one.client
    for n in range(10):
        one.act("log", "write", {"line": f"one{n}"})
        two.act("log", "write", {"line": f"two{n}"})
    await settle(one, two)
    await assert_equal_to_server(states, one, two)
    assert len(one.docs["me"]["log"]["lines"]) == 20


async def test_both_of_two_duplicates_resend_and_it_takes_effect_once(
    states: Any, tabs: list[Tab]
) -> None:
    """A tab is duplicated with an unanswered action in its storage."""
    (one,) = await open_tabs(tabs, "alice")
    number = one.act("log", "write", {"line": "once"})
    await read_up_to(one, "ack")
    await one.drop()
    two = Tab(token(), client=one.client, next_id=one.next_id)
    two.pending = dict(one.pending)
    tabs.append(two)
    await two.connect()
    await one.connect()
    await settle(one, two)
    for tab in (one, two):
        assert tab.answers[number]["type"] == "ack"
    await assert_equal_to_server(states, one, two)
    assert one.docs["me"]["log"]["lines"] == ["once"]


async def test_a_hundred_reconnects_during_edits_lose_none_and_double_none(
    states: Any, tabs: list[Tab]
) -> None:
    (tab,) = await open_tabs(tabs, "alice")
    chance = random.Random(7)
    sent = 0
    for _ in range(100):
        for _ in range(chance.randint(0, 3)):
            tab.act("log", "write", {"line": f"line{sent}"})
            sent += 1
        for _ in range(chance.randint(0, 2)):
            if tab.inbox:
                tab.read()
        await tab.drop()
        if chance.random() < 0.5:
            tab.act("log", "write", {"line": f"line{sent}"})
            sent += 1
        await tab.connect()
    await settle(tab)
    await assert_equal_to_server(states, tab)
    assert tab.docs["me"]["log"]["lines"] == [f"line{n}" for n in range(sent)]


class Crowd:
    """Random tabs of three people: they act, read, lose connections, come back."""

    people = ("alice", "alice", "bob", "bob", "carol")

    def __init__(self, tabs: list[Tab], seed: int) -> None:
        self.tabs = tabs
        self.chance = random.Random(seed)
        self.sent: dict[str, list[str]] = {name: [] for name in self.people}
        self.shouted: list[str] = []

    async def step(self, number: int) -> None:
        index = self.chance.randrange(len(self.tabs))
        tab = self.tabs[index]
        roll = self.chance.random()
        if roll < 0.45:
            self.act(tab, self.people[index], f"{self.people[index]}-{index}-{number}")
        elif roll < 0.55:
            await tab.drop()
        elif tab.dropped:
            await tab.connect()
        elif tab.inbox:
            tab.read()

    def act(self, tab: Tab, person: str, line: str) -> None:
        roll = self.chance.random()
        if roll < 0.15:
            tab.act("log", "write", {"line": f"bad{line}"})
        elif roll < 0.4:
            tab.act("wall", "shout", {"line": line})
            self.shouted.append(line)
        else:
            tab.act("log", "write", {"line": line})
            self.sent[person].append(line)

    def tabs_of(self, person: str) -> list[Tab]:
        both = zip(self.tabs, self.people, strict=True)
        return [tab for tab, name in both if name == person]


@pytest.mark.parametrize("seed", range(8))
async def test_random_tabs_faults_and_orders_end_equal(
    seed: int, states: Any, tabs: list[Tab]
) -> None:
    crowd = Crowd(tabs, seed)
    await open_tabs(tabs, *crowd.people)
    for number in range(250):
        await crowd.step(number)
    for tab in tabs:
        if tab.dropped:
            await tab.connect()
    await settle(*tabs)
    for person, lines in crowd.sent.items():
        mine = crowd.tabs_of(person)
        await assert_equal_to_server(states, *mine, participant=person)
        log, wall = await stored(states, person)
        assert sorted(log.state.lines) == sorted(lines)
        assert sorted(wall.state.lines) == sorted(crowd.shouted)
        foreign = tuple(f"{other}-" for other in crowd.sent if other != person)
        for tab in mine:
            for frame in tab.received:
                if frame.get("doc") == "me":
                    text = json.dumps(frame)
                    assert not any(mark in text for mark in foreign)
