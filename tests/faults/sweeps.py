"""Programs that sweep, and that come back at the moment of being idle."""

from __future__ import annotations

import heapq
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from sessionstores import conf, signals
from sessionstores.manager import stores
from sessionstores.state.declaration import State, registry

with registry.isolated():

    class Life(State):
        """From a creation to a removal: how often its participant came, and when last.

        Times are of this machine, as those of all servers under test are.
        """

        id: str = ""
        times: int = 0
        at: float = 0.0

        def come(self) -> None:
            """Count one more."""
            self.id = self.id or secrets.token_hex(8)
            self.times += 1
            self.at = time.time()


def declaring_life(
    pipe: Connection, program: Callable[..., object], *arguments: object
) -> None:
    """Run one of the programs below in a process that has not declared `Life`.

    Threads share a registry, and would each put back what it had when they began.
    """
    with registry.isolated(Life):
        program(pipe, *arguments)


class Ended(NamedTuple):
    """What a sweeper was told of a removal."""

    participant: str
    reason: str
    id: str
    times: int
    unused: float


def come_back(
    pipe: Connection, code: str, participants: list[str], races: int, idle_for: float
) -> None:
    """Come back `races` times, each time about when a participant has become idle.

    In the end say how often each of them came.
    """
    conf._reset(setting="SESSIONSTORES")
    rng = random.Random(f"{code} {participants[0]}")
    came: Counter[str] = Counter()
    due = [(time.monotonic(), participant) for participant in participants]
    for _ in range(races):
        at, participant = heapq.heappop(due)
        time.sleep(max(0.0, at - time.monotonic()))
        stores.get(Life, code, participant).dispatch(Life.come)
        came[participant] += 1
        # On a busy machine, rather later.
        after = time.monotonic() + idle_for * rng.uniform(0.6, 1.1)
        heapq.heappush(due, (after, participant))
    pipe.send(dict(came))


def sweep(pipe: Connection, idle_for: float) -> None:
    """Sweep again and again until told to stop; then say what was removed."""
    conf._reset(setting="SESSIONSTORES")
    ended: list[Ended] = []
    # Beside a sweeper in another thread, each hears of both.
    thread = threading.current_thread()

    def receive(participant: str, reason: str, states: Any, **kwargs: Any) -> None:
        if threading.current_thread() is not thread:
            return
        life = states["life"] if states else Life()
        unused = time.time() - life.at
        ended.append(Ended(participant, reason, life.id, life.times, unused))

    signals.participant_removed.connect(receive)
    while not pipe.poll(0.002):
        stores.sweep(idle_for=idle_for, batch_size=5)
    signals.participant_removed.disconnect(receive)
    pipe.send([tuple(each) for each in ended])


def look(pipe: Connection, code: str) -> None:
    """Say for each participant who is there which life it is, and how often they came.

    Says nothing of those who are not.
    """
    found = {
        participant: stores.get(Life, code, participant).peek()
        for participant in stores.participants(code)
    }
    lives = {id: snapshot.state for id, snapshot in found.items() if snapshot}
    pipe.send({id: (life.id, life.times) for id, life in lives.items()})
