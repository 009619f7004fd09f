"""Queues of calls to a record from one event loop, which run and commit in groups.

Calls that arrive while a commit of their record is on its way wait, and the next commit
carries them all. A queue exists only while somebody has a turn or waits for one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from typing import Any

import msgspec

from ..backends.base import Backend
from ..backends.types import Record
from ..keys import StoreKey
from .turns import (
    WAIT_SECONDS,
    ThreadTurns,
    Turn,
    Waiting,
    current_turn,
    is_inside,
    waited_too_long,
)

# Calls that one commit carries at most.
MAX_CALLS = 256

# Runs a group of calls, and leaves in each its outcome or its error. Given the record
# as this process last saw it, if it did.
Runner = Callable[[Backend, list[Any], Turn, Record | None], Awaitable[None]]


Place = tuple[asyncio.AbstractEventLoop, StoreKey]


class _Hold(Waiting):
    """Waits for a turn of its own, not to be part of a group."""


class LoopQueues:
    """The queues of records in this process's event loops, while there are any."""

    def __init__(self) -> None:
        self.by_place: dict[Place, RecordQueue] = {}
        # Those that somebody acts on in this turn of a loop.
        self._acting: dict[asyncio.AbstractEventLoop, list[RecordQueue]] = {}
        # A loop holds its tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, backend: Backend, key: StoreKey) -> RecordQueue:
        """Return the queue of a record in the running loop, a new one if need be."""
        place = asyncio.get_running_loop(), key
        queue = self.by_place.get(place)
        if queue is None:
            queue = self.by_place[place] = RecordQueue(self, backend, *place)
        return queue

    def end_with_turn_of_loop(self, queue: RecordQueue) -> None:
        """Have `queue.end_turn_of_loop` called when this turn of its loop is over."""
        acting = self._acting.get(queue.loop)
        if acting is None:
            acting = self._acting[queue.loop] = []
            queue.loop.call_soon(self._end_turn, queue.loop)
        acting.append(queue)

    def _end_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        for queue in self._acting.pop(loop):
            queue.end_turn_of_loop()

    def start(
        self, work: Coroutine[Any, Any, None], context: Context | None = None
    ) -> asyncio.Task[None]:
        """Run a coroutine as a task, which no caller can cancel."""
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def is_empty(self) -> bool:
        """Whether nobody has a turn, and nothing is started that goes on."""
        return not (self.by_place or self._tasks)


class RecordQueue(msgspec.Struct, eq=False):
    """Calls to one record from one event loop, which run and commit in groups.

    Who finds nobody before them needs no task: they run and commit at once. Those who
    arrive meanwhile make a group, which has a task of its own. In memory, where commits
    do not suspend, "meanwhile" is until that turn of the loop is over, for all but the
    first and what the same caller does next.
    """

    queues: LoopQueues
    backend: Backend
    loop: asyncio.AbstractEventLoop
    key: StoreKey
    # Runs the groups; known when a call waits.
    run: Runner | None = None
    # None until somebody waits: most queues come and go without.
    waiting: deque[Waiting] | None = None
    timer: asyncio.TimerHandle | None = None
    taken: bool = False
    # Who runs calls without a task until this turn of the loop is over.
    caller: object = None

    def claim(self, outer: Turn | None) -> Turn | None:
        """Take the turn for a call of the running task; None if it must wait.

        `outer` is the turn that the task is in.
        """
        if self.taken or self.waiting:
            return None
        if self.backend.in_memory:
            task = asyncio.current_task(self.loop)
            if self.caller is None:
                self.caller = task or self
                self.queues.end_with_turn_of_loop(self)
            elif self.caller is not task:
                return None
        self.taken = True
        return Turn(self.key, self, outer)

    def _take(self) -> Turn:
        self.taken = True
        return Turn(self.key, self, current_turn.get(), self.waiting)

    def end_turn_of_loop(self) -> None:
        """Let those go on who have waited for the turn of the loop to be over."""
        self.caller = None
        if not self.taken:
            self._proceed()

    async def wait(self, entry: Waiting, run: Runner | None = None) -> None:
        """Wait until an entry is settled, a call after `run`; raise its error."""
        self.run = run or self.run
        entry.context = copy_context()
        entry.future = self.loop.create_future()
        entry.deadline = self.loop.time() + WAIT_SECONDS
        if self.waiting is None:
            self.waiting = deque()
        self.waiting.append(entry)
        if not self.taken and self.caller is None:
            self._proceed()
        elif self.timer is None:
            self.timer = self.loop.call_at(entry.deadline, self._expire)
        await entry.future
        if entry.error is not None:
            raise entry.error

    async def hold(self) -> Turn:
        """Wait for the turn, and take it."""
        if self.taken or self.waiting or self.caller is not None:
            entry = _Hold()
            try:
                await self.wait(entry)
            except asyncio.CancelledError:
                if entry.is_settled and entry.error is None:
                    # It was given in this moment.
                    self.give(self.key)
                raise
        return self._take()

    def give(self, key: StoreKey) -> None:
        """See `ThreadTurns.give`."""
        self.taken = False
        if self.waiting or self.timer is not None or self.caller is not None:
            if self.caller is None:
                self._proceed()
        else:
            self.queues.by_place.pop((self.loop, key), None)

    def _proceed(self) -> None:
        """Give the turn to who waits first; if nobody does, the queue goes."""
        while self.waiting:
            first = self.waiting[0]
            if first.future is not None and first.future.done():
                self.waiting.popleft()
                continue
            self.taken = True
            if isinstance(first, _Hold):
                self.waiting.popleft()
                first.settle()
            else:
                # In no caller's context, which may end before: with a request, the
                # thread that its synchronous code runs in.
                self.queues.start(self._commit_group(), Context())
            return
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.queues.by_place.pop((self.loop, self.key), None)

    async def _commit_group(self) -> None:
        turn = self._take()
        current_turn.set(turn)
        calls = self._next_group()
        try:
            if calls and self.run is not None:
                recalled = self.backend.recall(self.key)
                await self.run(self.backend, calls, turn, recalled)
        except asyncio.CancelledError:
            # Nobody but the end of the loop cancels it.
            for entry in (*calls, *(self.waiting or ())):
                entry.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - each caller raises it
            for entry in calls:
                entry.error = entry.error or error
        finally:
            turn.release()
            for entry in calls:
                entry.settle()

    def _next_group(self) -> list[Waiting]:
        calls: list[Waiting] = []
        waiting = self.waiting or ()
        while waiting and len(calls) < MAX_CALLS and not isinstance(waiting[0], _Hold):
            entry = waiting.popleft()
            if entry.future is None or not entry.future.done():
                calls.append(entry)
        return calls

    def _expire(self) -> None:
        self.timer = None
        now = self.loop.time()
        # The first has waited longest.
        while self.waiting and self.waiting[0].deadline <= now:
            entry = self.waiting.popleft()
            entry.error = waited_too_long(self.key)
            entry.settle()
        if self.waiting:
            self.timer = self.loop.call_at(self.waiting[0].deadline, self._expire)


@asynccontextmanager
async def holding(
    backend: Backend, key: StoreKey, what: str = ""
) -> AsyncIterator[None]:
    """Hold the turn on a record for a block that commits to it by itself.

    `what` names it in the RuntimeError that it raises inside an action of the record;
    without, it may run there. Raises `Conflict` after `WAIT_SECONDS`.
    """
    outer = current_turn.get()
    if outer is not None and is_inside(key, what):
        yield
        return
    if backend.blocking:
        turns = backend.memory.of(ThreadTurns)
        turns.take(key)
        turn = Turn(key, turns, outer)
    else:
        turn = await backend.memory.of(LoopQueues).find(backend, key).hold()
    token = current_turn.set(turn)
    try:
        yield
    finally:
        current_turn.reset(token)
        turn.release()
