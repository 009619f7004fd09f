"""Class rules: find what a state's class body says that Python would not object to.

Such as a field without annotation, which is none. All of it is seen without running
anything of the class.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec

from .actions import ROLES, Action, ByParticipant, signature_of
from .class_keywords import progress_mistake
from .json_rules import explain, in_python
from .type_rules import UNRESOLVED, Refusal, annotations_of, hint_text

_NOT_THE_SITES: Final = frozenset(
    {"msgspec", "msgspec._core", "builtins", "typing", f"{__package__}.declaration"}
)
_CHANGING: Final = frozenset(
    (
        *("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse"),
        *("update", "setdefault", "popitem", "add", "discard"),
    )
)
_CONTAINERS: Final = (list, dict, set, bytearray)
_MIGRATE: Final = (
    "Write `@classmethod`, `def migrate(cls, data, from_version):`, and return the data"
)


def mistakes(cls: type[Any]) -> Iterator[Refusal]:
    """Yield what is wrong with the class body of a state, by name."""
    yield from _migrate_mistakes(cls)
    yield from _missing_annotations(cls)
    yield from _hidden_fields(cls)
    yield from _fields_as_defaults(cls)
    yield from _wrapped_actions(cls)
    yield from _progress_mistakes(cls)


def _progress_mistakes(cls: type[Any]) -> Iterator[Refusal]:
    # Of an annotation that did not resolve yet when the class was made.
    name = cls.__sessionstores__.progress
    if name and (mistake := progress_mistake(cls, name)) is not None:
        yield Refusal(name, mistake)


# migrate


def _migrate_mistakes(cls: type[Any]) -> Iterator[Refusal]:
    # It is called for data of lower versions only.
    if cls.__sessionstores__.version == 1:
        return
    reason = _migrate_reason(inspect.getattr_static(cls, "migrate"), cls.migrate)
    if reason is not None:
        yield Refusal("migrate", f"{reason}. {_MIGRATE}")


def _migrate_reason(defined: object, migrate: Any) -> str | None:
    if not callable(migrate):
        return "it is no method, but brings stored data of lower versions up to date"
    if inspect.iscoroutinefunction(migrate) or inspect.isgeneratorfunction(migrate):
        return "it is called where stored data is read, so it returns at once"
    try:
        signature = signature_of(migrate)
        first = next(iter(signature.parameters), "")
        if inspect.isfunction(defined) and first in ("self", "cls"):
            return "it is called on the class, so it needs to be a classmethod"
        signature.bind({}, 1)
    except TypeError as error:
        return f"it is called as migrate(data, from_version): {error}"
    except ValueError:
        # One of C, which says nothing of its parameters.
        return None
    return None


# Fields


def _bodies(cls: type[Any]) -> list[type[Any]]:
    """Return the classes that make up a state, without the packages' own."""
    return [base for base in cls.__mro__ if base.__module__ not in _NOT_THE_SITES]


def _missing_annotations(cls: type[Any]) -> Iterator[Refusal]:
    written: set[str] | None = None
    for base in _bodies(cls):
        annotated = annotations_of(base)
        for name, value in vars(base).items():
            if name.startswith("__") or name in annotated or _is_member(value):
                continue
            if name in cls.__struct_fields__:
                continue
            if _is_field(value):
                yield _without_annotation(name, "<its type> = <its default>")
            elif not callable(value) and not hasattr(type(value), "__get__"):
                written = _names_written(cls) if written is None else written
                if name in written:
                    yield _without_annotation(name, _declared(value))


def _without_annotation(name: str, rest: str) -> Refusal:
    return Refusal(
        name,
        "it has no annotation, so it is no field: it is not stored, no tab gets it, "
        "and what changes it fails or changes it for everybody. "
        f"Write `{name}: {rest}`",
    )


def _declared(value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, _CONTAINERS):
        start = repr(value) if not value else "field(default_factory=...)"
        return f"{kind}[...] = {start}"
    return f"{kind} = {value!r}"


def _is_member(value: object) -> bool:
    return inspect.ismemberdescriptor(value)


def _is_field(value: object) -> bool:
    """Whether it stands for a field, such as those of Django's models do."""
    return (
        type(value) is type(msgspec.field(default=0))
        or isinstance(value, dataclasses.Field)
        or hasattr(value, "contribute_to_class")
    )


def _names_written(cls: type[Any]) -> set[str]:
    """Return the names of attributes that methods set or change in place."""
    found: set[str] = set()
    for base in _bodies(cls):
        for value in vars(base).values():
            if inspect.isfunction(value):
                found |= _written_by(value)
    return found


def _written_by(function: Any) -> set[str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    me = function.__code__.co_varnames[:1]
    for node in ast.walk(tree):
        target = _changed(node)
        if (
            isinstance(target, ast.Attribute)
            and isinstance(target.value, ast.Name)
            and (target.value.id,) == me
        ):
            names.add(target.attr)
    return names


def _changed(node: ast.AST) -> ast.AST | None:
    """Return what a piece of code sets, or changes in place."""
    if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
        return node
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return node.value
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _CHANGING
    ):
        return node.func.value
    return None


def _hidden_fields(cls: type[Any]) -> Iterator[Refusal]:
    actions = cls.__sessionstores__.actions
    for name, default in _defaults(cls):
        own = inspect.getattr_static(cls, name, None)
        hiding = default if _is_member(own) else own
        if _is_method(hiding, name):
            marked = name in actions or hasattr(hiding, ROLES)
            kind = "an action" if marked else "a method"
            yield Refusal(name, f"it is a field and {kind}. Rename one of them")
        elif not _is_member(own):
            yield Refusal(
                name,
                f"{_cut(repr(own))} without an annotation hides the field, whose "
                f"default stays as it was. Write `{name}: {_declared(own)}`",
            )


def _is_method(value: object, name: str) -> bool:
    if isinstance(value, property | classmethod | staticmethod):
        return True
    # Not another function, which is a default of no use, but no method.
    return inspect.isfunction(value) and value.__name__ == name


def _defaults(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    fields, defaults = cls.__struct_fields__, cls.__struct_defaults__
    return zip(fields[len(fields) - len(defaults) :], defaults, strict=True)


def _fields_as_defaults(cls: type[Any]) -> Iterator[Refusal]:
    for name, default in _defaults(cls):
        if isinstance(default, dataclasses.Field) or hasattr(
            default, "contribute_to_class"
        ):
            yield Refusal(
                name,
                f"{type(default).__name__} of {type(default).__module__} is no "
                "default here. Give the value itself, or `field(default_factory=...)` "
                "of sessionstores",
            )


# Actions


def _wrapped_actions(cls: type[Any]) -> Iterator[Refusal]:
    for name in dict.fromkeys(name for base in _bodies(cls) for name in vars(base)):
        value = inspect.getattr_static(cls, name)
        if inspect.isfunction(value) or _is_member(value):
            continue
        inner = (getattr(value, each, None) for each in ("fget", "func", "__wrapped__"))
        if any(inspect.isfunction(each) and hasattr(each, ROLES) for each in inner):
            kind = type(value).__name__.strip("_").removesuffix("_wrapper")
            yield Refusal(
                name,
                f"@{kind} around @action makes no action of it, so clients cannot call "
                "it. Leave one of them out",
            )


def action_mistakes(cls: type[Any], action: Action) -> Iterator[str]:
    """Yield what is wrong with an action of a state whose annotations resolve."""
    where = action.function.__qualname__
    try:
        hints = typing.get_type_hints(action.function, include_extras=True)
    except UNRESOLVED:
        return
    first, *others = signature_of(action.function).parameters.values()
    if first.name != "self" and _cannot_be(cls, hints.get(first.name, Any)):
        yield (
            f"{where}: its first parameter is given the state, and {first.name} is "
            f"annotated {hint_text(hints[first.name])}. Write `self` before it"
        )
    for parameter in others:
        default = parameter.default
        if parameter.name in action.injected or default is None:
            continue
        if default is parameter.empty:
            continue
        reason = _default_reason(default, hints[parameter.name])
        if reason is not None:
            yield (
                f"{where}: {parameter.name}: {reason}. It is the default, which needs "
                "to be of that type, or None"
            )
    yield from _ungiven(where, action.injected, action.scope)


def _cannot_be(cls: type[Any], hint: Any) -> bool:
    """Whether a parameter of this annotation cannot be an instance of `cls`."""
    if hint is Any:
        return False
    if isinstance(hint, type) and not typing.get_args(hint):
        if Protocol in hint.__mro__:
            return False
        return not issubclass(cls, hint)
    return isinstance(typing.get_origin(hint), type)


def _default_reason(default: object, hint: Any) -> str | None:
    """Return why a default is of another type; what stands for no value is not."""
    try:
        msgspec.json.decode(msgspec.json.encode(default), type=hint)
    except msgspec.ValidationError as error:
        path, reason = explain(error)
        if path or not reason.startswith("expected ") or ", got " not in reason:
            return None
        return in_python(reason)
    except (TypeError, ValueError, RecursionError):
        return None
    return None


def _ungiven(where: str, injected: Mapping[str, Any], scope: str) -> Iterator[str]:
    for name, kind in injected.items():
        if isinstance(kind, ByParticipant) or scope != "session":
            continue
        declared = getattr(kind, "__sessionstores__", None)
        if declared is not None and declared.scope == "participant":
            yield (
                f"{where}: {name}: a session's action cannot be given {kind.__name__}: "
                "each participant has their own. Annotate it "
                f"Mapping[str, {kind.__name__}] for everybody's"
            )


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
