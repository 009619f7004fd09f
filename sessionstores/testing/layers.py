"""Lossy channel layer: drops, delays and reorders messages, by a seed."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import random
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer


class LossyLayer(InMemoryChannelLayer):
    """Channels' layer in memory, with the faults of a network.

    For CHANNEL_LAYERS: `{"default": {"BACKEND": "sessionstores.testing.LossyLayer",
    "CONFIG": {"seed": 7, "drop": 0.2}}}`. Of the messages, a share of `drop` is lost,
    and of the others a share of `delay` arrives up to `delay_seconds` later, so that
    later ones overtake them. The same seed has the same messages lost. Raises TypeError
    for options that it has not, and ValueError for shares that are none.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        drop: float = 0.1,
        delay: float = 0.3,
        delay_seconds: float = 0.02,
        **config: Any,
    ) -> None:
        _refuse_unknown(config)
        _check_share("drop", drop)
        _check_share("delay", delay)
        if not _is_number(delay_seconds) or not 0 <= delay_seconds < float("inf"):
            raise ValueError(
                f"LossyLayer: delay_seconds={delay_seconds!r} is no number of seconds "
                "from 0 on, such as 0.02."
            )
        super().__init__(**config)
        self._random = random.Random(seed)  # noqa: S311 - chooses faults
        self._drop = drop
        self._delay = delay
        self._delay_seconds = delay_seconds
        self._late: set[asyncio.Task[None]] = set()
        # How many of each kind there were.
        self.dropped = self.delayed = 0

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """See `InMemoryChannelLayer.send`."""
        # All three for each message: one that is lost changes no other's fate.
        lost, late, seconds = (self._random.random() for _ in range(3))
        if lost < self._drop:
            self.dropped += 1
        elif late < self._delay:
            self.delayed += 1
            pause = seconds * self._delay_seconds
            task = asyncio.ensure_future(self._send_later(channel, message, pause))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        else:
            await super().send(channel, message)

    async def _send_later(
        self, channel: str, message: dict[str, Any], pause: float
    ) -> None:
        await asyncio.sleep(pause)
        try:
            await super().send(channel, message)
        except ChannelFull:
            self.dropped += 1


def _refuse_unknown(config: dict[str, Any]) -> None:
    """Raise TypeError for an option that neither we nor the layer below have."""
    known = [
        name
        for cls in LossyLayer.__mro__[:-1]
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    for name in config.keys() - {*known}:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        names = ", ".join(dict.fromkeys(known))
        raise TypeError(
            f"LossyLayer has no option {name!r}. {hint}In the CONFIG of CHANNEL_LAYERS "
            f"it takes {names}."
        )


def _check_share(name: str, share: object) -> None:
    if not _is_number(share) or not 0 <= share <= 1:  # type: ignore[operator]
        raise ValueError(
            f"LossyLayer: {name}={share!r} is no share of the messages: give a number "
            "from 0, none of them, to 1, all."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
