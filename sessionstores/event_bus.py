"""In-process event bus: commits, removals and messages, published by lower layers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .keys import StoreKey
from .state import codec
from .state.declaration import State
from .state.patch import Operation, diff

logger = logging.getLogger("sessionstores")


@dataclass(slots=True)
class Patches:
    """How many patches this process has made since it started, and their bytes."""

    count: int = 0
    bytes: int = 0


patches = Patches()


# Not frozen, and without the lock of a cached property: each would take 0.8 µs.
@dataclass(eq=False, slots=True)
class Change:
    """A commit: `after` led the record at `key` from rev `base` to `rev`.

    `before` and `after` hold the stored forms of the states that changed, `after` None
    for one that was deleted. `followers` are the processes with connections that
    follow the record; `source` is the connection that acted, which learns of it from
    its ack. When a state was deleted, or a corrupt one gave way to a fresh one, the
    change is a `reset`: no patch leads there. `edit` spares decoding both forms if a
    single state changed: its plain form before, and what `codec.dump` returned.
    `action` is the qualified name of what was run, if it has one.
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
    _operations: bytes | None = field(default=None, init=False, repr=False)

    @property
    def operations(self) -> bytes:
        """The JSON array of RFC 6902 operations from `base` to `rev`."""
        if self._operations is None:
            # Two threads may both come here; they find the same.
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
        if self.edit is not None:
            return self.edit[0], codec.plain_of(self.edit[1])
        return codec.plain(self.before[name]), codec.plain(stored)


@dataclass(frozen=True, eq=False)
class Removal:
    """A record is gone, for `reason` "idle", "cleanup", "ended" or "lost"."""

    key: StoreKey
    reason: str
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Message:
    """Data for the tabs of a participant, or with `"*"` of a whole session."""

    key: StoreKey
    data: Any
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Revocation:
    """Tokens that `key` was given until now are void."""

    key: StoreKey
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Attendance:
    """Who is present in the session of `key` has changed: look again."""

    key: StoreKey
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Disconnection:
    """The tabs of a participant, or with `"*"` of a whole session, are to close."""

    key: StoreKey
    followers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Note:
    """Something for the session's timeline only; `kind` is a word such as "joined"."""

    key: StoreKey
    kind: str
    text: str = ""
    count: int = 1


# What the processes with tabs of a record are told.
Hint = Change | Removal | Message | Revocation | Attendance | Disconnection


Event = Hint | Note


@dataclass(frozen=True)
class EventBus:
    """Where the lower layers leave events, and delivery subscribes to them."""

    subscribers: list[Callable[[Event], None]] = field(default_factory=list)

    def publish(self, event: Event) -> None:
        """Hand `event` to every subscriber; one that fails is logged, not raised.

        The commit has happened: what fails now costs a heartbeat, never the answer.
        """
        for subscriber in self.subscribers:
            try:
                subscriber(event)
            except Exception:
                logger.exception("Delivery of %s failed", type(event).__name__)


bus = EventBus()


# Called after this process has created a record or a session.
creation_hooks: list[Callable[[], None]] = []


# Called when this process begins to serve tabs, and again when it does after a pause.
serving_hooks: list[Callable[[], None]] = []


def created() -> None:
    """Say that this process has created a record or a session."""
    for hook in creation_hooks:
        hook()


def serving() -> None:
    """Say that this process begins to serve tabs."""
    for hook in serving_hooks:
        hook()
