"""Draft of an edit: what a form of a state began with, and what was typed into it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
from django.http import HttpRequest
from django.utils.translation import gettext as _

from .. import conf
from ..exceptions import StateTooLarge, StoreUnavailable
from ..humanize import size_text
from ..state.declaration import State
from .edited_state import InvalidEdit, StoredState, parse_state
from .redaction import decode_paths
from .state_controls import NAMES, StateControls

# Longer JSON is not indented: a line for each item would be thousands of lines.
MAX_INDENTED = 65_536

Mode = Literal["fields", "json"]


class Begun(NamedTuple):
    """What an edit has begun with: a rev, what it showed, and the paths it left out.

    `shown` is None if the form does not say.
    """

    rev: str
    shown: dict[str, Any] | None
    left_out: tuple[str, ...]

    @classmethod
    def stored(cls, stored: StoredState) -> Begun:
        """Return an edit that begins with what is stored now."""
        return cls(stored.rev, stored.visible, stored.left_out)

    @classmethod
    def sent(cls, request: HttpRequest) -> Begun:
        """Return what the hidden controls of a form say."""
        post = request.POST
        try:
            shown = parse_state(post.get("begun", ""))
        except InvalidEdit:
            shown = None
        return cls(post.get("base", ""), shown, decode_paths(post.get("left_out", "")))


class Draft:
    """What somebody has typed: the JSON of the whole state, or a control a field."""

    def __init__(self, text: str = "", controls: StateControls | None = None) -> None:
        self.text = text
        self.controls = controls

    @property
    def mode(self) -> Mode:
        """How it is shown."""
        return "json" if self.controls is None else "fields"

    @classmethod
    def showing(
        cls, state: type[State], data: dict[str, Any], mode: str | None = None
    ) -> Draft:
        """Return a draft that holds `data`; by field if a field has a plain control."""
        controls = StateControls.showing(state, data)
        if mode == "fields" or (mode is None and controls.are_plain):
            return cls(controls=controls)
        return cls(pretty(data))

    @classmethod
    def sent(cls, state: type[State], request: HttpRequest) -> Draft:
        """Return the draft in a form as a browser has sent it."""
        post = request.POST
        if NAMES in post:
            return cls(controls=StateControls.sent(state, post))
        return cls(post.get("state", ""))

    def data(self, *, strict: bool = True) -> dict[str, Any]:
        """Return what was typed. Raises `InvalidEdit`.

        Unless `strict`, what does not fit the control of a field is in it as text.
        """
        if self.controls is None:
            return parse_state(self.text)
        data = self.controls.data()
        if strict and self.controls.errors:
            raise InvalidEdit(
                _("Nothing was saved. Please correct the fields marked below.")
            )
        return data

    def refuse(self, error: Exception) -> str:
        """Show an error at its field; return it if it is of no single one."""
        said = reason_of(error)
        if self.controls is None or not isinstance(error, InvalidEdit):
            return said
        if error.field not in self.controls.keys:
            return said
        self.controls.errors[error.field] = said
        return _marked_below()


def _marked_below() -> str:
    return _("Nothing was saved. Please correct the fields marked below.")


def reason_of(error: Exception) -> str:
    """Return why something was not saved, or may not have been."""
    if isinstance(error, StoreUnavailable):
        if error.refused:
            return _("The cache refused this, so nothing was saved. Save it again.")
        return _(
            "The cache does not answer. It is not known whether this was saved. Save "
            "it again: that is safe in either case."
        )
    if isinstance(error, StateTooLarge):
        named = {"limit": size_text(conf.get().max_state_bytes)}
        return _("It is too large: the record would have more than %(limit)s.") % named
    if isinstance(error, RecursionError):
        return _("It is nested too deeply.")
    return str(error)


def pretty(data: Any) -> str:
    """Return indented JSON; a large object has a line for each field.

    In thousands of lines, browsers take seconds to show it.
    """
    text = msgspec.json.encode(data)
    if len(text) <= MAX_INDENTED:
        return msgspec.json.format(text, indent=2).decode()
    if not isinstance(data, dict):
        return text.decode()
    fields = [
        f"  {msgspec.json.encode(key).decode()}: {msgspec.json.encode(value).decode()}"
        for key, value in data.items()
    ]
    return "\n".join(("{", ",\n".join(fields), "}"))
