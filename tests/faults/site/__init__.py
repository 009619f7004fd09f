"""The site that the workers run: a log for each participant, and a wall for all."""

from __future__ import annotations
