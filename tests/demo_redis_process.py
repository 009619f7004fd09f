"""`make demo-redis` as a process of its own, with its workers and its Valkey."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from .demo_process import DemoProcess


class DemoRedisProcess(DemoProcess):
    """The supervisor with some arguments, and everything that it has started."""

    command = ("-m", "project.supervisor")

    @property
    def children(self) -> set[int]:
        """The process ids of what the supervisor has started and not yet buried."""
        return {pid for pid in every_process() if parent(pid) == self.process.pid}

    def kill(self, pid: int) -> None:
        """End one of its children at once, as a crash would."""
        assert pid in self.children
        os.kill(pid, signal.SIGKILL)


def every_process() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def parent(pid: int) -> int | None:
    """Return the process id of a process's parent, None if it is gone."""
    try:
        status = Path("/proc", str(pid), "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(status.rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    """Tell whether there is such a process, dead and unburied ones included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
