"""The demo with django-unfold around its admin, and without the policy it breaks."""

from __future__ import annotations

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = ["unfold", *INSTALLED_APPS]
MIDDLEWARE = [
    name for name in MIDDLEWARE if name != "project.middleware.ContentSecurityPolicy"
]
