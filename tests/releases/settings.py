"""The site of the tests of faults, as both releases run it, on three kinds of cache."""

from __future__ import annotations

import os

from tests.faults.site.settings import *  # noqa: F403

# Of the site's own, it would be of one release.
ROOT_URLCONF = "tests.urls"
CACHES = {
    "default": CACHES["default"],  # noqa: F405
    "memcached": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": os.environ["SITE_MEMCACHED"],
    },
    "database": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "cache",
    },
}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["SITE_DATABASE"],
        "OPTIONS": {"timeout": 20},
    }
}
SESSIONSTORES["LEAVE_GRACE"] = 0.2  # noqa: F405
