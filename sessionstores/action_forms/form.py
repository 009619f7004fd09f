"""Action form: the arguments of an action as a form, valid if the action takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import ErrorList, pretty_name
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..exceptions import MESSAGES, InvalidArguments, SessionStoresError
from ..state.actions import Action
from ..state.declaration import State
from ..state.json_rules import did_you_mean, portable_text
from .fields import arguments_of, plain

# Where to go after it, and the names of the arguments that are hidden. Ours alone: an
# action may have an argument `next`.
NEXT = "ss_next"
PRESET = "ss_preset"


def label_of(action: Action) -> str:
    """Return what people call an action: its label, else its name in words."""
    return str(plain(action.label)) if action.label else pretty_name(action.name)


class AlertList(ErrorList):
    """Errors of a form, read out by a screen reader if they are of no single field."""

    def render(self, *given: Any, **named: Any) -> SafeString:
        """Return the list as the form's renderer has it, in an alert if need be."""
        shown: SafeString = super().render(*given, **named)
        if not self or "nonfield" not in self.error_class:
            return shown
        return format_html('<div role="alert">{}</div>', shown)

    __str__ = render
    __html__ = render


class ActionForm(forms.Form):
    """A form with a control for each argument that clients give an action.

    Its kind and limits follow from the annotation; `presets` are values of hidden ones,
    and `hidden` names others whose values are in `data`. Valid is what the action takes
    from a tab: `decoded` are the arguments. The first field with an error has the
    focus. Raises TypeError for a preset value of no argument.
    """

    def __init__(
        self,
        cls: type[State],
        action: Action,
        data: Any = None,
        *,
        presets: Mapping[str, object] | None = None,
        hidden: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        super().__init__(
            data, **{"error_class": AlertList, "label_suffix": "", **options}
        )
        self.state = cls
        self.action = action
        self.decoded: dict[str, Any] = {}
        self._arguments = arguments_of(action)
        self._preset(presets or {}, hidden)
        self.fields = {each.name: each.field for each in self._arguments.values()}

    @property
    def hidden(self) -> list[str]:
        """The names of the hidden arguments."""
        return [name for name, field in self.fields.items() if field.widget.is_hidden]

    def _preset(self, presets: Mapping[str, object], hidden: tuple[str, ...]) -> None:
        for name, value in presets.items():
            if name not in self._arguments:
                where = f"{self.state.__sessionstores__.name}.{self.action.name}"
                names = ", ".join(self._arguments) or "nothing"
                near = did_you_mean(name, self._arguments) or f" It takes {names}."
                raise TypeError(f"{where} takes no argument {name!r} of clients.{near}")
            self._arguments[name].preset(value)
        for name in hidden:
            if name in self._arguments:
                self._arguments[name].hide()

    def clean(self) -> dict[str, Any]:
        """Have the action decode the arguments, as those of a tab."""
        cleaned = self.cleaned_data
        given: dict[str, msgspec.Raw] = {}
        for name, argument in self._arguments.items():
            if name not in cleaned:
                continue
            omitted = argument.field.widget.value_omitted_from_data(
                self.data, self.files, self.add_prefix(name)
            )
            try:
                encoded = argument.json(cleaned[name], given=not omitted)
            except ValidationError as error:
                self.add_error(name, error)
            else:
                if encoded is not None:
                    given[name] = msgspec.Raw(encoded)
        if not self.errors:
            try:
                self.decoded = self.action.decode(msgspec.json.encode(given))
            except InvalidArguments as error:
                self.refuse(error)
        return cleaned

    def refuse(self, error: SessionStoresError) -> None:
        """Show what a person is told of an error, at the argument that is at fault."""
        name = error.argument if isinstance(error, InvalidArguments) else ""
        self.add_error(
            name if name in self.fields else None,
            ValidationError(portable_text(error.message), code=error.code),
        )

    def show_refusal(self, told: str, code: str) -> None:
        """Show the errors of the form, and what was told when it was dispatched."""
        if self.is_valid() and told:
            self.add_error(None, ValidationError(told, code=code))

    def add_error(self, field: str | None, error: Any) -> None:
        """Add an error, as every form does, and focus the first field that has one.

        Of a hidden field, nobody can see what is wrong: that is told of the form.
        """
        if field is not None and self.fields[field].widget.is_hidden:
            self.cleaned_data.pop(field, None)
            message = str(MESSAGES["invalid_arguments"])
            field, error = None, ValidationError(message, code="invalid_arguments")
        super().add_error(field, error)
        wrong = [name for name in self.fields if name in self.errors]
        for name, each in self.fields.items():
            each.widget.attrs.pop("autofocus", None)
            if name in wrong[:1]:
                each.widget.attrs["autofocus"] = True
