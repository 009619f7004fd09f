"""Redaction of states for staff: which parts are hidden, and how a save keeps them.

Hidden are the fields that a state declares as `sensitive`, and at any depth the names
that sound secret and the fields that this release does not declare.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from ..backends.types import Record
from ..exceptions import StateCorrupt
from ..state import codec
from ..state.declaration import State, get_state

MASK = "••••••"

# As parts of names, in any case; "key" alone would match too much that is harmless.
_SECRET = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|cookie|signature|authorization"
    r"|(api|private|access|session|encryption)[_-]?key",
    re.IGNORECASE,
)
# In an error's text, what msgspec quotes of the data, up to the place that it names.
_QUOTED = re.compile(
    r"(Invalid (?:enum )?value|unknown field) .*?( - at (?:`key` in )?`[^`]*`)?$",
    re.DOTALL,
)
_NO_NAMES: frozenset[str] = frozenset()
# Of what a tab publishes, what the pages show in their lists.
PUBLIC_META = ("name", "step", "away")


class Redacted(NamedTuple):
    """Plain data in which placeholders replace the hidden values.

    A placeholder is a mask and the path of its value. No text in the data equals one.
    """

    data: Any
    placeholders: frozenset[str]


class EditableState(NamedTuple):
    """The parts of a state that staff may edit, and the paths of those left out."""

    data: dict[str, Any]
    left_out: tuple[str, ...]


class MergeRefused(ValueError):
    """A save would write, remove or misplace something hidden at `path`."""

    def __init__(
        self, path: str, reason: Literal["hidden", "removed", "changed"]
    ) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def read_state(record: Record, name: str) -> tuple[dict[str, Any], frozenset[str]]:
    """Return a state's plain form as its declaration has it, and its `sensitive`.

    Only the declaration knows what is sensitive, so stored data go through it: data of
    an older version, which may use other names, are migrated. Raises `UnknownState` for
    a state that is not declared, `StateCorrupt` for data that the declaration cannot
    read or that are of a newer version.
    """
    cls = get_state(name)
    plain = codec.plain_of(codec.decode(cls, record.states[name]))
    return plain, frozenset(cls.__sessionstores__.sensitive)


def redact_schema(cls: type[State]) -> dict[str, Any]:
    """Return the JSON schema of a state, without the defaults of what is hidden."""
    schema = msgspec.json.schema(cls)
    own = schema["$ref"].removeprefix("#/$defs/")
    for name, definition in schema["$defs"].items():
        names = cls.__sessionstores__.sensitive if name == own else ()
        for key, value in definition.get("properties", {}).items():
            if _is_secret(key, frozenset(names)):
                value.pop("default", None)
            elif "default" in value:
                value["default"] = redact(value["default"]).data
    return schema


def redact_state(record: Record, name: str) -> Redacted:
    """Return what staff may see of a state. Raises what `read_state` raises.

    What another release has stored is hidden: only its declaration knows what is
    sensitive.
    """
    cls = get_state(name)
    data, unknown = codec.reveal(cls, record.states[name])
    return redact(data, cls.__sessionstores__.sensitive, unknown)


def kept_fields(record: Record, name: str) -> tuple[str, ...]:
    """Return the paths of what this release does not declare, and a save keeps.

    Not of items of a list: they lose it when the list changes.
    """
    data, unknown = codec.reveal(get_state(name), record.states[name])
    return tuple(sorted(path for path in unknown if _has(data, path)))


def redact_meta(meta: bytes, sensitive: Iterable[str] = (), *, whole: bool) -> str:
    """Return what a tab publishes, as JSON that staff may see.

    Not `whole`: for those who may not see states, all but `PUBLIC_META` is hidden.
    """
    data = msgspec.json.decode(meta, type=dict[str, Any]) if meta else {}
    hidden = (
        () if whole else {join_path("", key) for key in data if _is_private(key, data)}
    )
    redacted = redact(data, sensitive, hidden)

    def masked(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: masked(each) for key, each in value.items()}
        if isinstance(value, list):
            return [masked(each) for each in value]
        is_hidden = isinstance(value, str) and value in redacted.placeholders
        return MASK if is_hidden else value

    return json.dumps(masked(redacted.data), ensure_ascii=False)


def _is_private(key: str, data: dict[str, Any]) -> bool:
    return key not in PUBLIC_META or not isinstance(data[key], str | int)


def redact(
    data: Any, sensitive: Iterable[str] = (), hidden: Collection[str] = ()
) -> Redacted:
    """Return a copy of `data` with placeholders for what is hidden.

    `sensitive` are keys of the object `data` itself, not of objects inside it, and
    `hidden` are paths.
    """
    mask = MASK
    while any(text.startswith(mask) for text in _texts(data)):
        mask += MASK[0]
    placeholders: list[str] = []

    def mask_at(path: str) -> str:
        placeholders.append(f"{mask}{path}")
        return placeholders[-1]

    def copy(value: Any, names: frozenset[str], path: str) -> Any:
        if isinstance(value, list):
            return [
                mask_at(f"{path}/{i}")
                if f"{path}/{i}" in hidden
                else copy(each, _NO_NAMES, f"{path}/{i}")
                for i, each in enumerate(value)
            ]
        if not isinstance(value, dict):
            return value
        shown = {}
        for key, each in value.items():
            here = join_path(path, key)
            if _is_secret(key, names) or here in hidden:
                shown[key] = mask_at(here)
            else:
                shown[key] = copy(each, _NO_NAMES, here)
        return shown

    return Redacted(copy(data, frozenset(sensitive), ""), frozenset(placeholders))


def editable(
    data: dict[str, Any], sensitive: Iterable[str] = (), kept: Iterable[str] = ()
) -> EditableState:
    """Return `data` without what is hidden; each part of the rest has a path of names.

    `kept` are the paths of what is not in `data` either, and stays. A list is left out
    as a whole if anything in it is hidden: its items have no names by which `merge`
    could assign the hidden values.
    """
    left_out: list[str] = []
    shown = _visible(data, frozenset(sensitive), "", left_out)
    return EditableState(shown, (*left_out, *kept))


def merge(
    written: dict[str, Any],
    stored: dict[str, Any],
    sensitive: Iterable[str] = (),
    *,
    stale: bool = False,
    left_out: Iterable[str] = (),
) -> dict[str, Any]:
    """Return `written` with everything that `editable` leaves out of `stored`.

    Each of these values keeps its path, and its place among the keys. With `stale`,
    `written` is based on an older version than `stored`: an object inside it that holds
    something hidden may by now be another one under the same name, so it has to be
    written as it is stored. `left_out` are the paths that were left out when `written`
    was begun: what is hidden no longer is missing there, but nobody has removed it.
    Raises `MergeRefused`.
    """
    merged = _merge(written, stored, frozenset(sensitive), "", stale=stale)
    for path in left_out:
        if _has(stored, path) and not _has(merged, path):
            raise MergeRefused(path, "changed")
    return merged


def decode_paths(text: str) -> tuple[str, ...]:
    """Return the paths in a JSON array of strings; none if `text` is not one."""
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except (ValueError, RecursionError):
        return ()


def redact_error(error: Exception) -> str | None:
    """Return why data do not fit a declaration, without the values quoted.

    None for an error raised by code of the site's, whose text may quote anything.
    """
    if error.__cause__ is not None:
        return None
    if isinstance(error, msgspec.ValidationError):
        return _QUOTED.sub(r"\1\2", str(error))
    return str(error) if isinstance(error, StateCorrupt) else None


def join_path(path: str, key: str) -> str:
    """Return the JSON pointer of a key of the object at `path`."""
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"


def _merge(
    written: dict[str, Any],
    stored: dict[str, Any],
    names: frozenset[str],
    path: str,
    *,
    stale: bool,
) -> dict[str, Any]:
    # The keys left out, by the key that they come after; None: they come first.
    following: defaultdict[str | None, list[str]] = defaultdict(list)
    before = None
    for key, value in stored.items():
        if _is_left_out(key, value, names):
            following[before].append(key)
        elif key in written:
            before = key
        elif _holds_hidden(value):
            raise MergeRefused(join_path(path, key), "removed")
    for key in written:
        if key in names or (key in stored and _is_left_out(key, stored[key], names)):
            raise MergeRefused(join_path(path, key), "hidden")
    merged = {key: stored[key] for key in following[None]}
    for key, value in written.items():
        merged[key] = _merge_value(
            value, stored.get(key), join_path(path, key), stale=stale
        )
        merged.update((each, stored[each]) for each in following[key])
    return merged


def _merge_value(written: Any, stored: Any, path: str, *, stale: bool) -> Any:
    if not _holds_hidden(stored):
        return written
    if not isinstance(written, dict):
        raise MergeRefused(path, "removed")
    if stale and not _alike(_visible(stored, _NO_NAMES, path, []), written):
        raise MergeRefused(path, "changed")
    return _merge(written, stored, _NO_NAMES, path, stale=stale)


def _alike(one: Any, other: Any) -> bool:
    """Return whether two documents are equal as JSON, in whatever order keys are."""
    encode = msgspec.json.Encoder(order="sorted").encode
    return encode(one) == encode(other)


def _has(data: Any, path: str) -> bool:
    for step in path.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def _visible(
    data: dict[str, Any], names: frozenset[str], path: str, left_out: list[str]
) -> dict[str, Any]:
    shown = {}
    for key, value in data.items():
        here = join_path(path, key)
        if _is_left_out(key, value, names):
            left_out.append(here)
        elif isinstance(value, dict):
            shown[key] = _visible(value, _NO_NAMES, here, left_out)
        else:
            shown[key] = value
    return shown


def _is_left_out(key: str, value: Any, names: frozenset[str]) -> bool:
    if _is_secret(key, names):
        return True
    return isinstance(value, list) and _holds_hidden(value)


def _holds_hidden(value: Any) -> bool:
    if isinstance(value, dict):
        return any(
            _is_secret(key, _NO_NAMES) or _holds_hidden(each)
            for key, each in value.items()
        )
    return isinstance(value, list) and any(map(_holds_hidden, value))


def _is_secret(key: str, names: frozenset[str]) -> bool:
    return key in names or _SECRET.search(key) is not None


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for value in data.values():
            yield from _texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)
    elif isinstance(data, str):
        yield data
