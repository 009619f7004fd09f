"""Channel layers that lose what they are given, as all of them may."""

from __future__ import annotations

import random
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer


class LossyLayer(RedisPubSubChannelLayer):
    """Loses each message with the probability `loss`, and says nothing."""

    def __init__(self, *, loss: float, **config: Any) -> None:
        super().__init__(**config)
        self.loss = loss

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """See the channel layer specification."""
        if random.random() >= self.loss:
            await self._get_layer().send(channel, message)
