"""Configured classes: their ancestors, and the options that they are given."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from django.utils.module_loading import import_string


def lineage_of(configured: Mapping[str, Any]) -> frozenset[str]:
    """Return the paths of the class of a cache or layer, and of its ancestors.

    Empty if it cannot be imported: E002, or Channels itself, reports that.
    """
    try:
        cls: Any = import_string(str(configured.get("BACKEND")))
    except (ImportError, AttributeError):
        return frozenset()
    ancestors = getattr(cls, "__mro__", ())
    return frozenset(f"{c.__module__}.{c.__qualname__}" for c in ancestors)


def options_of(cache: Mapping[str, Any]) -> Mapping[str, Any]:
    options: Mapping[str, Any] = cache.get("OPTIONS") or {}
    return options


def as_number(given: object) -> float:
    """Return a limit as a number: infinity for None, 0 for what is not a number."""
    try:
        return inf if given is None else float(str(given))
    except ValueError:
        return 0
