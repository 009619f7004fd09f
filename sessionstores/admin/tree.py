"""Plain data as HTML that folds without a script: nested lists and `<details>`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext

from .redaction import MASK

# What fits on a line is not unfolded.
LINE = 72
# A list or object with more parts than that begins folded.
OPEN_PARTS = 40
OPEN_DEPTH = 3
# What a node costs beside its text, in markup that a browser has to draw.
NODE = 12


_KINDS = {str: "text", int: "number", float: "number"}


class Tree(NamedTuple):
    """The markup, and whether something had to be left out."""

    html: SafeString
    cut: bool


def draw(data: Any, hidden: Mapping[str, Any], limit: int) -> Tree:
    """Draw `data`, about `limit` characters of it; all text is escaped.

    `hidden` has the placeholders of what redaction took out.
    """
    drawing = _Drawing(hidden, limit)
    parts = "".join(drawing.root(data))
    # Every piece of it has been escaped or is ours.
    return Tree(mark_safe(f'<div class="ss-tree">{parts}</div>'), drawing.cut)  # noqa: S308


class _Drawing:
    def __init__(self, hidden: Mapping[str, Any], limit: int) -> None:
        self.hidden = hidden
        self.left = limit
        self.cut = False

    def root(self, data: Any) -> Iterator[str]:
        if isinstance(data, dict | list) and data:
            yield from self.parts(data, 0)
        else:
            yield self.scalar(data)

    def parts(self, data: dict[str, Any] | list[Any], depth: int) -> Iterator[str]:
        steps: Iterable[tuple[str, str, Any]]
        if isinstance(data, dict):
            steps = (("key", str(key), value) for key, value in data.items())
        else:
            steps = (("place", str(place), value) for place, value in enumerate(data))
        yield "<ul>"
        for place, (kind, name, value) in enumerate(steps):
            if self.left <= 0:
                self.cut = True
                rest = len(data) - place
                text = ngettext("%(count)d more", "%(count)d more", rest)
                yield f'<li class="ss-cut">… {escape(text % {"count": rest})}</li>'
                break
            self.left -= len(name) + NODE
            label = f'<span class="ss-{kind}">{escape(name)}</span>:'
            yield "<li>"
            yield from self.part(label, value, depth)
            yield "</li>"
        yield "</ul>"

    def part(self, label: str, value: Any, depth: int) -> Iterator[str]:
        if not isinstance(value, dict | list) or not value:
            yield f"{label} {self.scalar(value)}"
        elif (line := self.line(value)) is not None:
            yield f"{label} {line}"
        else:
            opened = depth + 1 < OPEN_DEPTH and len(value) <= OPEN_PARTS
            yield f"<details{' open' if opened else ''}><summary>{label} "
            yield f'<span class="ss-size">{escape(_size(value))}</span></summary>'
            yield from self.parts(value, depth + 1)
            yield "</details>"

    def line(self, value: dict[str, Any] | list[Any]) -> str | None:
        """Draw a short list of scalars as it would be written; None if it is not."""
        if not isinstance(value, list) or len(value) > LINE // 2:
            return None
        if any(isinstance(part, dict | list) for part in value):
            return None
        if len(json.dumps(value, ensure_ascii=False)) > LINE:
            return None
        shown = ", ".join(self.scalar(part) for part in value)
        return f'<span class="ss-line">[{shown}]</span>'

    def scalar(self, value: Any) -> str:
        if isinstance(value, str) and value in self.hidden:
            title = escape(gettext("Hidden: it may be personal or secret"))
            return f'<span class="ss-hidden" title="{title}">{MASK}</span>'
        kind = _KINDS.get(type(value), "word")
        text = json.dumps(value, ensure_ascii=False)
        if len(text) > self.left > 0:
            self.cut = True
            text = text[: self.left] + "…"
        self.left -= len(text)
        return f'<span class="ss-{kind}">{escape(text)}</span>'


def _size(value: dict[str, Any] | list[Any]) -> str:
    count = len(value)
    if isinstance(value, dict):
        text = ngettext("{%(count)d field}", "{%(count)d fields}", count)
    else:
        text = ngettext("[%(count)d item]", "[%(count)d items]", count)
    return text % {"count": count}
