"""Class keywords: what the head of a state's class says, checked as it is declared."""

from __future__ import annotations

import inspect
import re
import types
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from .json_rules import REFUSED_NAMES, did_you_mean
from .type_rules import UNRESOLVED, annotations_of, hint_text

Scope = Literal["participant", "session"]
Names = tuple[str, ...] | list[str] | set[str] | frozenset[str]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
# Each would break a guarantee.
_REFUSED_OPTIONS = {
    "frozen": "its actions change it",
    "array_like": "tabs and other releases find its fields by name",
    "forbid_unknown_fields": "fields that another release has stored are kept",
    "omit_defaults": "tabs get every field",
    "tag": "it is told from others by its name=",
}


def check_keywords(where: str, name: object, version: object, scope: object) -> None:
    """Refuse a name, version or scope that no state can have."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in REFUSED_NAMES:
        raise ValueError(
            f"{where}: name {name!r} must be 1 to 64 of a-z, 0-9 and _, begin with a "
            f"letter, and be none of {', '.join(sorted(REFUSED_NAMES))}. Give name=."
        )
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError(f"{where}: version {version!r} must be an integer from 1 on.")
    if scope not in get_args(Scope):
        raise ValueError(
            f'{where}: scope {scope!r} must be "participant" or "session".'
        )


def check_options(where: str, config: msgspec.structs.StructConfig) -> None:
    """Refuse the options of msgspec that would break a guarantee."""
    for option, reason in _REFUSED_OPTIONS.items():
        chosen = getattr(config, option)
        # A tag may be 0 or "".
        if chosen is not None and chosen is not False:
            raise TypeError(
                f"{where}: a state cannot have {option}, since {reason}. Leave it out."
            )


def check_fields(where: str, cls: type[Any]) -> None:
    """Refuse field names that browsers cannot use, and fields without a default."""
    for refused in REFUSED_NAMES.intersection(cls.__struct_encode_fields__):
        raise ValueError(f"{where}: browsers refuse the field name {refused!r}.")
    defaults = cls.__struct_defaults__
    required = len(cls.__struct_fields__) - len(defaults)
    for place, name in enumerate(cls.__struct_fields__):
        # Fields that are keyword-only keep their place among the defaults.
        if place < required or defaults[place - required] is msgspec.NODEFAULT:
            raise TypeError(
                f"{where}: field {name!r} needs a default, for fresh states and for "
                f"data without it: {name}: ... = ..."
            )


def names_of(where: str, keyword: str, names: object) -> frozenset[str]:
    """Return the names that a keyword gives; refuse what is no tuple of names."""
    if not isinstance(names, tuple | list | set | frozenset) or not all(
        isinstance(name, str) for name in names
    ):
        raise TypeError(f"{where}: {keyword}={names!r} must be a tuple of names.")
    return frozenset(names)


def check_progress(where: str, cls: type[Any], name: object, hidden: Names) -> None:
    """Refuse what does not name a field or property that may tell staff of progress.

    `hidden` are the sensitive fields. An annotation that does not resolve yet is left
    to `progress_mistake`, once all modules are imported.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"{where}: progress={name!r} must be the name of a field or property."
        )
    if name in hidden:
        raise ValueError(
            f"{where}: progress={name!r} is sensitive, and staff see a progress. Name "
            "a field that they may see, or a property that is made of it."
        )
    if name not in cls.__struct_fields__:
        _check_property(where, cls, name)
    if (mistake := progress_mistake(cls, name)) is not None:
        raise TypeError(f"{where}: progress={name!r}: {mistake}.")


def _check_property(where: str, cls: type[Any], name: str) -> None:
    found = inspect.getattr_static(cls, name, None)
    if isinstance(found, property):
        return
    if found is None or name.startswith("__"):
        near = [*cls.__struct_fields__, *_properties(cls)]
        raise ValueError(
            f"{where}: progress={name!r} is no field or property."
            f"{did_you_mean(name, near)}"
        )
    kind = "a method" if callable(found) else f"of type {type(found).__name__}"
    raise TypeError(
        f"{where}: progress={name!r} is {kind}. Make it a property: write @property "
        f"above `def {name}(self)`."
    )


def _properties(cls: type[Any]) -> list[str]:
    return [name for name, _ in inspect.getmembers_static(cls, _is_property)]


def _is_property(value: object) -> bool:
    return isinstance(value, property)


def progress_mistake(cls: type[Any], name: str) -> str | None:
    """Return why the annotation of a progress does not fit; None if it does.

    Nor if it has none, or one that does not resolve, which is a mistake of its own.
    """
    try:
        hint = _progress_hint(cls, name)
    except UNRESOLVED:
        return None
    if hint is None or _says_progress(hint):
        return None
    return (
        f"it is annotated {hint_text(hint)}, but a progress is a pair of integers "
        "(done, of), an integer, a text or None. Annotate it tuple[int, int], int, "
        "str, or one of these with `| None`"
    )


def _progress_hint(cls: type[Any], name: str) -> Any:
    """Return the type of a field or property; None if it has no annotation."""
    if name not in cls.__struct_fields__:
        found: Any = inspect.getattr_static(cls, name)
        hints = get_type_hints(found.fget) if found.fget else {}
        # What returns None only says nothing.
        return hints.get("return")
    for base in cls.__mro__:
        hint = annotations_of(base).get(name)
        if hint is not None:
            space = {"__annotations__": {name: hint}, "__module__": base.__module__}
            return get_type_hints(type(name, (), space))[name]
    return None


def _says_progress(hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _says_progress(arguments[0])
    if origin in (Union, types.UnionType):
        return all(map(_says_progress, arguments))
    if origin is Literal:
        return all(_is_kind(type(value)) for value in arguments)
    if origin is tuple:
        return len(arguments) == 2 and all(map(_is_number, arguments))
    return hint is Any or (isinstance(hint, type) and _is_kind(hint))


def _is_kind(kind: type[Any]) -> bool:
    if issubclass(kind, tuple):
        # A NamedTuple has fields; a bare tuple may be anything.
        named = getattr(kind, "_fields", None)
        return named is not None and len(named) == 2
    return kind is type(None) or issubclass(kind, str) or _is_number(kind)


def _is_number(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, int) and kind is not bool
