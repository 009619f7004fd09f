"""The pages of an edit: its form, and what each side has changed in a conflict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from django.http import HttpResponse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...keys import StoreKey
from ...state.declaration import State
from ..audit import log_view
from ..drafts import Begun, Draft, pretty
from ..edited_state import StoredState
from ..operations import log_name
from ..page import AdminPage
from ..redaction import redact_schema
from ..three_way_merge import ABSENT, FieldChange, Merged

# Changes that the conflict page lists beside those of which somebody has to choose, at
# most that many of these, and characters of each value.
MAX_CHANGES = 40
MAX_OVERLAPS = 200
MAX_VALUE = 80
# Paths left out that the form lists.
MAX_LEFT_OUT = 10

# The names of radio buttons: of a path, and of all overlaps that are not listed.
CHOICE, REST = "keep:", "keep-rest"

KEPT = {
    "theirs": gettext_lazy("theirs"),
    "mine": gettext_lazy("yours"),
    "both": gettext_lazy("the same"),
}


class ChangeRow(NamedTuple):
    """A change as the conflict page shows it; values are "" where there is none.

    `choice` is the side that was chosen of an overlap, and `kept` says which of the two
    is kept anyway.
    """

    change: FieldChange
    base: str
    theirs: str
    mine: str
    name: str
    choice: str
    kept: str | Promise


def form_page(
    page: AdminPage,
    key: StoreKey,
    cls: type[State],
    draft: Draft,
    begun: Begun,
    complaint: str = "",
) -> HttpResponse:
    """Return the page with the form."""
    schema = redact_schema(cls) if draft.controls is None else None
    return page.render(
        "edit",
        title=_("Edit %(state)s of %(key)s")
        % {"state": cls.__sessionstores__.name, "key": log_name(key)},
        draft=draft,
        rows=draft.controls.rows() if draft.controls else (),
        complaint=complaint,
        schema=pretty(schema) if schema else "",
        **_common(page, key, cls, begun),
        **_left_out(begun.left_out),
    )


def conflict_page(
    page: AdminPage,
    stored: StoredState,
    begun: Begun,
    mine: dict[str, Any],
    merged: Merged,
    choices: Mapping[str, str],
    complaint: str,
) -> HttpResponse:
    """Return the page that shows what each side has changed, and lets staff choose."""
    key = stored.key
    log_view(page.user_id, log_name(key), refresh=False)
    overlaps = merged.overlaps
    others = [each for each in merged.changes if each.by != "overlap"]
    post = page.request.POST
    return page.render(
        "conflict",
        title=_("Someone else changed this first"),
        complaint=complaint,
        overlaps=[_row(each, choices) for each in overlaps[:MAX_OVERLAPS]],
        more_overlaps=max(len(overlaps) - MAX_OVERLAPS, 0),
        changes=[_row(each, choices) for each in others[:MAX_CHANGES]],
        more=max(len(others) - MAX_CHANGES, 0),
        has_base=begun.shown is not None,
        has_mine=any(each.by in {"mine", "overlap"} for each in merged.changes),
        rest=REST,
        seen=stored.rev,
        mine=_line(mine),
        mode=post.get("mode") or Draft.sent(stored.cls, page.request).mode,
        stored=pretty(stored.visible),
        yours=pretty(mine),
        **_common(page, key, stored.cls, begun),
        **_left_out(stored.left_out),
    )


def _common(
    page: AdminPage, key: StoreKey, cls: type[State], begun: Begun
) -> dict[str, Any]:
    """Return the context of both pages; the hidden controls say how the edit began."""
    return {
        "key": key,
        "state": cls.__sessionstores__,
        "base": begun.rev,
        "begun": "" if begun.shown is None else _line(begun.shown),
        "paths": _line(begun.left_out),
        "back": page.url("participant", *key),
        "session_url": page.url("session", key.session),
        "again": page.url("edit", *key, cls.__sessionstores__.name),
    }


def _left_out(paths: Sequence[str]) -> dict[str, Any]:
    return {
        "left_out": paths[:MAX_LEFT_OUT],
        "more_left_out": max(len(paths) - MAX_LEFT_OUT, 0),
    }


def _row(change: FieldChange, choices: Mapping[str, str]) -> ChangeRow:
    return ChangeRow(
        change,
        _short(change.base),
        _short(change.theirs),
        _short(change.mine),
        f"{CHOICE}{change.path}",
        "theirs" if change.guarded else choices.get(change.path, ""),
        KEPT.get(change.by, ""),
    )


def _short(value: Any) -> str:
    if value is ABSENT:
        return ""
    text = _line(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _line(value: Any) -> str:
    return msgspec.json.encode(value).decode()
