"""Plain data as HTML that folds without a script: nested lists and `<details>`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext

from ..redaction import MASK

# What fits on a line is not unfolded.
LINE = 72
# A list or object with more parts than that begins folded.
OPEN_PARTS = 40
OPEN_DEPTH = 3
# What a node costs beside its text, in markup that a browser has to draw.
NODE = 12
# A longer text begins folded, behind so many characters of it.
LONG_TEXT = 600
BEGINNING = 64
# Where not all can be drawn, a part still has so much, unless its whole has less.
LEAST = 1_000

_KINDS = {str: "text", int: "number", float: "number"}


class Tree(NamedTuple):
    """The markup, and whether something had to be left out."""

    html: SafeString
    cut: bool


def draw(data: Any, hidden: Mapping[str, Any], limit: int) -> Tree:
    """Draw `data`, about `limit` characters of it; all text is escaped.

    Where that is too little, it is shared out: small parts are whole, and the large
    ones have equal shares of the rest. `hidden` has the placeholders of what redaction
    took out.
    """
    drawing = _Drawing(hidden)
    parts = "".join(drawing.root(data, limit))
    # Every piece of it has been escaped or is ours.
    return Tree(mark_safe(f'<div class="ss-tree">{parts}</div>'), drawing.cut)  # noqa: S308


class _Drawing:
    """Draws parts within a `limit` each; None: as a whole."""

    def __init__(self, hidden: Mapping[str, Any]) -> None:
        self.hidden = hidden
        self.cut = False

    def root(self, data: Any, limit: int) -> Iterator[str]:
        left = None if _weight(data) <= limit else limit
        if isinstance(data, dict | list) and data:
            yield from self.parts(data, 0, left)
        else:
            yield self.scalar(data, left)

    def parts(
        self, data: dict[str, Any] | list[Any], depth: int, limit: int | None
    ) -> Iterator[str]:
        if isinstance(data, dict):
            kind, names, values = "key", list(map(str, data)), list(data.values())
        else:
            kind, names, values = "place", list(map(str, range(len(data)))), data
        shares: Sequence[int | None] = [None] * len(values)
        if limit is not None:
            weights = [*map(_entry, names, values)]
            # Whoever has all that it weighs need not look again.
            shares = [
                None if share == weight else share - len(name)
                for share, weight, name in zip(
                    _shares(weights, limit), weights, names, strict=False
                )
            ]
        yield "<ul>"
        for name, value, share in zip(names, values, shares, strict=False):
            label = f'<span class="ss-{kind}">{escape(name)}</span>:'
            yield "<li>"
            yield from self.part(label, value, depth, share)
            yield "</li>"
        rest = len(values) - len(shares)
        if rest:
            self.cut = True
            text = ngettext("%(count)d more", "%(count)d more", rest)
            yield f'<li class="ss-cut">… {escape(text % {"count": rest})}</li>'
        yield "</ul>"

    def part(
        self, label: str, value: Any, depth: int, limit: int | None
    ) -> Iterator[str]:
        if isinstance(value, str) and len(value) > LONG_TEXT:
            yield self.long_text(label, value, limit)
        elif not isinstance(value, dict | list) or not value:
            yield f"{label} {self.scalar(value, limit)}"
        elif limit is None and (line := self.line(value)) is not None:
            yield f"{label} {line}"
        else:
            opened = depth + 1 < OPEN_DEPTH and len(value) <= OPEN_PARTS
            yield f"<details{' open' if opened else ''}><summary>{label} "
            yield f'<span class="ss-size">{escape(_size(value))}</span></summary>'
            yield from self.parts(value, depth + 1, limit)
            yield "</details>"

    def line(self, value: dict[str, Any] | list[Any]) -> str | None:
        """Draw a short list of scalars as it would be written; None if it is not."""
        if not isinstance(value, list) or len(value) > LINE // 2:
            return None
        if any(isinstance(part, dict | list) for part in value):
            return None
        if len(json.dumps(value, ensure_ascii=False)) > LINE:
            return None
        shown = ", ".join(self.scalar(part, None) for part in value)
        return f'<span class="ss-line">[{shown}]</span>'

    def long_text(self, label: str, value: str, limit: int | None) -> str:
        count = ngettext("%(count)d character", "%(count)d characters", len(value))
        size = escape(count % {"count": len(value)})
        beginning = escape(json.dumps(value[:BEGINNING], ensure_ascii=False)[:-1])
        return (
            f'<details><summary>{label} <span class="ss-text">{beginning}…</span> '
            f'<span class="ss-size">{size}</span></summary>'
            f"{self.scalar(value, limit)}</details>"
        )

    def scalar(self, value: Any, limit: int | None) -> str:
        if isinstance(value, str) and value in self.hidden:
            title = escape(gettext("Hidden: it may be personal or secret"))
            return f'<span class="ss-hidden" title="{title}">{MASK}</span>'
        kind = _KINDS.get(type(value), "word")
        text = json.dumps(value, ensure_ascii=False)
        if limit is not None and len(text) > limit:
            self.cut = True
            text = text[:limit] + "…"
        return f'<span class="ss-{kind}">{escape(text)}</span>'


def _entry(name: str, value: Any) -> int:
    return len(name) + NODE + _weight(value)


def _weight(value: Any) -> int:
    """Return about how many characters it takes to draw `value`."""
    if isinstance(value, dict):
        return sum(_entry(str(key), each) for key, each in value.items())
    if isinstance(value, list):
        return sum(NODE + _weight(each) for each in value)
    return len(value) if isinstance(value, str) else NODE


def _shares(weights: Sequence[int], limit: int) -> list[int]:
    """Share `limit` out among the first of several; those left over get nothing."""
    shares = [0] * len(weights)
    left = limit
    by_weight = sorted(range(len(weights)), key=weights.__getitem__)
    for rank, place in enumerate(by_weight):
        fair = max(left // (len(weights) - rank), min(LEAST, limit))
        shares[place] = min(weights[place], fair)
        left -= shares[place]
    if left >= 0:
        return shares
    # Even the least is too much for all: the first ones have it.
    total = 0
    for place, share in enumerate(shares):
        total += share
        if total > limit:
            return shares[: max(place, 1)]
    return shares


def _size(value: dict[str, Any] | list[Any]) -> str:
    count = len(value)
    if isinstance(value, dict):
        text = ngettext("{%(count)d field}", "{%(count)d fields}", count)
    else:
        text = ngettext("[%(count)d item]", "[%(count)d items]", count)
    return text % {"count": count}
