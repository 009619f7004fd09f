"""Processes that write through the public API, to be watched, paused and killed.

A program is a function of a pipe and plain arguments, which runs in a process of its
own, forked from one that has everything imported. `Writer` is the end of it that a
test holds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from sessionstores import event_bus
from sessionstores.exceptions import Conflict, StoreUnavailable
from sessionstores.manager import stores
from sessionstores.state.declaration import State, field, registry
from sessionstores.store.store import Store

PATIENCE = 240.0
PAGE = 1_000
# Seconds between a rival's commits: those that a record remembers then reach back
# further than a retry takes, even on a busy machine.
PAUSE = 0.01
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])

Link = tuple[str, str, str]

with registry.isolated():

    class Ledger(State):
        """Who has added how often, in ways that always agree unless one is torn."""

        total: int = 0
        last: dict[str, int] = field(default_factory=dict[str, int])
        lost: int = 0
        doubled: int = 0
        page: str = ""

        def add(self, writer: str, number: int) -> None:
            """Enter a writer's next number, and count what is wrong with it."""
            ahead = number - self.last.get(writer, 0) - 1
            self.lost += max(ahead, 0)
            self.doubled += ahead < 0
            self.last[writer] = number
            self.total += 1
            self.page = self._page()

        def _page(self) -> str:
            return chr(ord("a") + self.total % 26) * PAGE

        @property
        def torn(self) -> bool:
            """Whether parts of it are of different times."""
            if not self.total:
                return bool(self.last or self.page)
            return self.page != self._page() or self.total < len(self.last)

    class Roll(State):
        """Which numbers were added, in the record that a `Ledger` is in too."""

        numbers: list[int] = field(default_factory=list[int])


class Writer:
    """A process that runs `program(pipe, *arguments)` with `site` for settings.

    `site` maps names of settings to values; CACHES at least.
    """

    def __init__(
        self, site: dict[str, Any], program: Callable[..., object], *arguments: Any
    ) -> None:
        self.pipe, theirs = FORKS.Pipe()
        self.process = FORKS.Process(
            target=_run, args=(site, theirs, program, arguments), daemon=False
        )
        self.process.start()
        theirs.close()

    def hear(self) -> Any:
        """Return the next thing that it says; raise EOFError if it is gone."""
        assert self.pipe.poll(PATIENCE), "a writer fell silent"
        said = self.pipe.recv()
        if isinstance(said, Failure):
            raise AssertionError(said.text)
        return said

    def say(self, word: str) -> None:
        """Put a word into its pipe."""
        self.pipe.send(word)

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP and SIGCONT."""
        assert self.process.pid
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it at once, as a crash would; what it has said can still be heard."""
        self.process.kill()
        self.process.join(PATIENCE)


class Failure:
    """What went wrong in a writer, to be raised where the test hears it."""

    def __init__(self, text: str) -> None:
        self.text = text


def _run(
    site: dict[str, Any],
    pipe: Connection,
    program: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    # An interrupted test ends its writers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for name, value in site.items():
            setattr(settings, name, value)
        if "DATABASES" in site:
            # Models have asked for them as they were.
            connections.settings = connections.configure_settings(site["DATABASES"])
            del connections["default"]
        with registry.isolated(Ledger, Roll):
            program(pipe, *arguments)
    except BaseException:  # noqa: BLE001 - raised in the test
        pipe.send(Failure(traceback.format_exc()))


class Tally:
    """Counts what dispatches needed, and keeps the links of the chain they made."""

    def __init__(self) -> None:
        self.tries = 0
        self.conflicts = 0
        self.refusals = 0
        self.links: list[Link] = []
        event_bus.bus.subscribe(self._link, event_bus.Change)

    def _link(self, event: event_bus.Change) -> None:
        self.links.append((str(event.key), event.base, event.rev))

    def add(self, code: str, participant: str, writer: str, number: int) -> None:
        """Add a writer's next number, as often as it takes."""
        self.dispatch(code, participant, lambda ledger: ledger.add(writer, number))

    def dispatch(
        self, code: str, participant: str, action: Callable[[Ledger], None]
    ) -> None:
        """Dispatch, and again after each `Conflict` or refusal, as callers do."""

        def counted(ledger: Ledger) -> None:
            self.tries += 1
            action(ledger)

        store = stores.get(Ledger, code, participant)
        while True:
            try:
                return store.dispatch(counted)
            except Conflict:
                self.conflicts += 1
            except StoreUnavailable as error:
                # In one file, all writers wait for one lock; the others need none.
                if not error.refused or "database is locked" not in str(error):
                    raise
                self.refusals += 1


def unbroken(links: list[Link]) -> bool:
    """Tell whether each record's revs follow one another, each from just one other."""
    chains: dict[str, list[tuple[str, str]]] = {}
    for key, base, rev in links:
        chains.setdefault(key, []).append((base, rev))
    return all(map(_single, chains.values()))


def _single(links: list[tuple[str, str]]) -> bool:
    after = dict(links)
    starts = after.keys() - after.values()
    if len(starts) != 1:
        return False
    at, steps = starts.pop(), 0
    while at in after:
        at, steps = after[at], steps + 1
    # A rev with two successors is but once in `after`.
    return steps == len(links)


# Programs


def create_table(pipe: Connection) -> None:
    """Make the table of a cache in a database."""
    call_command("createcachetable")
    pipe.send("made")


def look(pipe: Connection, code: str, participants: list[str]) -> None:
    """Say each participant's ledger as it is stored."""
    found = [stores.get(Ledger, code, each).peek() for each in participants]
    pipe.send([snapshot and snapshot.state for snapshot in found])


def write(
    pipe: Connection, code: str, participants: list[str], writer: str, times: int
) -> None:
    """Add so many times, each to a random participant's ledger; then say a `Tally`.

    Waits to be told before the first, so that all writers begin together.
    """
    pipe.recv()
    rng = random.Random(f"{code} {writer}")
    added = dict.fromkeys(participants, 0)
    tally = Tally()
    for _ in range(times):
        participant = rng.choice(participants)
        added[participant] += 1
        tally.add(code, participant, writer, added[participant])
    refused = tally.conflicts + tally.refusals
    pipe.send((added, tally.links, refused, tally.tries))


def pour(pipe: Connection, code: str, participant: str, writer: str) -> None:
    """Add without end, and say each number once its dispatch has returned."""
    tally = Tally()
    number = 0
    while True:
        number += 1
        tally.add(code, participant, writer, number)
        tally.links.clear()
        pipe.send(number)


def rival(pipe: Connection, code: str, participant: str, writer: str) -> None:
    """Add, say so, and go on about every `PAUSE` until told to stop.

    In the end say the last number.
    """
    tally = Tally()
    number = 1
    tally.add(code, participant, writer, number)
    pipe.send("begun")
    while not pipe.poll(PAUSE):
        number += 1
        tally.add(code, participant, writer, number)
    pipe.send(number)


def ponder(pipe: Connection, code: str, participant: str, writer: str) -> None:
    """Add once, but say so and wait in the middle of the action's first run.

    In the end say how often the action ran, and the links.
    """
    tally = Tally()

    def attempt(ledger: Ledger) -> None:
        if tally.tries == 1:
            pipe.send("in the action")
            pipe.recv()
        ledger.add(writer, 1)

    tally.dispatch(code, participant, attempt)
    pipe.send((tally.links, tally.conflicts, tally.tries))


def fork(pipe: Connection, code: str, participant: str, times: int) -> None:
    """Add in both flavours, before a fork and after it, in four children too.

    In the end say how the children ended.
    """
    tally = Tally()

    async def insist(store: Store[Ledger], writer: str, number: int) -> None:
        while True:
            with suppress(Conflict):
                return await store.adispatch(Ledger.add, writer, number)

    def add(writer: str, numbers: range) -> None:
        store = stores.get(Ledger, code, participant)
        for number in numbers:
            if number % 2:
                tally.add(code, participant, writer, number)
            else:
                asyncio.run(insist(store, writer, number))

    add("parent", range(1, times + 1))
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=add, args=(f"child{n}", range(1, times + 1)))
        for n in range(4)
    ]
    for child in children:
        child.start()
    add("parent", range(times + 1, 2 * times + 1))
    for child in children:
        child.join()
    pipe.send([child.exitcode for child in children])


# In the process that all writers are forked from.
if not apps.ready:
    django.setup()
