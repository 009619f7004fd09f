"""Unanswered actions of a tab: sent in order, at the server's pace, and resent."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..exceptions import ActionRejected

# As in client.js: how often an action is sent again because others came first.
MAX_CONFLICTS = 5


@dataclass(eq=False)
class TabAction:
    """An action of a tab, from its dispatch until its effect is in the tab.

    `client` is the id under which it was first sent. `ack`: the frame that acknowledged
    it, once there is one.
    """

    id: int
    client: str
    request: Mapping[str, Any]
    answer: asyncio.Future[Any]
    sent: bool = False
    on_wire: bool = False
    conflicts: int = 0
    ack: Mapping[str, Any] | None = field(default=None)

    def frame(self, client: str) -> dict[str, Any]:
        """Return what to send, as the client of that id."""
        origin = {"client": self.client} if self.sent or self.client != client else {}
        return {"type": "action", "id": self.id, **origin, **self.request}


class TabOutbox:
    """The actions of one tab that have no effect yet, in the order of their dispatch.

    `limit`: actions a second and at once, if there is one; set at each welcome.
    """

    def __init__(self, client: str) -> None:
        self.client = client
        self._actions: list[TabAction] = []
        self._last_id = 0
        self._limit: tuple[float, float] | None = None
        self._allowance = 0.0
        self._allowed_at = 0.0

    def add(self, state: str, action: str, args: Any) -> asyncio.Future[Any]:
        """Queue an action; return the future of its result."""
        self._last_id += 1
        request = {"state": state, "action": action, "args": args}
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._actions.append(TabAction(self._last_id, self.client, request, answer))
        return answer

    def welcome(self, client: str, limit: tuple[float, float] | None) -> None:
        """Begin a connection, under the client id that the server gave."""
        self.client = client
        self._limit = limit
        self._allowance = math.inf
        self._allowed_at = asyncio.get_running_loop().time()

    def disconnect(self) -> None:
        """End a connection: what it has not answered is sent again on the next."""
        for each in self._actions:
            each.on_wire = False

    def take(self) -> tuple[list[dict[str, Any]], float]:
        """Return the frames to send now, and seconds until there may be more, or 0."""
        frames: list[dict[str, Any]] = []
        for each in self._actions:
            if each.on_wire or each.ack is not None:
                continue
            if wait := self._wait():
                return frames, wait
            frames.append(each.frame(self.client))
            each.sent = each.on_wire = True
        return frames, 0.0

    def _wait(self) -> float:
        """Pay for one action; return the seconds until that can be done, or 0."""
        if self._limit is None:
            return 0.0
        rate, burst = self._limit
        # As in client.js, which leaves half of it for frames that were delayed.
        burst = max(1.0, burst / 2)
        now = asyncio.get_running_loop().time()
        earned = (now - self._allowed_at) * rate
        self._allowance = min(burst, self._allowance + earned)
        self._allowed_at = now
        if self._allowance < 1:
            return (1 - self._allowance) / rate
        self._allowance -= 1
        return 0.0

    def acknowledge(self, frame: Mapping[str, Any]) -> None:
        """Note that an action took effect, at the rev of the frame."""
        action = self._find(frame)
        if action is not None:
            action.ack = frame

    def release(self, is_here: Callable[[str, str], bool]) -> None:
        """Answer the actions whose effect is in the tab: `is_here(document, rev)`."""
        for each in [*self._actions]:
            ack = each.ack
            if ack is not None and is_here(ack["doc"], ack["rev"]):
                self._actions.remove(each)
                if not each.answer.done():
                    each.answer.set_result(ack.get("result"))

    def reject(self, frame: Mapping[str, Any], hint: str) -> None:
        """Refuse an action; one that only came too late is queued as a new one.

        `hint` is what the server has for developers, if anything.
        """
        action = self._find(frame)
        if action is None:
            return
        if frame["code"] == "conflict" and action.conflicts < MAX_CONFLICTS:
            self._actions.remove(action)
            self._last_id += 1
            action.id, action.client = self._last_id, self.client
            action.sent = action.on_wire = False
            action.conflicts += 1
            self._actions.append(action)
        else:
            self._refuse(action, frame["code"], frame["message"], hint)

    def fail(self, code: str, message: str) -> None:
        """Refuse all actions."""
        for each in [*self._actions]:
            self._refuse(each, code, message)

    def _refuse(
        self, action: TabAction, code: str, message: str, hint: str = ""
    ) -> None:
        self._actions.remove(action)
        if not action.answer.done():
            error = ActionRejected(message, code=code)
            if hint:
                error.add_note(hint)
            action.answer.set_exception(error)

    def _find(self, frame: Mapping[str, Any]) -> TabAction | None:
        id = frame.get("id")
        waiting = (each for each in self._actions if each.ack is None)
        return next((each for each in waiting if each.id == id), None)
