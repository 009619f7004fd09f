"""State controls: a state's fields as controls of a form, which work without a script.

A plain field has a control of its kind; everything else has its JSON. Either gives back
exactly the value that it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from msgspec import inspect

from ..action_forms.fields import Argument, JsonTextField, TextField
from ..state.declaration import State

# The hidden control that names the others, in their order.
NAMES = "controls"
# Characters of a text above which it has a box of several lines.
LINE = 60
# Lines of a box, at least and at most; people can make it larger.
FEWEST, MOST = 2, 16

# What browsers or HTML change in a text on its way to a form and back.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")


class ControlRow(NamedTuple):
    """A control as the page shows it; `help` says what it takes."""

    key: str
    name: str
    id: str
    help: str
    error: str
    html: SafeString


class StateControls:
    """Controls for the fields of a state of `cls`, in the order of `names`.

    A control's name says its kind and its field's key, such as `lines-deck`; `texts`
    are what they hold, by name, as they are sent. Nothing that was sent raises: what
    is no control of this state counts as JSON.
    """

    def __init__(
        self, cls: type[State], names: Iterable[str], texts: dict[str, Any]
    ) -> None:
        fields = _fields_of(cls)
        self._controls: dict[str, tuple[str, _JsonControl]] = {}
        for name in filter(None, names):
            kind, _dash, key = name.partition("-")
            field = fields.get(key)
            offered = field.controls() if field else ()
            found = [each for each in offered if each.kind == kind]
            self._controls[name] = key, (*found, _JsonControl(field))[0]
        self._texts = texts
        self.errors: dict[str, str] = {}

    @classmethod
    def showing(cls, state: type[State], data: dict[str, Any]) -> StateControls:
        """Return controls that hold `data`, the visible parts of a state."""
        fields = _fields_of(state)
        texts: dict[str, Any] = {}
        for key, value in data.items():
            control = _control_for(fields.get(key), value)
            texts[f"{control.kind}-{key}"] = control.text_of(value)
        return cls(state, texts, texts)

    @classmethod
    def sent(cls, state: type[State], post: QueryDict) -> StateControls:
        """Return the controls of a form as a browser has sent it."""
        controls = cls(state, post.getlist(NAMES), {})
        controls._texts = {
            name: control.sent(post, name)
            for name, (_key, control) in controls._controls.items()
        }
        return controls

    @property
    def keys(self) -> set[str]:
        """The keys of the fields that they hold."""
        return {key for key, _control in self._controls.values()}

    @property
    def are_plain(self) -> bool:
        """Whether any of them is more than a box of JSON."""
        return any(control.kind != "json" for _key, control in self._controls.values())

    def data(self) -> dict[str, Any]:
        """Return what they hold, and note in `errors` what is not valid, by key.

        That is in the data as the text that it is.
        """
        self.errors.clear()
        found: dict[str, Any] = {}
        for name, (key, control) in self._controls.items():
            text = self._texts.get(name)
            try:
                found[key] = control.value_of(text)
            except ValidationError as error:
                self.errors[key] = " ".join(error.messages)
                found[key] = text
        return found

    def rows(self) -> list[ControlRow]:
        """Return the controls as the page shows them, with the errors noted so far."""
        rows: list[ControlRow] = []
        for number, (name, (key, control)) in enumerate(self._controls.items()):
            id, text = f"ss-control-{number}", self._texts.get(name)
            error = self.errors.get(key, "")
            attrs: dict[str, Any] = {"id": id, "aria-describedby": f"{id}-help"}
            if error:
                attrs["aria-describedby"] = f"{id}-error {id}-help"
                attrs["aria-invalid"] = "true"
                # The first of them, so that typing goes on there.
                attrs["autofocus"] = not any(row.error for row in rows)
            html = control.widget(text).render(name, text, attrs)
            rows.append(ControlRow(key, name, id, control.help, error, html))
        return rows


class _JsonControl:
    """A box of JSON, for a field of any type, or one that is not declared."""

    kind = "json"

    def __init__(self, field: _StateField | None) -> None:
        self.field = field

    @property
    def help(self) -> SafeString:
        """What the control takes, and what the declaration says of the field."""
        told = str(self.field.field.help_text) if self.field else ""
        texts = filter(None, (self.takes(), told))
        return format_html_join(" · ", "{}", ((text,) for text in texts))

    def takes(self) -> str:
        return _("JSON")

    def text_of(self, value: Any) -> Any:
        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()

    def sent(self, post: QueryDict, name: str) -> Any:
        # As browsers send line breaks.
        return post.get(name, "").replace("\r\n", "\n")

    def value_of(self, text: Any) -> Any:
        """Return the value in JSON. Raises `ValidationError`."""
        try:
            return msgspec.json.decode(text)
        except (ValueError, RecursionError) as error:
            said = _("This is not JSON: %(error)s.") % {"error": error}
            raise ValidationError(said) from None

    def widget(self, text: Any) -> forms.Widget:
        lines = str(text).count("\n") + 1
        rows = min(max(lines, FEWEST), MOST)
        return forms.Textarea({"rows": rows, "spellcheck": "false", "dir": "ltr"})

    def gives_back(self, value: Any) -> bool:
        """Return whether a browser sends exactly the value that it was given."""
        try:
            text = self.text_of(value)
            if isinstance(text, str) and _CONTROL.search(text):
                return False
            found = self.value_of(text)
        except (ValidationError, TypeError):
            return False
        return msgspec.json.encode(found) == msgspec.json.encode(value)


class _LinesControl(_JsonControl):
    """A box with a text in each line, none of them blank."""

    kind = "lines"

    def takes(self) -> str:
        return _("One per line")

    def text_of(self, value: Any) -> Any:
        return "\n".join(value)

    def value_of(self, text: Any) -> Any:
        return [line for line in text.split("\n") if line.strip()]

    def widget(self, text: Any) -> forms.Widget:
        widget = super().widget(text)
        widget.attrs["dir"] = "auto"
        return widget


class _FieldControl(_JsonControl):
    """The control that an argument of an action of this type has."""

    kind = "field"

    def __init__(self, field: _StateField) -> None:
        super().__init__(field)
        self.field: _StateField = field

    def takes(self) -> str:
        said = ""
        if isinstance(self.field.field, forms.FloatField):
            said = _("Number")
        elif isinstance(self.field.field, forms.IntegerField):
            said = _("Whole number")
        elif isinstance(self.field.field, TextField):
            said = _("Text")
        return f"{said}, {_('may be empty')}" if said and self.field.nullable else said

    def text_of(self, value: Any) -> Any:
        return self.field.text_of(value)

    def sent(self, post: QueryDict, name: str) -> Any:
        widget = self.field.field.widget
        if isinstance(widget, forms.CheckboxInput | forms.NullBooleanSelect):
            return widget.value_from_datadict(post, MultiValueDict(), name)
        return super().sent(post, name)

    def value_of(self, text: Any) -> Any:
        value = self.field.field.clean(text)
        return msgspec.json.decode(self.field.json(value, given=True) or b"null")

    def widget(self, text: Any) -> forms.Widget:
        field = self.field.field
        text = text or ""
        if isinstance(field, TextField) and (len(text) > LINE or "\n" in text):
            rows = min(max(text.count("\n") + 1, len(text) // LINE + 1, FEWEST), MOST)
            return forms.Textarea({"rows": rows, "dir": "auto"})
        if isinstance(field, forms.IntegerField):
            # A browser would send nothing in the place of what is no number.
            lowest: Any = field.min_value
            is_counted = lowest is not None and lowest >= 0
            return forms.TextInput({"inputmode": "numeric"} if is_counted else {})
        widget: forms.Widget = field.widget
        if isinstance(field, TextField):
            widget.attrs["dir"] = "auto"
        return widget


class _StateField(Argument):
    """A field of a state, as an argument that has to be given."""

    __slots__ = ("holds_lines",)

    def __init__(self, declared: inspect.Field, hint: object) -> None:
        # It has a value; its default is not what somebody means who empties it.
        given = inspect.Field(declared.name, declared.encode_name, declared.type)
        super().__init__(given, hint)
        self.holds_lines = _is_list_of_text(declared.type)
        if isinstance(self.field, forms.ChoiceField) and not self.nullable:
            choices: Any = self.field.choices
            self.field.choices = [each for each in choices if each[0] != ""]

    def controls(self) -> Iterator[_JsonControl]:
        """Yield the controls that can hold it, the plainest first."""
        if not isinstance(self.field, JsonTextField):
            yield _FieldControl(self)
        if self.holds_lines:
            yield _LinesControl(self)
        yield _JsonControl(self)


def _control_for(field: _StateField | None, value: Any) -> _JsonControl:
    for control in field.controls() if field else ():
        if control.gives_back(value):
            return control
    return _JsonControl(field)


def _fields_of(cls: type[State]) -> dict[str, _StateField]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - for the type checker
    hints = [each.type for each in msgspec.structs.fields(cls)]
    made = map(_StateField, info.fields, hints)
    return {each.name: each for each in made}


def _is_list_of_text(node: inspect.Type) -> bool:
    if isinstance(node, inspect.Metadata):
        return _is_list_of_text(node.type)
    if isinstance(node, inspect.UnionType):
        return any(map(_is_list_of_text, node.types))
    return isinstance(node, inspect.CollectionType) and isinstance(
        node.item_type, inspect.StrType
    )
