"""Operations of staff on sessions and participants: texts, and what they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from django.contrib.admin.models import CHANGE, DELETION
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from ..exceptions import InvalidArguments, UnknownAction, UnknownState
from ..keys import StoreKey
from ..manager import stores
from ..participants.participant import Participant
from ..state.declaration import Action, Scope, State, get_action, get_state, states_in

Text = str | Promise
TargetKind = Literal["sessions", "participants"]
RUN = "run:"


@dataclass(frozen=True)
class OperationInputs:
    """The input of an operation: minutes, or a text."""

    minutes: int = 60
    text: str = ""
    # Returns the data that tabs are sent; a site may override it.
    announcement: Callable[[str], Any] = lambda text: {"announcement": text}


@dataclass(frozen=True)
class Operation:
    """An operation on sessions or participants; `run` returns whether it was done.

    `question` and `done` are format strings for `count`, `log` for the inputs: the
    text of the admin's log. `destructive`: it cannot be undone. `field` names the input
    that it needs. `of_kicked`: it is for those whom their session keeps out.
    """

    name: str
    title: Text
    question: Any
    effect: Text
    done: Any
    log: str
    run: Callable[[StoreKey, OperationInputs], bool]
    destructive: bool = False
    field: Literal["", "minutes", "text"] = ""
    flag: int = CHANGE
    of_kicked: bool = False


def _disconnect(key: StoreKey, inputs: OperationInputs) -> bool:
    stores.disconnect(key.session, None if key.is_session else key.participant)
    return True


def _send(key: StoreKey, inputs: OperationInputs) -> bool:
    to = None if key.is_session else key.participant
    stores.send(key.session, inputs.announcement(inputs.text), to)
    return True


def _extend(key: StoreKey, inputs: OperationInputs) -> bool:
    # Also done if the session is kept for longer already.
    stores.extend(key.session, inputs.minutes * 60)
    return True


def _lock(key: StoreKey, inputs: OperationInputs) -> bool:
    stores.lock(key.session)
    return True


def _unlock(key: StoreKey, inputs: OperationInputs) -> bool:
    stores.unlock(key.session)
    return True


def _end(key: StoreKey, inputs: OperationInputs) -> bool:
    stores.end_session(key.session)
    return True


def _reset(key: StoreKey, inputs: OperationInputs) -> bool:
    return stores.reset(key.session, key.participant)


def _remove(key: StoreKey, inputs: OperationInputs) -> bool:
    return stores.cleanup_participant(key.session, key.participant)


def _kick(key: StoreKey, inputs: OperationInputs) -> bool:
    # Also done if they have gone meanwhile.
    stores.kick(key.session, key.participant)
    return True


def _readmit(key: StoreKey, inputs: OperationInputs) -> bool:
    return stores.readmit(key.session, key.participant)


def _act(
    cls: type[State], action: Action, key: StoreKey, inputs: OperationInputs
) -> bool:
    store = (
        stores.get(cls, key.session)
        if key.is_session
        else stores.get(cls, key.session, key.participant)
    )
    store.dispatch(action.function)
    return True


_SESSIONS = (
    Operation(
        "message",
        _("Send a message"),
        ngettext_lazy(
            "Send a message to %(count)s session?",
            "Send a message to %(count)s sessions?",
            "count",
        ),
        _("Every open tab gets it now. It is not stored: people who are away miss it."),
        ngettext_lazy(
            "Sent to %(count)s session.", "Sent to %(count)s sessions.", "count"
        ),
        "Sent a message: %(text)s",
        _send,
        field="text",
    ),
    Operation(
        "extend",
        _("Extend"),
        ngettext_lazy(
            "Extend %(count)s session?", "Extend %(count)s sessions?", "count"
        ),
        _(
            "The session, its code and its own state are kept for this long from now, "
            "even if it is empty, and with them everyone who has changed something, "
            "unless the session was created otherwise. Who only looked in is still "
            "removed when idle. No time is shortened."
        ),
        ngettext_lazy(
            "Extended %(count)s session.", "Extended %(count)s sessions.", "count"
        ),
        "Extended the session: kept %(minutes)s minutes from then.",
        _extend,
        field="minutes",
    ),
    Operation(
        "lock",
        _("Lock"),
        ngettext_lazy("Lock %(count)s session?", "Lock %(count)s sessions?", "count"),
        _("Nobody new can join. Those who have joined continue."),
        ngettext_lazy(
            "Locked %(count)s session.", "Locked %(count)s sessions.", "count"
        ),
        "Locked the session.",
        _lock,
    ),
    Operation(
        "unlock",
        _("Unlock"),
        ngettext_lazy(
            "Unlock %(count)s session?", "Unlock %(count)s sessions?", "count"
        ),
        _("People can join again."),
        ngettext_lazy(
            "Unlocked %(count)s session.", "Unlocked %(count)s sessions.", "count"
        ),
        "Unlocked the session.",
        _unlock,
    ),
    Operation(
        "disconnect",
        _("Disconnect everybody"),
        ngettext_lazy(
            "Disconnect everybody in %(count)s session?",
            "Disconnect everybody in %(count)s sessions?",
            "count",
        ),
        _("Open tabs are disconnected. Nothing is lost: a reload reconnects them."),
        ngettext_lazy(
            "Disconnected %(count)s session.",
            "Disconnected %(count)s sessions.",
            "count",
        ),
        "Disconnected everybody.",
        _disconnect,
    ),
    Operation(
        "end",
        _("End session"),
        ngettext_lazy("End %(count)s session?", "End %(count)s sessions?", "count"),
        _(
            "All states of the session are removed for good. Open tabs say that it is "
            "over, and nobody can join with its code again."
        ),
        ngettext_lazy("Ended %(count)s session.", "Ended %(count)s sessions.", "count"),
        "Ended the session.",
        _end,
        destructive=True,
        flag=DELETION,
    ),
)

_PARTICIPANTS = (
    Operation(
        "message",
        _("Send a message"),
        ngettext_lazy(
            "Send a message to %(count)s participant?",
            "Send a message to %(count)s participants?",
            "count",
        ),
        _("Every open tab gets it now. It is not stored: people who are away miss it."),
        ngettext_lazy(
            "Sent to %(count)s participant.", "Sent to %(count)s participants.", "count"
        ),
        "Sent a message: %(text)s",
        _send,
        field="text",
    ),
    Operation(
        "disconnect",
        _("Disconnect"),
        ngettext_lazy(
            "Disconnect %(count)s participant?",
            "Disconnect %(count)s participants?",
            "count",
        ),
        _("Open tabs are disconnected. Nothing is lost: a reload reconnects them."),
        ngettext_lazy(
            "Disconnected %(count)s participant.",
            "Disconnected %(count)s participants.",
            "count",
        ),
        "Disconnected.",
        _disconnect,
    ),
    Operation(
        "reset",
        _("Reset"),
        ngettext_lazy(
            "Reset %(count)s participant?", "Reset %(count)s participants?", "count"
        ),
        _("Their states are removed, and their open tabs start afresh at once."),
        ngettext_lazy(
            "Reset %(count)s participant.", "Reset %(count)s participants.", "count"
        ),
        "Reset the state.",
        _reset,
        destructive=True,
    ),
    Operation(
        "remove",
        _("Remove"),
        ngettext_lazy(
            "Remove %(count)s participant?", "Remove %(count)s participants?", "count"
        ),
        _(
            "They and their states are removed. They can come back and start afresh; "
            "lock the session to keep them out."
        ),
        ngettext_lazy(
            "Removed %(count)s participant.", "Removed %(count)s participants.", "count"
        ),
        "Removed the participant.",
        _remove,
        destructive=True,
        flag=DELETION,
    ),
    Operation(
        "kick",
        _("Remove from session"),
        ngettext_lazy(
            "Remove %(count)s participant from the session?",
            "Remove %(count)s participants from the session?",
            "count",
        ),
        _(
            "They and their states are removed, and their open tabs say so. They "
            "cannot come back until they are readmitted; a guest could as somebody "
            "new, in another browser: lock the session against that."
        ),
        ngettext_lazy(
            "Removed %(count)s participant from the session.",
            "Removed %(count)s participants from the session.",
            "count",
        ),
        "Removed the participant from the session.",
        _kick,
        destructive=True,
        flag=DELETION,
    ),
    Operation(
        "readmit",
        _("Readmit"),
        ngettext_lazy(
            "Readmit %(count)s participant?",
            "Readmit %(count)s participants?",
            "count",
        ),
        _("They can join again, and start afresh."),
        ngettext_lazy(
            "Readmitted %(count)s participant.",
            "Readmitted %(count)s participants.",
            "count",
        ),
        "Readmitted the participant.",
        _readmit,
        of_kicked=True,
    ),
)


def standard_operations(target: TargetKind) -> tuple[Operation, ...]:
    """Return the operations that every site has."""
    return _SESSIONS if target == "sessions" else _PARTICIPANTS


def state_operations(target: TargetKind) -> list[Operation]:
    """Return the actions of declared states that take no argument, as operations."""
    scope: Scope = "session" if target == "sessions" else "participant"
    return [
        _state_operation(cls, action, target)
        for cls in states_in(scope)
        for action in cls.__sessionstores__.actions.values()
        if _needs_no_input(action, scope)
    ]


def find_operation(name: str, target: TargetKind) -> Operation | None:
    """Return the operation of this name for such targets; None if there is none."""
    for operation in standard_operations(target):
        if operation.name == name:
            return operation
    if not name.startswith(RUN):
        return None
    scope: Scope = "session" if target == "sessions" else "participant"
    state, _dot, action_name = name.removeprefix(RUN).partition(".")
    try:
        cls = get_state(state)
        action = get_action(cls, action_name)
    except (UnknownState, UnknownAction):
        return None
    if cls.__sessionstores__.scope != scope or not _needs_no_input(action, scope):
        return None
    return _state_operation(cls, action, target)


def _needs_no_input(action: Action, scope: Scope) -> bool:
    if scope == "session" and any(
        isinstance(kind, type) and issubclass(kind, Participant)
        for kind in action.injected.values()
    ):
        # Staff are not participants, so there is nobody to inject.
        return False
    try:
        action.decode(b"{}")
    except InvalidArguments:
        return False
    return True


def _state_operation(cls: type[State], action: Action, target: TargetKind) -> Operation:
    name = f"{cls.__sessionstores__.name}.{action.name}"
    summary = (action.function.__doc__ or "").strip().partition("\n")[0]
    questions: dict[TargetKind, Any] = {
        "sessions": ngettext_lazy(
            "Run %(name)s in %(count)s session?",
            "Run %(name)s in %(count)s sessions?",
            "count",
        ),
        "participants": ngettext_lazy(
            "Run %(name)s for %(count)s participant?",
            "Run %(name)s for %(count)s participants?",
            "count",
        ),
    }
    return Operation(
        f"{RUN}{name}",
        name,
        questions[target],
        summary or _("An action of this site."),
        ngettext_lazy("Ran %(name)s, once.", "Ran %(name)s %(count)s times.", "count"),
        f"Ran {name}.",
        partial(_act, cls, action),
    )


def log_name(key: StoreKey) -> str:
    """Return a key as the admin's log has it: `K7Q2ZD`, or `K7Q2ZD:alice`."""
    return key.session if key.is_session else str(key)
