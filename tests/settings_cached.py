"""The demo with its records in a Redis or Valkey that a test starts and ends."""

from __future__ import annotations

import os

from project.settings import *  # noqa: F403

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["WORKSHOP_REDIS_URL"],
    }
}
