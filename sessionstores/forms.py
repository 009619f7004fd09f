"""Form with which people join a session: its code, as they type it, and their name."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .backends import get_backend
from .exceptions import InsideTransaction, InvalidKey, SessionStoresError
from .keys import MAX_TYPED, normalize_code
from .monitoring import failures
from .participants.joining import ajoin, join
from .participants.names import MAX_NAME_LENGTH, check_name
from .participants.participant import Participant

__all__ = ["JoinForm"]

_NO_CODE = _("A code has six letters and digits, such as K7Q 2ZD.")
_NO_NAME = _(
    "This name cannot be shown. Leave out line breaks and invisible characters."
)


class JoinForm(forms.Form):
    """A session's code and the participant's name, 1 to 80 characters.

    Valid is what may be a code and a name; `join` finds out about the session. Where
    something is wrong, the first field with an error has the focus, without a script.
    A subclass may do without a name (`name = None`), or not require one.
    """

    code = forms.CharField(
        label=_("Session code"),
        max_length=MAX_TYPED,
        error_messages={"max_length": _NO_CODE},
        widget=forms.TextInput(
            attrs={
                "autocapitalize": "characters",
                "autocomplete": "off",
                "spellcheck": "false",
                "enterkeyhint": "next",
            }
        ),
    )
    name = forms.CharField(
        label=_("Your name"),
        help_text=_("Others in the session see it."),
        max_length=MAX_NAME_LENGTH,
        widget=forms.TextInput(attrs={"autocomplete": "name", "enterkeyhint": "go"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        # Why `join` has let nobody in.
        self.refusal: SessionStoresError | None = None

    def clean_code(self) -> str:
        """Return the code in its one form, however it was typed."""
        try:
            return normalize_code(self.cleaned_data["code"])
        except InvalidKey as error:
            failures.count(get_backend(blocking=True), error)
            raise forms.ValidationError(_NO_CODE, code="invalid_key") from None

    def clean_name(self) -> str:
        """Return the name without surrounding space, if it can be shown.

        Where a subclass requires none, it may be empty.
        """
        name = self.cleaned_data["name"]
        if not name and not self.fields["name"].required:
            return ""
        try:
            return check_name(name)
        except InvalidKey as error:
            failures.count(get_backend(blocking=True), error)
            raise forms.ValidationError(_NO_NAME, code="invalid_key") from None

    def add_error(self, field: str | None, error: Any) -> None:
        """Add an error, as every form does, and focus the first field that has one."""
        super().add_error(field, error)
        wrong = [name for name in self.fields if name in self.errors]
        for name, each in self.fields.items():
            each.widget.attrs.pop("autofocus", None)
            if name in wrong[:1]:
                each.widget.attrs["autofocus"] = True

    def join(self, request: HttpRequest, **given: Any) -> Participant | None:
        """Join the session of a valid form, under the name that was given, if any.

        `given` are other arguments of `sessionstores.join`: `role`, `create`. Where it
        refuses, as unknown, locked, full or after too many guesses, or the cache does
        not answer, the form has that as an error of `code`, `refusal` is what was
        raised, and the answer is None: show the form again. Raises `InsideTransaction`,
        and ValueError for a form that is not valid, or was not asked whether it is.
        """
        code, name = self._typed()
        try:
            return join(request, code, name=name, **given)
        except SessionStoresError as error:
            self._refuse(error)
            return None

    async def ajoin(self, request: HttpRequest, **given: Any) -> Participant | None:
        """See `join`."""
        code, name = self._typed()
        try:
            return await ajoin(request, code, name=name, **given)
        except SessionStoresError as error:
            self._refuse(error)
            return None

    def _typed(self) -> tuple[str, str | None]:
        """Return the code and the name that were typed; raise ValueError."""
        form = type(self).__name__
        if not self.is_bound:
            way_out = f"it was given no data: {form}(request.POST)"
        elif not hasattr(self, "cleaned_data"):
            way_out = "call is_valid() first: if form.is_valid(): form.join(request)"
        elif self.errors:
            wrong = ", ".join(self.errors)
            way_out = f"it has errors ({wrong}): join only if form.is_valid()"
        elif "code" not in self.cleaned_data:
            way_out = "its cleaned data have no `code`, which says what is joined"
        else:
            cleaned = self.cleaned_data
            return cleaned["code"], cleaned.get("name") or None
        raise ValueError(f"{form} cannot join: {way_out}.")

    def _refuse(self, error: SessionStoresError) -> None:
        # A mistake of the site's, about which its visitors can do nothing.
        if isinstance(error, InsideTransaction):
            raise error
        self.refusal = error
        self.add_error("code", forms.ValidationError(error.message, code=error.code))
