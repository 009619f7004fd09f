"""Operations on participants: message, name, role, disconnect, reset, remove, kick."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.contrib.admin.models import DELETION
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from ..exceptions import InvalidKey
from ..manager import stores
from ..participants.names import MAX_NAME_LENGTH, check_name
from ..participants.participant import DEFAULT_ROLE
from ..participants.tokens import MAX_ROLE_LENGTH, check_role
from ..state.declaration import states_in
from .announcing import announcing
from .operations import Effect, Operation, OperationInputs, Telling, saying
from .session_operations import disconnect, report_disconnect
from .targets import OperationTarget


class NameForm(forms.Form):
    """What a participant is called."""

    called = forms.CharField(
        label=gettext_lazy("Name"),
        help_text=gettext_lazy("Others in the session see it."),
        max_length=MAX_NAME_LENGTH,
    )

    def __init__(self, targets: Sequence[OperationTarget], data: Any = None) -> None:
        name = targets[0].label
        options: Any = {"label_suffix": "", "auto_id": "ss-%s"}
        super().__init__(data, initial={"called": name}, **options)

    def clean_called(self) -> str:
        """Return the name without surrounding space."""
        try:
            return check_name(self.cleaned_data["called"])
        except InvalidKey:
            raise ValidationError(
                _(
                    "This name cannot be shown. Leave out line breaks and invisible "
                    "characters."
                )
            ) from None


class RoleForm(forms.Form):
    """A role; those that the site's states name are suggested."""

    role = forms.CharField(
        label=gettext_lazy("Role"),
        help_text=gettext_lazy(
            "It decides which actions they may run, and whom they watch."
        ),
        max_length=MAX_ROLE_LENGTH,
        widget=forms.TextInput(attrs={"list": "ss-suggestions", "autocomplete": "off"}),
    )

    def __init__(self, targets: Sequence[OperationTarget], data: Any = None) -> None:
        now = {each.role for each in targets}
        options: Any = {"label_suffix": "", "auto_id": "ss-%s"}
        initial = {"role": now.pop() if len(now) == 1 else ""}
        super().__init__(data, initial=initial, **options)
        self.suggestions = known_roles()

    def clean_role(self) -> str:
        """Return the role, if it is one."""
        try:
            return check_role(self.cleaned_data["role"])
        except InvalidKey as error:
            raise ValidationError(error.message) from None


def known_roles() -> list[str]:
    """Return the roles that the declared states name, and everybody's."""
    roles = {DEFAULT_ROLE}
    for cls in (*states_in("session"), *states_in("participant")):
        roles.update(cls.__sessionstores__.watch)
        for action in cls.__sessionstores__.actions.values():
            roles.update(action.roles)
    return sorted(roles)


def _explain_role(targets: Sequence[OperationTarget]) -> Iterable[str]:
    if len(targets) == 1:
        yield _("Now the role is %(role)s.") % {"role": targets[0].role}
    yield _("Their open tabs and later actions follow at once.")


def _set_name(target: OperationTarget, inputs: OperationInputs) -> Effect | None:
    name = inputs.values["called"]
    if name == target.label:
        return Effect(f"Already called {name}: nothing changed.", changed=False)
    if not stores.set_name(*target.key, name):
        return None
    return Effect(f"Renamed to {name} (was {target.name}).")


def _set_role(target: OperationTarget, inputs: OperationInputs) -> Effect | None:
    role = inputs.values["role"]
    if role == target.role:
        return Effect(f"The role was {role} already: nothing changed.", changed=False)
    if not stores.set_role(*target.key, role):
        return None
    return Effect(f"Made {role} (was {target.role}).")


def _reset(target: OperationTarget, inputs: OperationInputs) -> Effect | None:
    return Effect("Reset the state.") if stores.reset(*target.key) else None


def _remove(target: OperationTarget, inputs: OperationInputs) -> Effect | None:
    done = stores.cleanup_participant(*target.key)
    return Effect("Removed the participant.") if done else None


def _kick(target: OperationTarget, inputs: OperationInputs) -> Effect:
    # Also done if they have gone meanwhile.
    stores.kick(*target.key)
    return Effect("Removed the participant from the session.")


def _readmit(target: OperationTarget, inputs: OperationInputs) -> Effect | None:
    done = stores.readmit(*target.key)
    return Effect("Readmitted the participant.") if done else None


PARTICIPANT_OPERATIONS = (
    announcing("participants"),
    Operation(
        "name",
        gettext_lazy("Rename"),
        (gettext_lazy("Rename %(name)s?"), ""),
        saying(gettext_lazy("Everybody’s open tabs show the new name at once.")),
        _set_name,
        Telling(
            gettext_lazy("Renamed %(name)s to %(called)s."),
            "",
            (gettext_lazy("%(name)s is called so already: nothing changed."), ""),
        ).report,
        form=NameForm,
        single=True,
    ),
    Operation(
        "role",
        gettext_lazy("Change role"),
        (
            gettext_lazy("Change the role of %(name)s?"),
            ngettext_lazy(
                "Change the role of %(count)s participant?",
                "Change the role of %(count)s participants?",
                "count",
            ),
        ),
        _explain_role,
        _set_role,
        Telling(
            gettext_lazy("The role of %(name)s is %(role)s now."),
            ngettext_lazy(
                "The role of %(count)s participant is %(role)s now.",
                "The role of %(count)s participants is %(role)s now.",
                "count",
            ),
            (
                gettext_lazy(
                    "The role of %(name)s was %(role)s already: nothing changed."
                ),
                ngettext_lazy(
                    "The role of %(count)s participant was %(role)s already: nothing "
                    "changed.",
                    "The role of %(count)s participants was %(role)s already: nothing "
                    "changed.",
                    "count",
                ),
            ),
        ).report,
        form=RoleForm,
    ),
    Operation(
        "disconnect",
        gettext_lazy("Disconnect"),
        (
            gettext_lazy("Disconnect %(name)s?"),
            ngettext_lazy(
                "Disconnect %(count)s participant?",
                "Disconnect %(count)s participants?",
                "count",
            ),
        ),
        saying(
            gettext_lazy(
                "Open tabs are disconnected, and say so. Nothing is lost: a reload "
                "connects them again."
            )
        ),
        disconnect,
        report_disconnect,
    ),
    Operation(
        "reset",
        gettext_lazy("Reset"),
        (
            gettext_lazy("Reset %(name)s?"),
            ngettext_lazy(
                "Reset %(count)s participant?", "Reset %(count)s participants?", "count"
            ),
        ),
        saying(
            gettext_lazy(
                "Their states are removed, and their open tabs start afresh at once "
                "and say so."
            )
        ),
        _reset,
        Telling(
            gettext_lazy("Reset %(name)s: they start afresh."),
            ngettext_lazy(
                "Reset %(count)s participant: they start afresh.",
                "Reset %(count)s participants: they start afresh.",
                "count",
            ),
        ).report,
        destructive=True,
    ),
    Operation(
        "remove",
        gettext_lazy("Remove, may come back"),
        (
            gettext_lazy("Remove %(name)s, who may come back?"),
            ngettext_lazy(
                "Remove %(count)s participant, who may come back?",
                "Remove %(count)s participants, who may come back?",
                "count",
            ),
        ),
        saying(
            gettext_lazy(
                "They and their states are removed, and their open tabs say so. They "
                "can come back and start afresh, also if the session is locked; remove "
                "them from the session to keep them out."
            )
        ),
        _remove,
        Telling(
            gettext_lazy("Removed %(name)s, who may come back."),
            ngettext_lazy(
                "Removed %(count)s participant, who may come back.",
                "Removed %(count)s participants, who may come back.",
                "count",
            ),
        ).report,
        destructive=True,
        flag=DELETION,
    ),
    Operation(
        "kick",
        gettext_lazy("Remove from session"),
        (
            gettext_lazy("Remove %(name)s from the session?"),
            ngettext_lazy(
                "Remove %(count)s participant from the session?",
                "Remove %(count)s participants from the session?",
                "count",
            ),
        ),
        saying(
            gettext_lazy(
                "They and their states are removed, and their open tabs say so. They "
                "cannot come back until they are readmitted; a guest could as somebody "
                "new, in another browser: lock the session against that."
            )
        ),
        _kick,
        Telling(
            gettext_lazy("Removed %(name)s from the session: they are kept out."),
            ngettext_lazy(
                "Removed %(count)s participant from the session: they are kept out.",
                "Removed %(count)s participants from the session: they are kept out.",
                "count",
            ),
        ).report,
        destructive=True,
        flag=DELETION,
    ),
    Operation(
        "readmit",
        gettext_lazy("Readmit"),
        (
            gettext_lazy("Readmit %(name)s?"),
            ngettext_lazy(
                "Readmit %(count)s participant?",
                "Readmit %(count)s participants?",
                "count",
            ),
        ),
        saying(gettext_lazy("They can join again, and start afresh.")),
        _readmit,
        Telling(
            gettext_lazy("Readmitted %(name)s: they can join again."),
            ngettext_lazy(
                "Readmitted %(count)s participant: they can join again.",
                "Readmitted %(count)s participants: they can join again.",
                "count",
            ),
        ).report,
        of_kicked=True,
    ),
)
