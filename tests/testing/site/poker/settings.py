"""A site like any other; which cache it has, the environment says."""

from __future__ import annotations

import os
from pathlib import Path

SECRET_KEY = "poker"
ALLOWED_HOSTS = ["poker.example.com"]
USE_TZ = True
ROOT_URLCONF = "poker.urls"
ASGI_APPLICATION = "poker.asgi.application"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "channels",
    "sessionstores",
    "poker",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "sessionstores.middleware.ParticipantMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).parent / "db.sqlite3",
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
_BACKENDS = "django.core.cache.backends"
CACHES = {
    "default": {
        "locmem": {"BACKEND": f"{_BACKENDS}.locmem.LocMemCache"},
        "valkey": {
            "BACKEND": f"{_BACKENDS}.redis.RedisCache",
            "LOCATION": os.environ.get("SITE_REDIS_URL"),
        },
        "table": {"BACKEND": f"{_BACKENDS}.db.DatabaseCache", "LOCATION": "cached"},
    }[os.environ.get("SITE_CACHE", "locmem")]
}
# Nobody listens there: in tests, no layer is to be asked.
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": ["redis://127.0.0.1:9/0"]},
    }
}
