"""Edited states: the parts that staff may edit, and the state that they wrote."""

from __future__ import annotations

import difflib
import re
from typing import Any, NamedTuple

import msgspec
from django.http import Http404
from django.utils.translation import gettext as _

from ..backends import get_backend
from ..backends.base import run
from ..backends.types import Record
from ..exceptions import StateCorrupt
from ..keys import StoreKey
from ..state import codec
from ..state.declaration import State
from .redaction import (
    MergeRefused,
    editable,
    kept_fields,
    merge,
    read_state,
    redact_error,
)

# What an error of msgspec's says of the place: the field of the state itself.
_FIELD = re.compile(r" - at (?:`key` in )?`\$\.([^.\[`]+)")


class InvalidEdit(Exception):
    """What was written is no such state; the message says where and why.

    `field` is the key of the state's own field that is at fault, "" if it is none.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class StoredState(NamedTuple):
    """A state as it is stored now, and the parts of it that staff may edit."""

    record: Record
    cls: type[State]
    plain: dict[str, Any]
    visible: dict[str, Any]
    left_out: tuple[str, ...]

    @property
    def key(self) -> StoreKey:
        """The key of its record."""
        return self.record.key

    @property
    def rev(self) -> str:
        """The rev of its record."""
        return str(self.record.rev)


def read_stored(key: StoreKey, cls: type[State]) -> StoredState | None:
    """Return the state as it is stored; None if it is not there.

    Raises `Http404` for a state that cannot be shown, so cannot be edited either.
    """
    record = run(get_backend(blocking=True).read(key, touch=False))
    name = cls.__sessionstores__.name
    if not isinstance(record, Record) or name not in record.states:
        return None
    try:
        plain, sensitive = read_state(record, name)
    except StateCorrupt:
        raise Http404(_("It cannot be read.")) from None
    kept = kept_fields(record, name)
    return StoredState(record, cls, plain, *editable(plain, sensitive, kept))


def parse_state(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`. Raises `InvalidEdit` if it is not one."""
    try:
        written = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidEdit(
            _("This is not JSON: %(error)s.") % {"error": error}
        ) from None
    if not isinstance(written, dict):
        raise InvalidEdit(_("A state is a JSON object: it begins with “{”."))
    return written


def written_state(
    stored: StoredState,
    written: dict[str, Any],
    *,
    stale: bool = False,
    left_out: tuple[str, ...] = (),
) -> State:
    """Return the state that somebody wrote, with the parts left out merged in.

    `stale` and `left_out` are as in `redaction.merge`. Fields left out that are not
    hidden take their default. Raises `InvalidEdit` for a field that is not declared or
    not of its declared type, and where hidden values would be written or lost.
    """
    cls = stored.cls
    merged = _with_hidden(stored, written, stale=stale, left_out=left_out)
    try:
        state = msgspec.json.decode(msgspec.json.encode(merged), type=cls)
        settled = codec.plain(codec.encode(state))
    except (StateCorrupt, ValueError) as error:
        said, place = _("A check of the site’s own refuses it."), None
        if reason := redact_error(error):
            place = _FIELD.search(reason)
            said = _("It does not fit the declaration: “%(error)s”") % {"error": reason}
        raise InvalidEdit(said, place[1] if place else "") from None
    # Decoding would drop unknown fields silently, but somebody has typed this one.
    path = _dropped(merged, settled)
    if path is not None:
        near = difflib.get_close_matches(
            path.rpartition("/")[2], cls.__struct_encode_fields__, n=1
        )
        hint = _(" Did you mean “%(near)s”?") % {"near": near[0]} if near else ""
        said = _("%(path)s is not declared, so it would be lost.") % {"path": path}
        raise InvalidEdit(said + hint, path[1:])
    return state


def changed_fields(stored: StoredState, state: State) -> list[str]:
    """Return the keys of the fields in which `state` differs from what is stored."""
    encode, before = msgspec.json.encode, stored.plain
    return [
        key
        for key, value in codec.plain_of(state).items()
        if key not in before or encode(value) != encode(before[key])
    ]


def _with_hidden(
    stored: StoredState,
    written: dict[str, Any],
    *,
    stale: bool,
    left_out: tuple[str, ...],
) -> dict[str, Any]:
    sensitive = stored.cls.__sessionstores__.sensitive
    try:
        return merge(written, stored.plain, sensitive, stale=stale, left_out=left_out)
    except MergeRefused as error:
        reasons = {
            "hidden": _(
                "%(path)s is hidden, or holds hidden values, so it cannot be changed "
                "here. Leave it out, and it is kept as it is."
            ),
            "removed": _(
                "%(path)s holds hidden values, so it cannot be removed, renamed or "
                "replaced here."
            ),
            "changed": _(
                "%(path)s holds hidden values, and the state has changed since you "
                "opened it. Begin again from what is stored now to edit it."
            ),
        }
        field = error.path.split("/")[1].replace("~1", "/").replace("~0", "~")
        said = reasons[error.reason] % {"path": error.path}
        raise InvalidEdit(said, field) from None


def _dropped(written: Any, settled: Any, path: str = "") -> str | None:
    """Return the first path in `written` that is missing in `settled`; None if none."""
    if isinstance(written, dict) and isinstance(settled, dict):
        for key, value in written.items():
            here = f"{path}/{key}"
            if key not in settled:
                return here
            if (found := _dropped(value, settled[key], here)) is not None:
                return found
    elif isinstance(written, list) and isinstance(settled, list):
        for number, pair in enumerate(zip(written, settled, strict=False)):
            if (found := _dropped(*pair, f"{path}/{number}")) is not None:
                return found
    return None
