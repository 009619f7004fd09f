"""The form for guests to join."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from sessionstores import InvalidKey, normalize_code

# Characters of a code as people type it, with what they put between its own.
MAX_TYPED = 40


class JoinForm(forms.Form):
    """A workshop's code, and the name that others see."""

    code = forms.CharField(
        label=_("Workshop code"),
        max_length=MAX_TYPED,
        widget=forms.TextInput(
            attrs={
                "autocapitalize": "characters",
                "autocomplete": "off",
                "spellcheck": "false",
                "class": "code-input",
            }
        ),
    )
    name = forms.CharField(
        label=_("Your name"),
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "given-name"}),
    )

    def clean_code(self) -> str:
        try:
            return normalize_code(self.cleaned_data["code"])
        except InvalidKey:
            raise forms.ValidationError(
                _("A code has six letters and digits, such as K7Q 2ZD.")
            ) from None
