"""Receiver of a tab: what frames make of its documents, presence and answers."""

from __future__ import annotations

import asyncio
import copy
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from ..exceptions import ActionRejected, UnknownState
from ..participants.participant import Participant
from ..state.declaration import State
from .arguments import state_name
from .documents import GAP_PATIENCE, TabDocument, is_past
from .outbox import TabOutbox

# The documents that each tab follows.
OWN = ("me", "session")
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
        """Return a state of a participant whom this tab watches, likewise."""
        return self._state_of((f"p:{id}",), state)

    def rev(self, document: Literal["me", "session"] = "me") -> str | None:
        """Return the rev of a document, as this tab has it; LookupError for others."""
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
            id = names[0].removeprefix("p:")
            return (
                f"This tab has no state {state!r} of {id!r}, whom it does not watch: "
                f"await page.watch({id!r})."
            )
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

    def _refused(self) -> ActionRejected:
        """Return the error of the latest `error` frame."""
        code, message = self._error["code"], self._error["message"]
        return self._told(ActionRejected(message, code=code))

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
        for name in self._documents.keys() - {*OWN}:
            self._say({"type": "watch", "participant": name.removeprefix("p:")})
        self._flush()

    def _take_snapshot(self, frame: dict[str, Any]) -> None:
        name = frame["doc"]
        document = self._documents.get(name)
        if document is None:
            return
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

    def _has(self, name: str, rev: str) -> bool:
        return is_past(self._documents[name].rev, rev)

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
