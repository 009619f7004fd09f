"""Frame head: the type and the id of a frame that cannot be read as a whole.

Errors name what they answer by it. A broken frame is read as far as it can be: its
first members, as long as their values are texts or numbers.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from ..state.json_rules import MAX_INTEGER, portable_text

# Characters of a broken or too large frame that are looked at.
MAX_SCANNED = 512
# Of a type that is not ours.
MAX_SHOWN = 40

_MEMBER = re.compile(
    r'\s*"((?:[^"\\]|\\.)*+)"\s*:\s*("(?:[^"\\]|\\.)*+"|[^\s",\[\]{}]++)\s*,?'
)
_ID = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
_TYPE = re.compile(r'"((?:[^"\\]|\\.)*+)"')


class FrameHead(NamedTuple):
    """What an `error` names: an action by `id`, other frames `of` their type.

    Of a frame about a `participant`, that one too.
    """

    id: int | None = None
    of: str | None = None
    participant: str | None = None


NO_HEAD = FrameHead()


class _Members(Struct):
    type: Raw = Raw()
    id: Raw = Raw()


_decode = msgspec.json.Decoder(_Members).decode


def read_head(text: object, limit: int) -> FrameHead:
    """Return what can be read of a frame; empty for what is no text or no object.

    Of a frame of `limit` characters and more, only the first members are read.
    """
    if not isinstance(text, str):
        return NO_HEAD
    kind, id = (_whole(text) if len(text) < limit else None) or _first_members(text)
    match = _TYPE.fullmatch(kind)
    if match is None:
        return NO_HEAD
    if match[1] == "action" and _ID.fullmatch(id) and int(id) <= MAX_INTEGER:
        return FrameHead(id=int(id))
    return FrameHead(of=portable_text(match[1][:MAX_SHOWN]))


def _whole(text: str) -> tuple[str, str] | None:
    """Return the JSON of type and id, wherever they stand; None if it is broken."""
    try:
        members = _decode(text.encode())
        return bytes(members.type).decode(), bytes(members.id).decode()
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def _first_members(text: str) -> tuple[str, str]:
    start = text[:MAX_SCANNED].lstrip(" \t\r\n")
    found = {}
    if start.startswith("{"):
        place = 1
        while match := _MEMBER.match(start, place):
            found[match[1]] = match[2]
            place = match.end()
    return found.get("type", ""), found.get("id", "")
