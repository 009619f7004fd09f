"""Event bus of this process: commits, removals, messages and what else has happened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from .concurrency.threads import mutex
from .keys import StoreKey
from .state import codec
from .state.declaration import State
from .state.patch import Operation, diff

logger = logging.getLogger("sessionstores")


@dataclass(slots=True)
class Patches:
    """Patches computed by this process since it started: their count and bytes."""

    count: int = 0
    bytes: int = 0


patches = Patches()


# Not frozen, and without the lock of a cached property: each would take 0.8 µs.
@dataclass(eq=False, slots=True)
class Change:
    """A commit that led the record at `key` from rev `base` to `rev`.

    `before` and `after` hold the stored forms of the states that changed; `after` is
    None for a deleted one. `followers` are the processes with connections that follow
    the record. `source` is the connection that acted: its ack carries the change. A
    `reset` deleted a state or replaced a corrupt one: no patch leads there; if it is
    `restarted`, the site has asked for fresh states. `edit`
    spares decoding both forms if a single state changed: what `codec.load` returned of
    it before, unless that was None, and the instance that `codec.dump` returned, which
    must not be changed. `action` is the qualified name of what was run last, if it has
    one, and changed the first state in `after`; `count` is how many actions the commit
    carries, and `parts`, of a commit with unlike ones, how many of each: by the name of
    its state and its qualified name.
    """

    key: StoreKey
    base: str
    rev: str
    before: Mapping[str, bytes]
    after: Mapping[str, bytes | None]
    followers: frozenset[str] = frozenset()
    source: str | None = None
    reset: bool = False
    edit: tuple[Any, State] | None = None
    action: str = ""
    count: int = 1
    parts: Mapping[tuple[str, str], int] | None = None
    restarted: bool = False
    _operations: bytes | None = field(default=None, init=False, repr=False)

    @property
    def operations(self) -> bytes:
        """The JSON array of RFC 6902 operations from `base` to `rev`."""
        if self._operations is None:
            # Two threads may both compute it, with the same result.
            self._operations = msgspec.json.encode(self._difference())
            patches.count += 1
            patches.bytes += len(self._operations)
        return self._operations

    def _difference(self) -> list[Operation]:
        operations: list[Operation] = []
        for name, stored in self.after.items():
            path = f"/{name}"
            if stored is None:
                operations.append({"op": "remove", "path": path})
            elif name in self.before:
                operations += diff(*self._plain(name, stored), path)
            else:
                operations.append(
                    {"op": "add", "path": path, "value": codec.plain(stored)}
                )
        return operations

    def _plain(self, name: str, stored: bytes) -> tuple[Any, Any]:
        # An instance does not hold what is unknown to this release.
        if self.edit is not None and type(self.edit[0]) is not codec.Kept:
            return self.edit[0], codec.plain_of(self.edit[1])
        return codec.plain(self.before[name]), codec.plain(stored)


@dataclass(frozen=True, eq=False)
class Removal:
    """A record was removed.

    `reason` is "idle", "cleanup", "ended", "kicked", "left" or "lost". "kicked" is also
    published of who had no record: their tabs are to close.
    """

    key: StoreKey
    reason: str
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Message:
    """Data for the tabs of a participant, or with `"*"` of a whole session.

    `data` is encoded as JSON after `publish` has returned: it must not be changed.
    """

    key: StoreKey
    data: Any
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Revocation:
    """The tokens issued to `key` until now are void."""

    key: StoreKey
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Attendance:
    """Presence in the session of `key` has changed; its leases are to be read again."""

    key: StoreKey
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class ProfileChange:
    """The participant at `key` has another name or role: it is to be read again."""

    key: StoreKey
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Disconnection:
    """The tabs of a participant, or with `"*"` of a whole session, are to close."""

    key: StoreKey
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Note:
    """An entry for the session's timeline only; `kind` is a word such as "joined"."""

    key: StoreKey
    kind: str
    text: str = ""
    count: int = 1


@dataclass(frozen=True, eq=False)
class Act:
    """A participant has changed the session's own state; for its timeline only.

    `key` is theirs. The change itself is published as one of the session's record,
    perhaps together with others. `action` is its qualified name.
    """

    key: StoreKey
    state: str
    action: str


@dataclass(frozen=True, eq=False)
class Creation:
    """This process has created a record or a session, at `key`."""

    key: StoreKey


@dataclass(frozen=True, eq=False)
class Failure:
    """Something was refused here, or failed; its text is nobody else's business."""


@dataclass(frozen=True, eq=False)
class Serving:
    """This process begins to serve tabs, for the first time or after a pause."""


# What the processes with tabs of a record receive.
Hint = (
    Change | Removal | Message | Revocation | Attendance | ProfileChange | Disconnection
)
# What happens in sessions.
SessionEvent = Hint | Note | Act
Event = SessionEvent | Creation | Failure | Serving

# The same, to subscribe to.
HINTS: tuple[type[Hint], ...] = (
    Change,
    Removal,
    Message,
    Revocation,
    Attendance,
    ProfileChange,
    Disconnection,
)
SESSION_EVENTS: tuple[type[SessionEvent], ...] = (*HINTS, Note, Act)

E = TypeVar("E", bound=Event)
Listener = Callable[[Any], object]
Listeners = dict[type[Any], tuple[Listener, ...]]


class EventBus:
    """Hands the events that the lower layers publish to listeners, by their class.

    Listeners run in the publishing thread, in the order in which they subscribed.
    """

    def __init__(self) -> None:
        self._lock = mutex()
        # Replaced and never changed, so that `publish` needs no lock.
        self._listeners: Listeners = {}

    def publish(self, event: Event) -> None:
        """Call every listener for the class of `event`; log what fails, raise nothing.

        The commit has happened: a failure now delays delivery by up to a heartbeat,
        and must not look like a failed commit.
        """
        for listener in self._listeners.get(type(event), ()):
            try:
                listener(event)
            except Exception:
                logger.exception("Delivery of %s failed", type(event).__name__)

    def subscribe(
        self, listener: Callable[[E], object], *kinds: type[E], first: bool = False
    ) -> None:
        """Call `listener` for events of these classes; `first`: before the others.

        Once, however often it is subscribed: apps get ready again where a test of the
        site overrides INSTALLED_APPS.
        """
        with self._lock:
            listeners = dict(self._listeners)
            for kind in kinds:
                known = listeners.get(kind, ())
                if listener in known:
                    continue
                listeners[kind] = (listener, *known) if first else (*known, listener)
            self._listeners = listeners

    def unsubscribe(self, listener: Listener) -> None:
        """Call `listener` no more; nothing happens if it is not subscribed."""
        with self._lock:
            self._listeners = {
                kind: tuple(each for each in known if each != listener)
                for kind, known in self._listeners.items()
            }

    def listeners(self, kind: type[Event]) -> tuple[Listener, ...]:
        """Return what is called for events of a class, in order."""
        return self._listeners.get(kind, ())

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Undo after a block what it subscribes and unsubscribes; for tests."""
        before = self._listeners
        try:
            yield
        finally:
            self._listeners = before

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Begin a block without listeners and restore them after it; for tests."""
        with self.restored():
            self._listeners = {}
            yield


bus = EventBus()
