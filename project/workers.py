"""The workers of `make demo-redis`, from the view of one of them.

The supervisor writes a pidfile for each, which is empty while the worker is down.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

# The number of this worker process; "" where the demo is one process.
WORKER_NUMBER = os.environ.get("WORKSHOP_WORKER", "")
# Only a server of our own may be flushed.
MAY_FLUSH = "WORKSHOP_MAY_FLUSH" in os.environ


class WorkerStatus(NamedTuple):
    """The number and process id of a worker; `pid` is None while it is down."""

    number: int
    pid: int | None


def pidfile(directory: Path, number: int) -> Path:
    """Return the path of a worker's pidfile."""
    return directory / f"worker-{number}.pid"


def worker_statuses() -> list[WorkerStatus]:
    """Return the status of each worker, by number."""
    directory = Path(os.environ["WORKSHOP_DIRECTORY"])
    found = []
    for path in directory.glob("worker-*.pid"):
        number = int(path.stem.removeprefix("worker-"))
        found.append(WorkerStatus(number, int(path.read_text() or 0) or None))
    return sorted(found)


def kill(number: int) -> None:
    """Kill a worker at once, as a crash would; do nothing if it is down."""
    for worker in worker_statuses():
        if worker.number == number and worker.pid:
            # It may have ended, and the supervisor has not noted that yet: browsers
            # ask again, at another worker, where the one that was asked was killed.
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)


class AnnounceWorker:
    """ASGI middleware: send each tab the number of its worker after the first frame."""

    def __init__(self, application: Any) -> None:
        self.application = application
        message = {"type": "message", "data": {"worker": int(WORKER_NUMBER)}}
        self.frame = {"type": "websocket.send", "text": json.dumps(message)}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        announced = False

        async def send_and_announce(event: Any) -> None:
            nonlocal announced
            await send(event)
            if event["type"] == "websocket.send" and not announced:
                announced = True
                await send(self.frame)

        await self.application(scope, receive, send_and_announce)
