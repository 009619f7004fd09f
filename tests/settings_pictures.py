"""The demo as the docs picture it: like `settings_cached`, but with a limit."""

from __future__ import annotations

from tests.settings_cached import *  # noqa: F403
from tests.settings_cached import SESSIONSTORES

SESSIONSTORES = {**SESSIONSTORES, "SLOW_OPERATION_MS": 1_000}
