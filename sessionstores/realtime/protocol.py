"""Frames of `sessionstores.v1`: parse what tabs send, and build what they are sent.

Close codes say what a client should do, by range: 4000-4099 stop, 4100-4199 get a new
token, 4200-4299 retry with backoff; see `Close`.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from ..state.json_rules import MAX_DEPTH, MAX_INTEGER, is_deeper, portable_text
from ..state.revisions import REV_PATTERN
from .frame_head import NO_HEAD, FrameHead, read_head
from .frame_numbers import (
    ALIKE,
    HUGE,
    LONG,
    MAX_HUGE,
    PLUS_HUGE,
    TEDIOUS_BYTES,
    is_tedious,
    unusable_number,
)
from .watch_frames import UNUSABLE, UnwatchFrame, WatchFrame

SUBPROTOCOL = "sessionstores.v1"
MAX_FRAME_BYTES = 65_536

Id = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
ClientId = Annotated[
    str, Meta(pattern=rf"\A(?!(?:{UNUSABLE})\Z)[A-Za-z0-9_-]{{1,64}}\Z")
]
RunText = Annotated[str, Meta(pattern=r"\A[0-9a-f]{1,16}\Z")]
RevText = Annotated[str, Meta(pattern=rf"\A{REV_PATTERN}\Z")]
TokenText = Annotated[str, Meta(min_length=1, max_length=4096)]


class Close(IntEnum):
    """WebSocket close codes: why a connection is closed."""

    NORMAL = 1000  # the tab said bye

    TOO_MANY_BAD_FRAMES = 4000
    UNKNOWN_PROTOCOL = 4001
    FORBIDDEN = 4003  # foreign origin, or a locked session
    ENDED = 4004  # the session or participant was removed; an `end` frame says why
    LIMIT = 4005  # one more participant or session than is allowed
    DISCONNECTED = 4006  # by the site, after an `end` frame; the token stays valid
    KICKED = 4007  # removed and kept out; an `end` frame or the error `kicked` says so

    TOKEN = 4100  # forged, expired, revoked, or for another session

    HELLO_TIMEOUT = 4200
    UNAVAILABLE = 4201  # the cache does not answer
    SLOW = 4202  # the tab reads too little, or answers no ping
    INTERNAL = 4203
    TOO_MANY_CONNECTIONS = 4204  # of the participant: some may be of a dead process
    TOO_MANY_FRAMES = 4205  # the tab was slowed down for long, and kept on


class HelloFrame(Struct, frozen=True, tag_field="type", tag="hello"):
    """The first frame: token, client id, and the revs that the tab has already.

    `runs`: by document, the `run` of the last snapshot; None from a page that is
    opened, and has heard of no server. `meta` as in `MetaFrame`. `lang`: the language
    of the page, whatever it may be called.
    """

    token: TokenText
    client: ClientId
    have: Annotated[dict[Name, RevText], Meta(max_length=256)] = {}
    runs: Annotated[dict[Name, RunText], Meta(max_length=256)] | None = None
    meta: dict[str, Any] = {}
    lang: Any = None


class ActionFrame(Struct, frozen=True, tag_field="type", tag="action"):
    """Run an action; `client` is given when it was first sent under another id."""

    id: Id
    state: Name
    action: Name
    args: Raw = Raw(b"{}")
    client: ClientId | None = None


class SyncFrame(Struct, frozen=True, tag_field="type", tag="sync"):
    """Ask for a snapshot of `doc`; `rev` is what the tab has."""

    doc: Name
    rev: RevText | None = None


class PongFrame(Struct, frozen=True, tag_field="type", tag="pong"):
    """The answer to a ping: all that was sent before it has arrived."""

    visible: bool = True


class TokenFrame(Struct, frozen=True, tag_field="type", tag="token"):
    """A newer token for the same participant."""

    token: TokenText


class MetaFrame(Struct, frozen=True, tag_field="type", tag="meta"):
    """What the tab shows of itself to the others in the session from now on."""

    data: dict[str, Any]


class ByeFrame(Struct, frozen=True, tag_field="type", tag="bye"):
    """The participant leaves for good, as far as this tab is concerned."""


Frame = (
    HelloFrame
    | ActionFrame
    | SyncFrame
    | PongFrame
    | TokenFrame
    | MetaFrame
    | WatchFrame
    | UnwatchFrame
    | ByeFrame
)

# Tabs of earlier releases take each but `bad_meta` for their oldest action's answer.
BadCode = Literal[
    "bad_json",
    "bad_frame",
    "bad_value",
    "too_large",
    "too_deep",
    "unknown_type",
    "bad_meta",
]


class BadFrame(Exception):
    """Raised for a frame that is refused; `hint` is for the developers of its sender.

    `head` names the frame.
    """

    def __init__(self, code: BadCode, hint: str, head: FrameHead = NO_HEAD) -> None:
        super().__init__(hint)
        self.code: BadCode = code
        self.hint = hint
        self.head = head


class _Typed(Struct):
    type: str


_decode = msgspec.json.Decoder(Frame).decode
_decode_type = msgspec.json.Decoder(_Typed).decode
_encode = msgspec.json.encode

_TYPES = frozenset(
    {"hello", "action", "sync", "pong", "token", "meta", "watch", "unwatch", "bye"}
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NO_JSON_VALUE = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]")


def parse(text: str | bytes | None, limit: int = MAX_FRAME_BYTES) -> Frame:
    """Return a validated frame; raise `BadFrame` for anything else.

    `limit` is in bytes, exclusive. Unknown fields are ignored, but held to the same
    limits. Of duplicate keys the last counts.
    """
    try:
        return _parse(text, limit)
    except BadFrame as bad:
        bad.head = read_head(text, limit)
        if bad.head.of == "meta":
            bad.code = "bad_meta"
        raise


def _parse(text: str | bytes | None, limit: int) -> Frame:
    if not isinstance(text, str):
        raise BadFrame("bad_frame", "Frames are text, not binary.")
    if len(text) >= limit:
        raise _too_large(limit)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise BadFrame("bad_value", "A frame has a lone surrogate.") from None
    if len(data) >= limit:
        raise _too_large(limit)
    brackets = data.count(b"{") + data.count(b"[")
    if brackets > MAX_DEPTH and is_deeper(data) and _is_too_deep(text):
        raise BadFrame("too_deep", f"A frame may have at most {MAX_DEPTH} levels.")
    if len(data) > TEDIOUS_BYTES and is_tedious(data):
        message = f"A frame may have at most {MAX_HUGE} numbers past 1e100."
        raise BadFrame("bad_value", message)
    try:
        frame: Frame = _decode(data)
    except msgspec.ValidationError as error:
        raise _misfit(data, error) from None
    except msgspec.DecodeError as error:
        if _NO_JSON_VALUE.search(data):
            message = "NaN, Infinity and lone surrogates are not JSON."
            raise BadFrame("bad_value", message) from None
        raise BadFrame("bad_json", str(error)) from None
    _check_numbers(data)
    return frame


def head_of(frame: Frame) -> FrameHead:
    """Return what an error names of a frame that was read."""
    if isinstance(frame, ActionFrame):
        return FrameHead(id=frame.id)
    whom = getattr(frame, "participant", None)
    return FrameHead(None, str(frame.__struct_config__.tag), whom)


def _too_large(limit: int) -> BadFrame:
    return BadFrame("too_large", f"A frame must have less than {limit} bytes.")


def _misfit(data: bytes, error: msgspec.ValidationError) -> BadFrame:
    try:
        _check_numbers(data)
        kind = _decode_type(data).type
    except BadFrame as too_large:
        return too_large
    except msgspec.DecodeError:
        return BadFrame("bad_frame", 'A frame must be an object with a "type".')
    if kind not in _TYPES:
        shown = ascii(kind[:40])
        return BadFrame("unknown_type", f"There is no frame of type {shown}.")
    return BadFrame("bad_frame", f"{kind}: {error}")


def _is_too_deep(text: str) -> bool:
    depth = 0
    for character in _STRING.sub("", text):
        if character in "{[":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif character in "}]":
            depth -= 1
    return False


def _check_numbers(data: bytes) -> None:
    alike = data.translate(ALIKE)
    is_suspect = LONG in alike or HUGE in alike or PLUS_HUGE in alike
    if is_suspect and (flaw := unusable_number(data)):
        raise BadFrame("bad_value", flaw)


# Revs, document names and ids hold nothing that JSON escapes, so that the frames below
# can be put together around parts that are JSON already.


def welcome(
    *,
    session: str,
    participant: str,
    role: str,
    client: str,
    ping: float,
    rate: tuple[float, float] | None,
    frame: int,
    now: float,
    name: str | None = None,
) -> str:
    """The answer to `hello`; `ping` in seconds, `rate` actions a second and burst."""
    return _json(
        {
            "type": "welcome",
            "session": session,
            "participant": participant,
            "role": role,
            "name": name,
            "client": client,
            "ping": ping,
            "now": now,
            "limits": {"rate": rate, "frame": frame},
        }
    )


def snapshot(
    doc: str,
    rev: str,
    states: dict[str, Raw] | None,
    *,
    done: dict[str, int] | None = None,
    run: str = "",
    reset: bool = False,
    message: str = "",
) -> str:
    """A document's states at `rev`, each JSON already; None: the tab has them.

    `done`: by client, the participant's last action in it, if known. `run`: that of the
    cache server, for the next `hello`. `message`: what to tell a person of the reset,
    if the tab could not know.
    """
    shown = "" if states is None else f',"states":{_json(states)}'
    shown += "" if done is None else f',"done":{_json(done)}'
    shown += f',"run":"{run}"' if run else ""
    shown += f',"reset":{_json(reset)}'
    shown += f',"message":{_json(message)}' if message else ""
    return f'{{"type":"snapshot","doc":"{doc}","rev":"{rev}"{shown}}}'


def patch(doc: str, base: str, rev: str, ops: bytes) -> str:
    """The operations, a JSON array, that lead a document from `base` to `rev`."""
    return (
        f'{{"type":"patch","doc":"{doc}","base":"{base}","rev":"{rev}",'
        f'"ops":{ops.decode()}}}'
    )


def ack(
    id: int,
    doc: str,
    base: str | None,
    rev: str,
    ops: bytes | None,
    result: bytes | None,
) -> str:
    """An action took effect; `result` is JSON, None if an earlier attempt did.

    Without `base` and `ops`, a patch to `rev` follows that carries it with others.
    """
    change = "" if base is None else f',"base":"{base}"'
    if ops is not None:
        change += f',"ops":{ops.decode()}'
    shown = "" if result is None else f',"result":{result.decode()}'
    return f'{{"type":"ack","id":{id},"doc":"{doc}","rev":"{rev}"{change}{shown}}}'


def reject(id: int, code: str, message: str, hint: str = "") -> str:
    """An action was refused and changed nothing; `hint` is for developers, if any."""
    return _json({"type": "reject", "id": id, **_told(code, message, hint)})


def ping(heads: dict[str, str] | None) -> str:
    """A heartbeat with the head of each document; None: the cache is silent."""
    return _json({"type": "ping"} | ({} if heads is None else {"heads": heads}))


def message(data: bytes) -> str:
    """Data that the site sends to tabs; JSON already."""
    return f'{{"type":"message","data":{data.decode()}}}'


def token(text: str) -> str:
    """A newer token for the tab to use."""
    return _json({"type": "token", "token": text})


def end(reason: str, message: str = "") -> str:
    """The end, by a removal's reason or "disconnected"; the tab does not retry."""
    frame = {"type": "end", "reason": reason, "retry": False}
    return _json({**frame, "message": message} if message else frame)


def error(code: str, message: str, head: FrameHead = NO_HEAD, hint: str = "") -> str:
    """A frame was refused, which `head` names, or the connection is about to close."""
    frame: dict[str, Any] = {"type": "error", **_told(code, message, hint)}
    if head.id is not None:
        frame["id"] = head.id
    elif head.of is not None:
        frame["of"] = head.of
    if head.participant is not None:
        frame["participant"] = head.participant
    return _json(frame)


def _told(code: str, message: str, hint: str) -> dict[str, str]:
    told = {"code": portable_text(code), "message": portable_text(message)}
    return {**told, "hint": portable_text(hint)} if hint else told


def _json(value: Any) -> str:
    return _encode(value).decode()
