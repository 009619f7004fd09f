"""Frames about people: who is present, and who the tab's own participant is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw

from ..backends.types import MAX_META_BYTES
from ..exceptions import InvalidArguments
from ..state.json_rules import encode_portable
from .frame_head import FrameHead
from .protocol import BadFrame

META = FrameHead(of="meta")

_WHO = "name", "role"
# Characters, as of a name that `set_name` takes.
MAX_NAME = 80

People = Mapping[str, tuple[str | None, str]]


def presence_frame(
    joined: Mapping[str, Iterable[bytes]],
    left: Collection[str],
    people: People = MappingProxyType({}),
) -> str:
    """Changes of who is present; the first frame names everybody.

    `joined` maps ids to what each connection shows of itself, JSON objects or `b""`;
    `people` to name and role.
    """
    shown = {id: [Raw(meta or b"{}") for meta in metas] for id, metas in joined.items()}
    frame: dict[str, Any] = {"type": "presence", "joined": shown, "left": left}
    if people:
        frame["people"] = _named(people)
    return _json(frame)


def self_frame(name: str | None, role: str) -> str:
    """The participant whose tab it is has this name and this role from now on."""
    return _json({"type": "self", "name": name, "role": role})


def watching_frame(participant: str, states: list[str], people: People) -> str:
    """The tab watches a participant, or with "*" everybody, and sees these states.

    `people`: name and role of those who are new, or have another now.
    """
    frame = {"type": "watching", "participant": participant, "states": states}
    return _json({**frame, "people": _named(people)})


def unwatched_frame(participant: str, reason: str) -> str:
    """The tab watches a participant, or with "*" everybody, no more."""
    return _json({"type": "unwatched", "participant": participant, "reason": reason})


def gone_frame(participant: str, reason: str) -> str:
    """There is no record of a watched participant; it is told if there is one again."""
    return _json({"type": "gone", "participant": participant, "reason": reason})


def encode_meta(data: Mapping[str, Any]) -> bytes:
    """Return what a tab shows of itself as JSON, b"" if that is nothing.

    Raises `BadFrame` past `MAX_META_BYTES`, and for what the tabs of others would
    refuse.
    """
    try:
        meta = encode_portable(data, "meta") if data else b""
    except InvalidArguments as error:
        raise BadFrame("bad_meta", str(error), META) from None
    if len(meta) > MAX_META_BYTES:
        raise BadFrame(
            "bad_meta",
            f"What a tab shows of itself has at most {MAX_META_BYTES} bytes, not "
            f"{len(meta)}.",
            META,
        )
    return meta


def name_in(meta: bytes) -> str:
    """Return what a tab shows as its name, cut as names are; "" if that is no text."""
    # Most show none: that is seen without decoding.
    name = msgspec.json.decode(meta).get("name") if b'"name"' in meta else None
    return name.strip()[:MAX_NAME] if isinstance(name, str) else ""


def _named(people: People) -> dict[str, dict[str, str | None]]:
    return {id: dict(zip(_WHO, who, strict=True)) for id, who in people.items()}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
