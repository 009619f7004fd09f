"""Admin of live sessions: an overview, a page for each session and participant.

A site without `django.contrib.admin` has no pages, but what a command shares with them.
"""

from __future__ import annotations

from django.apps import apps

if apps.is_installed("django.contrib.admin"):
    from .options import LiveSessionAdmin as LiveSessionAdmin
