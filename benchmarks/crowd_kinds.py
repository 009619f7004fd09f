"""Frames between a crowd and each kind of server, and the state that they show."""

from __future__ import annotations

import json
import secrets
from copy import deepcopy
from functools import lru_cache
from typing import Any, NamedTuple


class Frame(NamedTuple):
    """A server's frame, as far as a crowd needs it.

    `answer` is "ack", or the code of a refusal; `ops` lead from one rev to the next,
    and `state` stands for itself.
    """

    answer: str | None = None
    base: str = ""
    rev: str = ""
    ops: list[dict[str, Any]] | None = None
    state: Any = None


class OurKind:
    """Frames of `sessionstores.v1`."""

    path = "ws/sessionstores/?"
    headers = "Sec-WebSocket-Protocol: sessionstores.v1\r\n"
    answers: tuple[bytes, ...] = (b'{"type":"ack"', b'{"type":"reject"')
    noise: tuple[bytes, ...] = (
        b'{"type":"ping"',
        b'{"type":"presence"',
        b'{"type":"self"',
    )
    ping = b'{"type":"ping"'
    pong = '{"type":"pong","visible":true}'
    # Whether each frame that is no answer has the whole state.
    whole = False
    sync = '{"type":"sync","doc":"session"}'

    # The beginning of the frame that answers it.
    synced = b'{"type":"snapshot","doc":"session"'

    def opening(self, token: str) -> list[tuple[str, bytes]]:
        """Return what a connection sends first, and how each answer begins.

        The last answer has the session's state.
        """
        hello = {"type": "hello", "token": token, "client": secrets.token_hex(4)}
        return [(json.dumps(hello), self.synced)]

    def act(self, id: int, value: int) -> str:
        """Return the frame of an action."""
        return (
            f'{{"type":"action","id":{id},"state":"agenda","action":"vote",'
            f'"args":{{"card":{value}}}}}'
        )

    def change(self, id: int, value: int) -> str:
        """Return a frame that has all connections sent a patch with `value`."""
        return self.act(id, value)

    def parse(self, payload: bytes) -> Frame:
        """Return what a frame says of the session's state."""
        frame = json.loads(payload)
        kind = frame["type"]
        if kind == "reject":
            return Frame(frame["code"])
        if frame.get("doc") != "session" or "rev" not in frame:
            return Frame()
        if kind == "snapshot":
            return Frame(rev=frame["rev"], state=frame.get("states"))
        answer = "ack" if kind == "ack" else None
        return Frame(answer, frame.get("base", ""), frame["rev"], frame.get("ops"))

    def votes(self, state: Any) -> dict[str, int]:
        """Return the votes in a state."""
        votes: dict[str, int] = state["agenda"]["votes"]
        return votes


class NaiveKind(OurKind):
    """Frames of `benchmarks.crowd_apps:naive`."""

    path = "ws/?"
    headers = ""
    answers = (b'{"type": "ack"',)
    noise: tuple[bytes, ...] = ()
    whole = True
    sync = '{"type":"sync"}'

    synced = b'{"type": "stored"'

    def opening(self, token: str) -> list[tuple[str, bytes]]:
        """See `OurKind`."""
        return [(self.sync, self.synced)]

    def act(self, id: int, value: int) -> str:
        """See `OurKind`."""
        return f'{{"type":"vote","id":{id},"card":{value}}}'

    def change(self, id: int, value: int) -> str:
        """See `OurKind`; as long as ours."""
        return (
            '{"type":"patch","doc":"session","base":"7f3a.44-9f3ac21b","rev":'
            '"7f3a.45-51d0aa37","ops":[{"op":"replace","path":"/agenda/votes/p0",'
            f'"value":{value}}}]}}'
        )

    def parse(self, payload: bytes) -> Frame:
        """See `OurKind`."""
        frame = json.loads(payload)
        if frame["type"] == "ack":
            return Frame("ack")
        return Frame(state=frame["state"])

    def votes(self, state: Any) -> dict[str, int]:
        """See `OurKind`."""
        votes: dict[str, int] = state["votes"]
        return votes


class SocketIOKind(NaiveKind):
    """Packets of `benchmarks/peers/socketio.js`."""

    path = "socket.io/?EIO=4&transport=websocket&"
    answers = (b"43",)
    noise = (b"0", b"40", b"2")
    ping = b"2"
    pong = "3"
    whole = False
    # Acknowledged as id 0; actions count from 1.
    sync = '420["sync"]'

    synced = b"430["

    def opening(self, token: str) -> list[tuple[str, bytes]]:
        """See `OurKind`."""
        return [("40", b"40"), (self.sync, self.synced)]

    def act(self, id: int, value: int) -> str:
        """See `OurKind`."""
        return f'42{id}["vote",{{"card":{value}}}]'

    def change(self, id: int, value: int) -> str:
        """See `OurKind`."""
        return f'42["change",{super().change(id, value)}]'

    def parse(self, payload: bytes) -> Frame:
        """See `OurKind`."""
        packet = json.loads(payload[payload.index(b"[") :])[-1]
        rev = packet["rev"]
        if "state" in packet:
            return Frame(rev=str(rev), state=packet["state"])
        answer = "ack" if payload.startswith(b"43") else None
        return Frame(answer, str(rev - 1), str(rev), packet["ops"])


KINDS = {"ours": OurKind(), "naive": NaiveKind(), "socketio": SocketIOKind()}


class Shown:
    """The state that a tab shows, by the frames that it was sent."""

    def __init__(self) -> None:
        self.state: Any = None
        self.rev = ""
        # When that state was there.
        self.at = 0.0
        # Changes whose base has not come, by base.
        self.held: dict[str, Frame] = {}

    def take(self, frame: Frame, at: float) -> None:
        """Show a state, or a change on top of its base, whenever that comes."""
        if frame.state is not None:
            self.state, self.rev, self.at = deepcopy(frame.state), frame.rev, at
            self.held = {
                base: held
                for base, held in self.held.items()
                if counter(held.rev) > counter(self.rev)
            }
        elif frame.ops is not None and counter(frame.rev) > counter(self.rev):
            self.held[frame.base] = frame
        while (held := self.held.pop(self.rev, None)) is not None:
            apply(self.state, held.ops or [])
            self.rev, self.at = held.rev, at


@lru_cache(8192)
def parsed(kind: OurKind, payload: bytes) -> Frame:
    """Parse a frame once for all tabs."""
    return kind.parse(payload)


def apply(state: Any, ops: list[dict[str, Any]]) -> None:
    """Apply a patch of objects to a state."""
    for op in ops:
        *path, last = op["path"].split("/")[1:]
        place = state
        for step in path:
            place = place[step]
        if not isinstance(place, dict) or op["op"] not in {"add", "replace", "remove"}:
            raise ValueError(f"{op} is more than votes need")
        if op["op"] == "remove":
            del place[last]
        else:
            place[last] = op["value"]


def counter(rev: str) -> int:
    """Return how many commits led to a rev; 0 where there are none."""
    return int(rev.partition("-")[0].rpartition(".")[2] or 0)
