"""Log records of the package, apart from what other loggers write meanwhile."""

from __future__ import annotations

import logging

import pytest

# For SLOW_OPERATION_MS, in milliseconds: on a busy machine, any call may take long.
NEVER_SLOW = 10**9


def records_of_ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what loggers of the package have written.

    asyncio may report a task that another test abandoned whenever it is collected.
    """
    return [each for each in caplog.records if each.name.startswith("sessionstores")]
