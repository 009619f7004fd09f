"""The demo as the docs picture it, with a channel layer between processes."""

from __future__ import annotations

import os

from tests.settings_pictures import *  # noqa: F403

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [os.environ["WORKSHOP_LAYER_URL"]]},
    }
}
