"""Real servers and processes, really killed, paused and cut off."""

from __future__ import annotations
