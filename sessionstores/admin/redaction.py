"""What staff are not shown of a state: declared fields, and names that sound secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

MASK = "••••••"

# As parts of names, in any case; "key" alone names too much that is harmless.
_SECRET = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|cookie|signature|authorization"
    r"|(api|private|access|session|encryption)[_-]?key",
    re.IGNORECASE,
)


class Redacted(NamedTuple):
    """Plain data in which placeholders stand for `hidden`, by placeholder.

    Each value has a placeholder of its own, which says where the value was and which
    no text in the data equals. So an editor may move them about, and `restore` finds
    out what each stands for.
    """

    data: Any
    hidden: Mapping[str, Any]


def redact(data: Any, sensitive: Iterable[str] = ()) -> Redacted:
    """Hide the keys `sensitive` of the object `data`, and secret names at any depth.

    `data` is a state's plain form and stays as it is. The same data give the same
    placeholders.
    """
    mask = MASK
    while _occurs(mask, data):
        mask += MASK[0]
    hidden: dict[str, Any] = {}
    return Redacted(_hide(data, frozenset(sensitive), mask, hidden), hidden)


def restore(data: Any, hidden: Mapping[str, Any]) -> Any:
    """Return a copy of `data` with the hidden values in their placeholders' places."""
    if isinstance(data, dict):
        return {key: restore(value, hidden) for key, value in data.items()}
    if isinstance(data, list):
        return [restore(value, hidden) for value in data]
    if isinstance(data, str):
        return hidden.get(data, data)
    return data


def _hide(data: Any, names: frozenset[str], place: str, hidden: dict[str, Any]) -> Any:
    """Return a copy in which what is secret is replaced; `place` is mask and path."""
    if isinstance(data, dict):
        shown = {}
        for key, value in data.items():
            here = f"{place}/{key}"
            if key in names or _SECRET.search(key):
                hidden[here] = value
                shown[key] = here
            else:
                shown[key] = _hide(value, frozenset(), here, hidden)
        return shown
    if isinstance(data, list):
        return [
            _hide(value, frozenset(), f"{place}/{number}", hidden)
            for number, value in enumerate(data)
        ]
    return data


def _occurs(text: str, data: Any) -> bool:
    if isinstance(data, dict):
        return any(_occurs(text, value) for value in data.values())
    if isinstance(data, list):
        return any(_occurs(text, value) for value in data)
    return isinstance(data, str) and data.startswith(text)
