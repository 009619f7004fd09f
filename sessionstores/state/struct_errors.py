"""Struct errors: what msgspec says of a class body, in our own words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .json_rules import did_you_mean

# Ours, and those of msgspec that a state may have.
KEYWORDS = (
    *("name", "version", "scope", "sensitive", "watch"),
    *("rename", "kw_only", "eq", "order", "repr_omit_defaults", "gc", "weakref"),
    *("dict", "cache_hash"),
)
_RENAMES = ("lower", "upper", "camel", "pascal", "kebab")
# Python's words for it change with its version.
_UNKNOWN = re.compile(r".*?(?:invalid|unexpected) keyword argument")
_DEFINES = re.compile(r"Struct types cannot define (\w+)")


def class_reason(
    error: Exception, namespace: Mapping[str, Any], keywords: Mapping[str, Any]
) -> str:
    """Return why msgspec makes no struct of a class body, and the way out."""
    text = str(error)
    if _UNKNOWN.match(text):
        unknown = next(name for name in keywords if f"'{name}'" in text)
        near = did_you_mean(unknown, KEYWORDS)
        way_out = near or f" There are {', '.join(KEYWORDS)}."
        return f"it takes no keyword {unknown}={keywords[unknown]!r}.{way_out}"
    if defined := _DEFINES.match(text):
        return (
            f"a state cannot define {defined[1]}, since it is made of its fields and "
            "their defaults. Leave it out; __post_init__ is called with all fields set."
        )
    if "`rename`" in text or text.startswith("rename="):
        rename = keywords.get("rename")
        near = did_you_mean(rename, _RENAMES)
        allowed = ", ".join(map(repr, _RENAMES))
        return f"rename={rename!r} is none of {allowed}, a dict and a function.{near}"
    if "default value is unsafe" in text:
        return _unsafe_default(text, namespace)
    return text.replace("`", "").rstrip(".") + "."


def _unsafe_default(text: str, namespace: Mapping[str, Any]) -> str:
    shared = "Using a mutable struct object" in text
    for name, value in namespace.items():
        given = getattr(value, "default", value)
        if f"({given!r})" in text:
            example = type(given).__name__ if shared else f"lambda: {given!r}"
            return (
                f"the default of field {name!r}, {given!r}, would be one for all: "
                f"write {name}: ... = field(default_factory={example})."
            )
    return text.replace("`", "").rstrip(".") + "."
