"""Misuse of stores: say what is wrong with a call, and the call that was meant.

Nothing of this runs where a call is right, but for `check_given`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Any

from ..exceptions import InvalidArguments, UnknownState, shown
from ..keys import StoreKey
from ..state.actions import Injection
from ..state.declaration import State, StateMeta, registry
from ..state.json_rules import did_you_mean


def check_function(cls: type[State], function: Any) -> None:
    """Raise TypeError for what `dispatch` cannot run on a `cls`.

    That is what cannot be called, an action of another state, and one of an instance.
    """
    name = cls.__name__
    if isinstance(function, str):
        raise TypeError(
            f"dispatch() takes a function, not a name: {_named(cls, function)}"
        )
    if not callable(function):
        raise TypeError(
            f"dispatch() takes a function, not {shown(function)}: pass an action of "
            f"{name} or any other function of one. What changes nothing is read from "
            "store.state."
        )
    if isinstance(function, MethodType) and isinstance(function.__self__, State):
        own = f"{type(function.__self__).__name__}.{function.__name__}"
        raise TypeError(
            f"dispatch() would run {own} on the copy that it was taken from, not on "
            f"the stored {name}: pass {own}."
        )
    owner = _owner(function)
    if owner is not None and not _inherits(cls, function):
        raise TypeError(
            f"{owner.__name__}.{function.__name__} is an action of {owner.__name__}, "
            f"and this store holds {name}: stores.get({owner.__name__}, ...)."
        )


def _named(cls: type[State], name: str) -> str:
    actions = cls.__sessionstores__.actions
    if name in actions:
        return f"pass {cls.__name__}.{name}."
    near = did_you_mean(name, actions).replace("'", "")
    if near:
        near = near.replace("mean ", f"mean {cls.__name__}.")
    return f"{cls.__name__} has no action {shown(name)}.{near or _listed(cls)}"


def _listed(cls: type[State]) -> str:
    names = ", ".join(
        f"{cls.__name__}.{name}" for name in cls.__sessionstores__.actions
    )
    return f" Its actions are {names}." if names else " It has none."


def _owner(function: Any) -> type[State] | None:
    """Return the declared state whose action a function is."""
    for cls in registry.classes():
        action = cls.__sessionstores__.actions.get(getattr(function, "__name__", ""))
        if action is not None and action.function is function:
            return cls
    return None


def _inherits(cls: type[State], function: Any) -> bool:
    # One that a subclass overrides may be called all the same.
    return any(vars(base).get(function.__name__) is function for base in cls.__mro__)


def check_given(
    key: StoreKey, kinds: Mapping[str, Injection], arguments: Mapping[str, Any]
) -> None:
    """Raise `InvalidArguments` for what is given in the place of the server's own.

    That is a text or a number, and a participant of another session. What merely is
    like a participant or a state is taken.
    """
    for name, kind in kinds.items():
        given = arguments.get(name)
        if given is None or not isinstance(kind, type):
            continue
        if isinstance(given, str | int | float | StoreKey):
            raise InvalidArguments(
                f"{name} is {shown(given)}; it takes a {kind.__name__}."
            )
        session = getattr(given, "session", key.session)
        if (
            isinstance(given, kind)
            and not isinstance(given, State)
            and session != key.session
        ):
            raise InvalidArguments(
                f"{name} is {shown(given)}, of another session than {key}. Give one of "
                f"session {key.session}."
            )


def none_given(kinds: Mapping[str, Injection], arguments: Mapping[str, Any]) -> str:
    """Return what is wrong with a None in the place of the server's own; else ""."""
    for name, kind in kinds.items():
        if name in arguments and arguments[name] is None and isinstance(kind, type):
            return f"{name} is None; it takes a {kind.__name__}."
    return ""


def missing_attribute(cls: type[State], name: str) -> str:
    """Return why a store of a `cls` has no such attribute, and the way out."""
    state, start = cls.__name__, f"A store of {cls.__name__} has no {name}"
    if name in cls.__sessionstores__.actions:
        return f"{start}: store.dispatch({state}.{name}, ...) runs the action."
    if hasattr(cls, name):
        return f"{start}: store.state.{name} reads it."
    return f"{start}, and neither has {state}."


def unchangeable_attribute(cls: type[State], name: str) -> str:
    """Return why an attribute of a store cannot be set, and the way out."""
    return (
        f"A store holds no data, so {name} cannot be set: change the {cls.__name__} in "
        "an action, with store.dispatch(...), or as a whole with store.replace(...)."
    )


def misplaced_state(state: object, *others: object) -> UnknownState | None:
    """Return the error for a call whose state is not its first argument, if so."""
    for other in others:
        if isinstance(other, StateMeta):
            rest = ", ".join(
                shown(x) for x in (state, *others) if x not in (other, None)
            )
            return UnknownState(
                f"A state comes first: {other.__name__}, then {rest}, as in "
                "stores.get(Board, code, participant.id)."
            )
    return None
