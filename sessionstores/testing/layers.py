"""Lossy channel layer: drops, delays and reorders messages, by a seed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer


class LossyLayer(InMemoryChannelLayer):
    """Channels' layer in memory, with the faults of a network.

    For CHANNEL_LAYERS: `{"default": {"BACKEND": "sessionstores.testing.LossyLayer",
    "CONFIG": {"seed": 7, "drop": 0.2}}}`. Of the messages, a share of `drop` is lost,
    and of the others a share of `delay` arrives up to `delay_seconds` later, so that
    later ones overtake them. The same seed has the same messages lost.
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
