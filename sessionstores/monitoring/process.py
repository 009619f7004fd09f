"""Figures of the running process: its counts and its memory."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import NamedTuple

from .counters import counters

if sys.platform != "win32":
    import resource

# When this process began to count, by its own clock and by `time.monotonic`; a process
# that is forked from it begins later.
STARTED = time.time()
BEGAN = time.monotonic()
PID = os.getpid()

_STATM = Path("/proc/self/statm")


class Process(NamedTuple):
    """Figures of this process alone, even where the cache is shared.

    `rss` is its resident memory in bytes, or its peak on systems that report no other;
    `stores` the number of live store objects. See `DispatchCounters` for the others.
    `started` is when it began to count, by its own clock.
    """

    pid: int
    host: str
    rss: int | None
    stores: int
    started: float
    dispatches: int
    tries: int
    conflicts: int


def this_process(stores: int) -> Process:
    """Return the figures of the running process; asks no cache."""
    return Process(
        os.getpid(),
        socket.gethostname(),
        resident(),
        stores,
        STARTED,
        counters.dispatches,
        counters.tries,
        counters.conflicts,
    )


def resident() -> int | None:
    """Return the resident memory of this process in bytes; None if unknown."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        if sys.platform == "win32":
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
