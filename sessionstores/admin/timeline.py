"""The timeline of a session in words, from the ring of events in its record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from inspect import getattr_static, isfunction
from types import MappingProxyType
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..exceptions import UnknownState
from ..keys import SESSION
from ..state.declaration import get_state

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
# Those that are actions of a participant; the others are done to them, or are presence.
ACTS = frozenset({"changed", "conflict"})
REASONS: dict[str, Promise] = {
    "idle": _("idle"),
    "cleanup": _("by staff or the site"),
    "ended": _("the session ended"),
    "kicked": _("and kept out"),
    "left": _("they left"),
    "lost": _("its data were lost"),
}
MAX_TEXT = 80
_CLAUSE = re.compile(r"[,;:(.](?:\s|$)|\s[–—(]")
NO_NAMES: Mapping[str, str] = MappingProxyType({})


class TimelineEntry(NamedTuple):
    """Like events in a row: the time of the latest, their kind, participant and words.

    `kind` is a key of `KINDS`, or one that a newer process has written. `who` is "" for
    events of the whole session, `name` what a participant is called. `deed` is what the
    site's code says of an action, "" if nothing. `key` names the entry as long as it
    only grows.
    """

    at: float
    kind: str
    who: str
    shape: str
    word: str
    text: str
    times: int
    name: str = ""
    deed: str = ""
    key: str = ""


def describe(
    events: Iterable[Mapping[str, Any]], names: Mapping[str, str] = NO_NAMES
) -> list[TimelineEntry]:
    """Return the entries for `events`, the latest first.

    What one participant does again and again, with nothing in between, is one entry.
    `names`: what participants are called, by id.
    """
    entries: list[TimelineEntry] = []
    for entry in sorted(
        (_describe(event, names) for event in events), key=lambda each: each.at
    ):
        before = entries[-1] if entries else None
        if before is not None and _is_alike(before, entry):
            times = before.times + entry.times
            entries[-1] = entry._replace(times=times, key=before.key)
        else:
            entries.append(entry)
    return entries[::-1]


def _is_alike(one: TimelineEntry, other: TimelineEntry) -> bool:
    return (one.kind, one.who, one.text) == (other.kind, other.who, other.text)


def _describe(event: Mapping[str, Any], names: Mapping[str, str]) -> TimelineEntry:
    at, kind = float(event.get("at", 0)), str(event.get("kind", ""))
    # A kind of a newer process is shown as it is.
    shape, word = KINDS.get(kind, ("·", kind))
    who, text = str(event.get("who", "")), str(event.get("text", ""))
    deed = deed_of(text) if kind == "changed" else ""
    if kind == "removed":
        text = str(REASONS.get(text, text))
    return TimelineEntry(
        at,
        kind,
        "" if who == SESSION else who,
        shape,
        str(word),
        _cut(text),
        int(event.get("count", 1)),
        names.get(who, who),
        deed,
        f"{at}-{kind}-{who}-{text[:MAX_TEXT]}",
    )


def deed_of(text: str) -> str:
    """Return what an action does, as its docstring begins; "" of what is none.

    `text` is the state's name and the action's, such as `board.move`.
    """
    state, _dot, name = text.partition(".")
    if not name:
        return ""
    try:
        method = getattr_static(get_state(state), name, None)
    except UnknownState:
        return ""
    # An action, or what only the site's own code calls.
    doc = method.__doc__ if isfunction(method) else None
    summary = (doc or "").strip().partition("\n")[0]
    if not summary:
        return ""
    # A site may translate it, as it may its other texts. The first clause says enough.
    clause = _CLAUSE.split(gettext(summary), maxsplit=1)[0]
    return _cut(clause.replace("`", ""))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
