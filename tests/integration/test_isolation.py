"""Isolation: fifty participants, random operations, no foreign byte anywhere."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.test import override_settings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sessionstores.backends import get_backend
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.realtime import publisher
from sessionstores.state.declaration import State, action, field, registry
from tests.sockets import until

from .tab import Tab, settle

CODES = ("K7Q2ZD", "ABC123")
PEOPLE = [(CODES[n % 2], f"p{n}") for n in range(50)]
CANARY = re.compile(r"canary-([A-Z0-9]{6})-(p[0-9]+)-")

people = st.sampled_from(PEOPLE)
# Most operations meet on few people, so that they do meet.
crowd = st.one_of(st.sampled_from(PEOPLE[:4]), people)


class HubsOfThisLoop:
    """The hubs that this process would have, if each loop were a process."""

    def __init__(self, hubs: dict[str, Any]) -> None:
        self.hubs = hubs

    def get(self, process: str) -> Any:
        hub = self.hubs.get(process)
        return hub if hub and hub.loop is asyncio.get_running_loop() else None


def owners(text: str) -> set[tuple[str, ...]]:
    return set(CANARY.findall(text))


class Isolation(RuleBasedStateMachine):
    """Each participant writes canaries; wherever one shows up, it must be theirs.

    Two event loops in one thread stand for two processes, so that what one commits
    reaches the other's tabs through the channel layer.
    """

    crossed = 0

    def __init__(self) -> None:
        super().__init__()
        self.runners = [asyncio.Runner(), asyncio.Runner()]
        self.loops = [runner.get_loop() for runner in self.runners]
        self.tabs: list[tuple[tuple[str, str], int, Tab]] = []
        self.count = 0
        self.frames: list[tuple[tuple[str, str], str]] = []
        self.layer_messages: list[str] = []
        self.layer = get_channel_layer()
        self.send = self.layer.send
        self.hubs = publisher.hubs
        publisher.hubs = HubsOfThisLoop(publisher.hubs)

        async def spy(channel: str, message: dict[str, Any]) -> None:
            self.layer_messages.append(repr(message))
            Isolation.crossed += 1
            await self.send(channel, message)

        self.layer.send = spy
        self.run(get_backend(blocking=False).clear())

    def run(self, coroutine: Any, loop: int = 0) -> Any:
        return self.loops[loop].run_until_complete(coroutine)

    def canary(self, person: tuple[str, str]) -> str:
        self.count += 1
        return f"canary-{person[0]}-{person[1]}-{self.count}"

    def let_all_arrive(self) -> None:
        for _ in range(2):
            for loop in range(2):
                mine = [tab for _, where, tab in self.tabs if where == loop]
                self.run(settle(*mine), loop)

    @initialize(person=crowd)
    def is_in_both_processes(self, person: tuple[str, str]) -> None:
        # Else it is left to chance whether a run crosses from one to the other at all.
        for which in range(2):
            self.opens_a_tab(person, which)
        self.is_changed_by_the_server(person, 0)

    @rule(person=crowd, which=st.integers(0, 1))
    def opens_a_tab(self, person: tuple[str, str], which: int) -> None:
        tab = Tab(Participant(*person).token())
        tab.heard = lambda message: self.frames.append((person, message["text"]))
        self.run(tab.connect(), which)
        self.tabs.append((person, which, tab))

    @precondition(lambda self: self.tabs)
    @rule(data=st.data())
    def acts_in_a_tab(self, data: st.DataObject) -> None:
        person, loop, tab = data.draw(st.sampled_from(self.tabs))
        number = None

        async def act() -> None:
            nonlocal number
            number = tab.act("diary", "write", {"line": self.canary(person)})
            await settle(tab)

        self.run(act(), loop)
        assert tab.answers[number]["type"] == "ack"

    @precondition(lambda self: self.tabs)
    @rule(data=st.data())
    def reconnects(self, data: st.DataObject) -> None:
        _, loop, tab = data.draw(st.sampled_from(self.tabs))
        self.run(tab.drop(), loop)
        self.run(tab.connect(), loop)

    @precondition(lambda self: self.tabs)
    @rule(data=st.data())
    def closes_a_tab(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(self.tabs))
        self.tabs.remove(chosen)
        self.run(chosen[2].drop(), chosen[1])

    @rule(person=crowd, loop=st.integers(0, 1))
    def is_changed_by_the_server(self, person: tuple[str, str], loop: int) -> None:
        line = self.canary(person)
        diary = stores.get("diary", *person)
        self.run(diary.adispatch(lambda d: d.lines.append(line)), loop)

    @rule(person=crowd)
    def is_sent_a_message(self, person: tuple[str, str]) -> None:
        code, participant = person
        self.run(stores.asend(code, {"text": self.canary(person)}, participant))

    @rule(code=st.sampled_from(CODES), loop=st.integers(0, 1))
    def shared_state_changes(self, code: str, loop: int) -> None:
        hall = stores.get("hall", code)
        self.run(hall.adispatch(lambda h: setattr(h, "bell", h.bell + 1)), loop)

    @rule(person=people)
    def deletes_their_diary(self, person: tuple[str, str]) -> None:
        self.run(stores.get("diary", *person).adelete())

    @invariant()
    def no_foreign_byte_in_any_frame(self) -> None:
        self.let_all_arrive()
        for person, text in self.frames:
            assert owners(text) <= {person}, text
        self.frames.clear()

    @invariant()
    def no_layer_message_mixes_participants(self) -> None:
        for text in self.layer_messages:
            assert len(owners(text)) <= 1, text
        self.layer_messages.clear()

    @invariant()
    def no_foreign_byte_in_any_state(self) -> None:
        backend = get_backend(blocking=False)
        for code in CODES:
            for info in self.run(backend.participants(code)):
                person = (code, info.id)
                snapshot = self.run(stores.get("diary", *person).apeek())
                if snapshot is not None:
                    text = "\n".join(snapshot.state.lines)
                    assert owners(text) <= {person}, text

    @invariant()
    def every_tab_shows_its_own_participants_state(self) -> None:
        for person, loop, tab in self.tabs:
            record = self.run(stores.get("diary", *person).asnapshot(), loop)
            self.run(until(lambda: True), loop)
            if tab.revs["me"] == record.rev:
                assert tab.docs["me"]["diary"]["lines"] == record.state.lines

    def teardown(self) -> None:
        for _, loop, tab in self.tabs:
            self.run(tab.drop(), loop)
        for runner in self.runners:
            runner.close()
        self.layer.send = self.send
        publisher.hubs = self.hubs


def test_no_foreign_byte_in_any_state_frame_or_layer_message() -> None:
    # One person may open as many tabs as the machine draws.
    own = {"AUTO_SWEEP": False, "MAX_CONNECTIONS": 100}
    with registry.isolated(), override_settings(SESSIONSTORES=own):

        class Diary(State):
            lines: list[str] = field(default_factory=list[str])

            @action
            def write(self, line: str) -> None:
                self.lines.append(line)

        class Hall(State, scope="session"):
            bell: int = 0

        run_state_machine_as_test(
            Isolation,
            settings=settings(
                max_examples=15,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    assert Isolation.crossed > 0, "no message between processes was looked at"


@pytest.mark.parametrize("person", PEOPLE[:2])
def test_the_canaries_would_be_found(person: tuple[str, str]) -> None:
    """The check can fail: a canary of another participant is seen as foreign."""
    code, participant = person
    assert owners(f'{{"line": "canary-{code}-{participant}-7"}}') == {person}
