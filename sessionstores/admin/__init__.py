"""Admin of live sessions: an overview, a page for each session and participant."""

from __future__ import annotations

from .options import LiveSessionAdmin as LiveSessionAdmin
