"""Guard of sync-only calls: they raise inside an event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.utils import asyncio as django_asyncio

F = TypeVar("F", bound=Callable[..., Any])


def async_unsafe(message: str) -> Callable[[F], F]:
    """Let a function raise inside an event loop: `SynchronousOnlyOperation`, `message`.

    Django's own decorator with a type. Its own has none: at sites without stubs of
    Django, type checkers would know nothing of what it decorates.
    """
    decorate: Callable[[F], F] = django_asyncio.async_unsafe(message)
    return decorate
