"""Settings of `make demo-redis`: several workers that share a Redis or Valkey.

The supervisor sets the environment variables.
"""

from __future__ import annotations

import os
from pathlib import Path

from project.settings import *  # noqa: F403
from project.settings import ALLOWED_HOSTS, DATABASES, SESSIONSTORES

REDIS_URL = os.environ["WORKSHOP_REDIS_URL"]

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL]},  # type: ignore[dict-item]
    }
}

# Tabs notice a flush at a heartbeat, so that is frequent here. No command sweeps, so
# the workers do.
SESSIONSTORES = {**SESSIONSTORES, "HEARTBEAT": 3, "AUTO_SWEEP": True}

DATABASES["default"]["NAME"] = Path(os.environ["WORKSHOP_DIRECTORY"], "demo.sqlite3")
ALLOWED_HOSTS = [*ALLOWED_HOSTS, os.environ["WORKSHOP_HOST"]]
