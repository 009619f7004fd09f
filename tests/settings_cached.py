"""The demo with its records in a Redis or Valkey that a test starts and ends."""

from __future__ import annotations

import os

from project.settings import *  # noqa: F403
from project.settings import SESSIONSTORES
from tests.logs import NEVER_SLOW

# No warning on the admin's pages that a busy machine causes.
SESSIONSTORES = {**SESSIONSTORES, "SLOW_OPERATION_MS": NEVER_SLOW}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["WORKSHOP_REDIS_URL"],
    }
}
