"""What staff can do to sessions and participants, in words and in code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
Target = Literal["sessions", "participants"]
RUN = "run:"


@dataclass(frozen=True)
class Inputs:
    """What is asked for besides: how long, or which words."""

    minutes: int = 60
    text: str = ""
    # What tabs are sent; a site may choose another form for it.
    announcement: Callable[[str], Any] = lambda text: {"announcement": text}


@dataclass(frozen=True)
class Operation:
    """Something that can be done to one or many; `run` says whether it was.

    `question` and `done` are to be filled with `count`. `grave` is what cannot be
    undone. `field` names the input that it needs. `log` is what the admin's log says,
    to be filled with the inputs.
    """

    name: str
    title: Text
    question: Any
    effect: Text
    done: Any
    log: str
    run: Callable[[StoreKey, Inputs], bool]
    grave: bool = False
    field: Literal["", "minutes", "text"] = ""
    flag: int = CHANGE


def _disconnect(key: StoreKey, inputs: Inputs) -> bool:
    stores.disconnect(key.session, None if key.is_session else key.participant)
    return True


def _send(key: StoreKey, inputs: Inputs) -> bool:
    to = None if key.is_session else key.participant
    stores.send(key.session, inputs.announcement(inputs.text), to)
    return True


def _extend(key: StoreKey, inputs: Inputs) -> bool:
    # Already kept longer is as good.
    stores.extend(key.session, inputs.minutes * 60)
    return True


def _lock(key: StoreKey, inputs: Inputs) -> bool:
    stores.lock(key.session)
    return True


def _unlock(key: StoreKey, inputs: Inputs) -> bool:
    stores.unlock(key.session)
    return True


def _end(key: StoreKey, inputs: Inputs) -> bool:
    stores.end_session(key.session)
    return True


def _reset(key: StoreKey, inputs: Inputs) -> bool:
    return stores.reset(key.session, key.participant)


def _remove(key: StoreKey, inputs: Inputs) -> bool:
    return stores.cleanup_participant(key.session, key.participant)


def _act(cls: type[State], action: Action, key: StoreKey, inputs: Inputs) -> bool:
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
        _("Every open tab gets it now. It is not kept: who is away misses it."),
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
            "The session, its code and its own state are kept so long from now, even "
            "if nobody is in. Participants still go once they have been idle for too "
            "long. Nothing is shortened."
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
        _("Nobody new can join. Those who are in go on."),
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
        _("Open tabs are closed off. Nothing is lost: a reload brings people back."),
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
            "All that participants have done there is removed for good. Their tabs say "
            "that it is over, and the code lets nobody in again."
        ),
        ngettext_lazy("Ended %(count)s session.", "Ended %(count)s sessions.", "count"),
        "Ended the session.",
        _end,
        grave=True,
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
        _("Every open tab gets it now. It is not kept: who is away misses it."),
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
        _("Open tabs are closed off. Nothing is lost: a reload brings people back."),
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
        _("Everything that they have done is gone; their tabs begin afresh at once."),
        ngettext_lazy(
            "Reset %(count)s participant.", "Reset %(count)s participants.", "count"
        ),
        "Reset the state.",
        _reset,
        grave=True,
    ),
    Operation(
        "remove",
        _("Remove"),
        ngettext_lazy(
            "Remove %(count)s participant?", "Remove %(count)s participants?", "count"
        ),
        _(
            "Everything that they have done is gone, and so are they. Who comes back "
            "begins afresh; lock the session to keep them out."
        ),
        ngettext_lazy(
            "Removed %(count)s participant.", "Removed %(count)s participants.", "count"
        ),
        "Removed the participant.",
        _remove,
        grave=True,
        flag=DELETION,
    ),
)


def deeds(target: Target) -> tuple[Operation, ...]:
    """Return what can be done whatever a site's states are."""
    return _SESSIONS if target == "sessions" else _PARTICIPANTS


def runnable(target: Target) -> list[Operation]:
    """Return what the declared states offer: their actions that need no argument.

    So an app's own `advance` or `clear` is at hand without a line of code for it.
    """
    scope: Scope = "session" if target == "sessions" else "participant"
    return [
        _deed_of(cls, action, target)
        for cls in states_in(scope)
        for action in cls.__sessionstores__.actions.values()
        if _runs_alone(action, scope)
    ]


def find(name: str, target: Target) -> Operation | None:
    """Return the deed of that name; None if there is none for such a target."""
    for deed in deeds(target):
        if deed.name == name:
            return deed
    if not name.startswith(RUN):
        return None
    scope: Scope = "session" if target == "sessions" else "participant"
    state, _dot, action_name = name.removeprefix(RUN).partition(".")
    try:
        cls = get_state(state)
        action = get_action(cls, action_name)
    except (UnknownState, UnknownAction):
        return None
    if cls.__sessionstores__.scope != scope or not _runs_alone(action, scope):
        return None
    return _deed_of(cls, action, target)


def _runs_alone(action: Action, scope: Scope) -> bool:
    if scope == "session" and any(
        issubclass(kind, Participant) for kind in action.injected.values()
    ):
        # Staff are no participants: nobody would have acted.
        return False
    try:
        action.decode(b"{}")
    except InvalidArguments:
        return False
    return True


def _deed_of(cls: type[State], action: Action, target: Target) -> Operation:
    name = f"{cls.__sessionstores__.name}.{action.name}"
    what = (action.function.__doc__ or "").strip().partition("\n")[0]
    questions: dict[Target, Any] = {
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
        what or _("An action of the site’s own."),
        ngettext_lazy("Ran %(name)s, once.", "Ran %(name)s %(count)s times.", "count"),
        f"Ran {name}.",
        partial(_act, cls, action),
    )


def names(chosen: Sequence[StoreKey]) -> list[str]:
    """Return keys as the admin's log has them: a code, or `K7Q2ZD:alice`."""
    return [key.session if key.is_session else str(key) for key in chosen]
