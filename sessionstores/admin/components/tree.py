"""Plain data as HTML that folds without a script: nested lists and `<details>`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext

from ..redaction import MASK

# A list of scalars up to this many characters is drawn on one line.
MAX_LINE = 72
# Containers of more parts, and those deeper down, begin folded.
OPEN_PARTS = 40
OPEN_DEPTH = 3
# A longer text begins folded, behind its first characters.
LONG_TEXT = 600
PREVIEW = 64
# The most that is drawn: parts of one container, levels, characters of one text, and
# parts in all, of which each field of the root has an equal share.
MAX_PARTS = 100
MAX_DEPTH = 6
MAX_TEXT = 2_000
MAX_TOTAL_PARTS = 5_000

_KINDS = {str: "text", int: "number", float: "number"}


def draw(data: Any, placeholders: Collection[str], download_url: str) -> SafeString:
    """Draw `data` up to the limits above; all text is escaped.

    What is left out is counted, with a link to `download_url`.
    `placeholders` are the texts that redaction put in the place of hidden values.
    """
    parts = "".join(_TreeWriter(placeholders, download_url).root(data))
    # Every piece of it has been escaped or is ours.
    return mark_safe(f'<div class="ss-tree">{parts}</div>')  # noqa: S308


class _TreeWriter:
    def __init__(self, placeholders: Collection[str], download_url: str) -> None:
        self._placeholders = placeholders
        self._download_url = download_url
        # Parts that may still be drawn of the present field of the root.
        self._left = 0

    def root(self, data: Any) -> Iterator[str]:
        if isinstance(data, dict | list) and data:
            yield from self._container(data, 0)
        else:
            yield self._scalar(data)

    def _container(self, data: dict[str, Any] | list[Any], depth: int) -> Iterator[str]:
        if isinstance(data, dict):
            kind, pairs = "key", list(data.items())
        else:
            kind, pairs = "place", [(str(i), each) for i, each in enumerate(data)]
        shown = pairs[: MAX_PARTS if depth == 0 else min(MAX_PARTS, self._left)]
        self._left -= len(shown)
        yield "<ul>"
        for name, value in shown:
            if depth == 0:
                self._left = MAX_TOTAL_PARTS // len(shown)
            label = f'<span class="ss-{kind}">{escape(name)}</span>:'
            yield "<li>"
            yield from self._part(label, value, depth)
            yield "</li>"
        if rest := len(pairs) - len(shown):
            yield f'<li class="ss-cut">… {self._more(rest)}</li>'
        yield "</ul>"

    def _part(self, label: str, value: Any, depth: int) -> Iterator[str]:
        if self._is_long_text(value):
            yield self._long_text(label, value)
        elif not isinstance(value, dict | list) or not value:
            yield f"{label} {self._scalar(value)}"
        elif (line := self._line(value)) is not None:
            yield f"{label} {line}"
        elif depth + 1 == MAX_DEPTH:
            yield f'{label} <span class="ss-cut">{self._left_out(_size(value))}</span>'
        else:
            is_open = depth + 1 < OPEN_DEPTH and len(value) <= OPEN_PARTS
            yield f"<details{' open' if is_open else ''}><summary>{label} "
            yield f'<span class="ss-size">{escape(_size(value))}</span></summary>'
            yield from self._container(value, depth + 1)
            yield "</details>"

    def _is_long_text(self, value: Any) -> bool:
        if not isinstance(value, str) or len(value) <= LONG_TEXT:
            return False
        return value not in self._placeholders

    def _line(self, value: dict[str, Any] | list[Any]) -> str | None:
        """Draw a short list of scalars as JSON has it; None if it is not one."""
        if not isinstance(value, list) or len(value) > min(MAX_LINE // 2, self._left):
            return None
        if any(isinstance(part, dict | list) for part in value):
            return None
        if len(json.dumps(value, ensure_ascii=False)) > MAX_LINE:
            return None
        self._left -= len(value)
        shown = ", ".join(map(self._scalar, value))
        return f'<span class="ss-line">[{shown}]</span>'

    def _long_text(self, label: str, value: str) -> str:
        count = ngettext("%(count)d character", "%(count)d characters", len(value))
        size = escape(count % {"count": len(value)})
        preview = escape(json.dumps(value[:PREVIEW], ensure_ascii=False)[:-1])
        shown = self._scalar(value[:MAX_TEXT])
        if (rest := len(value) - MAX_TEXT) > 0:
            shown += f' <span class="ss-cut">… {self._more(rest)}</span>'
        return (
            f'<details><summary>{label} <span class="ss-text">{preview}…</span> '
            f'<span class="ss-size">{size}</span></summary>{shown}</details>'
        )

    def _scalar(self, value: Any) -> str:
        if isinstance(value, str) and value in self._placeholders:
            title = escape(gettext("Hidden: it may be personal or secret"))
            return f'<span class="ss-hidden" title="{title}">{MASK}</span>'
        kind = _KINDS.get(type(value), "word")
        text = escape(json.dumps(value, ensure_ascii=False))
        return f'<span class="ss-{kind}">{text}</span>'

    def _more(self, count: int) -> str:
        text = ngettext("%(count)d more", "%(count)d more", count)
        return self._left_out(text % {"count": count})

    def _left_out(self, text: str) -> str:
        """Return the text on what is left out, with a link to all of it."""
        link, url = escape(gettext("download")), escape(self._download_url)
        return f'{escape(text)} · <a href="{url}" download>{link}</a>'


def _size(value: dict[str, Any] | list[Any]) -> str:
    count = len(value)
    if isinstance(value, dict):
        text = ngettext("{%(count)d field}", "{%(count)d fields}", count)
    else:
        text = ngettext("[%(count)d item]", "[%(count)d items]", count)
    return text % {"count": count}
