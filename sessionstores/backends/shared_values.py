"""Compare-and-set updates of small values that all processes share."""

from __future__ import annotations

from collections.abc import Callable

from ..concurrency.backoff import Backoff
from .base import Backend
from .types import Value

MAX_TRIES = 16
BACKOFF = Backoff(base=0.001, cap=0.005, eager=1)


async def update_value(
    backend: Backend,
    name: str,
    change: Callable[[bytes | None], bytes | None],
    *,
    seconds: float,
    held: Value | None = None,
) -> bool:
    """Replace a shared value by what `change` makes of it; return whether it did.

    `change` is given the data (None: absent) and returns new data, to be kept for
    `seconds`, or None to leave the value as it is. If another process writes first, it
    is called again with the newer data. `held` is the value if the caller has read it.
    False if `change` returned None, or others wrote first `MAX_TRIES` times.
    """
    for tried in range(MAX_TRIES):
        if tried:
            await backend.pause(BACKOFF.delay(tried - 1))
        if held is None:
            held = await backend.value(name)
        data = change(held.data)
        if data is None:
            return False
        if await backend.swap_value(name, held.token, data, seconds=seconds):
            return True
        held = None
    return False
