"""The timeline of a session in words, from the ring of events in its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

# The kinds of events, each with a symbol and a word.
KINDS: dict[str, tuple[str, Promise]] = {
    "joined": ("●", _("joined")),
    "left": ("○", _("left")),
    "resumed": ("↻", _("came back")),
    "changed": ("✎", _("changed")),
    "conflict": ("⇄", _("had a conflicting change")),
    "removed": ("✕", _("removed")),
    "readmitted": ("⤶", _("was readmitted")),
    "reset": ("⟲", _("was reset")),
    "edited": ("✐", _("was edited by staff")),
    "disconnected": ("⏏", _("was disconnected")),
    "message": ("✉", _("was sent a message")),
    "labelled": ("⚐", _("given the label")),
    "locked": ("▣", _("locked")),
    "unlocked": ("▢", _("unlocked")),
    "extended": ("⤳", _("extended")),
    "swept": ("⌫", _("swept")),
}
# Those that are about presence, not about actions.
ATTENDANCE = frozenset({"joined", "left", "resumed"})
REASONS: dict[str, Promise] = {
    "idle": _("idle"),
    "cleanup": _("by staff or the site"),
    "ended": _("the session ended"),
    "kicked": _("and kept out"),
    "left": _("they left"),
    "lost": _("its data were lost"),
}
MAX_TEXT = 80


class TimelineEntry(NamedTuple):
    """An event: its time, its kind, its participant, and these in words.

    `kind` is a key of `KINDS`, or one that a newer process has written. `who` is "" for
    an event of the whole session.
    """

    at: float
    kind: str
    who: str
    shape: str
    word: str
    text: str
    times: int


def describe(events: Iterable[Mapping[str, Any]]) -> list[TimelineEntry]:
    """Return the entries for `events`, the latest first."""
    entries = [_describe(event) for event in events]
    entries.sort(key=lambda entry: entry.at, reverse=True)
    return entries


def _describe(event: Mapping[str, Any]) -> TimelineEntry:
    kind = str(event.get("kind", ""))
    # A kind of a newer process is shown as it is.
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
