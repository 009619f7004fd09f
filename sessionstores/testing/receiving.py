"""Receiver of a tab: what frames make of its documents, presence and answers."""

from __future__ import annotations

import asyncio
import copy
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from ..exceptions import UnknownState
from ..participants.participant import Participant
from ..state.declaration import State
from .arguments import state_name
from .documents import GAP_PATIENCE, TabDocument, is_past
from .outbox import TabOutbox

# The documents that each tab follows.
OWN = ("me", "session")
# Before the id, in the name of a document of somebody who is watched.
WATCHED = "p:"
# In the place of an id: everybody in the session, whoever comes later too.
EVERYBODY = "*"
Status = Literal["new", "live", "dropped", "ended"]
NOT_OPEN = (
    "this tab is not open. Write async with tab(…) as page, and act inside of it."
)
E = TypeVar("E", bound=Exception)


class TabClosed(ConnectionError):
    """The server has closed a tab that is to open or to act; `code` says why.

    `reason` is that of its `end` frame, or the code of its last `error` frame. What the
    server has for developers is a note.
    """

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"The server closed the tab: {reason} ({code}). {message}")
        self.code = code
        self.reason = reason
        self.message = message


class TabReceiver(ABC):
    """What a tab knows by the frames that it has got; see `PageTab`."""

    def __init__(self, participant: Participant, token: str | None) -> None:
        self.participant = participant
        self.role = participant.role
        self.name: str | None = None
        self.status: Status = "new"
        self.ended: str | None = None
        self.presence: dict[str, list[dict[str, Any]]] = {}
        self.people: dict[str, dict[str, Any]] = {}
        self.messages: list[Any] = []
        self.frames: list[dict[str, Any]] = []
        self.resets: list[str] = []
        self.watching: set[str] = set()
        self.participants: dict[str, dict[str, Any]] = {}
        self.gone: dict[str, str] = {}
        self._token = token
        self._documents = {name: TabDocument() for name in OWN}
        # Those whose first snapshot of this connection has not come.
        self._awaited: set[str] = set()
        self._outbox = TabOutbox(secrets.token_hex(8))
        # The next frame of presence names everybody.
        self._roll = False
        self._error: dict[str, Any] = {}
        # What the server has for developers about the latest frame that refuses.
        self._hint = ""
        # Whom the server lets this tab watch, and its refusals.
        self._allowed: set[str] = set()
        self._refusals: dict[str, dict[str, Any]] = {}
        self._is_opening = False
        # Why the connection is about to end for good.
        self._farewell: str | None = None
        self._gap: asyncio.TimerHandle | None = None

    if not TYPE_CHECKING:  # They know that there is none.

        def __enter__(self) -> NoReturn:
            raise TypeError(
                "A tab needs an event loop: async with tab(…) as page, in a coroutine. "
                "Elsewhere, with blocking_tab(…) as page."
            )

        def __exit__(self, *exc: object) -> None: ...

    @abstractmethod
    def _say(self, frame: Mapping[str, Any]) -> None:
        """Send a frame, if there is a connection."""

    @abstractmethod
    def _flush(self) -> None:
        """Send the actions that are not on their way."""

    def state(self, state: str | type[State]) -> Any:
        """Return a state as this tab has it: a dict, by the names of its fields.

        Raises `UnknownState`.
        """
        return self._state_of(OWN, state)

    def watched(self, id: str, state: str | type[State]) -> Any:
        """Return a state of a participant whom this tab watches, likewise.

        As far as the tab's role sees it: without its sensitive fields.
        """
        return self._state_of((WATCHED + id,), state)

    def rev(self, document: str = "me") -> str | None:
        """Return the rev of a document, as this tab has it.

        "me", "session", or of a participant whom it watches `p:<id>`; None before its
        first snapshot.
        """
        if document.startswith(WATCHED) and document not in self._documents:
            return None
        if document not in self._documents:
            known = " and ".join(map(repr, self._documents))
            raise LookupError(
                f"This tab has no document {document!r}, only {known}: a participant's "
                "states share the rev of 'me', the session's that of 'session'."
            )
        return self._documents[document].rev

    def _state_of(self, names: Sequence[str], state: str | type[State]) -> Any:
        state = state_name(state)
        found: dict[str, Any] = {}
        for name in names:
            if name in self._documents:
                found |= self._documents[name].states or {}
        if state not in found:
            raise UnknownState(self._without(state, names, sorted(found)))
        return copy.deepcopy(found[state])

    def _without(self, state: str, names: Sequence[str], known: Sequence[str]) -> str:
        """Return why a state is not here, and the way out."""
        if self.status == "new":
            return f"There is no state {state!r} here: {NOT_OPEN}"
        if not known and names != OWN:
            id = names[0].removeprefix(WATCHED)
            if id in self.gone:
                why = f"who is gone: {self.gone[id]}"
            else:
                why = f"whom it does not watch: await page.watch({id!r})"
            return f"This tab has no state {state!r} of {id!r}, {why}."
        there = ", ".join(map(repr, known)) or "none"
        return f"This tab has no state {state!r}, only {there}."

    def _farewell_text(self) -> str:
        """Return why a tab that has ended takes no more actions, and the way out."""
        if self.ended in {"ended", "session_ended"}:
            return f"The session is over: {self.ended}."
        if self.ended == "closed":
            return (
                "This tab is closed, and its session goes on: act inside of async with "
                "tab(…), or open another one, as a reload of the page does."
            )
        return (
            f"This tab has ended: {self.ended}. Open another one, as a reload of the "
            "page does."
        )

    def _told(self, error: E) -> E:
        """Add to an error what the server has for developers."""
        if self._hint:
            error.add_note(self._hint)
        return error

    async def _require_open(self) -> None:
        """Raise RuntimeError for a tab that nobody has opened, or is about to."""
        if self.status == "new" and not self._is_opening:
            # Another task may be on its way to do so.
            await asyncio.sleep(0)
            if not self._is_opening:
                raise RuntimeError(f"Nothing is sent: {NOT_OPEN}")

    def _take(self, frame: dict[str, Any], hint: str = "") -> None:
        if frame["type"] in {"error", "reject"}:
            self._hint = hint or frame.get("hint", "")
        self.frames.append(frame)
        takes: dict[str, Callable[[dict[str, Any]], None]] = {
            "welcome": self._welcome,
            "snapshot": self._take_snapshot,
            "patch": self._take_patch,
            "ack": self._take_ack,
            "reject": self._take_reject,
            "error": self._take_error,
            "ping": self._take_ping,
            "presence": self._take_presence,
            "self": self._take_self,
            "watching": self._take_watching,
            "unwatched": self._take_unwatched,
            "gone": self._take_gone,
            "message": lambda frame: self.messages.append(frame["data"]),
            "token": lambda frame: setattr(self, "_token", frame["token"]),
            "end": lambda frame: setattr(self, "_farewell", frame["reason"]),
        }
        take = takes.get(frame["type"])
        if take is not None:
            take(frame)
        self._repair_later()

    def _welcome(self, frame: dict[str, Any]) -> None:
        self._take_self(frame)
        self.status = "live"
        self._roll = True
        rate = frame.get("limits", {}).get("rate")
        self._outbox.welcome(frame["client"], rate)
        self._allowed.clear()
        for id in sorted(self.watching):
            self._say({"type": "watch", "participant": id})
        self._flush()

    def _take_snapshot(self, frame: dict[str, Any]) -> None:
        name = frame["doc"]
        document = self._documents.get(name)
        if document is None and EVERYBODY in self.watching:
            document = self._documents[name] = TabDocument()
        if document is None:
            return
        self.gone.pop(name.removeprefix(WATCHED), None)
        if frame["reset"]:
            self.resets.append(name)
        if document.take_snapshot(frame):
            # Whatever it holds, it is what has become of the actions before it.
            self._outbox.release(lambda doc, rev: doc == name)
        self._awaited.discard(name)

    def _take_patch(self, frame: dict[str, Any]) -> None:
        if frame["doc"] in self._documents:
            self._documents[frame["doc"]].take_patch(frame)
            self._outbox.release(self._has)

    def _take_ack(self, frame: dict[str, Any]) -> None:
        self._outbox.acknowledge(frame)
        # A repeated action's says where the document is, not how it got there.
        carries = "result" in frame or frame.get("ops")
        self._take_patch(frame if carries else {**frame, "base": frame["rev"]})

    def _take_reject(self, frame: dict[str, Any]) -> None:
        self._outbox.reject(frame, self._hint)
        self._flush()

    def _take_error(self, frame: dict[str, Any]) -> None:
        self._error = frame
        if frame.get("of") == "watch":
            id = frame.get("participant", "")
            self._refusals[id] = frame
            self._awaited.discard(WATCHED + id)
        self._outbox.reject(frame, self._hint)

    def _take_ping(self, frame: dict[str, Any]) -> None:
        self._say({"type": "pong", "visible": True})
        for name, head in frame.get("heads", {}).items():
            if name in self._documents:
                self._documents[name].take_head(head)

    def _take_presence(self, frame: dict[str, Any]) -> None:
        # The first one of a connection names everybody.
        self.presence = {} if self._roll else self.presence
        self.people = {} if self._roll else self.people
        self._roll = False
        self.presence |= frame["joined"]
        self.people |= frame.get("people", {})
        for id in frame["left"]:
            self.presence.pop(id, None)

    def _take_self(self, frame: dict[str, Any]) -> None:
        self.role = frame.get("role", self.role)
        self.name = frame.get("name", self.name)

    def _take_watching(self, frame: dict[str, Any]) -> None:
        self._allowed.add(frame["participant"])
        self.participants |= frame["people"]

    def _take_unwatched(self, frame: dict[str, Any]) -> None:
        self._unwatch(frame["participant"])

    def _take_gone(self, frame: dict[str, Any]) -> None:
        id = frame["participant"]
        self._awaited.discard(WATCHED + id)
        self.gone[id] = frame["reason"]
        self.participants.pop(id, None)
        if id in self.watching:
            self._documents[WATCHED + id] = TabDocument()
        else:
            self._documents.pop(WATCHED + id, None)

    def _unwatch(self, id: str) -> None:
        """Forget a participant, or all who are not watched by name."""
        self.watching.discard(id)
        self._allowed.discard(id)
        if id == EVERYBODY:
            self.participants.clear()
        if EVERYBODY not in self.watching:
            for name in self._documents.keys() - {*OWN}:
                if name.removeprefix(WATCHED) not in self.watching:
                    del self._documents[name]
                    self._awaited.discard(name)

    def _is_watching(self, id: str) -> bool:
        """Whether the first snapshots are here of whom the tab has asked for."""
        if id == EVERYBODY:
            return EVERYBODY in self._allowed and all(
                map(self._is_watching, self.participants)
            )
        document = self._documents.get(WATCHED + id)
        return id in self.gone or (document is not None and document.states is not None)

    def _has(self, name: str, rev: str) -> bool:
        return name not in self._documents or is_past(self._documents[name].rev, rev)

    def _repair_later(self) -> None:
        lacking = any(document.lacks for document in self._documents.values())
        if lacking and self._gap is None:
            loop = asyncio.get_running_loop()
            self._gap = loop.call_later(GAP_PATIENCE, self._repair)
        elif not lacking and self._gap is not None:
            self._gap.cancel()
            self._gap = None

    def _repair(self) -> None:
        self._gap = None
        for name, document in self._documents.items():
            if document.lacks:
                self._sync(name)

    def _sync(self, name: str) -> None:
        document = self._documents[name]
        document.forget()
        document.asked = True
        self._say({"type": "sync", "doc": name, "rev": document.rev})
