"""Turns on a record: who changes one waits for whoever changes it now.

So a record's writers compete between processes only, and between the event loops and
the threads of one. Compare-and-set guards correctness: a turn only saves retries.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from contextvars import Context, ContextVar
from typing import Protocol, TypeVar
from weakref import WeakMethod

import msgspec

from ..exceptions import Conflict
from ..keys import StoreKey

# Seconds after which a call no longer waits for its turn.
WAIT_SECONDS = 10.0


class Waiting(msgspec.Struct, eq=False, kw_only=True):
    """An entry of a record's queue; `settle` wakes who waits for it.

    `context` is the caller's; both are None for a call that did not wait.
    """

    error: BaseException | None = None
    context: Context | None = None
    future: asyncio.Future[None] | None = None
    deadline: float = 0.0

    @property
    def is_settled(self) -> bool:
        """Whether the caller may go on, and has not been cancelled before."""
        future = self.future
        return future is not None and future.done() and not future.cancelled()

    def settle(self) -> None:
        """Let the caller go on, who then looks at `error` first."""
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def cancel(self) -> None:
        """Cancel the caller's wait: its event loop ends."""
        if self.future is not None:
            self.future.cancel()


C = TypeVar("C", bound=Waiting)


class Giver(Protocol):
    """Gives the turns on records."""

    def give(self, key: StoreKey) -> None:
        """Let the next one have the turn on the record at `key`."""


class Turn(msgspec.Struct, eq=False):
    """The turn on a record: while it is held, other calls to the record wait.

    `giver` lets the next one have it, and `outer` is the turn in which this one was
    taken, as by a receiver of a signal. `waiting` is the queue of an event loop.
    `running`: one of its calls runs just now.
    """

    key: StoreKey
    giver: Giver | None
    outer: Turn | None
    waiting: deque[Waiting] | None = None
    held: bool = True
    running: bool = False

    def release(self) -> None:
        """Let the next one have it; safe to repeat."""
        if self.held:
            self.held = False
            if self.giver is not None:
                self.giver.give(self.key)

    def passed_on(self) -> Turn:
        """Return the turn for another task to hold, which this one then does not."""
        other = msgspec.structs.replace(self)
        self.held = False
        return other

    def put_back(self, calls: list[C]) -> None:
        """Return calls to the front of the queue, for the next group."""
        if self.waiting is not None:
            self.waiting.extendleft(reversed(calls))


current_turn: ContextVar[Turn | None] = ContextVar("sessionstores_turn", default=None)


def is_inside(key: StoreKey, what: str) -> bool:
    """Return whether the current context has a turn, on any record.

    It must not wait for another one then. Raises RuntimeError inside an action of the
    record, which would never come to an end, unless `what` is empty.
    """
    turn = current_turn.get()
    inside = False
    while turn is not None:
        if turn.held:
            inside = True
            if turn.running and what and turn.key == key:
                raise RuntimeError(
                    f"{what} of {key} inside one of its own actions: it would wait for "
                    "the action, and the action for it. Change the state that the "
                    "action is given, or go on when the dispatch has returned."
                )
        turn = turn.outer
    return inside


def waited_too_long(key: StoreKey) -> Conflict:
    return Conflict(
        f"{key}: others had their turn for {WAIT_SECONDS:g} s. Nothing was changed; "
        "dispatch again."
    )


class ThreadTurns:
    """Turns of this process's threads on records, in the order of their arrival."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            # The threads that had or awaited a turn are gone in the child.
            renew = WeakMethod(self._renew)
            os.register_at_fork(after_in_child=lambda: (alive := renew()) and alive())

    def _renew(self) -> None:
        self._lock = threading.Lock()
        # By record whose turn is taken: who waits for it, each at a lock of its own.
        self._queues: dict[StoreKey, deque[threading.Lock] | None] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nobody has a turn."""
        return not self._queues

    def take(self, key: StoreKey) -> None:
        """Wait for the turn on a record; raise `Conflict` after `WAIT_SECONDS`."""
        with self._lock:
            if key not in self._queues:
                self._queues[key] = None
                return
            queue = self._queues[key]
            if queue is None:
                queue = self._queues[key] = deque()
            mine = threading.Lock()
            mine.acquire()
            queue.append(mine)
        try:
            taken = mine.acquire(timeout=WAIT_SECONDS)
        except BaseException:
            # An interrupt, which a signal handler raises in the main thread.
            if not self._leave(queue, mine):
                self.give(key)
            raise
        if not taken and self._leave(queue, mine):
            raise waited_too_long(key)

    def _leave(self, queue: deque[threading.Lock], mine: threading.Lock) -> bool:
        """Wait no longer; False if the turn has been given meanwhile."""
        with self._lock:
            if mine not in queue:
                return False
            queue.remove(mine)
            return True

    def give(self, key: StoreKey) -> None:
        """Let the thread that has waited longest have the turn."""
        with self._lock:
            queue = self._queues.get(key)
            if queue:
                queue.popleft().release()
            else:
                # After a fork, the child has forgotten who has it.
                self._queues.pop(key, None)
