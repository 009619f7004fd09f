"""State declarations: the `State` base class, its metadata, and the registry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, overload

import msgspec
from msgspec import field as field

from ..exceptions import UnknownAction, UnknownState, shown
from . import class_keywords, class_rules
from .actions import Action, action, actions_of, injected, register_injectable
from .class_keywords import Names, Scope
from .json_rules import did_you_mean
from .struct_errors import class_reason
from .type_rules import UNRESOLVED, refusals, unresolved

__all__ = [
    "Action",
    "Declaration",
    "Registry",
    "Scope",
    "State",
    "action",
    "field",
    "get_action",
    "get_state",
    "injected",
    "register_injectable",
    "registry",
    "states_in",
]

M = TypeVar("M", bound="StateMeta")
S = TypeVar("S", bound="State")

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Declaration:
    """The metadata of a state class, in its `__sessionstores__`.

    `sensitive` holds keys of the state's JSON, `watch` the roles that may watch,
    `progress` the name of the attribute that says how far somebody is; "": none does.
    """

    name: str
    version: int
    scope: Scope
    sensitive: frozenset[str]
    watch: frozenset[str]
    actions: Mapping[str, Action]
    progress: str = ""


class StateMeta(msgspec.StructMeta):
    """Takes a state's class keywords; all others are msgspec's (`kw_only=True` …)."""

    def __new__(
        mcls: type[M],
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        name: str | None = None,
        version: int = 1,
        scope: Scope = "participant",
        sensitive: Names = (),
        watch: Names = (),
        progress: str | None = None,
        **struct_config: Any,
    ) -> M:
        try:
            cls = super().__new__(mcls, cls_name, bases, namespace, **struct_config)
        except (TypeError, ValueError) as error:
            where = namespace.get("__qualname__", cls_name)
            reason = class_reason(error, namespace, struct_config)
            raise type(error)(f"State {where}: {reason}") from error
        if any(isinstance(base, StateMeta) for base in bases):
            if name is None:
                name = _HUMP.sub("_", cls_name).lower()
            given = name, version, scope, sensitive, watch, progress
            _declare(cast("type[State]", cls), *given)
        return cls

    if not TYPE_CHECKING:  # type checkers would let anything be set

        def __setattr__(cls, name: str, value: object) -> None:
            if name == "__dataclass_params__":
                raise TypeError(
                    f"State {cls.__qualname__}: a state is no dataclass, and has all "
                    "that one has. Leave out @dataclass."
                )
            super().__setattr__(name, value)


def _declare(
    cls: type[State],
    name: str,
    version: int,
    scope: Scope,
    sensitive: Names,
    watch: Names,
    progress: str | None,
) -> None:
    where = f"State {cls.__qualname__}"
    class_keywords.check_keywords(where, name, version, scope)
    class_keywords.check_options(where, cls.__struct_config__)
    class_keywords.check_fields(where, cls)
    keys = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
    hidden = class_keywords.names_of(where, "sensitive", sensitive)
    for unknown in hidden - keys.keys():
        raise ValueError(
            f"{where}: sensitive={unknown!r} is not a field."
            f"{did_you_mean(unknown, keys)}"
        )
    if progress is not None:
        class_keywords.check_progress(where, cls, progress, hidden)
    cls.__sessionstores__ = Declaration(
        name,
        version,
        scope,
        frozenset(keys[each] for each in hidden),
        class_keywords.names_of(where, "watch", watch),
        actions_of(cls, scope),
        progress or "",
    )
    registry.add(cls)


class State(msgspec.Struct, metaclass=StateMeta):
    """Base of declared states: a msgspec.Struct whose fields all have defaults.

    `class Board(State, name="board", version=1, sensitive=("notes",),
    watch=("facilitator",), progress="placed")`: `name` defaults to the class name in
    snake_case, `scope` is "participant" or "session", `progress` names a field or
    property that tells staff how far somebody is. Subclasses inherit fields and actions
    and are states of their own; for a common base that is not a state, use
    msgspec.Struct.
    Raises TypeError and ValueError, which name the class and the value.
    """

    __sessionstores__: ClassVar[Declaration]

    @classmethod
    def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
        """Return JSON data of a lower version in the form of this one.

        Override it together with `version`. The result is complete: fields missing in
        it take their default, and what is unknown is kept only if it is in there.
        """
        return data


register_injectable(State)


class Registry:
    """The declared states, by name.

    Two classes of one name are both kept, so that a check can report them together;
    to look that name up raises `UnknownState`.
    """

    def __init__(self) -> None:
        self._states: dict[str, list[type[State]]] = {}
        # Whether the apps' modules of states have been imported.
        self.is_complete = False
        self._scopes: dict[str, tuple[type[State], ...]] = {}

    def add(self, cls: type[State]) -> None:
        """Register `cls`; it replaces a class of the same module and qualified name."""
        states = self._states.setdefault(cls.__sessionstores__.name, [])
        states[:] = [other for other in states if _address(other) != _address(cls)]
        states.append(cls)
        self._scopes.clear()

    @overload
    def get(self, state: type[S]) -> type[S]: ...
    @overload
    def get(self, state: str) -> type[State]: ...
    def get(self, state: Any) -> type[State]:
        """Return the class declared under a name; of a declared class, itself.

        Raises `UnknownState`, with the nearest name.
        """
        if isinstance(state, str):
            return self._only(state)
        if not isinstance(state, StateMeta) or state is State:
            if isinstance(state, State):
                way_out = f"pass {type(state).__name__} itself"
            else:
                way_out = "pass a subclass of State, or its name"
            raise UnknownState(
                f"{shown(state)} is not a declared State class: {way_out}."
            )
        cls = cast("type[State]", state)
        if self._only(cls.__sessionstores__.name) is not cls:
            raise UnknownState(
                f"{_address(cls)} has since been declared again; import it again."
            )
        return cls

    def _only(self, name: str) -> type[State]:
        states = self._states.get(name)
        if not states:
            way_out = did_you_mean(name, self._states) or (
                " States are declared in modules named `states` of INSTALLED_APPS, or "
                "in what these import."
            )
            if not self.is_complete:
                way_out += (
                    " None of these has been imported: 'sessionstores' is not in "
                    "INSTALLED_APPS, or the apps are not ready yet."
                )
            raise UnknownState(f"No state {name[:64]!r} is declared.{way_out}")
        if len(states) > 1:
            raise UnknownState(
                f"The name {name!r} is declared by "
                f"{' and by '.join(map(_address, states))}. Give one another name=."
            )
        return states[0]

    def in_scope(self, scope: Scope) -> tuple[type[State], ...]:
        """Return the states of "participant" or "session", sorted by name."""
        states = self._scopes.get(scope)
        if states is None:
            found = map(self._only, sorted(self._states))
            states = tuple(c for c in found if c.__sessionstores__.scope == scope)
            self._scopes[scope] = states
        return states

    def duplicates(self) -> dict[str, tuple[type[State], ...]]:
        """Return the names that several classes declare, with these classes."""
        return {
            name: tuple(states)
            for name, states in self._states.items()
            if len(states) > 1
        }

    def classes(self) -> list[type[State]]:
        """Return all declared classes, those too that share a name."""
        return [cls for states in self._states.values() for cls in states]

    def problems(self) -> list[str]:
        """Describe all that `class_problems_of` and `problems_of` find."""
        return [
            text
            for cls in self.classes()
            for text in (*class_problems_of(cls), *problems_of(cls))
        ]

    @contextmanager
    def isolated(self, *states: type[State]) -> Iterator[None]:
        """For tests: only `states` are declared, and those that the block declares.

        Afterwards the registry is as before.
        """
        before = self._states
        self._states = {}
        self._scopes.clear()
        try:
            for cls in states:
                self.add(cls)
            yield
        finally:
            self._states = before
            self._scopes.clear()


def problems_of(cls: type[State]) -> list[str]:
    """Describe the annotations of a state that do not resolve or that JSON forbids.

    Each is named by class and field, or by action, with the type and the way out.
    """
    try:
        found = list(refusals(cls, stored=True))
    except UNRESOLVED as error:
        found = list(unresolved(cls))
        if not found:
            return [f"{_address(cls)}: its fields do not resolve: {error}."]
    problems = [f"{_address(cls)}.{refusal}".rstrip(".") + "." for refusal in found]
    for each in cls.__sessionstores__.actions.values():
        try:
            each.resolve()
        except TypeError as error:
            problems.append(f"{cls.__module__}.{error}")
    return problems


def class_problems_of(cls: type[State]) -> list[str]:
    """Describe what the class body of a state says and cannot mean, with the way out.

    Such as a field without annotation, or an action without `self`.
    """
    found = [f"{_address(cls)}.{each}." for each in class_rules.mistakes(cls)]
    for each in cls.__sessionstores__.actions.values():
        with suppress(TypeError):  # one that does not resolve is a problem of its own
            each.resolve()
            found += (
                f"{cls.__module__}.{text}."
                for text in class_rules.action_mistakes(cls, each)
            )
    return found


def _address(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


registry = Registry()
get_state = registry.get
states_in = registry.in_scope


def get_action(cls: type[State], name: str) -> Action:
    """Return the action of that name; raise `UnknownAction`, with the nearest name.

    Fields, inherited methods and all else that is not `@action` are unknown.
    """
    declaration = cls.__sessionstores__
    try:
        return declaration.actions[name]
    except KeyError:
        raise UnknownAction(
            f"{declaration.name} has no action {name[:64]!r}."
            f"{did_you_mean(name, declaration.actions) or _actions_of(cls, name)}"
        ) from None


def _actions_of(cls: type[State], name: str) -> str:
    if not name.startswith("_") and callable(getattr(cls, name, None)):
        return " Clients may call methods with @action only, which it has not."
    names = ", ".join(cls.__sessionstores__.actions)
    return f" Its actions are: {names}." if names else " It has none."
