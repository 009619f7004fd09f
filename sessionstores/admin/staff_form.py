"""The form of an action as staff have it: it says what JSON is to be, and why not."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from ..action_forms.fields import JsonTextField
from ..action_forms.form import ActionForm
from ..exceptions import InvalidArguments, SessionStoresError
from ..state.declaration import Action, State


class StaffForm(ActionForm):
    """The form of an action, which says what takes JSON and why something is refused.

    Staff know more of the site than those who take part, to whom no type is named.
    """

    def __init__(self, cls: type[State], action: Action, data: Any) -> None:
        # With a prefix, since its arguments may be called as our own fields are.
        super().__init__(cls, action, data, prefix="of", auto_id="ss-%s")
        for field in self.fields.values():
            if isinstance(field, JsonTextField):
                field.help_text = field.help_text or _("JSON")

    def refuse(self, error: SessionStoresError) -> None:
        """See `ActionForm`."""
        name, reason = getattr(error, "argument", ""), error.hint.partition(": ")[2]
        if not isinstance(error, InvalidArguments) or name not in self.fields:
            super().refuse(error)
            return
        said = _("It does not fit the declaration: “%(error)s”") % {"error": reason}
        self.add_error(name, ValidationError(said, code=error.code))
