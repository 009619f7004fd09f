"""Actions: the methods of a state that clients may call, and their arguments."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import (
    Any,
    Final,
    NamedTuple,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

import msgspec

from ..exceptions import MESSAGES, ActionRejected, InvalidArguments
from .dataclass_defaults import with_defaults
from .json_rules import REFUSED_NAMES, flaw, is_suspect, types_in
from .type_rules import UNRESOLVED, explain_typed, refuse_unportable, unsupported

if sys.version_info >= (3, 14):
    import annotationlib

    # Annotations may name what is defined later, so they are not evaluated yet.
    signature_of = functools.partial(
        inspect.signature, annotation_format=annotationlib.Format.FORWARDREF
    )
else:
    signature_of = inspect.signature

F = TypeVar("F", bound=Callable[..., Any])

ROLES: Final = "__sessionstores_roles__"
LABEL: Final = "__sessionstores_label__"
# Where a state class has its declaration.
_DECLARED: Final = "__sessionstores__"
_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
_KINDS_REFUSED: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*{0} cannot be validated; name each argument",
    inspect.Parameter.VAR_KEYWORD: "**{0} cannot be validated; name each argument",
    inspect.Parameter.POSITIONAL_ONLY: "{0} must not be positional-only",
}


_WRAPPERS = frozenset({"property", "staticmethod", "classmethod", "cached_property"})


class _Injected:
    def __repr__(self) -> str:
        return "injected"


# Lets typed server code leave out what the server fills in:
# `def move(self, card: str, *, agenda: Agenda = injected)`.
injected: Any = _Injected()

_injectable: set[type] = set()


def register_injectable(cls: type) -> None:
    """Let keyword-only parameters annotated `cls`, or a subclass, be filled in."""
    _injectable.add(cls)


def _is_injectable(hint: object) -> bool:
    return isinstance(hint, type) and any(issubclass(hint, cls) for cls in _injectable)


class ByParticipant(NamedTuple):
    """Everybody's states of one class, which `Mapping[str, Board]` asks for."""

    state: type[Any]


Injection = type[Any] | ByParticipant


def _injection(hint: object) -> Injection | None:
    """Return what the server fills in for an annotation; None: nothing."""
    if _is_injectable(hint):
        return cast("type[Any]", hint)
    if get_origin(hint) is Mapping:
        key, state = get_args(hint)
        # People have no state, and State itself none of its own.
        if key is str and _is_injectable(state) and hasattr(state, _DECLARED):
            return ByParticipant(state)
    return None


class _Arguments(NamedTuple):
    names: tuple[str, ...]
    injected: Mapping[str, Injection]
    struct: type[msgspec.Struct]
    result: Any
    decode: Callable[[bytes], msgspec.Struct]


@dataclass(frozen=True, eq=False)
class Action:
    """A method that clients may call; `roles` is empty if every role may.

    `scope` is its state's, and decides what it may be given. `label` is what people
    call it, None if the site has not said so. Annotations are
    resolved at first use, with a TypeError that names the one that cannot be;
    `registry.problems()` resolves them all.
    """

    name: str
    function: Callable[..., Any]
    roles: tuple[str, ...] = ()
    scope: str = "participant"
    label: Any = None

    @functools.cached_property
    def injected(self) -> Mapping[str, Injection]:
        """The keyword-only parameters that the server fills in, and with what."""
        return self._arguments.injected

    @property
    def struct(self) -> type[msgspec.Struct]:
        """What clients send: a field for each argument, in the order of the method's.

        Those that may be left out have a default.
        """
        return self._arguments.struct

    @property
    def result(self) -> Any:
        """The annotation of what it returns; Any if there is none."""
        return self._arguments.result

    def check_role(self, role: str) -> None:
        """Raise `ActionRejected` for a role that may not call it."""
        if self.roles and role not in self.roles:
            raise ActionRejected(
                MESSAGES["forbidden"],
                code="forbidden",
                hint=f"{self.name} is not for the role {role!r}: "
                f"@action(role=…) admits {', '.join(map(repr, self.roles))}.",
            )

    def resolve(self) -> None:
        """Resolve the annotations now; raise TypeError if one cannot be."""
        _ = self._arguments

    def decode(self, raw: bytes) -> dict[str, Any]:
        """Return the arguments in a JSON object, by name, converted and complete.

        Raises `InvalidArguments`, which names the argument: of a wrong type ("1" is
        not 1), missing, unknown, or not storable in a state.
        """
        arguments = self._arguments
        # msgspec.Raw calls itself bytes, but is not.
        text = bytes(raw)
        try:
            decoded = msgspec.structs.asdict(arguments.decode(text))
            # An escape may hide a name from is_suspect.
            if is_suspect(text) or b"\\u" in text:
                self._refuse_flaw(msgspec.json.decode(text))
        except msgspec.ValidationError as error:
            path, reason = explain_typed(arguments.struct, error)
            if reason == "unknown" and path not in arguments.names:
                reason = f"unknown; it takes {', '.join(arguments.names) or 'nothing'}"
            raise self._invalid(path or "arguments", reason) from error
        except (ValueError, RecursionError) as error:
            raise self._invalid("arguments", f"not JSON: {error}") from error
        return decoded

    def convert(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Convert `arguments`, given as values, as if a client had sent them."""
        plain = dict(arguments)
        self._refuse_flaw(plain)
        return self.decode(msgspec.json.encode(plain))

    def _refuse_flaw(self, plain: object) -> None:
        found = flaw(plain)
        if found:
            raise self._invalid(*found)

    def _invalid(self, path: str, reason: str) -> InvalidArguments:
        path = path.lstrip(".")
        error = InvalidArguments(f"{self.name}: {path}: {reason}.")
        error.argument = re.split(r"[.\[]", path, maxsplit=1)[0]
        return error

    @functools.cached_property
    def _arguments(self) -> _Arguments:
        where = self.function.__qualname__
        try:
            hints = get_type_hints(self.function, include_extras=True)
        except UNRESOLVED as error:
            raise TypeError(
                f"{where}: its annotations cannot be resolved: {error}. Import what "
                "they name at module level, outside `if TYPE_CHECKING`."
            ) from error
        filled: dict[str, Injection] = {}
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        parameters = list(signature_of(self.function).parameters.values())[1:]
        for parameter in parameters:
            name, hint = parameter.name, hints[parameter.name]
            injection = _injection(hint)
            if injection is not None and parameter.kind is parameter.KEYWORD_ONLY:
                self._check_injection(name, injection)
                filled[name] = injection
            elif parameter.default is injected or _mentions_injectable(hint):
                raise TypeError(
                    f"{where}: {name} is annotated {hint!r}, which clients cannot "
                    "send. What the server fills in is keyword-only (after `*`) and "
                    "annotated with exactly Participant or a State class, or in an "
                    "action of a session's state with Mapping[str, Board], which is "
                    "everybody's Board."
                )
            elif parameter.default is parameter.empty:
                fields.append((name, hint))
            else:
                # The very default, shared between calls, as in any Python call.
                given = functools.partial(_identity, parameter.default)
                fields.append((name, hint, msgspec.field(default_factory=given)))
        try:
            struct = msgspec.defstruct(
                "Arguments", fields, kw_only=True, forbid_unknown_fields=True
            )
            refuse_unportable(struct)
            decode = msgspec.json.Decoder(struct).decode
        except (TypeError, NameError) as error:
            found = next((f"{name}: {why}" for name, why in unsupported(fields)), error)
            raise TypeError(
                f"{where}: its arguments cannot come from JSON: {found}."
            ) from error
        names = tuple(each[0] for each in fields)
        result = hints.get("return", Any)
        return _Arguments(
            names,
            MappingProxyType(filled),
            struct,
            result,
            with_defaults(decode, types_in(struct)[0]),
        )

    def _check_injection(self, name: str, injection: Injection) -> None:
        if not isinstance(injection, ByParticipant):
            return
        state = injection.state.__name__
        if getattr(injection.state, _DECLARED).scope == "session":
            reason = f"of {state} a session has only one: annotate it {state}"
        elif self.scope != "session":
            reason = (
                f"it asks for everybody's {state}, and an action of a participant's "
                'state sees nobody else\'s. Move it to a state with scope="session", '
                "or keep there what others may see"
            )
        else:
            return
        raise TypeError(f"{self.function.__qualname__}: {name}: {reason}.")


def _identity(value: Any) -> Any:
    return value


def _mentions_injectable(hint: object) -> bool:
    # Else `by: Participant | None = None` would let clients say who they are.
    return _is_injectable(hint) or any(map(_mentions_injectable, get_args(hint)))


@overload
def action(function: F, /) -> F: ...
@overload
def action(
    *, role: str | tuple[str, ...] | list[str] = (), label: Any = None
) -> Callable[[F], F]: ...
def action(
    function: F | None = None,
    /,
    *,
    role: str | tuple[str, ...] | list[str] = (),
    label: Any = None,
) -> F | Callable[[F], F]:
    """Let clients call a method: all of them, or those in `role` (one or several).

    `label`, a text that may be a lazy translation, is what its buttons say, in the
    admin and in forms; without one, the admin takes the docstring's first sentence.

    An action must have no side effects: it runs again if another commits first. It
    raises `ActionRejected` to refuse. Clients' arguments are validated by their
    annotations; its result is sent as JSON. Declaring the class raises TypeError for
    methods that cannot be called this way: async methods, generators, static and class
    methods, `*args`, `**kwargs`, parameters without annotation, names that begin with
    "_".
    """
    roles = _roles(role)

    def mark(function: F) -> F:
        if not inspect.isfunction(function):
            raise TypeError(_not_a_method(function))
        setattr(function, ROLES, roles)
        setattr(function, LABEL, label)
        return function

    return mark if function is None else mark(function)


def _not_a_method(function: object) -> str:
    if isinstance(function, str):
        return (
            f"@action({function!r}): it takes a method. Write "
            f"@action(role={function!r}) for those who may call it."
        )
    inner = getattr(function, "fget", None) or getattr(function, "func", function)
    name = getattr(inner, "__qualname__", repr(inner))
    kind = type(function).__name__
    way_out = f" Leave out @{kind}." if kind in _WRAPPERS else ""
    return f"@action {name}: only plain methods can be actions.{way_out}"


def _roles(role: object) -> tuple[str, ...]:
    roles = (role,) if isinstance(role, str) else role
    if not isinstance(roles, tuple | list) or not all(
        isinstance(each, str) and each for each in roles
    ):
        raise TypeError(f"@action(role={role!r}): a role is a non-empty name.")
    return tuple(roles)


def actions_of(cls: type, scope: str = "participant") -> Mapping[str, Action]:
    """Return the actions that `cls`, of a `scope`, defines and inherits, by name.

    Raises TypeError for any that clients could not call.
    """
    found: dict[str, Action] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            function = getattr(value, "__func__", value)
            roles = vars(function).get(ROLES) if inspect.isfunction(function) else None
            # A method that a subclass overrides without @action is not an action.
            found.pop(name, None)
            if roles is not None:
                where = f"{cls.__qualname__}.{name}"
                _check_action(where, name, value)
                label = vars(function).get(LABEL)
                found[name] = Action(name, value, roles, scope, label)
    return MappingProxyType(found)


def _check_action(where: str, name: str, function: Any) -> None:
    reason = _refusal(name, function)
    if reason:
        raise TypeError(f"@action {where}: {reason}.")


def _refusal(name: str, function: Any) -> str | None:
    if not inspect.isfunction(function):
        return "only plain methods can be actions"
    if name.startswith("_"):
        return 'names that begin with "_" are private'
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "an action is pure computation and cannot be async"
    if inspect.isgeneratorfunction(function):
        return "an action cannot be a generator; return the value"
    parameters = list(signature_of(function).parameters.values())
    if not parameters or parameters[0].kind not in _POSITIONAL:
        return "it needs a first parameter, self"
    return next(filter(None, map(_parameter_refusal, parameters[1:])), None)


def _parameter_refusal(parameter: inspect.Parameter) -> str | None:
    if parameter.kind in _KINDS_REFUSED:
        return _KINDS_REFUSED[parameter.kind].format(parameter.name)
    if parameter.annotation is parameter.empty:
        return f"{parameter.name} needs an annotation, to be validated by"
    if parameter.name in REFUSED_NAMES:
        return f"browsers refuse the name {parameter.name}"
    return None
