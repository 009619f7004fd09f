"""Timelines of sessions, buffered in this process and written with each heartbeat.

Events of one kind and key are counted together, and changes only if one action made
them: a commit costs one dictionary lookup, and a session's timeline shows who did what,
not each change.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver

from .. import conf
from ..backends import get_backend
from ..backends.base import Backend
from ..backends.types import MAX_EVENTS
from ..concurrency.threads import mutex
from ..event_bus import Act, Change, Message, Note, Removal, SessionEvent
from ..exceptions import SessionStoresError, StoreUnavailable
from ..keys import StoreKey

logger = logging.getLogger("sessionstores.delivery")

# Entries waiting to be written, of all sessions; further ones are dropped.
MAX_WAITING = 10_000
# Characters of an entry's text.
MAX_TEXT = 200
# In heartbeats: entries that have waited longer have lost their writer.
PATIENCE = 3


class PendingEntry:
    """Like events of one key: their count, and the latest one's time and text."""

    __slots__ = ("action", "at", "count", "name", "text")

    def __init__(self, name: str) -> None:
        # The action's last name, "" if it says nothing.
        self.name = name
        # By `time.monotonic`.
        self.at = 0.0
        self.count = 0
        self.text = ""
        self.action = ""

    def stored(self, key: StoreKey, kind: str, at: float, count: int) -> dict[str, Any]:
        """Return the entry as `Backend.note` takes it, told of `count` times."""
        text = f"{self.text}.{self.name}" if self.name else self.text
        who = key.participant
        return {"at": at, "kind": kind, "who": who, "text": text, "count": count}


# By the record, the kind, and of a change its state and action.
Place = tuple[StoreKey, str, str, str]
Pending = dict[Place, PendingEntry]


class Timeline:
    """This process's share of all sessions' timelines, until it is written.

    `request_write` is called with the time, by `time.monotonic`, at which entries
    began to wait: `flush_since` of it is then due a heartbeat later. `on_activity` is
    called with the session code of each event, but for repeated changes: see `rearm`.
    """

    def __init__(self) -> None:
        self.request_write: Callable[[float], None] = lambda since: None
        self.on_activity: Callable[[str], None] = lambda code: None
        self.clear()

    def clear(self) -> None:
        """Drop what waits."""
        self._lock = mutex()
        self._waiting: Pending = {}
        # Those of them that count changes since `rearm`.
        self._changes: dict[StoreKey, PendingEntry] = {}
        self._since = 0.0

    def note(self, event: SessionEvent) -> None:
        """Count an event; a listener of the event bus, from any thread.

        Exact, except that a change during a flush in another thread may be missed.
        """
        if isinstance(event, Change):
            # The path of every commit: 0.15 µs, without the lock.
            entry = self._changes.get(event.key)
            if entry is not None and entry.action is event.action and not event.parts:
                entry.count += event.count
                entry.at = time.monotonic()
                return
        since = self._note(event)
        if since is not None:
            self.request_write(since)
        # Of an act, its change has told.
        if not isinstance(event, Act):
            self.on_activity(event.key.session)

    def _note(self, event: SessionEvent) -> float | None:
        """Count an event; see `_count`."""
        if isinstance(event, Change):
            return self._note_change(event)
        if isinstance(event, Act):
            return self._count(event.key, "changed", event.state, event.action, 1)
        count = 1
        if isinstance(event, Note):
            kind, text, count = event.kind, event.text[:MAX_TEXT], event.count
        elif isinstance(event, Removal):
            kind, text = "removed", event.reason
        elif isinstance(event, Message):
            kind, text = "message", ""
        else:
            return None
        return self._count(event.key, kind, text, None, count)

    def _note_change(self, event: Change) -> float | None:
        # It is the one of the action; without one, the first says enough.
        state = next(iter(event.after), "")
        parts = event.parts or {(state, event.action): event.count}
        due = [self._count(event.key, "changed", *part, n) for part, n in parts.items()]
        return next((since for since in due if since is not None), None)

    def _count(
        self, key: StoreKey, kind: str, text: str, action: str | None, count: int
    ) -> float | None:
        """Count events; return since when entries wait if a write is to be requested.

        It is if no others waited, or if they have waited for too long. `action` is None
        for what is no change; of changes, those by another action are not counted with
        these.
        """
        # A lambda's name says nothing, and is not an identifier.
        name = (action or "").rpartition(".")[2]
        name = name if name.isidentifier() else ""
        place = key, kind, "" if action is None else text, name
        now = time.monotonic()
        due = False
        with self._lock:
            entry = self._waiting.get(place)
            if entry is None:
                if len(self._waiting) >= MAX_WAITING:
                    return None
                due = not self._waiting or self._is_overdue(now)
                if due:
                    self._since = now
                entry = self._waiting[place] = PendingEntry(name)
            if action is not None:
                self._changes[key] = entry
            entry.at = now
            entry.count += count
            entry.text = text
            entry.action = action or ""
        return now if due else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def rearm(self) -> None:
        """Have the next change of each record call `on_activity` again.

        Until then, and until a flush, repeated changes by one action do not.
        """
        with self._lock:
            self._changes = {}

    async def flush_since(self, since: float) -> None:
        """Write as requested, unless that has been done or dropped; raise nothing.

        Entries that came after that have a request of their own.
        """
        if self._since == since:
            await write_timeline(self)

    async def flush(self, backend: Backend) -> None:
        """Write what waits, in one atomic step of the backend for each session.

        What the backend does not take is logged and waits for the next flush.
        """
        with self._lock:
            waiting, self._waiting, self._changes = self._waiting, {}, {}
        if not waiting:
            return
        sessions: dict[str, Pending] = {}
        for place, entry in waiting.items():
            sessions.setdefault(place[0].session, {})[place] = entry
        try:
            # Entries are stored with the backend's time, whatever the local clock says.
            offset = await backend.now() - time.monotonic()
            for session, entries in list(sessions.items()):
                await _write(backend, session, entries, offset)
                del sessions[session]
        except StoreUnavailable as error:
            logger.warning("Timelines are not written: %s", error)
        finally:
            # The one that failed goes last: its shard may be the only one down.
            for entries in [*sessions.values()][1:] + [*sessions.values()][:1]:
                self._put_back(entries)

    def _is_overdue(self, now: float) -> bool:
        return now - self._since > PATIENCE * conf.get().heartbeat

    def _put_back(self, entries: Pending) -> None:
        with self._lock:
            for place, entry in entries.items():
                newer = self._waiting.get(place)
                if newer is not None:
                    newer.count += entry.count
                elif len(self._waiting) < MAX_WAITING:
                    self._waiting[place] = entry


async def _write(
    backend: Backend, session: str, entries: Pending, offset: float
) -> None:
    changes = 0
    stored = []
    counts = _counts(StoreKey.of_session(session), entries)
    for place, count in counts.items():
        if count > 0:
            key, kind, *_ = place
            changes += count if kind == "changed" else 0
            entry = entries[place]
            stored.append(entry.stored(key, kind, entry.at + offset, count))
    stored.sort(key=lambda each: each["at"])
    try:
        await backend.note(session, stored[-MAX_EVENTS:], changes=changes)
    except StoreUnavailable:
        raise
    except SessionStoresError as error:
        logger.warning("%s: its timeline is not written: %s", session, error)


def _counts(own: StoreKey, entries: Pending) -> dict[Place, int]:
    """Return how often each entry is to be told of.

    What participants have changed in the session's own state is told of them, and only
    the rest of the session: no two states have one name.
    """
    counts = {place: entry.count for place, entry in entries.items()}
    for (key, *what), entry in entries.items():
        kind, state, name = what
        change = own, kind, state, name
        if kind == "changed" and key != own and change in counts:
            counts[change] -= entry.count
    return counts


timeline = Timeline()


async def write_timeline(
    pending: Timeline = timeline, *, blocking: bool = False
) -> None:
    """Flush a timeline to this process's backend; log what fails, raise nothing."""
    if pending.is_empty:
        return
    try:
        await pending.flush(get_backend(blocking=blocking))
    except Exception:
        logger.exception("Timelines are not written")


@receiver(setting_changed)
def _drop_for_another_backend(*, setting: str, **kwargs: Any) -> None:
    if setting in {"CACHES", "SESSIONSTORES", "DATABASES"}:
        timeline.clear()


if hasattr(os, "register_at_fork"):
    # The parent writes its own entries, and its lock may be held at the fork.
    os.register_at_fork(after_in_child=timeline.clear)
