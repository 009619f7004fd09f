"""Messages as the channel layer carries them."""

from __future__ import annotations

from sessionstores import event_bus
from sessionstores.realtime import serializers
from sessionstores.realtime.channel_layer import MESSAGE_TYPE


def message(event: event_bus.Event) -> dict[str, str]:
    return {"type": MESSAGE_TYPE, "body": serializers.encode(event)}
