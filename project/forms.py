"""The form for guests to join."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from sessionstores import forms


class JoinForm(forms.JoinForm):
    """A session's code and a name, where a session is called a workshop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].label = _("Workshop code")
