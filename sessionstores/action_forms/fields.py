"""Argument fields: form fields made of the annotations of an action's arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum, Flag
from functools import partial
from typing import Any, Literal, get_args, get_origin

import msgspec
from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.html import conditional_escape
from msgspec import inspect

from ..state.actions import Action

Options = dict[str, Any]

# Written in JSON as a string, but of a form that only the server judges.
_TEXTUAL = (
    inspect.DateTimeType,
    inspect.TimeType,
    inspect.TimeDeltaType,
    inspect.UUIDType,
    inspect.DecimalType,
    inspect.BytesType,
)


class TextField(forms.CharField):
    """A line of text, as it was typed; browsers send a line break as two characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strip=False, **options)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return text.replace("\r\n", "\n") if isinstance(text, str) else text


class JsonTextField(forms.CharField):
    """A value in JSON, which stays as it was typed once it is known to be JSON.

    Unlike Django's JSONField it takes no NaN, and never fails on what is nested deeply.
    """

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return text
        try:
            msgspec.json.decode(text)
        except (ValueError, RecursionError):
            message = forms.JSONField.default_error_messages["invalid"]
            raise ValidationError(message, code="invalid") from None
        return text


class Argument:
    """One argument of an action, and the form field for it.

    `nullable`: left empty, it is None. `optional`: left empty or out, the action's
    default holds.
    """

    __slots__ = ("field", "name", "nullable", "optional")

    def __init__(self, declared: inspect.Field, hint: object) -> None:
        node, self.nullable, told = _unwrapped(declared.type)
        if isinstance(node, inspect.LiteralType):
            node = _as_declared(node, hint)
        self.name = declared.encode_name
        self.optional = not declared.required
        options: Options = {
            "required": not (self.nullable or self.optional),
            "label": told.get("title"),
            # Django takes a help text for HTML.
            "help_text": conditional_escape(told.get("description", "")),
        }
        self.field = _field(node, options, nullable=self.nullable)
        if self.optional:
            self.field.initial = self.text_of(_default_of(declared))

    def preset(self, value: object) -> None:
        """Fix the value, in a hidden control."""
        self.hide()
        self.field.initial = self.text_of(value)

    def hide(self) -> None:
        """Have a hidden control, whose value a form was given."""
        self.field.widget = self.field.hidden_widget()
        self.field.help_text = ""

    def text_of(self, value: object) -> Any:
        """Return a value as its control has it; None: nothing."""
        value = plain(value)
        if isinstance(self.field, JsonTextField):
            return None if value is None and self.nullable else json.dumps(value)
        if value is None or isinstance(value, bool):
            return value
        # So that no locale writes a number in its own way.
        return str(value)

    def json(self, value: Any, *, given: bool) -> bytes | None:
        """Return a clean value as JSON; None: it is left out of the call.

        `given`: the browser sent the control. Raises `ValidationError`.
        """
        if value in self.field.empty_values:
            # Of text, the empty one is a value, too.
            is_value = given and isinstance(self.field, TextField)
            if given and self.nullable:
                return b"null"
            if not is_value and self.optional:
                return None
            if not is_value:
                message = self.field.error_messages["required"]
                raise ValidationError(message, code="required")
        if isinstance(self.field, JsonTextField):
            return str(value).encode()
        return json.dumps(value).encode()


def arguments_of(action: Action) -> dict[str, Argument]:
    """Return the arguments that clients give an action, by name, in their order."""
    info = inspect.type_info(action.struct)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - for the type checker
    hints = [each.type for each in msgspec.structs.fields(action.struct)]
    made = map(Argument, info.fields, hints)
    return {each.name: each for each in made}


def plain(value: object) -> Any:
    """Return a value as it is in JSON; text without a mark that it is safe HTML."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str | Promise):
        # str() would return a SafeString as it is.
        return "".join(str(value))
    return msgspec.to_builtins(value)


def _default_of(declared: inspect.Field) -> Any:
    if declared.default is not msgspec.NODEFAULT:
        return declared.default
    factory: Any = declared.default_factory
    return factory()


def _unwrapped(node: inspect.Type) -> tuple[inspect.Type, bool, Mapping[str, str]]:
    """Return a type without None and `Meta`, whether it had None, and what `Meta` says.

    That is the `title` and the `description`.
    """
    told: dict[str, str] = {}
    nullable = False
    while True:
        if isinstance(node, inspect.Metadata):
            told = {**(node.extra_json_schema or {}), **told}
            node = node.type
            continue
        if not isinstance(node, inspect.UnionType):
            break
        others = [each for each in node.types if not isinstance(each, inspect.NoneType)]
        nullable = nullable or len(others) < len(node.types)
        if len(others) != 1:
            break
        (node,) = others
    if isinstance(node, inspect.LiteralType) and None in node.values:
        nullable = True
    return node, nullable, told


def _as_declared(node: inspect.LiteralType, hint: object) -> inspect.LiteralType:
    """Return a type of literals in the order in which its annotation has them."""
    order = _literals(hint)
    if {*node.values} != {*order}:
        return node
    return inspect.LiteralType(order)


def _literals(hint: object) -> tuple[Any, ...]:
    hint = getattr(hint, "__value__", hint)
    if get_origin(hint) is Literal:
        return get_args(hint)
    return next(filter(None, map(_literals, get_args(hint))), ())


def _field(node: inspect.Type, options: Options, *, nullable: bool) -> forms.Field:
    if isinstance(node, inspect.BoolType) and nullable:
        return forms.NullBooleanField(**options)
    for kind, make in _KINDS.items():
        if isinstance(node, kind):
            return make(node, options) or _json_field(node, options)
    return _json_field(node, options)


def _json_field(node: inspect.Type, options: Options) -> forms.Field:
    return JsonTextField(**options)


def _boolean(node: inspect.Type, options: Options) -> forms.Field:
    return forms.BooleanField(**{**options, "required": False})


def _integer(node: Any, options: Options) -> forms.Field:
    lowest = node.ge if node.gt is None else node.gt + 1
    highest = node.le if node.lt is None else node.lt - 1
    return forms.IntegerField(min_value=lowest, max_value=highest, **options)


def _float(node: Any, options: Options) -> forms.Field:
    # Of limits that are themselves too much, the action's own check tells.
    lowest = node.ge if node.gt is None else node.gt
    highest = node.le if node.lt is None else node.lt
    return forms.FloatField(min_value=lowest, max_value=highest, **options)


def _text(node: Any, options: Options) -> forms.Field:
    # What may be empty may be left empty: that is a text, too.
    required = options["required"] and bool(node.min_length)
    return TextField(
        min_length=node.min_length,
        max_length=node.max_length,
        **{**options, "required": required},
    )


def _textual(
    node: inspect.Type, options: Options, *, type: str | None = None
) -> forms.Field:
    attrs = {} if type is None else {"type": type}
    return forms.CharField(widget=forms.TextInput(attrs=attrs), **options)


def _literal(node: Any, options: Options) -> forms.Field | None:
    values = [value for value in node.values if value is not None]
    return _choice({value: str(value) for value in values}, options)


def _enum(node: Any, options: Options) -> forms.Field | None:
    # Flags are added up, so each choice may be one of very many.
    if issubclass(node.cls, Flag):
        return forms.IntegerField(**options)
    # An enum may have labels for people, as Django's own do.
    return _choice(
        {each.value: getattr(each, "label", str(each.value)) for each in node.cls},
        options,
    )


def _choice(labels: Mapping[Any, Any], options: Options) -> forms.Field | None:
    """Return a select; None if its choices cannot be told apart by their text."""
    by_text = {str(value): value for value in labels}
    if len(by_text) < len(labels) or "" in by_text:
        return None
    choices = [(str(value), label) for value, label in labels.items()]
    # Else browsers choose the first, which nobody has chosen.
    choices.insert(0, ("", "---------"))
    return forms.TypedChoiceField(
        choices=choices, coerce=by_text.__getitem__, empty_value=None, **options
    )


_KINDS: Mapping[Any, Callable[[Any, Options], forms.Field | None]] = {
    inspect.BoolType: _boolean,
    inspect.IntType: _integer,
    inspect.FloatType: _float,
    inspect.StrType: _text,
    inspect.LiteralType: _literal,
    inspect.EnumType: _enum,
    inspect.DateType: partial(_textual, type="date"),
    _TEXTUAL: _textual,
}
