"""Watching: whatever roles, watches, kicks and reconnects, no byte that may not be.

Two event loops in one thread stand for two processes, on caches of several kinds.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from channels.layers import InMemoryChannelLayer, channel_layers
from django.test import override_settings
from hypothesis import HealthCheck
from hypothesis import settings as Runs
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from sessionstores import ActionRejected
from sessionstores.backends import get_backend
from sessionstores.backends.redis.async_connection import PipelinedConnection
from sessionstores.backends.types import Record
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.realtime import publisher
from sessionstores.realtime.consumers import StoreConsumer
from sessionstores.realtime.hub import current_hub
from sessionstores.state.declaration import State, action, field, registry
from sessionstores.state.watch_view import watch_view
from sessionstores.testing import PageTab, tab
from tests.caches import cache_on

from .test_isolation import HubsOfThisLoop

CODES = ("K7Q2ZD", "ABC123")
IDS = ("p0", "p1", "p2", "p3")
ROLES = ("participant", "facilitator", "jury")
# A mark in each text: whose it is, and which roles may watch it.
CANARY = re.compile(r"canary-([A-Z0-9]{6})-(p[0-9])-(\w+)-")
MARKS = {"all": {"facilitator", "jury"}, "jury": {"jury"}, "own": set[str]()}
PATIENCE = 60.0

people = st.tuples(st.sampled_from(CODES[:1] * 3 + CODES), st.sampled_from(IDS))
whom = st.sampled_from([*IDS, "*", "*"])
loops = st.integers(0, 1)

with registry.isolated():

    class Sheet(State, watch=("facilitator", "jury"), sensitive=("key",)):
        lines: list[str] = field(default_factory=list[str])
        key: list[str] = field(default_factory=list[str])

        @action
        def write(self, line: str) -> None:
            self.lines.append(line)

    class Grade(State, watch=("jury",)):
        marks: list[str] = field(default_factory=list[str])

    class Diary(State):
        lines: list[str] = field(default_factory=list[str])


PLACES = {"lines": (Sheet, "all"), "key": (Sheet, "own"), "marks": (Grade, "jury")}


class Watched(RuleBasedStateMachine):
    """People of two sessions watch one another, as far as their changing roles may."""

    # Frames of others' documents that were looked at, so that no run is empty.
    seen = 0

    def __init__(self) -> None:
        super().__init__()
        self.runners = [asyncio.Runner(), asyncio.Runner()]
        self.loops = [runner.get_loop() for runner in self.runners]
        self.tabs: list[tuple[StoreKey, int, PageTab]] = []
        self.heard: dict[int, int] = {}
        self.roles: dict[int, str] = {}
        self.count = 0
        self.hubs = publisher.hubs
        publisher.hubs = HubsOfThisLoop(publisher.hubs)
        self.is_lossy = False
        self.layer = InMemoryChannelLayer()
        self.send = self.layer.send
        self.layer.send = self.send_unless_lossy
        channel_layers.set("default", self.layer)
        self.run(get_backend(blocking=False).clear())

    def run(self, coroutine: Any, loop: int = 0) -> Any:
        return self.loops[loop].run_until_complete(coroutine)

    async def send_unless_lossy(self, channel: str, message: Any) -> None:
        if not self.is_lossy:
            await self.send(channel, message)

    def canary(self, key: StoreKey, mark: str) -> str:
        self.count += 1
        return f"canary-{key}-{mark}-{self.count}".replace(":", "-")

    @initialize()
    def some_are_there(self) -> None:
        for code in CODES:
            for id in IDS[:3]:
                self.is_changed((code, id), 0, "lines")
        self.gets_a_role((CODES[0], "p0"), 0, "facilitator")
        self.opens_a_tab((CODES[0], "p0"), 1)
        self.watches(0, "*")

    @rule(person=people, loop=loops)
    def opens_a_tab(self, person: tuple[str, str], loop: int) -> None:
        if len(self.tabs) >= 6:
            return
        page = tab(Participant(*person), application=StoreConsumer.as_asgi())
        if StoreKey(*person) in self.run(self.kicked()):
            return
        self.run(page.open(), loop)
        self.tabs.append((StoreKey(*person), loop, page))

    async def kicked(self) -> set[StoreKey]:
        backend = get_backend(blocking=False)
        return {
            StoreKey(code, id) for code in CODES for id in await backend.kicked(code)
        }

    def one(self, which: int) -> tuple[StoreKey, int, PageTab] | None:
        return self.tabs[which % len(self.tabs)] if self.tabs else None

    @rule(which=loops, id=whom)
    def watches(self, which: int, id: str) -> None:
        if (chosen := self.one(which)) is None or id == chosen[0].participant:
            return
        key, loop, page = chosen
        role = self.run(self.roles_now(), loop).get(key, page.role)
        if watch_view(role):
            self.run(page.watch(id), loop)
        else:
            with pytest.raises(ActionRejected) as refused:
                self.run(page.watch(id), loop)
            assert refused.value.code == "forbidden"

    @rule(which=loops, id=whom)
    def unwatches(self, which: int, id: str) -> None:
        if (chosen := self.one(which)) is not None:
            self.run(chosen[2].unwatch(id), chosen[1])

    @rule(which=loops)
    def acts(self, which: int) -> None:
        if (chosen := self.one(which)) is not None:
            key, loop, page = chosen
            args = {"line": self.canary(key, "all")}
            self.run(page.dispatch("sheet", "write", args), loop)

    @rule(which=st.integers(0, 5), back=st.booleans())
    def loses_its_connection(self, which: int, back: bool) -> None:
        if (chosen := self.one(which)) is None:
            return
        _, loop, page = chosen
        self.run(page.drop(), loop)
        if back:
            self.run(page.resume(), loop)
        else:
            self.tabs.remove(chosen)

    @rule(person=people, loop=loops, place=st.sampled_from([*PLACES]))
    def is_changed(self, person: tuple[str, str], loop: int, place: str) -> None:
        key = StoreKey(*person)
        cls, mark = PLACES[place]
        text = self.canary(key, mark)
        secret = self.canary(key, "own")
        if key not in self.run(self.kicked()):
            change = lambda state: getattr(state, place).append(text)  # noqa: E731
            self.run(stores.get(cls, *person).adispatch(change), loop)
            note = lambda diary: diary.lines.append(secret)  # noqa: E731
            self.run(stores.get(Diary, *person).adispatch(note), loop)

    @rule(person=people, loop=loops, role=st.sampled_from(ROLES))
    def gets_a_role(self, person: tuple[str, str], loop: int, role: str) -> None:
        self.run(stores.aset_role(*person, role), loop)

    @rule(person=people, loop=loops)
    def is_kicked(self, person: tuple[str, str], loop: int) -> None:
        self.run(stores.akick(*person), loop)

    @rule(person=people, loop=loops)
    def is_readmitted(self, person: tuple[str, str], loop: int) -> None:
        self.run(stores.areadmit(*person), loop)

    @rule(person=people, loop=loops)
    def is_removed(self, person: tuple[str, str], loop: int) -> None:
        self.run(stores.acleanup_participant(*person), loop)

    @rule(is_lossy=st.booleans())
    def the_layer_loses_messages(self, is_lossy: bool) -> None:
        self.is_lossy = is_lossy

    @rule(which=loops, id=whom, role=st.sampled_from(ROLES))
    def a_role_changes_amid_all_else(self, which: int, id: str, role: str) -> None:
        if (chosen := self.one(which)) is None or id == chosen[0].participant:
            return
        key, place, page = chosen

        async def write(id: str) -> None:
            other = StoreKey(key.session, id)
            for _ in range(4):
                lines = {name: self.canary(other, PLACES[name][1]) for name in PLACES}
                for name, line in lines.items():
                    change = lambda it, n=name, c=line: getattr(it, n).append(c)  # noqa: E731
                    await stores.get(PLACES[name][0], *other).adispatch(change)

        async def all_of_it() -> None:
            page._say({"type": "watch", "participant": id})
            kept_out = await get_backend(blocking=False).kicked(key.session)
            others = {*IDS} - {key.participant} - kept_out.keys()
            await asyncio.gather(
                stores.aset_role(*key, role), *(write(id) for id in sorted(others))
            )

        page.watching.add(id)
        self.run(all_of_it(), place)
        for _ in range(3):
            self.run(asyncio.sleep(0.005), place)
        # What became of the watch depends on which came first.
        self.run(page.unwatch(id), place)

    # What holds

    @invariant()
    def no_tab_gets_what_it_may_not(self) -> None:
        for key, _, page in self.tabs:
            place = id(page)
            for frame in page.frames[self.heard.get(place, 0) :]:
                if frame["type"] in {"welcome", "self"}:
                    self.roles[place] = frame["role"]
                self.check(key, self.roles[place], frame)
            self.heard[place] = len(page.frames)

    def check(self, key: StoreKey, role: str, frame: dict[str, Any]) -> None:
        for code, owner, mark in CANARY.findall(str(frame)):
            assert code == key.session, frame
            if owner != key.participant:
                Watched.seen += 1
                assert role in MARKS[mark], (role, frame)
                assert frame["doc"] == f"p:{owner}", frame
            else:
                assert frame["doc"] == "me", frame

    @invariant()
    def all_tabs_come_to_show_what_they_may_see(self) -> None:
        begun = time.monotonic()
        deadline = begun + PATIENCE
        lacking = ["all"]
        while lacking:
            assert time.monotonic() < deadline, lacking
            for loop in range(2):
                self.run(asyncio.sleep(0.002), loop)
            self.tabs = [each for each in self.tabs if each[2].status == "live"]
            lacking = list(self.lacking())
            if lacking and (self.is_lossy or time.monotonic() > begun + 1):
                # What a message has not brought, a beat does: that is what is promised.
                for loop in range(2):
                    if any(where == loop for _, where, _ in self.tabs):
                        self.run(self.beat(), loop)
        self.no_tab_gets_what_it_may_not()

    async def beat(self) -> None:
        await current_hub().heartbeat.pulse()
        await asyncio.sleep(0.01)

    def lacking(self) -> Iterator[str]:
        roles, records = self.run(self.roles_now()), self.run(self.stored())
        for key, _, page in self.tabs:
            if key not in records:
                yield f"{key} is to end"
                continue
            where = f"{key} as {page.role}, watching {page.watching}: "
            if page.role != roles.get(key, page.role):
                yield f"{where}role {roles[key]}"
            view = watch_view(page.role)
            if not view and page.watching:
                yield f"{where}may not"
            for other in IDS:
                shown = page._documents.get(f"p:{other}")
                watched = {other, "*"} & page.watching
                record = records.get(StoreKey(key.session, other))
                if other == key.participant or not watched or record is None:
                    if shown is not None and shown.states is not None:
                        yield f"{where}shows {other}"
                    continue
                wanted = {
                    name: msgspec.json.decode(raw)
                    for name, raw in view.states(record.states).items()
                }
                if shown is None or (shown.states, shown.rev) != (
                    wanted,
                    str(record.rev),
                ):
                    yield f"{where}{other} is {record.rev}, shown {shown and shown.rev}"

    async def roles_now(self) -> dict[StoreKey, str]:
        return {
            StoreKey(code, person.id): person.role
            for code in await stores.asessions()
            for person in await stores.apeople(code)
        }

    async def stored(self) -> dict[StoreKey, Record]:
        backend = get_backend(blocking=False)
        keys = [StoreKey(code, id) for code in CODES for id in IDS]
        found = {key: await backend.read(key, touch=False) for key in keys}
        return {key: each for key, each in found.items() if isinstance(each, Record)}

    def teardown(self) -> None:
        for _, loop, page in self.tabs:
            self.run(page.close(), loop)
        for runner in self.runners:
            runner.close()
        publisher.hubs = self.hubs


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls take their time: one loop stands still while the other runs."""
    begin = PipelinedConnection.__init__

    def wait_long(self: PipelinedConnection, pool: Any, _: float) -> None:
        begin(self, pool, PATIENCE)

    monkeypatch.setattr(PipelinedConnection, "__init__", wait_long)
    monkeypatch.setattr("sessionstores.backends.memcached_pool.TIMEOUT", PATIENCE)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("kind", "examples", "steps"),
    [("locmem", 12, 30), ("valkey", 6, 25), ("memcached", 4, 20)],
)
def test_no_tab_gets_a_byte_that_it_may_not_watch(
    kind: str,
    examples: int,
    steps: int,
    request: pytest.FixtureRequest,
    settings: Any,
) -> None:
    own = {"AUTO_SWEEP": False, "MAX_CONNECTIONS": 100, "RATE_LIMIT": None}
    Watched.seen = 0
    with (
        cache_on(kind, request, settings),
        registry.isolated(),
        override_settings(SESSIONSTORES=own),
    ):
        for cls in (Sheet, Grade, Diary):
            registry.add(cls)
        run_state_machine_as_test(
            Watched,
            settings=Runs(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    assert Watched.seen > 0, "nobody was shown anything of somebody else"


@pytest.mark.parametrize("mark", MARKS)
def test_the_check_can_fail(mark: str) -> None:
    key = StoreKey(CODES[0], "p1")
    frame = {"doc": "p:p1", "line": f"canary-{CODES[0]}-p1-{mark}-7"}
    machine = Watched.check
    with pytest.raises(AssertionError):
        machine(None, StoreKey(CODES[0], "p0"), "participant", frame)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        machine(None, StoreKey(CODES[1], "p0"), "jury", frame)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        machine(None, key, "jury", frame)  # type: ignore[arg-type]
