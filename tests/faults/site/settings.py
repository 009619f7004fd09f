"""The test site as it runs in several processes; `SITE_*` variables say on what."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [
    "tests.faults.site" if app == "tests.workshop" else app
    for app in INSTALLED_APPS  # noqa: F405
]
ROOT_URLCONF = "tests.faults.site.urls"

REDIS = os.environ["SITE_REDIS"]
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS,
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": os.environ["SITE_LAYER"],
        "CONFIG": {"hosts": [REDIS]},
    }
}
# Where the records are, if not there.
if "SITE_CACHE" in os.environ:
    globals().update(json.loads(os.environ["SITE_CACHE"]))
if "SITE_LOSS" in os.environ:
    CHANNEL_LAYERS["default"]["CONFIG"]["loss"] = float(os.environ["SITE_LOSS"])
SESSIONSTORES = {
    "HEARTBEAT": float(os.environ.get("SITE_HEARTBEAT", "1")),
    "RATE_LIMIT": tuple(map(float, os.environ.get("SITE_RATE", "").split())) or None,
    "LEAVE_GRACE": 2,
}
if "SITE_LEASE" in os.environ:
    SESSIONSTORES["PRESENCE_LEASE"] = float(os.environ["SITE_LEASE"])
