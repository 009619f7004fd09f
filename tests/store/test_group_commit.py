"""Group commit: one commit carries what arrived while another was on its way."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connections
from django.utils import translation
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessionstores import (
    ActionRejected,
    Conflict,
    StateCorrupt,
    StateTooLarge,
    event_bus,
    signals,
)
from sessionstores.backends import get_backend
from sessionstores.backends.types import Attempt, Record, Stale
from sessionstores.exceptions import OutcomeUnknown, StoreUnavailable
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.realtime.timeline import Timeline
from sessionstores.state import codec
from sessionstores.state.declaration import (
    State,
    action,
    field,
    get_action,
    injected,
    registry,
)
from sessionstores.store import group_commit, record_queue, turns
from sessionstores.store.calls import Outcome
from sessionstores.store.record_queue import LoopQueues
from sessionstores.store.transactions import perform
from sessionstores.store.turns import ThreadTurns
from tests.caches import when_reached

CODE = "K7Q2ZD"
WALL = StoreKey.of_session(CODE)
ALICE = StoreKey(CODE, "alice")
# How long a thread may take that does next to nothing.
PATIENCE = 30.0

tone: ContextVar[str] = ContextVar("tone", default="none")

with registry.isolated():

    class Rules(State, scope="session"):
        most: int = 3

    class Wall(State, scope="session"):
        lines: list[str] = field(default_factory=list[str])

        @action
        def write(self, line: str, *, rules: Rules = injected) -> int:
            """Add a line; answers how many there are, or refuses one that is there."""
            if line in self.lines:
                raise ActionRejected(f"{line} is there.", code="doubled")
            self.lines.append(line)
            return len(self.lines)

    class Diary(State):
        lines: list[str] = field(default_factory=list[str])

        @action
        def take(self, *, rules: Rules = injected) -> int:
            """Change what it is given, which is its own copy."""
            rules.most += 1
            self.lines.append(str(rules.most))
            return rules.most


pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    """Declare the states of this module, and no others."""
    with registry.isolated(Rules, Wall, Diary):
        yield


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Check that no queue and no turn outlives its test."""
    yield
    memory = get_backend(blocking=False).memory
    assert memory.of(LoopQueues).is_empty
    assert memory.of(ThreadTurns).is_empty


@pytest.fixture
def wall() -> Any:
    return stores.get(Wall, CODE)


@contextmanager
def noted_changes() -> Iterator[list[event_bus.Change]]:
    """Collect the commits that this process makes."""
    changes: list[event_bus.Change] = []
    event_bus.bus.subscribe(changes.append, event_bus.Change)
    try:
        yield changes
    finally:
        event_bus.bus.unsubscribe(changes.append)


def add(line: str) -> Callable[[Any], int]:
    """Return a function that adds a line and answers how many there are."""

    def add_line(state: Any) -> int:
        state.lines.append(line)
        return len(state.lines)

    return add_line


async def together(*calls: Awaitable[Any]) -> list[Any]:
    """Make calls in one turn of the loop, and return their results and errors."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    # What the last of them woke has its turn.
    await asyncio.sleep(0)
    return answers


async def gone() -> None:
    """Wait until all queues are gone."""
    queues = get_backend(blocking=False).memory.of(LoopQueues)
    async with asyncio.timeout(PATIENCE):
        while not queues.is_empty:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.001)


async def attempted(id: int, line: str, client: str = "tab") -> Outcome:
    """Write a line as a tab does, under an id."""
    return await perform(
        get_backend(blocking=False),
        WALL,
        Wall,
        get_action(Wall, "write"),
        {"line": line},
        actor=Participant(*ALICE),
        attempt=Attempt(client, id, {}),
    )


async def test_calls_of_one_instant_are_committed_in_order_with_few_commits(
    kind: str, wall: Any
) -> None:
    await wall.asnapshot()
    with noted_changes() as changes:
        answers = await together(*(wall.adispatch(add(str(n))) for n in range(100)))
    assert answers == list(range(1, 101))
    snapshot = await wall.asnapshot()
    assert snapshot.state.lines == [str(n) for n in range(100)]
    # The first finds nobody before it; all others wait for it, and go together.
    assert [change.count for change in changes] == [1, 99]
    assert changes[-1].rev == snapshot.rev


async def test_each_call_of_a_group_gets_its_own_answer(kind: str, wall: Any) -> None:
    await wall.asnapshot()

    def reject(state: Wall) -> None:
        state.lines.append("rejected")
        raise ActionRejected("No.", code="no")

    def fail(state: Wall) -> None:
        state.lines.append("failed")
        raise KeyError("broken")

    def spoil(state: Wall) -> None:
        state.lines.append(5)  # type: ignore[arg-type]

    def overfill(state: Wall) -> None:
        state.lines.append("x" * 300_000)

    with noted_changes() as changes:
        answers = await together(
            *map(wall.adispatch, (add("a"), reject, add("b"), fail, spoil, len_of)),
            *map(wall.adispatch, (overfill, add("c"))),
        )
    expected = [
        1,
        ActionRejected,
        2,
        KeyError,
        StateCorrupt,
        2,
        StateTooLarge,
        3,
    ]
    got = [each if isinstance(each, int) else type(each) for each in answers]
    assert got == expected
    assert (await wall.asnapshot()).state.lines == ["a", "b", "c"]
    assert [change.count for change in changes] == [1, 2]


def len_of(state: Any) -> int:
    return len(state.lines)


async def test_a_repeat_inside_a_group_is_found(kind: str, wall: Any) -> None:
    await wall.asnapshot()
    first, one, again, other, once_more, refused = await together(
        wall.adispatch(add("first")),
        attempted(1, "one"),
        attempted(1, "one"),
        attempted(1, "other", client="other"),
        attempted(1, "other", client="other"),
        attempted(2, "one"),
    )
    assert first == 1
    assert (one.result, other.result) == (2, 3)
    assert [each.repeated for each in (one, again, other, once_more)] == [
        False,
        True,
        False,
        True,
    ]
    assert isinstance(refused, ActionRejected)
    # All name the commit that carried them.
    assert {each.rev for each in (one, again, other, once_more)} == {one.rev}
    assert again.base == again.rev
    assert one.change is None
    assert (await attempted(1, "one")).repeated
    assert (await wall.asnapshot()).state.lines == ["first", "one", "other"]


async def test_what_is_injected_is_read_once_and_belongs_to_each_call(
    wall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = stores.get(Diary, *ALICE)
    await diary.asnapshot()
    await stores.get(Rules, CODE).asnapshot()
    backend = get_backend(blocking=False)
    read = backend.read
    reads: list[StoreKey] = []

    async def noted(key: StoreKey, **options: Any) -> Any:
        reads.append(key)
        return await read(key, **options)

    monkeypatch.setattr(backend, "read", noted)
    answers = await together(*(diary.adispatch(Diary.take) for _ in range(10)))
    assert answers == [4] * 10
    # For the first, and for the group of the others.
    assert reads.count(WALL) == 2


async def test_a_caller_that_goes_takes_nobody_else_with_it(
    kind: str, wall: Any
) -> None:
    await wall.asnapshot()
    tasks = [asyncio.create_task(wall.adispatch(add(str(n)))) for n in range(10)]
    await asyncio.sleep(0)
    # The first has been sent on its way, the others wait.
    gone_ones = tasks[0], tasks[3], tasks[9]
    for task in gone_ones:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await gone()
    lines = (await wall.asnapshot()).state.lines
    for number, (task, answer) in enumerate(zip(tasks, answers, strict=True)):
        if task not in gone_ones:
            assert isinstance(answer, int)
            assert lines[answer - 1] == str(number)
    assert len(lines) == len({*lines})


@pytest.mark.parametrize("steps", range(8))
async def test_the_commit_of_a_caller_that_goes_is_in_or_not_and_told_if_it_is(
    kind: str, wall: Any, steps: int
) -> None:
    await wall.asnapshot()
    with noted_changes() as changes:
        task = asyncio.create_task(wall.adispatch(add("mine")))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await gone()
        snapshot = await wall.asnapshot()
    assert len(snapshot.state.lines) == len(changes)
    assert len(changes) <= 1
    if changes:
        assert changes[0].rev == snapshot.rev
    assert await wall.adispatch(len_of) == len(changes)


async def test_each_call_runs_in_the_context_of_its_caller(wall: Any) -> None:
    await wall.asnapshot()

    async def speak(name: str, language: str) -> str:
        tone.set(name)
        with translation.override(language):
            told: str = await wall.adispatch(
                lambda state: (
                    state.lines.append(name),
                    f"{tone.get()} {translation.get_language()}",
                )[1]
            )
        return told

    told = await together(speak("a", "de"), speak("b", "en"), speak("c", "fr"))
    assert told == ["a de", "b en", "c fr"]


async def test_a_group_that_others_come_before_runs_again_as_a_whole(
    kind: str, wall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wall.asnapshot()
    backend = get_backend(blocking=False)
    commit = backend.commit
    left = iter([2, 1, 0])

    async def overtaken(base: Record, rev: Any, states: Any, *more: Any) -> Any:
        if next(left, 0) and states:
            newest = await backend.read(WALL, touch=False)
            assert isinstance(newest, Record)
            state = codec.decode(Wall, newest.states["wall"])
            state.lines.append("other")
            others = {"wall": codec.encode(state)}
            await commit(newest, newest.rev.next(), others)
        return await commit(base, rev, states, *more)

    ran: list[str] = []

    def noting(line: str) -> Callable[[Any], int]:
        def note(state: Any) -> int:
            ran.append(line)
            return add(line)(state)

        return note

    monkeypatch.setattr(backend, "commit", overtaken)
    answers = await together(*(wall.adispatch(noting(n)) for n in "abc"))
    lines = (await wall.asnapshot()).state.lines
    assert [lines[answer - 1] for answer in answers] == ["a", "b", "c"]
    assert sorted(lines) == ["a", "b", "c", "other", "other"]
    assert len(ran) > 3


async def test_a_lost_reply_concerns_those_who_changed_something_only(
    kind: str, wall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wall.asnapshot()
    backend = get_backend(blocking=False)
    commit = backend.commit
    first = True

    async def unanswered(*args: Any) -> Any:
        nonlocal first
        answer = await commit(*args)
        if not first:
            raise StoreUnavailable("no reply")
        first = False
        return answer

    def reject(state: Any) -> None:
        raise ActionRejected(f"{len(state.lines)} lines", code="no")

    monkeypatch.setattr(backend, "commit", unanswered)
    answers = await together(
        *map(wall.adispatch, (add("a"), add("b"), len_of, reject, add("c")))
    )
    assert answers[0] == 1
    assert [type(each) for each in answers[1:2] + answers[4:]] == [OutcomeUnknown] * 2
    assert answers[1] is not answers[4]
    # The others ran again, on what was in after all.
    assert answers[2] == 3
    assert str(answers[3]) == "3 lines"


async def test_one_that_cannot_be_answered_is_not_answered_for_all(
    wall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*args: Any, **more: Any) -> Any:
        raise StoreUnavailable("silent")

    monkeypatch.setattr(get_backend(blocking=False), "read", silent)
    answers = await together(*(wall.adispatch(add(n)) for n in "abc"))
    assert [type(each) for each in answers] == [StoreUnavailable] * 3
    assert len({id(each) for each in answers}) == 3


@pytest.mark.parametrize("most", [1, 2, 7])
async def test_a_group_is_bounded_and_order_is_kept(
    kind: str, wall: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_queue, "MAX_CALLS", most)
    await wall.asnapshot()
    with noted_changes() as changes:
        answers = await together(*(wall.adispatch(add(str(n))) for n in range(20)))
    assert answers == list(range(1, 21))
    assert max(change.count for change in changes) == most


async def test_a_group_runs_for_a_while_only_and_order_is_kept(
    kind: str, wall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No time at all: one call each, since one always runs.
    monkeypatch.setattr(group_commit, "RUN_SECONDS", -1.0)
    await wall.asnapshot()
    with noted_changes() as changes:
        answers = await together(*(wall.adispatch(add(str(n))) for n in range(9)))
    assert answers == list(range(1, 10))
    assert [change.count for change in changes] == [1] * 9


async def test_who_waits_too_long_gets_a_conflict_and_ran_not(
    wall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_queue, "WAIT_SECONDS", 0.01)
    await wall.asnapshot()
    backend = get_backend(blocking=False)
    commit = backend.commit
    may_go = asyncio.Event()

    async def held_up(*args: Any) -> Any:
        await may_go.wait()
        return await commit(*args)

    monkeypatch.setattr(backend, "commit", held_up)
    first = asyncio.create_task(wall.adispatch(add("first")))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(wall.adispatch(add(n))) for n in "ab"]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in answers] == [Conflict] * 2
    assert "Nothing was changed" in str(answers[0])
    may_go.set()
    assert await first == 1
    await gone()
    assert (await wall.asnapshot()).state.lines == ["first"]


async def test_a_group_is_told_once_with_an_entry_for_each_action(wall: Any) -> None:
    await wall.asnapshot()
    told: list[Any] = []

    async def receive(sender: Any, **named: Any) -> None:
        told.append((sender, named["rev"], named["states"]))

    timeline = Timeline()
    event_bus.bus.subscribe(timeline.note, event_bus.Change)
    signals.store_changed.connect(receive)
    try:
        with noted_changes() as changes:
            await together(*(wall.adispatch(add(str(n))) for n in range(5)))
    finally:
        signals.store_changed.disconnect(receive)
        event_bus.bus.unsubscribe(timeline.note)
    assert [change.count for change in changes] == [1, 4]
    assert told == [(Wall, change.rev, ("wall",)) for change in changes]
    (entry,) = timeline._waiting.values()
    assert entry.count == 5


async def test_unlike_actions_of_a_group_are_told_apart(wall: Any) -> None:
    await wall.asnapshot()

    def wipe(state: Wall) -> None:
        state.lines.clear()

    with noted_changes() as changes:
        await together(
            *(wall.adispatch(add(str(n))) for n in range(4)), wall.adispatch(wipe)
        )
    assert [change.count for change in changes] == [1, 4]
    assert changes[0].parts is None
    assert dict(changes[1].parts or {}) == {
        ("wall", add("").__qualname__): 3,
        ("wall", wipe.__qualname__): 1,
    }


async def test_a_receiver_may_dispatch_to_the_record_that_changed(
    kind: str, wall: Any
) -> None:
    await wall.asnapshot()

    async def answer(sender: Any, **named: Any) -> None:
        if "told" not in (await wall.asnapshot()).state.lines:
            await wall.adispatch(add("told"))

    signals.store_changed.connect(answer)
    try:
        answers = await together(*(wall.adispatch(add(n)) for n in "abc"))
    finally:
        signals.store_changed.disconnect(answer)
    assert len({*answers}) == 3
    assert {"a", "b", "c", "told"} <= {*(await wall.asnapshot()).state.lines}


async def test_a_record_may_be_changed_as_it_is_created(wall: Any) -> None:
    async def fill(sender: Any, key: StoreKey, **named: Any) -> None:
        if key == WALL:
            await wall.adispatch(add("welcome"))

    signals.store_created.connect(fill)
    try:
        await together(*(wall.adispatch(add(n)) for n in "ab"))
    finally:
        signals.store_created.disconnect(fill)
    assert sorted((await wall.asnapshot()).state.lines) == ["a", "b", "welcome"]


def test_a_dispatch_to_the_record_inside_its_own_action_is_refused(wall: Any) -> None:
    def nested(state: Wall) -> None:
        state.lines.append("outer")
        wall.dispatch(add("inner"))

    with pytest.raises(RuntimeError, match="inside one of its own actions"):
        wall.dispatch(nested)
    with pytest.raises(RuntimeError, match="inside one of its own actions"):
        wall.dispatch(lambda state: async_to_sync(wall.adispatch)(add("inner")))
    with pytest.raises(RuntimeError, match="delete"):
        wall.dispatch(lambda state: wall.delete())
    assert wall.state.lines == []
    # Elsewhere it is a side effect, but no deadlock.
    other = stores.get(Rules, "ABC123")
    wall.dispatch(lambda state: other.dispatch(lambda rules: setattr(rules, "most", 9)))
    assert other.state.most == 9


@pytest.mark.parametrize("first", [True, False])
async def test_an_asynchronous_dispatch_inside_its_own_action_is_refused(
    wall: Any, first: bool
) -> None:
    await wall.asnapshot()
    tried: list[BaseException | None] = []

    def nested(state: Wall) -> None:
        coroutine = wall.adispatch(add("inner"))
        try:
            coroutine.send(None)
        except BaseException as error:
            tried.append(error)
            raise

    calls = [wall.adispatch(nested), wall.adispatch(add("a"))]
    answers = await together(*(calls if first else reversed(calls)))
    assert [type(each) for each in tried] == [RuntimeError]
    assert sorted(map(type, answers), key=str) == [RuntimeError, int]
    assert (await wall.asnapshot()).state.lines == ["a"]


async def test_a_task_that_an_action_leaves_behind_waits_for_its_turn(
    wall: Any,
) -> None:
    await wall.asnapshot()
    left: list[asyncio.Task[int]] = []

    def leave(state: Wall) -> None:
        state.lines.append("a")
        left.append(asyncio.create_task(wall.adispatch(add("b"))))

    await wall.adispatch(leave)
    assert await left[0] == 2
    await gone()


async def test_an_asynchronous_function_is_refused(wall: Any) -> None:
    async def later(state: Wall) -> None:
        state.lines.append("never")

    with pytest.raises(TypeError, match=r"later is asynchronous"):
        await wall.adispatch(later)
    with pytest.raises(TypeError, match=r"pass Wall\.write"):
        await wall.adispatch("write")
    await gone()
    assert (await wall.asnapshot()).state.lines == []


@pytest.mark.parametrize("alone", [True, False])
async def test_a_function_that_would_have_to_be_run_yet_is_refused(
    wall: Any, alone: bool
) -> None:
    def piecemeal(state: Wall) -> Any:
        state.lines.append("never")
        yield

    async def streamed(state: Wall) -> Any:
        state.lines.append("never")
        yield

    others = () if alone else (wall.adispatch(add("a")), wall.adispatch(add("b")))
    for function, told in (
        (piecemeal, r"piecemeal is a generator"),
        (streamed, r"streamed is asynchronous"),
    ):
        *_, refused = await asyncio.gather(
            *others, wall.adispatch(function), return_exceptions=True
        )
        others = ()
        with pytest.raises(TypeError, match=told):
            raise refused
    await gone()
    assert (await wall.asnapshot()).state.lines == ([] if alone else ["a", "b"])


def test_an_asynchronous_function_and_a_name_are_refused(wall: Any) -> None:
    async def later(state: Wall) -> None:
        state.lines.append("never")

    with pytest.raises(TypeError, match=r"later is asynchronous"):
        wall.dispatch(later)
    with pytest.raises(TypeError, match=r"pass Wall\.write"):
        wall.dispatch("write", line="x")
    assert wall.state.lines == []


async def test_a_delete_and_a_replacement_are_not_starved(kind: str, wall: Any) -> None:
    await wall.asnapshot()
    stopped = False

    async def write(name: str) -> None:
        for number in itertools.count():
            if stopped:
                return
            await wall.adispatch(add(f"{name}{number}"))
            await asyncio.sleep(0)

    writers = [asyncio.create_task(write(name)) for name in "abcd"]
    try:
        for _ in range(3):
            assert await wall.adelete()
            await wall.asnapshot()
        # An editor whose reading is out of date is told so, at once.
        for _ in range(3):
            snapshot = await wall.asnapshot()
            async with asyncio.timeout(PATIENCE):
                with suppress(Conflict):
                    await wall.areplace(Wall(), base=snapshot.rev)
    finally:
        stopped = True
        await asyncio.gather(*writers)
    await gone()
    snapshot = await wall.asnapshot()
    rev = await wall.areplace(Wall(lines=["edited"]), base=snapshot.rev)
    assert await wall.asnapshot() == (Wall(lines=["edited"]), rev)


@pytest.mark.parametrize("hops", range(6))
async def test_a_delete_that_is_cancelled_leaves_its_turn_to_the_next(
    kind: str, wall: Any, hops: int
) -> None:
    await wall.asnapshot()
    tasks = [
        asyncio.create_task(wall.adispatch(add("a"))),
        asyncio.create_task(wall.adelete()),
        asyncio.create_task(wall.adispatch(add("b"))),
    ]
    for _ in range(hops):
        await asyncio.sleep(0)
    tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await gone()
    assert isinstance(answers[2], int)
    assert (await wall.asnapshot()).state.lines[-1] == "b"


def test_threads_take_turns_in_the_order_of_their_arrival(
    wall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wall.state
    inside, may_go = threading.Event(), threading.Event()

    def hold(state: Wall) -> None:
        inside.set()
        assert may_go.wait(PATIENCE)
        state.lines.append("first")

    turns_ = get_backend(blocking=True).memory.of(ThreadTurns)
    with ThreadPoolExecutor(12) as pool:
        first = pool.submit(wall.dispatch, hold)
        assert inside.wait(PATIENCE)
        later = []
        for number in range(10):
            later.append(pool.submit(wall.dispatch, add(str(number))))
            while len(turns_._queues[WALL] or ()) <= number:
                threading.Event().wait(0.001)
        may_go.set()
        first.result(PATIENCE)
        assert [each.result(PATIENCE) for each in later] == list(range(2, 12))
    assert wall.state.lines == ["first", *map(str, range(10))]
    assert turns_.is_empty


def test_a_thread_that_waits_too_long_gets_a_conflict(
    wall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WAIT_SECONDS", 0.01)
    assert wall.state
    with ThreadPoolExecutor(1) as pool:

        def outwait(state: Wall) -> None:
            with pytest.raises(Conflict, match="Nothing was changed"):
                pool.submit(wall.dispatch, add("late")).result(PATIENCE)
            state.lines.append("first")

        wall.dispatch(outwait)
    assert wall.state.lines == ["first"]


def test_threads_of_every_backend_lose_nothing(kind: str, wall: Any) -> None:
    assert wall.state.lines == []

    def write(name: str) -> None:
        try:
            for number in range(10):
                line = add(f"{name}{number}")
                when_reached(lambda line=line: wall.dispatch(line))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    lines = wall.state.lines
    assert sorted(lines) == sorted(f"{n}{m}" for n in "abcd" for m in range(10))
    for name in "abcd":
        ours = [line for line in lines if line.startswith(name)]
        assert ours == [f"{name}{number}" for number in range(10)]


# What a call may do: add, refuse, fail, do nothing, leave what cannot be stored or is
# too large, clear, or be an attempt under an id that another may have.
CALLS = st.one_of(
    st.tuples(st.sampled_from(["add", "clear", "none", "reject", "fail", "spoil"])),
    st.tuples(st.just("fill"), st.integers(1, 900)),
    st.tuples(
        st.just("attempt"),
        st.sampled_from(["tab", "other"]),
        st.integers(1, 4),
        st.sampled_from(["one", "two"]),
    ),
)


def call_for(place: int, what: tuple[Any, ...]) -> Awaitable[Any]:
    """Return the coroutine of one drawn call."""
    wall = stores.get(Wall, CODE)
    name, *rest = what
    if name == "attempt":
        client, id, line = rest
        return attempted(id, line, client)

    def act(state: Wall) -> int:
        if name == "add":
            state.lines.append(str(place))
        elif name == "clear":
            state.lines.clear()
        elif name == "fill":
            state.lines.append("x" * rest[0])
        elif name != "none":
            state.lines.append("undone")
        if name == "spoil":
            state.lines.append(None)  # type: ignore[arg-type]
        elif name == "reject":
            raise ActionRejected(f"{len(state.lines)}", code="no")
        elif name == "fail":
            raise KeyError(len(state.lines))
        return len(state.lines)

    return wall.adispatch(act)


def told(answer: Any) -> Any:
    """Return what is the same however an answer came about."""
    if isinstance(answer, Outcome):
        return answer.result, answer.repeated
    if isinstance(answer, Exception):
        return type(answer), getattr(answer, "code", None), str(answer)[:30]
    return answer


@given(st.lists(CALLS, max_size=25))
@hypothesis_settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_group_answers_as_its_calls_do_one_by_one(drawn: list[Any]) -> None:
    async def run(at_once: bool) -> tuple[list[Any], list[str], Any]:
        await stores.acleanup_session(CODE)
        wall = stores.get(Wall, CODE)
        await wall.asnapshot()
        await stores.get(Rules, CODE).asnapshot()
        calls = [call_for(place, what) for place, what in enumerate(drawn)]
        if at_once:
            answers = await together(*calls)
        else:
            answers = [(await together(call))[0] for call in calls]
        await gone()
        record = await get_backend(blocking=False).read(WALL)
        assert isinstance(record, Record)
        entries = {
            client: (entry.last, dict(entry.rejected))
            for client, entry in record.clients.items()
        }
        return list(map(told, answers)), (await wall.asnapshot()).state.lines, entries

    from_one_by_one = asyncio.run(run(at_once=False))
    assert asyncio.run(run(at_once=True)) == from_one_by_one


def test_a_group_never_commits_on_a_stale_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backend that says so for ever ends in conflicts for all, and nothing else."""

    async def lose(base: Record, *args: Any) -> Stale:
        return Stale(base)

    async def run() -> list[Any]:
        wall = stores.get(Wall, CODE)
        await wall.asnapshot()
        backend = get_backend(blocking=False)
        monkeypatch.setattr("sessionstores.store.retry.MIN_SECONDS", 0.01)
        monkeypatch.setattr("sessionstores.store.retry.MIN_TRIES", 3)
        monkeypatch.setattr(backend, "commit", lose)
        answers = await together(*(wall.adispatch(add(n)) for n in "abcd"))
        await gone()
        return answers

    answers = asyncio.run(run())
    assert [type(each) for each in answers] == [Conflict] * 4
