"""The form for guests to join."""

from __future__ import annotations

from django import forms


class JoinForm(forms.Form):
    """A workshop's code, and the name that others see."""

    code = forms.CharField(
        label="Workshop code",
        max_length=6,
        min_length=6,
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
        label="Your name",
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "given-name"}),
    )

    def clean_code(self) -> str:
        return str(self.cleaned_data["code"]).upper()
