"""The site of the front ends, on the Valkey that a test starts and ends."""

from __future__ import annotations

import os

from tests.logs import NEVER_SLOW
from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

REDIS = os.environ["FRONT_ENDS_REDIS"]
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    *(app for app in INSTALLED_APPS if app != "tests.workshop"),
    "tests.browser.front_ends",
]
ROOT_URLCONF = "tests.browser.front_ends.urls"
STATICFILES_DIRS = [os.environ["FRONT_ENDS_BUILT"]]
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS,
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS]},
    }
}
SESSIONSTORES = {
    "HEARTBEAT": 3,
    "LEAVE_GRACE": 2,
    # No warning that a busy machine causes.
    "SLOW_OPERATION_MS": NEVER_SLOW,
}
