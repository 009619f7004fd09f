"""Flavours of a backend: drive a blocking one's coroutines, and wait in either."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine over a blocking backend to its result."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("A blocking backend's method suspended.")


async def pause(seconds: float, *, blocking: bool) -> None:
    """Wait, in the way that fits the flavour; 0 lets an event loop go on."""
    if not blocking:
        await asyncio.sleep(seconds)
    elif seconds > 0:
        time.sleep(seconds)  # noqa: ASYNC251 - that is what blocking means
