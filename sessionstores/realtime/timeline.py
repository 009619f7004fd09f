"""What happens in each session, gathered here and written with the next heartbeat.

What is alike is counted together, so that a commit costs no more than an entry of a
dictionary, and a session's ring of events shows who did what instead of each change.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from .. import conf
from ..backends import get_backend
from ..backends.base import Backend
from ..backends.types import MAX_EVENTS
from ..event_bus import Change, Event, Message, Note, Removal
from ..exceptions import SessionStoresError, StoreUnavailable
from ..keys import StoreKey

logger = logging.getLogger("sessionstores.delivery")

# Entries that wait to be written, of all sessions; what comes past it is not shown.
MAX_WAITING = 10_000
# Characters of an event's text.
MAX_TEXT = 200
# After so many heartbeats nobody is about to write what waits.
PATIENCE = 3


class Entry:
    """Events of one kind and key: how many, and the latest one's time and text."""

    __slots__ = ("action", "at", "count", "text")

    def __init__(self) -> None:
        # By `time.monotonic`.
        self.at = 0.0
        self.count = 0
        self.text = ""
        self.action = ""

    def event(self, key: StoreKey, kind: str, at: float) -> dict[str, Any]:
        """Return the event as it is stored."""
        text = self.text
        name = self.action.rpartition(".")[2]
        # A lambda has a name, but it says nothing.
        if name.isidentifier():
            text = f"{text}.{name}"
        who = key.participant
        return {"at": at, "kind": kind, "who": who, "text": text, "count": self.count}


Waiting = dict[tuple[StoreKey, str], Entry]


class Timeline:
    """This process's part of all sessions' timelines, until it is written.

    `due` is called when somebody must see to a `flush` before long.
    """

    def __init__(self) -> None:
        self.due: Callable[[], None] = lambda: None
        self.clear()

    def clear(self) -> None:
        """Forget what waits."""
        self._lock = threading.Lock()
        self._waiting: Waiting = {}
        # Those entries of them that count changes.
        self._changes: dict[StoreKey, Entry] = {}
        self._since = 0.0

    def take(self, event: Event) -> None:
        """Count an event; from any thread.

        Exact, except that a change that meets a flush in another thread may be lost.
        """
        if isinstance(event, Change):
            # Each commit comes here: without the lock and all else it is 0.15 µs.
            entry = self._changes.get(event.key)
            if entry is not None and entry.action is event.action:
                entry.count += 1
                entry.at = time.monotonic()
                return
        if self._take(event):
            self.due()

    def _take(self, event: Event) -> bool:
        """Count an event; True if nothing waited, or for long."""
        action = ""
        count = 1
        if isinstance(event, Change):
            kind, action = "changed", event.action
            # With an action there is one, and the first of several says enough.
            text = next(iter(event.after), "")
        elif isinstance(event, Note):
            kind, text, count = event.kind, event.text[:MAX_TEXT], event.count
        elif isinstance(event, Removal):
            kind, text = "removed", event.reason
        elif isinstance(event, Message):
            kind, text = "message", ""
        else:
            return False
        place = event.key, kind
        now = time.monotonic()
        due = False
        with self._lock:
            entry = self._waiting.get(place)
            if entry is None:
                if len(self._waiting) >= MAX_WAITING:
                    return False
                due = not self._waiting or self._is_overdue(now)
                if due:
                    self._since = now
                entry = self._waiting[place] = Entry()
                if kind == "changed":
                    self._changes[event.key] = entry
            entry.at = now
            entry.count += count
            entry.text = text
            entry.action = action
        return due

    async def flush(self, backend: Backend) -> None:
        """Write what waits, in one step of the backend for each session.

        What the cache does not take is logged, and waits for the next time.
        """
        with self._lock:
            waiting, self._waiting, self._changes = self._waiting, {}, {}
        if not waiting:
            return
        sessions: dict[str, Waiting] = {}
        for (key, kind), entry in waiting.items():
            sessions.setdefault(key.session, {})[key, kind] = entry
        try:
            # Events have the backend's time, whatever this machine's clock says.
            offset = await backend.now() - time.monotonic()
            for session, entries in list(sessions.items()):
                await _write(backend, session, entries, offset)
                del sessions[session]
        except StoreUnavailable as error:
            logger.warning("Timelines are not written: %s", error)
        finally:
            # The one that failed comes last: its shard may be the only one down.
            for entries in [*sessions.values()][1:] + [*sessions.values()][:1]:
                self._put_back(entries)

    def _is_overdue(self, now: float) -> bool:
        return now - self._since > PATIENCE * conf.get().heartbeat

    def _put_back(self, entries: Waiting) -> None:
        with self._lock:
            for place, entry in entries.items():
                newer = self._waiting.get(place)
                if newer is not None:
                    newer.count += entry.count
                elif len(self._waiting) < MAX_WAITING:
                    self._waiting[place] = entry


async def _write(
    backend: Backend, session: str, entries: Waiting, offset: float
) -> None:
    changes = 0
    events = []
    for (key, kind), entry in entries.items():
        changes += entry.count if kind == "changed" else 0
        events.append(entry.event(key, kind, entry.at + offset))
    events.sort(key=lambda event: event["at"])
    try:
        await backend.note(session, events[-MAX_EVENTS:], changes=changes)
    except StoreUnavailable:
        raise
    except SessionStoresError as error:
        logger.warning("%s: its timeline is not written: %s", session, error)


timeline = Timeline()


async def write_timeline(*, blocking: bool = False) -> None:
    """Flush this process's timeline; what fails is logged: nobody waits for it."""
    try:
        await timeline.flush(get_backend(blocking=blocking))
    except Exception:
        logger.exception("Timelines are not written")


if hasattr(os, "register_at_fork"):
    # The parent writes what waits; and it may hold the lock just now.
    os.register_at_fork(after_in_child=timeline.clear)
