"""The demo with short heartbeats, for tests that wait for one."""

from __future__ import annotations

from project.settings import *  # noqa: F403
from project.settings import SESSIONSTORES

SESSIONSTORES = {**SESSIONSTORES, "HEARTBEAT": 3, "LEAVE_GRACE": 2}
