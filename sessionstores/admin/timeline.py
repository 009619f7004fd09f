"""What has happened in a session, in words, from the ring of events in its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

# The kinds, with a shape that stands for each and the word for it.
KINDS: dict[str, tuple[str, Promise]] = {
    "joined": ("●", _("joined")),
    "left": ("○", _("left")),
    "resumed": ("↻", _("came back")),
    "changed": ("✎", _("changed")),
    "conflict": ("⇄", _("met another change")),
    "removed": ("✕", _("removed")),
    "reset": ("⟲", _("was reset")),
    "edited": ("✐", _("was edited by staff")),
    "disconnected": ("⏏", _("was disconnected")),
    "message": ("✉", _("was sent a message")),
    "locked": ("▣", _("locked")),
    "unlocked": ("▢", _("unlocked")),
    "extended": ("⤳", _("extended")),
    "swept": ("⌫", _("swept")),
}
# Those of them that tell who is present, not what anybody did.
ATTENDANCE = frozenset({"joined", "left", "resumed"})
REASONS: dict[str, Promise] = {
    "idle": _("idle"),
    "cleanup": _("by staff or the site"),
    "ended": _("the session ended"),
    "lost": _("its data were lost"),
}
MAX_TEXT = 80


class TimelineEntry(NamedTuple):
    """An event: when, what (a key of `KINDS`, or new to us), whose, and in words.

    `who` is "" if it was the whole session's.
    """

    at: float
    kind: str
    who: str
    shape: str
    word: str
    text: str
    times: int


def describe(events: Iterable[Mapping[str, Any]]) -> list[TimelineEntry]:
    """Put events into words, the latest first."""
    told = [_describe(event) for event in events]
    told.sort(key=lambda happening: happening.at, reverse=True)
    return told


def _describe(event: Mapping[str, Any]) -> TimelineEntry:
    kind = str(event.get("kind", ""))
    # What a newer process has written is shown as it is.
    shape, word = KINDS.get(kind, ("·", kind))
    who = str(event.get("who", ""))
    text = str(event.get("text", ""))
    if kind == "removed":
        text = str(REASONS.get(text, text))
    if len(text) > MAX_TEXT:
        text = f"{text[: MAX_TEXT - 1]}…"
    return TimelineEntry(
        float(event.get("at", 0)),
        kind,
        "" if who == "*" else who,
        shape,
        str(word),
        text,
        int(event.get("count", 1)),
    )
