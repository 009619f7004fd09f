"""Delegation of a backend's methods to its parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


def delegated(
    part: str, method: Callable[Concatenate[S, P], R]
) -> Callable[Concatenate[Any, P], R]:
    """Return a method of the backend that calls that of one of its parts."""

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(getattr(self, part), *args, **kwargs)

    update_wrapper(call, method)
    return call
