"""Published texts: what tabs show of themselves by their meta, such as a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..sessions.presence import Attendee

# Characters of a name or step that a tab publishes.
MAX_TEXT = 40


def published(attendee: Attendee | None, name: str) -> str:
    """Return the first text that a tab of a participant publishes under a name."""
    metas = attendee.metas if attendee else ()
    return next(filter(None, (meta_text(meta, name) for meta in metas)), "")


def meta_text(meta: Mapping[str, Any], name: str) -> str:
    """Return what a tab publishes under a name, cut short; "" without a text there."""
    value = meta.get(name)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return ""
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
