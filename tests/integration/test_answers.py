"""Answers: an acknowledged action was applied, once; a refused one was not."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections import Counter
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any, NamedTuple

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sessionstores import ActionRejected, State, action, field
from sessionstores.backends import get_backend
from sessionstores.exceptions import Conflict, StoreUnavailable, UnknownState
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.realtime import dispatcher, frame_throttle
from sessionstores.realtime.hub import current_hub
from sessionstores.state.declaration import registry
from sessionstores.store.retry import CommitRetry
from tests.sockets import until

from .tab import Pending, Tab

CODE = "K7Q2ZD"
# Bytes; what is longer is an unreadable frame.
FRAME = 2_000


def put(lines: list[int], line: int, how: str) -> None:
    if how == "refuse":
        raise ActionRejected("Not so.", code="not_so")
    if how == "fail":
        raise RuntimeError("on purpose")
    if how == "odd" and len(lines) % 2:
        raise ActionRejected("An odd number.", code="odd")
    if how != "nothing":
        lines.append(line)


with registry.isolated():

    class Slate(State):
        lines: list[int] = field(default_factory=list[int])
        rest: str = ""

        @action
        def put(self, line: int, how: str) -> None:
            """Add a line, or not."""
            put(self.lines, line, how)
            if how == "large":
                self.rest = "x" * 20_000

        @action(role="facilitator")
        def rule(self, line: int, how: str) -> None:
            """Not for participants."""

    class Wall(State, scope="session"):
        lines: list[int] = field(default_factory=list[int])
        rest: str = ""

        @action
        def put(self, line: int, how: str) -> None:
            """Add a line, or not."""
            put(self.lines, line, how)
            if how == "large":
                self.rest = "x" * 20_000

        @action(role="facilitator")
        def rule(self, line: int, how: str) -> None:
            """Not for participants."""


DOCS = {"me": "slate", "session": "wall"}
# What may come of an action; in the first four, it runs to its end.
RUN = ("add", "nothing", "odd", "refuse")
FAIL = ("fail", "large", "arguments", "action", "forbidden", "rate", "conflict")
LOST = ("unread", "too large")
OUTAGES = ("before", "after", "read")

docs = st.sampled_from(list(DOCS))
# Whether the frame arrives: once one does not, none after it does.
arriving = st.sampled_from([True, True, True, False])

# A worker of a release that does not know these states yet.
ignorant: ContextVar[frozenset[str]] = ContextVar("ignorant", default=frozenset())


class Asked(NamedTuple):
    """An action that a tab was asked for; `line` is no other action's."""

    doc: str
    line: int


class LossyTab(Tab):
    """A tab whose connections lose what it sends, or what it is sent."""

    machine: Answers
    asked: dict[int, Asked]
    # Frames that the server has to answer on this connection, and its answers.
    due = 0
    told = 0
    cut = False

    def _start(self) -> asyncio.Queue[dict[str, Any]]:
        self.due = self.told = 0
        self.cut = False
        connection = self.connections

        def heard(message: dict[str, Any]) -> None:
            kind = json.loads(message["text"])["type"]
            if (
                kind in ("ack", "reject", "error")
                and self.connections == connection + 1
            ):
                self.told += 1

        self.heard = heard
        self.on_wire: list[int] = []
        return super()._start()

    def _send_action(self, pending: Pending) -> None:
        self.on_wire.append(pending.id)
        if self.cut:
            pending.client = pending.client or self.client
            return
        self.due += 1
        super()._send_action(pending)

    def _answer(self, frame: dict[str, Any]) -> None:
        super()._answer(frame)
        self.machine.judge(self.asked[frame["id"]], frame)

    def read(self) -> dict[str, Any]:
        """See `Tab.read`. A frame that was refused is the oldest on the wire."""
        frame = super().read()
        if frame["type"] == "error":
            oldest = next(id for id in self.on_wire if id in self.pending)
            self._answer({"type": "reject", "id": oldest, "code": frame["code"]})
        return frame

    async def come_to_rest(self) -> None:
        """Wait until the server has answered all that arrived."""
        # In memory, that takes a few turns of the loop.
        for _ in range(1_000):
            if not self.connected or self.told >= self.due:
                return
            await asyncio.sleep(0)
        await until(lambda: self.told >= self.due, "the answers")


class Answers(RuleBasedStateMachine):
    """Tabs of one participant, and workers, in one process; whatever is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.exits = ExitStack()
        self.patch = self.exits.enter_context(pytest.MonkeyPatch.context())
        self.exits.enter_context(registry.isolated(Slate, Wall))
        # Bursts that come again are to be answered at once.
        self.patch.setattr(frame_throttle, "FRAME_BURST", 1e6)
        limits = {
            "RATE_LIMIT": (1, 1),
            "MAX_STATE_BYTES": 15_000,
            "MAX_FRAME_BYTES": FRAME,
            "MAX_CONNECTIONS": 1_000,
        }
        self.exits.enter_context(override_settings(SESSIONSTORES=limits))
        self.runner = self.exits.enter_context(asyncio.Runner())
        self.lines = itertools.count(1)
        self.how: dict[int, str] = {}
        # Actions with an answer that says so, and those that several tabs may send.
        self.refused: dict[int, str] = {}
        self.shared: set[int] = set()
        # Whether something was done after which the server may not know.
        self.is_doubtful = False
        self.fault = ""
        self._plant_faults()
        self.tabs: list[LossyTab] = []
        self.ghosts: list[asyncio.Task[None]] = []
        self.runner.run(self._open())

    def _plant_faults(self) -> None:
        machine = self
        backend = type(get_backend(blocking=False))
        commit, read, wait = backend.commit, backend.read, CommitRetry.wait

        async def failing_commit(
            self: Any, base: Any, *args: Any, **kwargs: Any
        ) -> Any:
            if machine.fault == "before":
                raise StoreUnavailable("No answer.")
            if machine.fault == "conflict":
                await commit(self, base, base.rev.next(), {})
            answer = await commit(self, base, *args, **kwargs)
            if machine.fault == "after":
                raise StoreUnavailable("No answer.")
            return answer

        async def failing_read(self: Any, *args: Any, **kwargs: Any) -> Any:
            if machine.fault == "read":
                raise StoreUnavailable("No answer.")
            return await read(self, *args, **kwargs)

        async def impatient(self: Any) -> None:
            if machine.fault == "conflict":
                raise Conflict("Others committed first.")
            await wait(self)

        self.patch.setattr(backend, "commit", failing_commit)
        self.patch.setattr(backend, "read", failing_read)
        self.patch.setattr(CommitRetry, "wait", impatient)
        self._patch_dispatcher()

    def _patch_dispatcher(self) -> None:
        machine, get_state = self, dispatcher.get_state

        def known_state(name: str) -> Any:
            if name in ignorant.get():
                raise UnknownState(f"There is no state {name!r}.")
            return get_state(name)

        class Bucket(dispatcher.TokenBucket):
            """Refuses when it is told to."""

            __slots__ = ()

            def take(self) -> bool:
                return machine.fault != "rate"

            def delay(self) -> float:
                return 0.0

        self.patch.setattr(dispatcher, "get_state", known_state)
        self.patch.setattr(dispatcher, "TokenBucket", Bucket)
        self.patch.setattr(dispatcher.logger, "disabled", True)

    async def _open(self) -> None:
        await get_backend(blocking=False).clear()
        await self._add_tab(LossyTab(Participant(CODE, "alice").token()), {})

    async def _add_tab(self, tab: LossyTab, asked: dict[int, Asked]) -> None:
        tab.machine, tab.asked = self, asked
        self.tabs.append(tab)
        await tab.connect()

    def judge(self, asked: Asked, frame: dict[str, Any]) -> None:
        """Compare an answer with what the records hold now."""
        line = asked.line
        times = self.stored[asked.doc].count(line)
        if frame["type"] == "ack":
            assert times == (self.how[line] != "nothing"), (self.how[line], frame)
        elif frame["code"] == "outcome_unknown":
            assert self.is_doubtful, frame
        else:
            assert line in self.shared or not times, (self.how[line], frame)
            # What is never refused, but by a worker that does not know the state.
            if self.how[line] in ("add", "nothing") and not self.is_doubtful:
                assert frame["code"] == "unknown_state", (self.how[line], frame)
            self.refused[line] = frame["code"]

    @property
    def counts(self) -> dict[str, Counter[int]]:
        """How often each line is in a document."""
        return {doc: Counter(lines) for doc, lines in self.stored.items()}

    async def _look(self) -> None:
        slate = await stores.get(Slate, CODE, "alice").apeek()
        wall = await stores.get(Wall, CODE).apeek()
        self.stored = {
            "me": slate.state.lines if slate else [],
            "session": wall.state.lines if wall else [],
        }

    async def _act(self, tab: LossyTab, doc: str, how: str, *, arrives: bool) -> None:
        line = next(self.lines)
        self.how[line] = how
        state, method = DOCS[doc], "put"
        arguments: dict[str, Any] = {"line": line, "how": how}
        if how == "arguments":
            arguments["line"] = "none"
        elif how == "forbidden":
            method = "rule"
        elif how == "action":
            method = "nothing_known"
        elif how == "too large":
            arguments["how"] = "x" * FRAME
        elif how == "unread":
            arguments["how"] = ["["] * 40
        tab.cut = tab.cut or not arrives
        tab.asked[tab.next_id] = Asked(doc, line)
        self.is_doubtful = self.is_doubtful or how in OUTAGES
        self.fault = how if how in ("rate", "conflict", *OUTAGES) else ""
        tab.act(state, method, arguments)
        await tab.come_to_rest()
        self.fault = ""

    async def _connect(self, tab: LossyTab, unknown: frozenset[str]) -> None:
        token = ignorant.set(unknown)
        try:
            await tab.connect()
        finally:
            ignorant.reset(token)
        await tab.come_to_rest()

    @rule(
        data=st.data(),
        doc=docs,
        how=st.sampled_from(RUN + FAIL + LOST + OUTAGES),
        arrives=arriving,
    )
    def act(self, data: st.DataObject, doc: str, how: str, arrives: bool) -> None:
        tab = data.draw(st.sampled_from(self.tabs))
        self.runner.run(self._act(tab, doc, how, arrives=arrives))

    @rule(
        data=st.data(),
        doc=docs,
        how=st.sampled_from(("refuse", "nothing", "rate", "odd")),
        count=st.sampled_from([3, 140, 300]),
    )
    def burst(self, data: st.DataObject, doc: str, how: str, count: int) -> None:
        """Send many in a row, and one that is committed."""
        tab = data.draw(st.sampled_from(self.tabs))
        self.is_doubtful = self.is_doubtful or (how == "nothing" and count > 100)

        async def all_of_them() -> None:
            for _ in range(count):
                await self._act(tab, doc, how, arrives=True)
            await self._act(tab, doc, "add", arrives=True)

        self.runner.run(all_of_them())

    @rule(data=st.data(), count=st.sampled_from([1, 3, 100]))
    def hear(self, data: st.DataObject, count: int) -> None:
        """Let a tab read some of what it was sent."""
        tab = data.draw(st.sampled_from(self.tabs))
        self.runner.run(self._look())
        for _ in range(min(count, len(tab.inbox))):
            tab.read()

    @rule(
        data=st.data(),
        ghost=st.booleans(),
        unknown=st.sets(st.sampled_from(list(DOCS.values()))),
    )
    def move(self, data: st.DataObject, ghost: bool, unknown: set[str]) -> None:
        """Lose a connection and what is on it, and come back, to another worker."""
        tab = data.draw(st.sampled_from(self.tabs))

        async def again() -> None:
            if ghost and tab._task is not None:
                # The server has not noticed.
                self.ghosts.append(tab._task)
                tab._to_server = tab._task = None
            else:
                await tab.drop()
            await self._connect(tab, frozenset(unknown))

        self.runner.run(again())

    @rule(data=st.data())
    def reload(self, data: st.DataObject) -> None:
        """Load the page anew: it has a new client id, and what was not answered."""
        tab = data.draw(st.sampled_from(self.tabs))

        async def again() -> None:
            await tab.drop()
            for pending in tab.pending.values():
                pending.client = pending.client or tab.client
            tab.client = f"page{next(self.lines)}"
            await self._connect(tab, frozenset())

        self.runner.run(again())

    @precondition(lambda self: len(self.tabs) < 3)
    @rule(data=st.data())
    def duplicate(self, data: st.DataObject) -> None:
        """Copy a tab, with what was not answered."""
        tab = data.draw(st.sampled_from(self.tabs))
        other = LossyTab(tab.token, tab.client, next_id=tab.next_id)
        for id, pending in tab.pending.items():
            other.pending[id] = copy.copy(pending)
            other.pending[id].client = pending.client or tab.client
            self.shared.add(tab.asked[id].line)
        # Whichever hears an answer first lets it be forgotten.
        self.is_doubtful = True
        self.runner.run(self._add_tab(other, dict(tab.asked)))
        self.runner.run(other.come_to_rest())

    @rule()
    def beat(self) -> None:
        """Ping all tabs."""
        self.runner.run(current_hub_of(self.runner).heartbeat.pulse())

    @rule(doc=docs)
    def others_write(self, doc: str) -> None:
        """Let somebody else change a record."""

        async def write() -> None:
            store = stores.get(Slate, CODE, "alice") if doc == "me" else None
            other = store or stores.get(Wall, CODE)
            await other.adispatch(lambda state: state.lines.append(-next(self.lines)))

        self.runner.run(write())

    @invariant()
    def nothing_is_applied_twice_or_after_its_refusal(self) -> None:
        self.runner.run(self._look())
        for counts in self.counts.values():
            assert set(counts.values()) <= {1}
            assert not (counts.keys() & self.refused.keys()) - self.shared

    def teardown(self) -> None:
        async def end() -> None:
            for tab in self.tabs:
                await tab.drop()
                await self._connect(tab, frozenset())
                while tab.pending:
                    await until(lambda tab=tab: tab.inbox, "an answer")
                    await self._look()
                    tab.read()
                await tab.drop()
            for ghost in self.ghosts:
                ghost.cancel()
            await asyncio.gather(*self.ghosts, return_exceptions=True)

        try:
            self.runner.run(end())
        finally:
            self.exits.close()


def current_hub_of(runner: asyncio.Runner) -> Any:
    async def current() -> Any:
        return current_hub()

    return runner.run(current())


def test_an_answer_is_true_whatever_is_lost_and_whoever_gives_it() -> None:
    run_state_machine_as_test(
        Answers,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
