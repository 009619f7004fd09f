"""The test site as it would be deployed, for `manage.py check --deploy`."""

from __future__ import annotations

from tests.settings import *  # noqa: F403

SECRET_KEY = "only-for-the-check-7c1e0f4b9d2a48c5b6e3f0a9d8c7b6a5e4f3d2c1b0a9f8e7"
DEBUG = False
ALLOWED_HOSTS = ["workshop.example"]

SECURE_SSL_REDIRECT = True
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True

# One process that may forget what it holds: this version's only kind of site.
SILENCED_SYSTEM_CHECKS = ["sessionstores.W004", "sessionstores.W005"]
