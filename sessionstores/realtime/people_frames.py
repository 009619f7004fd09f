"""Frames about people: who is present, and who the tab's own participant is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw

_WHO = "name", "role"


def presence_frame(
    joined: Mapping[str, Iterable[bytes]],
    left: Collection[str],
    people: Mapping[str, tuple[str | None, str]] = MappingProxyType({}),
) -> str:
    """Changes of who is present; the first frame names everybody.

    `joined` maps ids to what each connection shows of itself, JSON objects or `b""`;
    `people` to name and role.
    """
    shown = {id: [Raw(meta or b"{}") for meta in metas] for id, metas in joined.items()}
    frame: dict[str, Any] = {"type": "presence", "joined": shown, "left": left}
    if people:
        frame["people"] = {
            id: dict(zip(_WHO, who, strict=True)) for id, who in people.items()
        }
    return _json(frame)


def self_frame(name: str | None, role: str) -> str:
    """The participant whose tab it is has this name and this role from now on."""
    return _json({"type": "self", "name": name, "role": role})


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
